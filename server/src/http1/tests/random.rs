//! Random streams: encode then parse back, mutate and cut, and two parsers held against each other.

use http::HeaderMap;

use super::run;
use crate::http1::encode;
use crate::http1::error::ProtocolError;
use crate::http1::fields::Fields;
use crate::http1::limits::Limits;
use crate::http1::scan::{Bounds, Scanner};
use crate::http1::{EndOfInput, head};

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed names a run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

/// What the encoder writes as a chunked body, the decoder reads back, however it was cut.
#[test]
fn encoded_chunks_parse_back() {
    const SEED: u64 = 0x5EED_0002;
    let (limits, mut random) = (Limits::default(), Random(SEED));
    for round in 0..2_000 {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(3) {
            wire.extend_from_slice(b"PUT /r HTTP/1.1\r\nHost: h\r\n");
            encode::transfer_encoding(&mut wire);
            encode::end_head(&mut wire);
            let mut body = String::from("PUT /r ");
            for _ in 0..random.below(5) {
                let data = "\r\n0;".repeat(random.below(30));
                encode::chunk(&mut wire, data.as_bytes());
                body += &data;
            }
            encode::last_chunk(&mut wire, &HeaderMap::new());
            expected.push(body + ".");
        }
        let outcome = run(pieces(&wire, &mut random), &limits, u64::MAX);
        assert_eq!(outcome.requests, expected, "seed {SEED:#x}, round {round}");
        assert_eq!(outcome.end, Some(EndOfInput::Clean));
    }
}

/// Cuts `bytes` into pieces of random sizes, many of them tiny.
fn pieces<'a>(mut bytes: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let bound = if random.below(2) == 0 { 4 } else { 200 };
        let (piece, rest) = bytes.split_at((1 + random.below(bound)).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Whatever comes in: no panic, progress, and the same outcome whole and in pieces.
#[test]
fn mutated_streams_end_the_same_however_cut() {
    const SEED: u64 = 0x5EED_0003;
    let (limits, mut random) = (Limits::default(), Random(SEED));
    let stream = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;a=\"b\"\r\nabc\r\n0\r\nT: u\r\n\r\n\
        \r\nPUT /b?c HTTP/1.0\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nbody\
        GET /d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /e HTTP/1.1\r\n";
    for round in 0..20_000 {
        let mut bytes = stream.to_vec();
        for _ in 0..=random.below(2) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.below(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n :;,=\"0a"[random.below(10)]),
            }
        }
        let whole = run([&bytes[..]], &limits, 1000);
        let cut = run(pieces(&bytes, &mut random), &limits, 1000);
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!(cut, whole, "seed {SEED:#x}, round {round}: {shown:?}");
    }
}

/// The one-pass reading and the scanner are two parsers of one grammar: what one takes as well
/// formed, the other must take too, to the byte. Mutated heads look for a difference.
#[test]
fn reading_and_scanning_agree() {
    const SEED: u64 = 0x5EED_0001;
    let limits = Limits {
        head_bytes_max: 150,
        field_count_max: 5,
        field_line_bytes_max: 40,
        target_bytes_max: 20,
        method_bytes_max: 6,
        ..Limits::default()
    };
    let pieces: [&[u8]; 18] = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\x7f",
        b"\xff",
        b"a",
        b"A: b\r\n",
        b"/",
        b"HTTP/1.1",
        b"HTTP/1.5",
        b"#",
        b"\r\n\r\n",
        b"GET ",
        b"\r\nX:\r\n",
    ];
    let (mut random, mut fields) = (Random(SEED), Fields::new());
    let mut accepted = 0;
    for round in 0..60_000 {
        let mut bytes = b"GET /a?b HTTP/1.1\r\nHost: h\r\nA: b \r\nCc:\r\n\r\n".to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            let cut = random.below(3).min(bytes.len() - at);
            let piece = pieces[random.below(pieces.len())];
            let piece = piece.repeat(if random.below(20) == 0 { 30 } else { 1 });
            bytes.splice(at..at + cut, piece);
        }
        let scanned = Scanner::head().advance(&bytes, &Bounds::head(&limits));
        let any = head::read::<false>(&bytes, 0, &limits, &mut fields);
        if head::is_get(&bytes, &limits) {
            let get = head::read::<true>(&bytes, 0, &limits, &mut fields);
            assert_eq!(get, any, "seed {SEED:#x}, round {round}: the two ways differ");
        }
        let read = match any {
            head::Reading::Accepted(head) => Some(head.size),
            head::Reading::Refused(_) => size_when_whole(&scanned),
            head::Reading::Uncertain => None,
        };
        accepted += usize::from(read.is_some());
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!(scanned.ok().flatten(), read, "seed {SEED:#x}, round {round}: {shown:?}");
    }
    assert!(accepted > 5_000, "only {accepted} heads were accepted: the test lost its bite");
}

/// A head refused for its meaning has no size to compare, but the scanner must find it whole.
fn size_when_whole(scanned: &Result<Option<usize>, ProtocolError>) -> Option<usize> {
    match scanned {
        Ok(Some(size)) => Some(*size),
        other => panic!("refused for its meaning, yet {other:?}"),
    }
}
