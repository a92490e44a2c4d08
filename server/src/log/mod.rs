//! What the server writes down: the events of its crates.

mod events;

pub use events::{EventFormat, log_events};
