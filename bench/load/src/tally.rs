//! What one shard counts in one interval, and how intervals and shards add up.

use std::time::Duration;

use corelane_runtime::Moment;
use hdrhistogram::Histogram;

use crate::failure::{Failure, Failures};

/// The resolution at the low end, in nanoseconds: a loopback answer takes some 10,000.
const LATENCY_NANOS_MIN: u64 = 128;
/// An hour; what takes longer counts as an hour.
const LATENCY_NANOS_MAX: u64 = 3_600_000_000_000;
/// Three digits: no more than a thousandth off.
const LATENCY_DIGITS: u8 = 3;

/// Counters and histograms of one interval.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// From the moment the request was due.
    pub(crate) corrected: Histogram<u64>,
    /// From the moment the request was sent. Stays empty in a closed loop, where both are one.
    pub(crate) uncorrected: Histogram<u64>,
    /// Requests sent.
    pub(crate) sent: u64,
    /// Complete responses, whatever they said.
    pub(crate) responses: u64,
    /// Responses that were as expected.
    pub(crate) answers: u64,
    /// Connections made.
    pub(crate) connections: u64,
    /// Bytes received and sent, framing included.
    pub(crate) bytes_received: u64,
    /// As above.
    pub(crate) bytes_sent: u64,
    pub(crate) failures: Failures,
    /// Responses of each class: 1xx to 5xx, by the first digit less one.
    pub(crate) classes: [u64; 5],
    /// Requests that went out late although a connection was idle: the generator's own fault.
    pub(crate) late: u64,
    /// Requests that were due in the window and not even sent when it ended.
    pub(crate) unsent: u64,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let histogram =
            Histogram::new_with_bounds(LATENCY_NANOS_MIN, LATENCY_NANOS_MAX, LATENCY_DIGITS)
                .expect("the bounds are in order and three digits are allowed");
        Tally {
            uncorrected: histogram.clone(),
            corrected: histogram,
            sent: 0,
            responses: 0,
            answers: 0,
            connections: 0,
            bytes_received: 0,
            bytes_sent: 0,
            failures: Failures::default(),
            classes: [0; 5],
            late: 0,
            unsent: 0,
        }
    }

    /// Counts a complete response.
    pub(crate) fn respond(&mut self, status: u16) {
        self.responses += 1;
        if let Some(class) = self.classes.get_mut(usize::from(status / 100).wrapping_sub(1)) {
            *class += 1;
        }
    }

    /// Counts the latency of an answer.
    pub(crate) fn record_corrected(&mut self, latency: Duration) {
        self.corrected.saturating_record(nanos(latency));
    }

    /// As above, from the sending on.
    pub(crate) fn record_uncorrected(&mut self, latency: Duration) {
        self.uncorrected.saturating_record(nanos(latency));
    }

    pub(crate) fn fail(&mut self, failure: Failure, count: u64) {
        self.failures.add(failure, count);
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        for (mine, theirs) in
            [(&mut self.corrected, &other.corrected), (&mut self.uncorrected, &other.uncorrected)]
        {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        self.sent += other.sent;
        self.responses += other.responses;
        self.answers += other.answers;
        self.connections += other.connections;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.failures.merge(&other.failures);
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            *mine += theirs;
        }
        self.late += other.late;
        self.unsent += other.unsent;
    }
}

fn nanos(latency: Duration) -> u64 {
    u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)
}

/// The part of a run that is measured: `start <= t < end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: Moment,
    pub(crate) end: Moment,
}

impl Window {
    /// Whether what was due at this moment is measured.
    pub(crate) fn contains(&self, moment: Moment) -> bool {
        self.start <= moment && moment < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut tally = Tally::new();
        tally.respond(200);
        tally.respond(503);
        tally.respond(999);
        tally.record_corrected(Duration::from_micros(10));
        tally.record_uncorrected(Duration::from_secs(7200));
        tally.fail(Failure::Status, 1);
        tally.sent = 3;
        let mut sum = tally.clone();
        sum.merge(&tally);
        assert_eq!((sum.sent, sum.responses, sum.failures.total()), (6, 6, 2));
        assert_eq!(sum.classes, [0, 2, 0, 0, 2]);
        assert_eq!(sum.corrected.len(), 2);
        // Too long for the histogram counts as its longest.
        let longest = sum.uncorrected.max();
        assert!(longest.abs_diff(LATENCY_NANOS_MAX) < LATENCY_NANOS_MAX / 500);
    }

    #[test]
    fn latencies_are_right_to_a_thousandth() {
        let mut tally = Tally::new();
        for micros in [5, 50, 500, 5_000_000] {
            tally.corrected.reset();
            tally.record_corrected(Duration::from_micros(micros));
            let value = tally.corrected.value_at_quantile(0.5);
            let off = value.abs_diff(micros * 1000);
            assert!(off <= micros + LATENCY_NANOS_MIN, "{micros} us: {value} ns");
        }
    }
}
