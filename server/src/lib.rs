//! An HTTP/1.1 server on a thread-per-core io_uring runtime.
#![forbid(unsafe_code)]

pub mod http1;
