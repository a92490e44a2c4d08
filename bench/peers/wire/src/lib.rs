//! The least HTTP/1.1 that the endpoints need, for runtimes that bring none; no I/O.
//!
//! It is to monoio and glommio what `httparse` and a screenful of code are to somebody who builds
//! straight on them: heads by `httparse`, bodies by length or in chunks, answers appended to one
//! buffer. Limits and timeouts are left out, as they are in the ceiling.

mod answer;
mod body;
mod head;
mod machine;

pub use machine::{Machine, Refused};
