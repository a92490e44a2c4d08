//! What is recorded of each exchange, and how it leaves the shards: for the access log.
//!
//! ```text
//!   shard 0 ── entry ──► ring ─┐
//!   shard 1 ── entry ──► ring ─┼──► one thread, the desk ──► what its clerk makes of them
//!   ...                        │
//!   a full ring drops and counts
//! ```
//!
//! A shard copies a few fields into its own ring and goes on: it never waits for the desk, and the
//! desk never looks at a shard.

mod desk;
mod entry;
mod outlet;
mod recorder;

pub(crate) use desk::{Clerk, Desk};
pub(crate) use entry::Entry;
#[cfg(test)]
pub(crate) use entry::tests::sample;
pub(crate) use recorder::{Draft, Outcome, Recorder, Recorders};
