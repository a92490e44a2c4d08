//! From an answer to bytes: straight into the send buffer, through the `http` crate, by `write!`.

use std::hint::black_box;
use std::io::Write;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { group: "plaintext answer", name: "Corelane", run: corelane },
    Case { group: "plaintext answer", name: "http::Response, then bytes", run: http },
    Case { group: "plaintext answer", name: "write!", run: write },
];

const TEXT: &str = "Hello, World!";
const DATE_NOW: &str = "Sun, 22 Nov 2026 01:02:03 GMT";
const TYPE: &str = "text/plain; charset=utf-8";
/// The same, in seconds from 1970 on.
const NOW: u64 = 1_795_309_323;

/// Answers so often into one buffer, which is emptied as a send would.
fn fill(count: u64, mut answer: impl FnMut(&mut Vec<u8>)) -> u64 {
    let mut out = Vec::with_capacity(4096);
    (0..count).fold(0, |sum, _| {
        out.clear();
        answer(&mut out);
        sum + black_box(&out).len() as u64
    })
}

fn corelane(count: u64) -> u64 {
    // What a shard writes anew once a second.
    let common = corelane::bench::Common::at(NOW);
    fill(count, |out| corelane::bench::respond(out, black_box(&common), black_box(TEXT)))
}

fn http(count: u64) -> u64 {
    fill(count, |out| {
        let text = black_box(TEXT);
        let response = http::Response::builder()
            .header(DATE, HeaderValue::from_static(DATE_NOW))
            .header(CONTENT_TYPE, HeaderValue::from_static(TYPE))
            .header(CONTENT_LENGTH, HeaderValue::from(text.len()))
            .body(text);
        let Ok(response) = response else { return };
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(response.status().as_str().as_bytes());
        out.push(b' ');
        let reason = response.status().canonical_reason().unwrap_or_default();
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in response.headers() {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(response.body().as_bytes());
    })
}

fn write(count: u64) -> u64 {
    fill(count, |out| {
        let text = black_box(TEXT);
        let written = write!(
            out,
            "HTTP/1.1 200 OK\r\ndate: {DATE_NOW}\r\ncontent-type: {TYPE}\r\n\
             content-length: {}\r\n\r\n{text}",
            text.len(),
        );
        debug_assert!(written.is_ok(), "a vector takes everything");
    })
}
