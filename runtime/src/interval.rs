//! Ticks at a steady pace, and what becomes of those that nobody waited for in time.

use std::rc::Rc;
use std::time::Duration;

use crate::clock::Moment;
use crate::shard::Shard;
use crate::timer::{TICK, Timer};

/// What an [`Interval`] does when it is late: when ticks have passed that nobody waited for.
///
/// Period 10 ms, and the task waits again after 34 ms:
///
/// | policy | ticks at |
/// |---|---|
/// | `Skip` | 0, 34 (the one of 30, late), 40, 50 |
/// | `Delay` | 0, 34 (the one of 10, late), 44, 54 |
/// | `Burst` | 0, 34, 34, 34 (those of 10, 20 and 30), 40, 50 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// One late tick stands for all that were missed; the next ones are on the beat again. The
    /// default: a shard that was too busy is not made busier.
    #[default]
    Skip,
    /// One late tick; the beat starts anew with it.
    Delay,
    /// Each missed tick is made up for, at once.
    Burst,
}

/// Ticks every `period`, the first time at once; see [`Interval::tick`].
///
/// A period below one [`TICK`], the resolution of timers, counts as one.
///
/// ```no_run
/// # use std::time::Duration;
/// # use corelane_runtime::interval;
/// # async fn report() {
/// let mut beat = interval(Duration::from_secs(1));
/// loop {
///     beat.tick().await;
///     println!("still here");
/// }
/// # }
/// ```
///
/// # Panics
/// Outside a shard.
pub fn interval(period: Duration) -> Interval {
    let shard = Shard::current();
    Interval {
        timer: Timer::new(&shard),
        next: shard.now(),
        shard,
        period: period.max(TICK),
        policy: MissedTicks::default(),
    }
}

/// A steady beat on one shard; dropping it costs and leaves nothing. From [`interval`].
#[derive(Debug)]
pub struct Interval {
    shard: Rc<Shard>,
    timer: Timer,
    next: Moment,
    period: Duration,
    policy: MissedTicks,
}

impl Interval {
    /// The same beat with another policy for missed ticks.
    #[must_use]
    pub fn on_missed(mut self, policy: MissedTicks) -> Interval {
        self.policy = policy;
        self
    }

    /// Waits for the next tick; gives back the moment for which it was due.
    ///
    /// Dropping the future loses no tick.
    pub async fn tick(&mut self) -> Moment {
        let now = self.shard.now();
        if self.next > now {
            self.timer.arm(self.next);
            self.timer.expired().await;
        }
        let now = self.shard.now();
        let late = now - self.next;
        let missed_count = late.as_nanos() / self.period.as_nanos();
        let due = match self.policy {
            MissedTicks::Skip => {
                // `late` holds `missed_count` whole periods, so the rest is below one period.
                let rest = late.as_nanos() - missed_count * self.period.as_nanos();
                let rest = u64::try_from(rest).expect("a part of a period that a clock measured");
                Moment::from_nanos(now.as_nanos() - rest)
            }
            MissedTicks::Delay | MissedTicks::Burst => self.next,
        };
        self.next = match self.policy {
            // A tick that comes within its own period is on the beat: the wheel is coarse.
            MissedTicks::Delay if missed_count > 0 => now + self.period,
            _ => due + self.period,
        };
        due
    }
}
