//! What is recorded of each request: the lines of the access log, and spans.

mod access_log;
mod spans;
#[path = "../support/mod.rs"]
mod support;
