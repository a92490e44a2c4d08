//! What the tests share: a program that runs, and a client that shows every byte.

mod client;
mod program;

pub(crate) use client::{Client, Response, chunked};
pub(crate) use program::{PATIENCE, Program, Scratch, run};
