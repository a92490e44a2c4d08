//! What the fuzz targets do with their input. It panics where something does not hold.
//!
//! The first byte of most inputs decides how the rest is cut into reads; the rest are the bytes of
//! a peer, so every raw request is a seed. `cargo test --no-default-features` runs what is in
//! `corpus/` without libFuzzer and on a stable toolchain.

#![forbid(unsafe_code)]

mod core;
mod options;
mod proxied;
mod reference;
mod response;
mod second;
mod world;

pub use options::config;
pub use proxied::proxy;
pub use response::response;
pub use second::differential;
pub use world::{decode, serve};

use self::core::{Seen, run};
use self::reference::End;

/// Inputs are cut to this size: beyond it limits are hit that the reference does not know.
const SIZE_MAX: usize = 4096;

/// The seed of the cuts, and the bytes.
fn parts(data: &[u8]) -> (u64, &[u8]) {
    match data.split_first() {
        Some((seed, bytes)) => (u64::from(*seed), &bytes[..bytes.len().min(SIZE_MAX)]),
        None => (0, data),
    }
}

/// The bytes of one connection.
pub fn stream(data: &[u8]) {
    let (seed, bytes) = parts(data);
    check(seed, bytes);
}

/// The body of a chunked request.
pub fn chunked(data: &[u8]) {
    let (seed, body) = parts(data);
    let head = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(seed, &[head, body].concat());
}

/// Field values that decide framing: lines of the input, each led by the field's initial.
pub fn framing(data: &[u8]) {
    let (seed, lines) = parts(data);
    let mut bytes = b"POST /a HTTP/1.1\r\nHost: h\r\n".to_vec();
    if seed % 4 == 0 {
        bytes = b"POST /a HTTP/1.0\r\n".to_vec();
    }
    for line in lines.split(|byte| *byte == b'\n').take(6) {
        let Some((kind, value)) = line.split_first() else { continue };
        let name = match kind % 5 {
            0 => "Content-Length",
            1 => "Transfer-Encoding",
            2 => "content-length",
            3 => "Connection",
            _ => "TRANSFER-ENCODING",
        };
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    check(seed, &bytes);
}

/// Our reading is the same however the bytes are cut, and the same as the reference's.
fn check(seed: u64, bytes: &[u8]) -> Seen {
    let whole = run([bytes]);
    assert_eq!(run(cut(seed, bytes)), whole, "cut by {seed}: {}", shown(bytes));
    if seed % 8 == 0 {
        assert_eq!(run(bytes.chunks(1)), whole, "byte by byte: {}", shown(bytes));
    }
    let (requests, end) = reference::read(bytes);
    assert_eq!(whole.requests, requests, "{}", shown(bytes));
    let is_same = match end {
        End::Unsure => matches!(whole.end, End::Waiting | End::Refused),
        end => whole.end == end,
    };
    assert!(is_same, "{:?}, the reference says {end:?}: {}", whole.end, shown(bytes));
    whole
}

/// Pieces of any size.
fn cut(seed: u64, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut random = fastrand::Rng::with_seed(seed ^ bytes.len() as u64);
    let longest = 1 + (seed as usize % 7) * (seed as usize % 7) * 8;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let size = random.usize(1..=longest).min(rest.len());
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    type Target = (&'static str, &'static str, fn(&[u8]));

    /// Each target with its seeds.
    const TARGETS: [Target; 9] = [
        ("stream", "stream", super::stream),
        ("differential", "stream", super::differential),
        ("serve", "stream", super::serve),
        ("chunked", "chunked", super::chunked),
        ("framing", "framing", super::framing),
        ("response", "response", super::response),
        ("decode", "decode", super::decode),
        ("proxy", "proxy", super::proxy),
        ("config", "config", super::config),
    ];

    fn seeds(corpus: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(corpus);
        let entries = std::fs::read_dir(&folder).expect("a corpus for each target");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        assert!(paths.len() > 3, "{corpus} has {} seeds", paths.len());
        paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
    }

    #[test]
    fn every_seed_passes() {
        for (_, corpus, run) in TARGETS {
            seeds(corpus).iter().for_each(|seed| run(seed));
        }
    }

    /// What a fuzzer does that sees no coverage: on any toolchain, the same inputs each time.
    /// `CORELANE_MUTANTS` says how many for each target.
    #[test]
    fn mutated_seeds_pass() {
        let count = std::env::var("CORELANE_MUTANTS").ok();
        let count: u64 = count.map_or(2000, |count| count.parse().expect("a number"));
        for (name, corpus, run) in TARGETS {
            let seeds = seeds(corpus);
            for number in 0..count {
                run(&mutant(&seeds, number));
            }
            println!("{name}: {count} mutants");
        }
    }

    fn mutant(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
        const PIECES: [&[u8]; 10] =
            [b"\r\n", b"\n", b"\r", b" ", b":", b"0", b"%", b"\xff", b"\r\n\r\n", b"chunked"];
        let mut random = fastrand::Rng::with_seed(number);
        let mut bytes = seeds[random.usize(0..seeds.len())].clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(0..=bytes.len());
            let end = (at + random.usize(0..4)).min(bytes.len());
            let other = &seeds[random.usize(0..seeds.len())];
            let piece = match random.u8(0..4) {
                0 => vec![random.u8(..)],
                1 => PIECES[random.usize(0..PIECES.len())].to_vec(),
                2 => other[random.usize(0..=other.len())..].to_vec(),
                _ => Vec::new(),
            };
            bytes.splice(at..end, piece);
        }
        bytes
    }

    #[test]
    fn the_reference_reads_what_is_plain() {
        let input =
            b"\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\
            \r\nHost: h\r\nConnection: close\r\n\r\nGET";
        let (requests, end) = super::reference::read(input);
        let targets: Vec<_> = requests.iter().map(|request| request.target.as_slice()).collect();
        assert_eq!(targets, [b"/a", b"/b"]);
        assert_eq!(requests[0].body, b"hi");
        assert_eq!(end, super::End::Closed);
    }
}
