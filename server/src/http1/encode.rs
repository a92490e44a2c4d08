//! Writes responses down: every function appends bytes to the connection's send buffer.
//!
//! A head is a status line, fields, and an empty line; nothing here remembers what was written, so
//! the order is the caller's. [`BodyRule`] says which body fields a response may have, and
//! [`LengthSlot`] writes Content-Length for a body that is serialised straight behind its head.

mod body_rule;
mod length_slot;
mod refusal;
mod trailing;

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use super::octets::{FIELD_VALUE, TOKEN};

pub use body_rule::BodyRule;
pub use length_slot::LengthSlot;
pub use refusal::refusal;
pub use trailing::may_trail;

/// The interim response that asks for the body (RFC 9110 section 15.2.1). Never sent to HTTP/1.0.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The status line of most responses.
pub const STATUS_OK: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// The field that announces the end of the connection, as a ready line.
pub const CONNECTION_CLOSE: &[u8] = b"connection: close\r\n";

/// The field that tells an HTTP/1.0 peer that the connection stays open, as a ready line.
pub const CONNECTION_KEEP_ALIVE: &[u8] = b"connection: keep-alive\r\n";

/// A field from the application that must not reach the wire: it could forge another response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidField {
    /// The name is not a token.
    Name,
    /// The value holds CR, LF, NUL or another control character.
    Value,
}

impl fmt::Display for InvalidField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Name => "a response field name must be a token",
            Self::Value => "a response field value must not contain control characters",
        })
    }
}

impl std::error::Error for InvalidField {}

/// Appends the status line.
///
/// RFC 9110 section 2.5: a server states the highest minor version it speaks, so `HTTP/1.1` goes
/// to HTTP/1.0 peers too.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    match prebuilt(status) {
        Some(line) => out.extend_from_slice(line),
        None => unusual_status_line(out, status),
    }
}

fn prebuilt(status: StatusCode) -> Option<&'static [u8]> {
    Some(match status.as_u16() {
        200 => STATUS_OK,
        201 => b"HTTP/1.1 201 Created\r\n",
        202 => b"HTTP/1.1 202 Accepted\r\n",
        204 => b"HTTP/1.1 204 No Content\r\n",
        206 => b"HTTP/1.1 206 Partial Content\r\n",
        301 => b"HTTP/1.1 301 Moved Permanently\r\n",
        302 => b"HTTP/1.1 302 Found\r\n",
        303 => b"HTTP/1.1 303 See Other\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        400 => b"HTTP/1.1 400 Bad Request\r\n",
        401 => b"HTTP/1.1 401 Unauthorized\r\n",
        403 => b"HTTP/1.1 403 Forbidden\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        405 => b"HTTP/1.1 405 Method Not Allowed\r\n",
        500 => b"HTTP/1.1 500 Internal Server Error\r\n",
        503 => b"HTTP/1.1 503 Service Unavailable\r\n",
        _ => return None,
    })
}

// RFC 9112 section 4: the space behind the status code stays, even when no reason follows.
#[cold]
fn unusual_status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of a status, as RFC 9110 section 15 recommends it; empty for an unknown one.
///
/// The `http` crate has two that are of RFC 7231.
pub fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        StatusCode::UNPROCESSABLE_ENTITY => "Unprocessable Content",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}

/// Appends one field. The types are the guarantee that neither part can split the response.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    line(out, name.as_str().as_bytes(), value.as_bytes());
}

/// Appends one field of unchecked bytes.
///
/// # Errors
///
/// [`InvalidField`] when the name is no token or the value holds a control character other than
/// HTAB (RFC 9110 section 5.5). Nothing is written then.
pub fn raw_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
    if name.is_empty() || !name.iter().all(|octet| TOKEN.contain(*octet)) {
        return Err(InvalidField::Name);
    }
    if !value.iter().all(|octet| FIELD_VALUE.contain(*octet)) {
        return Err(InvalidField::Value);
    }
    line(out, name, value);
    Ok(())
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends Content-Length.
#[inline]
pub fn content_length(out: &mut Vec<u8>, size: u64) {
    line(out, b"content-length", itoa::Buffer::new().format(size).as_bytes());
}

/// Appends Content-Length and the end of the head.
///
/// Up to four digits and the end are one register: from an array on the stack they would be read
/// back, all at once, before the CPU has stored them one by one, which it has to wait for.
#[inline]
pub fn content_length_and_end(out: &mut Vec<u8>, size: u64) {
    const NAME: &[u8; 16] = b"content-length: ";
    const END: u64 = u64::from_le_bytes(*b"\r\n\r\n\0\0\0\0");
    if size >= 10_000 {
        content_length(out, size);
        return end_head(out);
    }
    let (mut rest, mut digits_and_end, mut count) = (size as u32, END, 4);
    loop {
        digits_and_end = digits_and_end << 8 | u64::from(u32::from(b'0') + rest % 10);
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(NAME);
    let end = out.len() + count;
    out.extend_from_slice(&digits_and_end.to_le_bytes());
    out.truncate(end);
}

/// Appends the field that says that the body is chunked. [`BodyRule::may_chunk`] says when it may.
#[inline]
pub fn transfer_encoding(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// Appends what the connection field must say, if anything.
///
/// RFC 9112 section 9.3: HTTP/1.1 persists unless told otherwise, HTTP/1.0 needs to be told.
#[inline]
pub fn connection(out: &mut Vec<u8>, version: Version, keeps_alive: bool) {
    if !keeps_alive {
        out.extend_from_slice(CONNECTION_CLOSE);
    } else if version == Version::HTTP_10 {
        out.extend_from_slice(CONNECTION_KEEP_ALIVE);
    }
}

/// As [`connection`], for a response that says by Upgrade which protocols there are.
///
/// RFC 9110 section 7.8: whoever sends Upgrade must name it in Connection, so that no intermediary
/// passes it on.
#[cold]
pub fn connection_to_upgrade(out: &mut Vec<u8>, version: Version, keeps_alive: bool) {
    let options: &[u8] = match (keeps_alive, version) {
        (false, _) => b"close, upgrade",
        (true, Version::HTTP_10) => b"keep-alive, upgrade",
        (true, _) => b"upgrade",
    };
    line(out, b"connection", options);
}

/// Appends the empty line that ends a head.
#[inline]
pub fn end_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends `data` as one chunk. Empty data writes nothing: an empty chunk would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let mut digits = [0; 16];
    out.reserve(digits.len() + data.len() + 4);
    out.extend_from_slice(hexadecimal(data.len(), &mut digits));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

fn hexadecimal(mut number: usize, digits: &mut [u8; 16]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[number & 0xf];
        number >>= 4;
        if number == 0 {
            return &digits[start..];
        }
    }
}

/// Appends the end of a chunked body, with trailers.
///
/// RFC 9110 section 6.5.1: fields about framing, routing, authentication or the form of the content
/// must not be trailers; those are left out.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
        field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CONTENT_TYPE;

    /// Runs `write` on an empty buffer and compares what it wrote.
    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn every_status_line_parses_back() {
        for code in 100..1000 {
            let status = StatusCode::from_u16(code).unwrap();
            let mut out = Vec::new();
            status_line(&mut out, status);
            end_head(&mut out);
            let mut fields = [];
            let mut response = httparse::Response::new(&mut fields);
            assert!(response.parse(&out).unwrap().is_complete());
            assert_eq!((response.version, response.code), (Some(1), Some(code)));
            let expected = match code {
                413 => "Content Too Large",
                422 => "Unprocessable Content",
                _ => status.canonical_reason().unwrap_or_default(),
            };
            assert_eq!(response.reason, Some(expected));
        }
    }

    /// What is answered all day is not put together each time, and reads as if it were.
    #[test]
    fn usual_status_lines_are_ready() {
        let mut ready = Vec::new();
        for code in 100..1000 {
            let status = StatusCode::from_u16(code).unwrap();
            if let Some(line) = prebuilt(status) {
                let mut out = Vec::new();
                unusual_status_line(&mut out, status);
                assert_eq!(out, line);
                ready.push(code);
            }
        }
        let usual =
            [200, 201, 202, 204, 206, 301, 302, 303, 304, 400, 401, 403, 404, 405, 500, 503];
        assert_eq!(ready, usual);
    }

    #[test]
    fn fields_are_single_lines() {
        let json = HeaderValue::from_static("a/b");
        check(|out| field(out, &CONTENT_TYPE, &json), "content-type: a/b\r\n");
        check(|out| content_length(out, 0), "content-length: 0\r\n");
        check(|out| content_length(out, u64::MAX), "content-length: 18446744073709551615\r\n");
        for size in [0, 9, 10, 123, 99_999, 1_000_000, u64::MAX] {
            let expected = format!("content-length: {size}\r\n\r\n");
            check(|out| content_length_and_end(out, size), &expected);
        }
        check(|out| connection(out, Version::HTTP_11, true), "");
        check(|out| connection(out, Version::HTTP_11, false), "connection: close\r\n");
        check(|out| connection(out, Version::HTTP_10, true), "connection: keep-alive\r\n");
        for (version, keeps_alive, expected) in [
            (Version::HTTP_11, true, "connection: upgrade\r\n"),
            (Version::HTTP_11, false, "connection: close, upgrade\r\n"),
            (Version::HTTP_10, true, "connection: keep-alive, upgrade\r\n"),
        ] {
            check(|out| connection_to_upgrade(out, version, keeps_alive), expected);
        }
    }

    #[test]
    fn a_field_cannot_split_a_response() {
        let attempt = |name: &str, value: &str| {
            let mut out = Vec::new();
            let verdict = raw_field(&mut out, name.as_bytes(), value.as_bytes());
            assert_eq!(out.is_empty(), verdict.is_err());
            verdict
        };
        for value in ["a\r\nb: c", "a\nb", "a\rb", "\0", "\u{1}", "\u{7f}"] {
            assert_eq!(attempt("a", value), Err(InvalidField::Value), "{value:?}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "\u{e9}", "a\0"] {
            assert_eq!(attempt(name, "b"), Err(InvalidField::Name), "{name:?}");
        }
        assert_eq!(attempt("X-a", "b\tc \u{e9}"), Ok(()));
        assert!(InvalidField::Name.to_string().contains("name must be a token"));
        assert!(InvalidField::Value.to_string().contains("control characters"));
    }

    #[test]
    fn chunks() {
        check(|out| chunk(out, b""), "");
        check(|out| chunk(out, b"x"), "1\r\nx\r\n");
        let data = "y".repeat(0xabc);
        check(|out| chunk(out, data.as_bytes()), &format!("abc\r\n{data}\r\n"));
        let mut trailers = HeaderMap::new();
        check(|out| last_chunk(out, &trailers), "0\r\n\r\n");
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        trailers.insert("content-length", HeaderValue::from_static("7"));
        check(|out| last_chunk(out, &trailers), "0\r\nx-sum: 7\r\n\r\n");
    }
}
