//! The line that is rewritten every second while a run goes on.

use std::io::{self, IsTerminal, Write};

use crate::format::{count, latency, per_second};
use crate::timekeeper::Interval;

/// A line on the terminal, or nothing where standard error is none.
#[derive(Debug)]
pub(crate) struct Live {
    is_shown: bool,
    error_count: u64,
}

impl Live {
    pub(crate) fn new(is_quiet: bool) -> Live {
        Live { is_shown: !is_quiet && io::stderr().is_terminal(), error_count: 0 }
    }

    /// Shows an interval. A terminal that cannot be written to is no reason to end a run.
    pub(crate) fn show(&mut self, interval: &Interval) {
        if self.is_shown {
            self.error_count += interval.tally.failures.total();
            let line = line(interval, self.error_count);
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        }
    }

    /// Clears the line, for what is printed next.
    pub(crate) fn clear(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(interval: &Interval, error_count: u64) -> String {
    let phase = if interval.is_measured { "" } else { " (warm-up)" };
    let seconds = (interval.offset + interval.length).as_secs_f64();
    let tally = &interval.tally;
    let rate = per_second(tally.answers, interval.length).round() as u64;
    format!(
        "{seconds:4.0} s{phase}   {} answers/s   p50 {}   p99 {}   max {}   errors {}",
        count(rate),
        latency(tally.corrected.value_at_quantile(0.5)),
        latency(tally.corrected.value_at_quantile(0.99)),
        latency(tally.corrected.max()),
        count(error_count)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::tally::Tally;
    use std::time::Duration;

    #[test]
    fn the_line_says_rate_latency_and_errors() {
        let mut tally = Tally::new();
        tally.answers = 1500;
        tally.record_corrected(Duration::from_micros(50));
        tally.fail(Failure::Reset, 2);
        let interval = Interval {
            index: 0,
            offset: Duration::from_secs(2),
            length: Duration::from_millis(500),
            is_measured: false,
            is_last: false,
            tally,
        };
        let line = line(&interval, 7);
        for part in ["(warm-up)", "3,000 answers/s", "p99 50.", "errors 7"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
