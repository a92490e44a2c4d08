//! Deadlines that a steady peer extends: a fixed time, and more for every byte.
//!
//! An inactivity timer would let a peer hold a connection for ever with one byte now and then.

use std::time::Duration;

use corelane_runtime::Moment;

/// The time that a peer has for a transfer, of which only the waiting for it counts.
///
/// It is never more than at first: what the kernel has buffered, or a burst, would else earn the
/// right to hold the connection for hours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    allowed_max: Duration,
    /// `allowed <= allowed_max`
    allowed: Duration,
    bytes_per_second_min: u64,
    /// When the current wait began.
    waiting_since: Option<Moment>,
}

impl Pace {
    pub(super) fn new(allowed: Duration, bytes_per_second_min: u64) -> Pace {
        Pace { allowed_max: allowed, allowed, bytes_per_second_min, waiting_since: None }
    }

    /// The moment at which the peer is too slow, if nothing more comes. Starts the wait.
    pub(super) fn deadline(&mut self, now: Moment) -> Moment {
        let since = *self.waiting_since.get_or_insert(now);
        since + self.allowed
    }

    /// Ends the wait: the time it took is used up, the bytes it brought earn theirs.
    pub(super) fn progress(&mut self, now: Moment, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.allowed = self.allowed.saturating_sub(now - since);
        }
        let earned = bytes.saturating_mul(1_000_000_000) / self.bytes_per_second_min.max(1);
        let allowed = self.allowed.saturating_add(Duration::from_nanos(earned));
        self.allowed = allowed.min(self.allowed_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_drip_does_not_hold_the_deadline_off() {
        let mut pace = Pace::new(Duration::from_secs(20), 500);
        for second in 0..20 {
            assert!(pace.deadline(at(second)) > at(second));
            pace.progress(at(second + 1), 1);
        }
        // Twenty bytes have earned 40 milliseconds.
        assert!(pace.deadline(at(20)) < at(21));
    }

    #[test]
    fn a_steady_peer_has_all_the_time_it_needs() {
        let mut pace = Pace::new(Duration::from_secs(20), 500);
        for second in 0..100_000 {
            assert!(pace.deadline(at(second)) >= at(second + 20));
            pace.progress(at(second + 1), 500);
        }
    }

    #[test]
    fn a_burst_earns_no_right_to_dawdle() {
        let mut pace = Pace::new(Duration::from_secs(20), 500);
        pace.progress(at(0), 10_000_000);
        assert_eq!(pace.deadline(at(0)), at(20));
    }

    #[test]
    fn only_waiting_counts() {
        let mut pace = Pace::new(Duration::from_secs(20), 500);
        assert_eq!(pace.deadline(at(0)), at(20));
        pace.progress(at(5), 0);
        // The handler takes its time before it wants more.
        assert_eq!(pace.deadline(at(1000)), at(1015));
    }
}
