//! What the server writes down: a line for each request, and the events of its crates.
//!
//! The shards say what is to be written, and a thread beside them writes it; the file is opened
//! anew when it was moved away. Nothing that a peer sends can end a line or begin another: every
//! byte that is no visible ASCII is escaped, in each format.

mod access;
mod embed;
mod escape;
#[cfg(feature = "event-log")]
mod events;
mod format;
mod lines;
mod sink;
mod stamp;
mod unwaited;
mod writer;

pub use access::AccessLog;
#[cfg(feature = "event-log")]
pub use events::{EventFormat, log_events};
pub use format::AccessFormat;
pub(crate) use lines::{LineDraft, Lines, Wish};
pub use unwaited::StandardError;
pub(crate) use writer::{Writer, start};
