//! The example programs as their users meet them: real processes, real sockets, real clients.
#![allow(clippy::unwrap_used, reason = "whatever fails here fails the test")]

mod arena_answers;
mod arena_items;
mod arena_load;
mod arena_options;
mod arena_proxy;
mod arena_restart;
mod arena_stop;
mod arena_upload;
mod echo;
mod echo_proxy;
mod small_programs;
mod support;
