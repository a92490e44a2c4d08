//! Which traces are recorded.

use std::fmt;
use std::str::FromStr;

use corelane_runtime::ConfigError;

/// What a trace id is compared with: its lower 63 bits are as good as random.
const ALL: u64 = 1 << 63;

/// Decides about each trace whether its spans are recorded: for the whole of it, wherever it goes.
///
/// ```
/// use corelane::middleware::Sampler;
///
/// let sampler: Sampler = "parentbased_traceidratio=0.1".parse()?;
/// assert_eq!(sampler, Sampler::ratio(0.1).parent_based());
/// # Ok::<(), corelane::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// A trace is recorded whose id has less than this: `0 <= below <= ALL`.
    below: u64,
    is_parent_based: bool,
}

impl Sampler {
    /// Every trace.
    pub const fn always() -> Sampler {
        Sampler { below: ALL, is_parent_based: false }
    }

    /// None.
    pub const fn never() -> Sampler {
        Sampler { below: 0, is_parent_based: false }
    }

    /// This share of the traces, from 0 to 1: by the trace's id, so that all servers with the same
    /// share choose the same ones.
    pub fn ratio(share: f64) -> Sampler {
        // The cast saturates, and makes nothing of what is no number.
        let below = (share * ALL as f64) as u64;
        Sampler { below: below.min(ALL), is_parent_based: false }
    }

    /// As the caller has decided, where there is one. Only for callers that are trusted: whoever
    /// sends a `traceparent` decides then.
    #[must_use]
    pub const fn parent_based(self) -> Sampler {
        Sampler { is_parent_based: true, ..self }
    }

    /// Whether the trace is recorded; `parent` is what its caller says.
    pub(crate) fn is_sampled(self, trace_id: u128, parent: Option<bool>) -> bool {
        match parent {
            Some(is_sampled) if self.is_parent_based => is_sampled,
            _ => ((trace_id as u64) >> 1) < self.below,
        }
    }
}

/// Every trace that begins here, and of the others those that the caller records: what
/// OpenTelemetry has by default.
impl Default for Sampler {
    fn default() -> Sampler {
        Sampler::always().parent_based()
    }
}

/// The names of OpenTelemetry, with the argument behind `=` where there is one.
impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_parent_based { "parentbased_" } else { "" })?;
        match self.below {
            ALL => f.write_str("always_on"),
            0 => f.write_str("always_off"),
            below => write!(f, "traceidratio={}", below as f64 / ALL as f64),
        }
    }
}

/// `OTEL_TRACES_SAMPLER`, then `=` and `OTEL_TRACES_SAMPLER_ARG`, which is 1 where it is missing.
impl FromStr for Sampler {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Sampler, ConfigError> {
        let (name, argument) = text.split_once('=').unwrap_or((text, ""));
        let root = name.strip_prefix("parentbased_");
        let sampler = match root.unwrap_or(name) {
            "always_on" => Sampler::always(),
            "always_off" => Sampler::never(),
            "traceidratio" => Sampler::ratio(share(argument)?),
            _ => {
                let problem = format!(
                    "{name:?} is not known; write always_on, always_off or traceidratio=0.1, \
                     with parentbased_ before it where the caller is to decide"
                );
                return Err(ConfigError::new("sampler", problem));
            }
        };
        Ok(if root.is_some() { sampler.parent_based() } else { sampler })
    }
}

fn share(argument: &str) -> Result<f64, ConfigError> {
    if argument.is_empty() {
        return Ok(1.0);
    }
    let share = argument.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| {
        ConfigError::new("sampler", format!("{argument:?} is no share; write 0.1 for a tenth"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_decides_where_it_is_asked() {
        for (sampler, root, of_yes, of_no) in [
            (Sampler::always(), true, true, true),
            (Sampler::never(), false, false, false),
            (Sampler::default(), true, true, false),
            (Sampler::never().parent_based(), false, true, false),
        ] {
            let decisions =
                [None, Some(true), Some(false)].map(|parent| sampler.is_sampled(7, parent));
            assert_eq!(decisions, [root, of_yes, of_no], "{sampler}");
        }
    }

    #[test]
    fn a_share_is_taken_by_the_id() {
        let mut numbers = fastrand::Rng::with_seed(7);
        for share in [0.0, 0.1, 0.5, 1.0] {
            let sampler = Sampler::ratio(share);
            let taken = (0..10_000).filter(|_| sampler.is_sampled(numbers.u128(..), None)).count();
            assert!((taken as f64 - share * 10_000.0).abs() < 200.0, "{share}: {taken}");
        }
        // What OpenTelemetry's own takes: the lower half of the id, but for its last bit.
        let half = Sampler::ratio(0.5);
        assert!(half.is_sampled((u128::MAX << 64) | ((1 << 63) - 1), None));
        assert!(!half.is_sampled(1 << 63, None));
        assert_eq!(Sampler::ratio(f64::NAN), Sampler::never());
        assert_eq!(Sampler::ratio(-1.0), Sampler::never());
        assert_eq!(Sampler::ratio(2.0), Sampler::always());
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [
            "always_on",
            "always_off",
            "traceidratio=0.25",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio=0.5",
        ] {
            assert_eq!(name.parse::<Sampler>().expect("a name").to_string(), name);
        }
        assert_eq!("traceidratio".parse(), Ok(Sampler::always()));
        for name in ["", "on", "parentbased_", "traceidratio=2", "traceidratio=x", "jaeger_remote"]
        {
            assert!(name.parse::<Sampler>().is_err(), "{name}");
        }
    }
}
