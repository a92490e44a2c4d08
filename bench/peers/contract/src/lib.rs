//! What every Rust peer answers, apart from its HTTP.
//!
//! The peers differ in how they move and parse bytes. The rest (options, data set, JSON, allocator,
//! listener) is the same code here, so that none wins or loses by it.

mod dataset;
mod listener;
mod options;
mod query;

pub use dataset::{Dataset, Page};
pub use listener::listen;
pub use options::Options;
pub use query::{multiplier, sum};

/// The allocator of every Rust peer: it is the one that their own benchmark entries choose.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The largest body that `/upload` takes, in bytes; a peer may accept more.
pub const UPLOAD_BYTES_MAX: usize = 25 * 1024 * 1024;

/// What `/plaintext` answers.
pub const PLAINTEXT: &str = "Hello, World!";

/// What `/pipeline` answers.
pub const PIPELINE: &str = "ok";

/// What `/json` answers; serialised anew for each request.
#[derive(serde::Serialize)]
pub struct Message {
    message: &'static str,
}

impl Message {
    /// The one message there is.
    pub fn hello() -> Self {
        Self { message: PLAINTEXT }
    }

    /// Its JSON.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self, 32)
    }
}

fn to_json(value: &impl serde::Serialize, capacity: usize) -> Vec<u8> {
    let mut json = Vec::with_capacity(capacity);
    serde_json::to_writer(&mut json, value).expect("writing to a vector does not fail");
    json
}
