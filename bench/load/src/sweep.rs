//! Raising the rate step by step, and where the server stops keeping up.

use std::str::FromStr;

use crate::plan::Pace;
use crate::report::Run;

/// A server keeps up while it answers this part of what is offered.
const ANSWERED_MIN: f64 = 0.99;
/// And while its p99 is at most so many times that of the lowest rate.
const SLOWDOWN_MAX: u64 = 10;
/// Steps beyond the knee; they show how steep it is.
const STEPS_BEYOND: usize = 2;

/// Which rates to offer, in requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sweep {
    /// Up to a little more than what a closed loop reaches.
    Auto,
    /// `count` evenly spaced rates, both ends included; `first < last`, `count >= 2`.
    Steps { first: f64, last: f64, count: usize },
}

impl Sweep {
    /// The rates, ascending. `capacity` is what a closed loop has reached.
    pub(crate) fn rates(self, capacity: f64) -> Vec<f64> {
        match self {
            Sweep::Auto => (1..=11).map(|step| capacity * f64::from(step) / 10.0).collect(),
            Sweep::Steps { first, last, count } => {
                let distance = (last - first) / (count - 1) as f64;
                (0..count).map(|step| first + distance * step as f64).collect()
            }
        }
    }
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Sweep, String> {
        if text == "auto" {
            return Ok(Sweep::Auto);
        }
        let refuse = || format!("\"{text}\" is not FROM:TO:STEPS with FROM < TO and STEPS >= 2");
        let parts: Vec<_> = text.split(':').collect();
        let (first, last, count) = match parts[..] {
            [first, last] => (first, last, "10"),
            [first, last, count] => (first, last, count),
            _ => return Err(refuse()),
        };
        let (first, last) = (parse_rate(first)?, parse_rate(last)?);
        let count = count.parse().map_err(|_| refuse())?;
        if first >= last || count < 2 {
            return Err(refuse());
        }
        Ok(Sweep::Steps { first, last, count })
    }
}

/// A number of requests a second, such as `50000`, `50k` or `1.5m`.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, factor) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 1e3),
        Some(b'm') => (&lower[..lower.len() - 1], 1e6),
        _ => (lower.as_str(), 1.0),
    };
    match digits.parse::<f64>() {
        Ok(number) if number * factor >= 0.001 && number * factor <= 1e9 => Ok(number * factor),
        _ => Err(format!("\"{text}\" is no rate; write 50000, 50k or 1.5m")),
    }
}

/// The highest offered rate up to which every run kept up.
pub(crate) fn knee(runs: &[Run]) -> Option<f64> {
    let kept_up = runs.iter().take_while(|run| keeps_up(run, &runs[0]));
    kept_up.last().and_then(offered)
}

/// Whether the knee is far enough behind for the sweep to end.
pub(crate) fn is_beyond(runs: &[Run]) -> bool {
    let kept_up = runs.iter().take_while(|run| keeps_up(run, &runs[0]));
    runs.len() >= kept_up.count() + STEPS_BEYOND
}

fn keeps_up(run: &Run, lowest: &Run) -> bool {
    let p99_max = lowest.latency_ns.corrected.p99 * SLOWDOWN_MAX;
    offered(run).is_some_and(|rate| run.answers_per_second >= rate * ANSWERED_MIN)
        && run.latency_ns.corrected.p99 <= p99_max
}

fn offered(run: &Run) -> Option<f64> {
    match run.pace {
        Pace::Open { rate, .. } => Some(rate),
        Pace::Closed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Outcome;
    use crate::schedule::Arrivals;
    use crate::tally::Tally;
    use std::time::Duration;

    fn run(rate: f64, answers: u64, p99_micros: u64) -> Run {
        let mut tally = Tally::new();
        tally.answers = answers;
        tally.record_corrected(Duration::from_micros(p99_micros));
        let outcome = Outcome { tally, measured: Duration::from_secs(1), is_interrupted: false };
        let arrivals = Arrivals::Constant;
        Run::new(Pace::Open { rate, arrivals }, &outcome)
    }

    #[test]
    fn rates_are_read() {
        for (text, rate) in [("50000", 5e4), ("50k", 5e4), ("1.5M", 1.5e6), ("0.5", 0.5)] {
            assert_eq!(parse_rate(text), Ok(rate));
        }
        for text in ["", "k", "x", "-1", "0", "nan", "inf", "1e99", "µk", "5µ"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sweeps_are_read() {
        assert_eq!("auto".parse(), Ok(Sweep::Auto));
        let sweep: Sweep = "1k:3k:3".parse().expect("sweep");
        assert_eq!(sweep.rates(0.0), [1000.0, 2000.0, 3000.0]);
        let auto = Sweep::Auto.rates(1000.0);
        assert_eq!((auto.len(), auto[0], auto[9]), (11, 100.0, 1000.0));
        for text in ["", "1", "3k:1k", "1:2:1", "1:2:x", "1:2:3:4"] {
            assert!(text.parse::<Sweep>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_knee_is_the_last_rate_that_was_kept() {
        let slow = [run(100.0, 100, 50), run(200.0, 200, 60), run(300.0, 300, 900)];
        assert_eq!(knee(&slow), Some(200.0));
        assert!(!is_beyond(&slow));
        let short = [run(100.0, 100, 50), run(200.0, 150, 50), run(300.0, 300, 50)];
        assert_eq!(knee(&short), Some(100.0));
        assert!(is_beyond(&short));
        assert_eq!(knee(&[run(100.0, 50, 50)]), None);
        assert_eq!(knee(&[]), None);
    }
}
