//! When requests are due in an open loop, whatever becomes of those before them.
//!
//! The schedule is a clock that only ever moves forward by itself: how far it is taken says how
//! many requests were sent, not when the next one is due. A server that stalls finds all requests
//! of the stall due when it is back, each with the moment from which its latency counts. So there
//! is no coordinated omission, and no queue either: what is due and not sent yet is the distance
//! between the schedule and the present.

use std::time::Duration;

use corelane_runtime::Moment;

/// How the distances between requests are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// All the same.
    #[default]
    Constant,
    /// Exponential, as of many users who know nothing of each other.
    Poisson,
}

/// The due times of one shard's requests, in order.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Of the next request, in nanoseconds since `start`. A fraction is kept: at a million a
    /// second, whole nanoseconds would be a tenth of a percent off.
    next_nanos: f64,
    mean_nanos: f64,
    start: Moment,
    /// Nothing is due from here on.
    end: Moment,
    arrivals: Arrivals,
    random: fastrand::Rng,
}

impl Schedule {
    /// A schedule of `rate` requests a second from `start` on. `phase`, from 0 to 1, is where in
    /// a distance the first one lies, so that shards do not send in step.
    pub(crate) fn new(
        rate: f64,
        arrivals: Arrivals,
        start: Moment,
        phase: f64,
        seed: u64,
    ) -> Schedule {
        let mut schedule = Schedule {
            next_nanos: 0.0,
            mean_nanos: 1e9 / rate,
            start,
            end: Moment::NEVER,
            arrivals,
            random: fastrand::Rng::with_seed(seed),
        };
        schedule.next_nanos = match arrivals {
            Arrivals::Constant => phase * schedule.mean_nanos,
            Arrivals::Poisson => schedule.distance(),
        };
        schedule
    }

    /// Has the last request be due before `end`.
    pub(crate) fn end_at(&mut self, end: Moment) {
        self.end = end;
    }

    /// When the next request is due; `None` after the last.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        let due = self.start + Duration::from_nanos(self.next_nanos as u64);
        (due < self.end).then_some(due)
    }

    /// Takes the next request if it is due by now.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<Moment> {
        let due = self.next_due().filter(|due| *due <= now)?;
        self.next_nanos += self.distance();
        Some(due)
    }

    fn distance(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Constant => self.mean_nanos,
            // The inverse of the exponential distribution; 1 - f64() is never zero.
            Arrivals::Poisson => -(1.0 - self.random.f64()).ln() * self.mean_nanos,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_nanos(1_000_000_007);

    fn schedule(rate: f64, arrivals: Arrivals) -> Schedule {
        Schedule::new(rate, arrivals, START, 0.0, 42)
    }

    /// The distances of what is due within `duration`, in nanoseconds.
    fn distances(mut schedule: Schedule, duration: Duration) -> Vec<f64> {
        let mut last = START;
        let mut distances = Vec::new();
        while let Some(due) = schedule.take_due(START + duration) {
            distances.push((due - last).as_nanos() as f64);
            last = due;
        }
        distances
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_keep_the_rate() {
        for rate in [1.0, 3.0, 1000.0, 999_983.0] {
            let due = distances(schedule(rate, Arrivals::Constant), Duration::from_secs(2));
            // Both ends are due.
            assert!((due.len() as f64 - 2.0 * rate).abs() <= 1.0, "{rate}");
            let off = due[1..].iter().map(|distance| (distance - 1e9 / rate).abs());
            assert!(off.fold(0.0, f64::max) <= 1.0, "{rate}");
        }
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_the_spread_of_an_exponential() {
        let due = distances(schedule(1e5, Arrivals::Poisson), Duration::from_secs(2));
        let count = due.len() as f64;
        assert!((count - 2e5).abs() < 5.0 * 2e5_f64.sqrt(), "{count}");
        let mean = due.iter().sum::<f64>() / count;
        let variance = due.iter().map(|due| (due - mean).powi(2)).sum::<f64>() / count;
        // Standard deviation and mean of an exponential are the same.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_stall_does_not_move_what_is_due() {
        let mut schedule = schedule(1000.0, Arrivals::Constant);
        assert_eq!(schedule.take_due(START), Some(START));
        // Nobody looks for 100 ms: everything due meanwhile is there, each with its own moment.
        let now = START + Duration::from_millis(100);
        for millis in 1..=100 {
            let due = START + Duration::from_millis(millis);
            assert_eq!(schedule.take_due(now), Some(due));
        }
        assert_eq!(schedule.take_due(now), None);
        let next = START + Duration::from_millis(101);
        assert_eq!(schedule.next_due(), Some(next));
        schedule.end_at(next);
        assert_eq!(schedule.next_due(), None);
        assert_eq!(schedule.take_due(Moment::NEVER), None);
    }

    #[test]
    fn shards_are_out_of_step() {
        let second = Schedule::new(1000.0, Arrivals::Constant, START, 0.5, 0);
        let first = START + Duration::from_micros(500);
        assert_eq!(second.next_due(), Some(first));
    }
}
