//! The command line of every Rust peer.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where to listen and what to serve. The CPU is not among them: `scripts/compare` starts every
/// peer, whatever its language, under `taskset`, which also holds for the threads it starts.
pub struct Options {
    /// The one address to listen on.
    pub address: SocketAddr,
    /// The file with the data set.
    pub dataset: PathBuf,
}

impl Options {
    /// Reads `--listen ADDRESS --dataset FILE`; ends the program with the usage if they are wrong.
    pub fn from_arguments() -> Self {
        let mut arguments = std::env::args().skip(1);
        let mut address = None;
        let mut dataset = None;
        while let Some(name) = arguments.next() {
            let value = arguments.next();
            match name.as_str() {
                "--listen" => address = value.and_then(|value| value.parse().ok()),
                "--dataset" => dataset = value.map(PathBuf::from),
                _ => break,
            }
        }
        let (Some(address), Some(dataset)) = (address, dataset) else {
            eprintln!("usage: PEER --listen ADDRESS:PORT --dataset FILE");
            std::process::exit(2);
        };
        Self { address, dataset }
    }
}
