//! The whole server above a simulated ring, network and clock: each seed is another run, with
//! partial sends, lost multishots, late completions, broken connections, slow, dead and deaf
//! peers, shards that stall, and a drain at any moment.
//!
//! What must hold, for every client of every run: a request that was sent whole is answered once,
//! in order, with its own content; or the connection ends, and then no later request is answered.
//! No handler sees other bytes than its client has sent, none runs twice, limits hold, every
//! connection ends, and nothing is left over: no task, timer, slot, buffer, operation, descriptor.
//!
//! - `CORELANE_SEED=7` runs the seed 7 alone, as it ran before;
//! - `CORELANE_SEEDS=100000` runs as many, from `CORELANE_SEED_FIRST` (default 0) on.

mod answers;
mod app;
mod client;
mod exchange;
mod routes;
mod scenario;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Instant;

use client::Tally;
use corelane::runtime::mutation::{self, Mutation};

/// Runs of `./scripts/test`. A mistake of [`Mutation`] must be noticed within as many.
const SEED_COUNT: u64 = 2000;

thread_local! {
    /// Whether a panic on this thread is what a test waits for.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Leaves out of the log the panics that are meant to be.
fn hide_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !app::is_planned_panic() && !IS_QUIET.get() {
                report(panic);
            }
        }));
    });
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Runs a seed; says how to run it again where it fails.
fn run(seed: u64) -> Tally {
    let outcome = catch_unwind(|| scenario::run(seed));
    let outcome = outcome.unwrap_or_else(|panic| {
        eprintln!(
            "seed {seed} failed; again: CORELANE_SEED={seed} cargo test -p corelane \
             --test simulation seeds -- --nocapture"
        );
        resume_unwind(panic)
    });
    outcome.tally
}

#[test]
fn seeds() {
    hide_planned_panics();
    if let Some(seed) = number("CORELANE_SEED") {
        println!("seed {seed}: {:?}", run(seed));
        return;
    }
    let first = number("CORELANE_SEED_FIRST").unwrap_or(0);
    let end = first + number("CORELANE_SEEDS").unwrap_or(SEED_COUNT);
    let (next, total) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    let started = Instant::now();
    let work = || {
        let mut own = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            // The other threads stop as well where this one fails.
            let ran = catch_unwind(AssertUnwindSafe(|| own += run(seed)));
            ran.unwrap_or_else(|panic| {
                next.store(end, Ordering::Relaxed);
                resume_unwind(panic)
            });
            let done = seed - first + 1;
            if done.is_multiple_of(5000) {
                println!("{done} seeds in {} s", started.elapsed().as_secs());
            }
        }
        *total.lock().expect("no thread panics with it") += own;
    };
    let thread_count = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    let total = total.into_inner().expect("no thread panicked");
    println!("{} seeds in {} s: {total:?}", end - first, started.elapsed().as_secs());
    assert!(total.answered > end - first, "hardly anything was answered: {total:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    hide_planned_panics();
    for seed in 0..40 {
        assert_eq!(scenario::run(seed).trace, scenario::run(seed).trace, "seed {seed}");
    }
    assert_ne!(scenario::run(1).trace, scenario::run(2).trace);
}

/// The first seed that notices a mistake.
fn catching_seed(mutation: Mutation) -> Option<u64> {
    mutation::make(Some(mutation));
    IS_QUIET.set(true);
    let caught = (0..SEED_COUNT).find(|seed| catch_unwind(|| scenario::run(*seed)).is_err());
    IS_QUIET.set(false);
    mutation::make(None);
    caught
}

/// A test that can not fail proves nothing: each mistake that the runtime is told to make is found.
#[test]
fn mistakes_are_noticed() {
    hide_planned_panics();
    for mutation in Mutation::ALL {
        let seed = catching_seed(mutation);
        println!("{mutation:?} is noticed by seed {seed:?}");
        assert!(seed.is_some(), "{SEED_COUNT} seeds do not notice {mutation:?}");
    }
}
