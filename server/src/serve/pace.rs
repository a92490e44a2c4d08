//! Deadlines that a steady peer extends: a fixed time, and more for every byte.
//!
//! An inactivity timer would let a peer hold a connection for ever with one byte now and then. What
//! bytes earn is never more than what was used up: a peer that was fast can not be idle for days.

use std::time::Duration;

use corelane_runtime::Moment;

use crate::config::ServerConfig;

/// How slow a peer may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// What it may use up at first, and ever have left.
    time: Duration,
    /// For as many it has a second more.
    bytes_per_second_min: u64,
}

impl Allowance {
    /// For what it takes.
    pub(super) fn of_sending(config: &ServerConfig) -> Allowance {
        let bytes_per_second_min = config.send_bytes_per_second_min;
        Allowance { time: config.send_timeout, bytes_per_second_min }
    }

    /// For the bodies that it sends.
    pub(super) fn of_bodies(config: &ServerConfig) -> Allowance {
        let bytes_per_second_min = config.body_bytes_per_second_min;
        Allowance { time: config.body_timeout, bytes_per_second_min }
    }
}

/// The time that a peer has for a transfer, of which only the waiting for it counts. Each
/// connection has one of these, so what is the same for all is not in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// In nanoseconds; at most the allowance.
    allowed: u64,
    /// When the current wait began.
    waiting_since: Option<Moment>,
}

impl Pace {
    pub(super) fn new(allowance: Allowance) -> Pace {
        Pace { allowed: nanos(allowance.time), waiting_since: None }
    }

    /// Starts a wait; one that was not ended by progress uses up nothing.
    pub(super) fn begin(&mut self, now: Moment) {
        self.waiting_since = Some(now);
    }

    /// The moment at which the peer is too slow, if nothing more comes. Starts a wait where none is
    /// under way.
    pub(super) fn deadline(&mut self, now: Moment) -> Moment {
        let since = *self.waiting_since.get_or_insert(now);
        since + Duration::from_nanos(self.allowed)
    }

    /// Ends the wait: the time it took is used up, the bytes it brought earn theirs.
    pub(super) fn progress(&mut self, now: Moment, bytes: u64, allowance: Allowance) {
        if let Some(since) = self.waiting_since.take() {
            self.allowed = self.allowed.saturating_sub(nanos(now - since));
        }
        let earned = bytes.saturating_mul(1_000_000_000) / allowance.bytes_per_second_min.max(1);
        self.allowed = self.allowed.saturating_add(earned).min(nanos(allowance.time));
    }
}

/// 584 years at most.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance =
        Allowance { time: Duration::from_secs(20), bytes_per_second_min: 500 };

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_drip_does_not_hold_the_deadline_off() {
        let mut pace = Pace::new(ALLOWANCE);
        for second in 0..20 {
            assert!(pace.deadline(at(second)) > at(second));
            pace.progress(at(second + 1), 1, ALLOWANCE);
        }
        // Twenty bytes have earned 40 milliseconds.
        assert!(pace.deadline(at(20)) < at(21));
    }

    #[test]
    fn a_steady_peer_has_all_the_time_it_needs() {
        let mut pace = Pace::new(ALLOWANCE);
        for second in 0..100_000 {
            assert!(pace.deadline(at(second)) >= at(second + 20));
            pace.progress(at(second + 1), 500, ALLOWANCE);
        }
    }

    #[test]
    fn what_was_fast_before_earns_no_pause() {
        let mut pace = Pace::new(ALLOWANCE);
        pace.begin(at(0));
        pace.progress(at(1), 1 << 30, ALLOWANCE);
        assert_eq!(pace.deadline(at(1)), at(21));
    }

    #[test]
    fn a_wait_that_brought_nothing_and_was_not_ended_is_forgotten() {
        let mut pace = Pace::new(ALLOWANCE);
        pace.begin(at(0));
        pace.begin(at(15));
        assert_eq!(pace.deadline(at(16)), at(35));
        pace.progress(at(16), 0, ALLOWANCE);
        assert_eq!(pace.deadline(at(20)), at(39));
    }

    #[test]
    fn only_waiting_counts() {
        let mut pace = Pace::new(ALLOWANCE);
        assert_eq!(pace.deadline(at(0)), at(20));
        pace.progress(at(5), 0, ALLOWANCE);
        // The handler takes its time before it wants more.
        assert_eq!(pace.deadline(at(1000)), at(1015));
    }
}
