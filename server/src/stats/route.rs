//! What one shard counts for each route.

use corelane_runtime::Counter;
use http::StatusCode;

use super::histogram::Histogram;

/// Routes with figures of their own; each takes about a kibibyte a shard. The others share theirs.
const COUNT_MAX: usize = 256;

/// The name of those that share.
const OTHERS: &str = "(other routes)";

/// One route's exchanges on one shard.
#[derive(Debug)]
pub struct RouteStats {
    /// Its pattern, or in parentheses what the server answers itself.
    pub name: String,
    /// Exchanges that ended, by class of status: index 0 is 1xx, index 4 is 5xx.
    pub exchanges: [Counter; 5],
    /// How long they took, from the end of the head to the end of the answer.
    pub(crate) durations: Histogram,
}

impl RouteStats {
    fn new(name: String) -> RouteStats {
        RouteStats { name, exchanges: Default::default(), durations: Histogram::default() }
    }

    /// Figures for routes with these names, or for as many as may have their own.
    pub(crate) fn all(names: &[String]) -> Box<[RouteStats]> {
        let own = if names.len() > COUNT_MAX { COUNT_MAX - 1 } else { names.len() };
        let others = (own < names.len()).then(|| OTHERS.to_owned());
        names[..own].iter().cloned().chain(others).map(RouteStats::new).collect()
    }
}

/// The class of a status: 0 for 1xx to 4 for 5xx.
pub(crate) fn class_of(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, 5) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_routes_share() {
        let names = |count: usize| (0..count).map(|number| format!("/{number}")).collect();
        let check = |count: usize, expected: usize, last: &str| {
            let names: Vec<String> = names(count);
            let all = RouteStats::all(&names);
            assert_eq!((all.len(), all[expected - 1].name.as_str()), (expected, last));
        };
        check(1, 1, "/0");
        check(COUNT_MAX, COUNT_MAX, "/255");
        check(COUNT_MAX + 1, COUNT_MAX, OTHERS);
    }

    #[test]
    fn statuses_have_classes() {
        for (status, class) in [(100, 0), (200, 1), (299, 1), (404, 3), (599, 4), (999, 4)] {
            assert_eq!(class_of(StatusCode::from_u16(status).expect("valid")), class, "{status}");
        }
    }
}
