//! What the server writes down: a line for each request, and the events of its crates.
//!
//! ```text
//!   shard 0 ── entry ──► ring ─┐
//!   shard 1 ── entry ──► ring ─┼──► one thread: lines ──► file
//!   ...                        │        ▲ reopened when it was moved away
//!   a full ring drops and counts        │
//! ```
//!
//! A shard copies a few fields into its own ring and goes on: it never waits for the writer, and
//! the writer never looks at a shard. Nothing that a peer sends can end a line or begin another:
//! every byte that is no visible ASCII is escaped, in each format ([`escape`]).

mod access;
mod embed;
mod entry;
mod escape;
#[cfg(feature = "event-log")]
mod events;
mod format;
mod recorder;
mod sink;
mod stamp;
mod writer;

pub use access::AccessLog;
pub(crate) use entry::Entry;
#[cfg(feature = "event-log")]
pub use events::{EventFormat, log_events};
pub use format::AccessFormat;
pub(crate) use recorder::{Chosen, Draft, Outcome, Recorder, Recorders};
pub(crate) use writer::{Writer, start};
