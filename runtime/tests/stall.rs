//! Tasks that hold their shard: found, counted, and logged with the place where they do it.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use corelane_runtime::{Activity, Config, Shard, ShardId, Stats, sleep};
use support::{config, on_shard};

/// What the program logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The one log of this process.
    fn of_process() -> Log {
        static LOG: Mutex<Option<Log>> = Mutex::new(None);
        let mut known = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        let log = known.get_or_insert_with(|| {
            let log = Log::default();
            let writer = log.clone();
            let writer = move || writer.clone();
            let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false);
            tracing::subscriber::set_global_default(subscriber.finish()).expect("once");
            log
        });
        log.clone()
    }

    fn contains(&self, text: &str) -> bool {
        let bytes = self.0.lock().expect("log");
        String::from_utf8_lossy(&bytes).contains(text)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("log").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Holds the shard until the stall is counted and logged.
#[inline(never)]
fn hold_the_shard_until(is_found: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_found() {
        assert!(start.elapsed() < Duration::from_secs(30), "the stall is not found");
        std::hint::spin_loop();
    }
}

fn stalls_of(shard: &Shard) -> u64 {
    shard.stats().stalls.value()
}

#[test]
fn a_stall_is_counted_and_logged_with_its_activity_and_its_place() {
    let log = Log::of_process();
    on_shard(config(2), move |shard| {
        let log = log.clone();
        async move {
            shard.name_activities(vec!["/quick".to_owned(), "/slow/{name}".to_owned()]);
            shard.begin_activity(Activity::new(1));
            hold_the_shard_until(|| stalls_of(&shard) == 1 && log.contains("hold_the_shard_until"));
            let bytes = log.0.lock().expect("log").clone();
            let text = String::from_utf8(bytes).expect("text");
            assert!(text.contains("route=\"/slow/{name}\""), "{text}");
            assert!(text.contains("hold_the_shard_until"), "{text}");
            assert!(text.contains("tests/stall.rs:"), "{text}");
            // A job from another shard is watched as well, between two turns.
            let stats: Arc<Stats> = Arc::clone(shard.stats());
            let target = ShardId(1);
            let held = shard.call(target, |other| {
                let stats = Arc::clone(other.stats());
                hold_the_shard_until(|| stats.stalls.value() == 1);
                other.id()
            });
            assert_eq!(held.await, Ok(target));
            assert_eq!(stats.stalls.value(), 1, "each is counted once");
        }
    });
}

/// A threshold that no turn reaches by accident, even where others use the machine.
fn patient() -> Config {
    let mut config = config(1);
    config.shard.stall_threshold = Duration::from_secs(20);
    config
}

#[test]
fn many_short_turns_and_a_long_rest_are_no_stall() {
    on_shard(patient(), |shard| async move {
        for _ in 0..1000 {
            shard.yield_now().await;
        }
        sleep(Duration::from_millis(60)).await;
        assert_eq!(stalls_of(&shard), 0);
    });
}

/// Twice the budget with a margin: whoever computes that long lets others run.
#[test]
fn a_task_that_computes_yields_when_its_budget_is_used_up() {
    let mut config = patient();
    config.shard.turn_budget = Duration::from_millis(3);
    on_shard(config, |shard| async move {
        let turn = || shard.stats().turns.value();
        let first = turn();
        let start = Instant::now();
        while turn() == first {
            assert!(start.elapsed() < Duration::from_secs(30), "it never yields");
            shard.yield_if_needed().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(2), "it yields at once");
    });
    let mut config = patient();
    config.shard.turn_budget = Duration::from_secs(3600);
    on_shard(config, |shard| async move {
        let first = shard.stats().turns.value();
        for _ in 0..100_000 {
            shard.yield_if_needed().await;
        }
        assert_eq!(shard.stats().turns.value(), first, "it yields without need");
    });
}

/// Ten tasks that are always ready and one in the background: it runs once a turn, they all do.
#[test]
fn a_background_task_gets_one_poll_a_turn() {
    on_shard(patient(), |shard| async move {
        let background = std::rc::Rc::new(std::cell::Cell::new(0u64));
        for _ in 0..3 {
            let (own, count) = (std::rc::Rc::clone(&shard), std::rc::Rc::clone(&background));
            shard.spawn_background(async move {
                loop {
                    count.set(count.get() + 1);
                    own.yield_now().await;
                }
            });
        }
        shard.yield_now().await;
        let (turns, polls) = (shard.stats().turns.value(), background.get());
        for _ in 0..300 {
            shard.yield_now().await;
        }
        assert_eq!(shard.stats().turns.value() - turns, 300);
        assert_eq!(background.get() - polls, 300, "one of three a turn");
        // Without anything else to do they run all the time, and a timer is still noticed.
        let polls = background.get();
        sleep(Duration::from_millis(2)).await;
        assert!(background.get() > polls);
    });
}

#[test]
fn a_background_task_may_panic_and_end() {
    on_shard(patient(), |shard| async move {
        let (sender, receiver) = futures_channel::oneshot::channel();
        shard.spawn_background(async { panic!("expected") });
        shard.spawn_background(async move {
            let _ = sender.send(1);
        });
        assert_eq!(receiver.await, Ok(1));
        assert_eq!(shard.stats().panics.value(), 1);
    });
}
