//! What a client asks, and what has to come back for it.

use fastrand::Rng;

use crate::app::{large_size, pieces};

/// Requests of one client are numbered from its number times this.
pub(crate) const CLIENT_NUMBERS: u64 = 100;

/// The route's limit in every run.
pub(crate) const BODY_BYTES_MAX: usize = 4000;

/// One request and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) number: u64,
    pub(crate) request: Vec<u8>,
    pub(crate) expected: Expected,
    /// Whether a successful answer needs every byte of the request.
    pub(crate) needs_whole: bool,
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// 200 with this content.
    Content(Vec<u8>),
    /// 200 with fields, and no content.
    Fields,
    /// A refusal with this status, and the end of the connection.
    Refused(u16),
    /// 200 and the beginning of content that is never completed.
    Cut,
}

/// Bytes that no other request has: of a request's number, not of its size.
pub(crate) fn pattern(number: u64, size: usize) -> Vec<u8> {
    let text = format!("<{number}>");
    text.bytes().cycle().take(size).collect()
}

impl Exchange {
    /// Any request. `is_last` permits those behind which nothing more is answered.
    pub(crate) fn any(random: &mut Rng, number: u64, is_last: bool) -> Exchange {
        match random.u8(0..20) {
            0..4 => get("now", number, format!("now {number}")),
            4..6 => get("later", number, format!("later {number}")),
            6 => get("large", number, pattern(number, large_size(number))),
            7 => get("stream", number, pieces(number).concat()),
            8 => get("mesh", number, format!("mesh {number}")),
            9 => get("offload", number, format!("offload {}", number * 3)),
            10 => head(number),
            11 if is_last => last(random, number),
            11 | 12 => body(random, "count", number),
            13..15 => body(random, "whole", number),
            15 | 16 => body(random, "relay", number),
            17 => body(random, "first", number),
            _ => body(random, "unused", number),
        }
    }
}

fn get(path: &str, number: u64, content: impl Into<Vec<u8>>) -> Exchange {
    Exchange {
        number,
        request: format!("GET /{path}/{number} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes(),
        expected: Expected::Content(content.into()),
        needs_whole: true,
    }
}

fn head(number: u64) -> Exchange {
    let request = format!("HEAD /now/{number} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    Exchange { number, request, expected: Expected::Fields, needs_whole: true }
}

/// A request that ends its connection, one way or the other.
fn last(random: &mut Rng, number: u64) -> Exchange {
    let now = format!("now {number}");
    let kinds = [
        (format!("GET /now/{number} HTTP/1.0\r\n\r\n"), Expected::Content(now.clone().into())),
        (
            format!("GET /now/{number} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
            Expected::Content(now.into()),
        ),
        (format!("GET /now/{number} HTTP/1.1\r\nHost : h\r\n\r\n"), Expected::Refused(400)),
        (format!("GET /now/{number} HTTP/1.1\nHost: h\n\n"), Expected::Refused(400)),
        (format!("GET /now/{number} HTTP/3.0\r\nHost: h\r\n\r\n"), Expected::Refused(505)),
        (
            format!(
                "POST /count/{number} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\
                 Transfer-Encoding: chunked\r\n\r\n"
            ),
            Expected::Refused(400),
        ),
        (
            format!("POST /whole/{number} HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n"),
            Expected::Refused(413),
        ),
        (format!("GET /panic/{number} HTTP/1.1\r\nHost: h\r\n\r\n"), Expected::Refused(500)),
        (format!("GET /broken/{number} HTTP/1.1\r\nHost: h\r\n\r\n"), Expected::Cut),
    ];
    let (request, expected) = kinds[random.usize(0..kinds.len())].clone();
    Exchange { number, request: request.into_bytes(), expected, needs_whole: false }
}

/// A request with a body of up to 3000 bytes, now and then of more than its route takes.
fn body(random: &mut Rng, path: &str, number: u64) -> Exchange {
    let may_be_refused = matches!(path, "count" | "whole") && random.u8(0..16) == 0;
    let size = match may_be_refused {
        true => BODY_BYTES_MAX + random.usize(1..2000),
        false => random.usize(0..3000),
    };
    let content = pattern(number, size);
    let expected = match path {
        _ if may_be_refused => Expected::Refused(413),
        "count" => Expected::Content(format!("count {number} {size}").into_bytes()),
        "whole" | "relay" => Expected::Content(content.clone()),
        path => Expected::Content(format!("{path} {number}").into_bytes()),
    };
    let needs_whole = !may_be_refused && matches!(path, "count" | "whole" | "relay");
    let request = body_request(random, path, number, &content);
    Exchange { number, request, expected, needs_whole }
}

/// The body by its length or in chunks, asked for or not.
fn body_request(random: &mut Rng, path: &str, number: u64, content: &[u8]) -> Vec<u8> {
    let expect = if random.u8(0..8) == 0 { "Expect: 100-continue\r\n" } else { "" };
    let line = format!("POST /{path}/{number} HTTP/1.1\r\nHost: h\r\n{expect}");
    if random.bool() {
        let head = format!("{line}Content-Length: {}\r\n\r\n", content.len());
        return [head.as_bytes(), content].concat();
    }
    let mut request = format!("{line}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let mut rest = content;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(random.usize(1..=rest.len()));
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
        rest = behind;
    }
    request.extend_from_slice(if random.bool() { b"0\r\n\r\n" } else { b"0\r\nT: u\r\n\r\n" });
    request
}
