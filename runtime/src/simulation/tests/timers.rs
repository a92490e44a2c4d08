//! Timeouts and intervals on the simulated clock, where a moment is a moment.

use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use super::{FIRST, shards};
use crate::simulation::Faults;
use crate::{MissedTicks, Shard, TICK, TimedOut, interval, sleep, timeout};

const PERIOD: Duration = Duration::from_millis(10);

/// Runs a future on a shard of its own and checks that it leaves no timer behind.
fn run<T: 'static, F: Future<Output = T> + 'static>(task: impl FnOnce(Rc<Shard>) -> F) -> T {
    let mut simulation = shards(1, 1, Faults::default());
    let task = task(Rc::clone(simulation.shard(FIRST)));
    let result = simulation.block_on(FIRST, task);
    simulation.drain_and_check();
    result
}

#[test]
fn a_timeout_is_never_early_and_drops_its_future() {
    struct Dropped(Rc<Cell<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    run(async |shard: Rc<Shard>| {
        let is_dropped = Rc::new(Cell::new(false));
        let future = {
            let dropped = Dropped(Rc::clone(&is_dropped));
            async move {
                let _dropped = dropped;
                pending::<()>().await;
            }
        };
        let start = shard.now();
        assert_eq!(timeout(PERIOD, future).await, Err(TimedOut));
        assert!(is_dropped.get());
        let taken = shard.now() - start;
        assert!(PERIOD <= taken && taken < PERIOD + TICK + TICK, "{taken:?}");
    });
}

#[test]
fn what_is_ready_counts_however_late() {
    run(async |shard: Rc<Shard>| {
        assert_eq!(timeout(Duration::ZERO, ready(1)).await, Ok(1));
        assert_eq!(timeout(PERIOD, sleep(PERIOD / 2)).await, Ok(()));
        assert_eq!(timeout(Duration::MAX, sleep(PERIOD)).await, Ok(()));
        // Both are due at the same tick.
        assert_eq!(timeout(PERIOD, sleep(PERIOD)).await, Ok(()));
        let yielding = shard.yield_now();
        assert_eq!(timeout(Duration::ZERO, yielding).await, Ok(()));
    });
}

#[test]
fn a_timeout_that_is_dropped_leaves_no_timer() {
    run(async |shard: Rc<Shard>| {
        for _ in 0..10 {
            let inner = Box::pin(timeout(Duration::from_secs(9), pending::<()>()));
            assert_eq!(timeout(TICK, inner).await, Err(TimedOut));
            let live = shard.wheel.borrow().count();
            assert_eq!(live, 0, "both timers are gone");
        }
    });
}

/// The moments for which five ticks were due, from the start, in milliseconds: the second one is
/// waited for 34 ms late.
async fn ticks(shard: Rc<Shard>, policy: MissedTicks) -> Vec<u128> {
    let start = shard.now();
    let mut beat = interval(PERIOD).on_missed(policy);
    let mut due = vec![(beat.tick().await - start).as_millis()];
    sleep(Duration::from_millis(34)).await;
    for _ in 0..4 {
        due.push((beat.tick().await - start).as_millis());
    }
    due
}

#[test]
fn missed_ticks_are_skipped_delayed_or_made_up_for() {
    assert_eq!(run(|shard| ticks(shard, MissedTicks::Skip)), [0, 30, 40, 50, 60]);
    assert_eq!(run(|shard| ticks(shard, MissedTicks::Burst)), [0, 10, 20, 30, 40]);
    let delayed = run(|shard| ticks(shard, MissedTicks::Delay));
    // From the late tick on: 34 ms, and what the wheel rounds.
    let late = delayed[2] - 10;
    assert!((34..37).contains(&late), "{delayed:?}");
    assert_eq!(delayed, [0, 10, late + 10, late + 20, late + 30]);
}

#[test]
fn a_tick_that_is_given_up_is_not_lost() {
    run(async |shard: Rc<Shard>| {
        let mut beat = interval(PERIOD);
        let start = beat.tick().await;
        for _ in 0..3 {
            assert_eq!(timeout(PERIOD / 5, beat.tick()).await, Err(TimedOut));
        }
        assert_eq!(beat.tick().await - start, PERIOD);
        let rest = shard.now() - start;
        assert!(rest < PERIOD + TICK + TICK, "{rest:?}");
    });
}

#[test]
fn a_period_of_nothing_is_a_tick() {
    run(async |_| {
        let mut beat = interval(Duration::ZERO);
        let first = beat.tick().await;
        assert_eq!(beat.tick().await - first, TICK);
    });
}
