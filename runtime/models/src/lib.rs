//! What crosses the runtime's threads, in every order that the memory model allows.
//!
//! The files are the runtime's own, built on loom. Around them stands what they rely on, as weak
//! as it may be: an inbox orders nothing but what is in it, and a pipe wakes whoever reads it.

#![cfg(test)]

#[path = "../../src/announced.rs"]
mod announced;
#[path = "../../src/ending.rs"]
mod ending;
#[path = "../../src/news.rs"]
#[allow(dead_code, reason = "the simulation looks without taking")]
mod news;
#[path = "../../src/sent.rs"]
mod sent;

mod closes;
mod ends;
mod pipe;
mod sleeps;
mod wakes;

/// Every order in which no thread is interrupted more than three times: of three threads there are
/// too many else, and what is wrong shows with two.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}
