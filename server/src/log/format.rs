//! The lines of the access log.

use std::fmt;
use std::str::FromStr;

use corelane_runtime::ConfigError;
use http::StatusCode;

use super::escape;
use super::stamp::{COMMON_BYTES, RFC3339_BYTES, Stamp};
use crate::records::{Entry, kept};

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// The Common Log Format of the NCSA and Apache: who, when, what, status, bytes.
    Common,
    /// The same, with `Referer` and `User-Agent`: what most tools read.
    #[default]
    Combined,
    /// An object on each line, with route, duration and trace as well.
    Json,
    /// The fields of the object as `key=value`.
    Logfmt,
}

impl AccessFormat {
    const NAMES: [(AccessFormat, &'static str); 4] = [
        (AccessFormat::Common, "common"),
        (AccessFormat::Combined, "combined"),
        (AccessFormat::Json, "json"),
        (AccessFormat::Logfmt, "logfmt"),
    ];

    /// Writes what stands before the answer; gives back where in `out` the time is, to be
    /// [set](AccessFormat::set_time) once it is known when the exchange ended.
    pub(super) fn write_before(
        self,
        out: &mut Vec<u8>,
        asked: &Entry<'_>,
        client: &str,
        stamp: &Stamp,
    ) -> usize {
        match self {
            AccessFormat::Common | AccessFormat::Combined => before(out, asked, client, stamp),
            AccessFormat::Json => pairs_before::<Json>(out, asked, client, stamp),
            AccessFormat::Logfmt => pairs_before::<Logfmt>(out, asked, client, stamp),
        }
    }

    pub(super) fn set_time(self, text: &mut [u8], at: usize, stamp: &Stamp) {
        match self {
            AccessFormat::Common | AccessFormat::Combined => {
                text[at..at + COMMON_BYTES].copy_from_slice(&stamp.common);
            }
            AccessFormat::Json | AccessFormat::Logfmt => {
                text[at..at + RFC3339_BYTES].copy_from_slice(&stamp.rfc3339);
            }
        }
    }

    /// Writes what is known of the answer, up to its duration.
    pub(super) fn write_answer(self, out: &mut Vec<u8>, status: StatusCode, bytes: u64) {
        match self {
            AccessFormat::Common | AccessFormat::Combined => {
                out.push(b' ');
                write_status(out, status);
                out.push(b' ');
                write_number(out, bytes);
            }
            AccessFormat::Json => pairs_of_answer::<Json>(out, status, bytes),
            AccessFormat::Logfmt => pairs_of_answer::<Logfmt>(out, status, bytes),
        }
    }

    /// Whether the duration stands between the answer and what is behind it.
    pub(super) fn has_duration(self) -> bool {
        matches!(self, AccessFormat::Json | AccessFormat::Logfmt)
    }

    /// Writes what stands behind the answer in all lines of a route.
    pub(super) fn write_route(self, out: &mut Vec<u8>, shard: usize, route: &[u8]) {
        match self {
            AccessFormat::Common | AccessFormat::Combined => {}
            AccessFormat::Json => pairs_of_route::<Json>(out, shard, route),
            AccessFormat::Logfmt => pairs_of_route::<Logfmt>(out, shard, route),
        }
    }

    /// Writes what stands behind that, to the end of the line.
    pub(super) fn write_behind(self, out: &mut Vec<u8>, asked: &Entry<'_>) {
        match self {
            AccessFormat::Common => out.push(b'\n'),
            AccessFormat::Combined => combined_behind(out, asked),
            AccessFormat::Json => pairs_behind::<Json>(out, asked),
            AccessFormat::Logfmt => pairs_behind::<Logfmt>(out, asked),
        }
    }
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    // Three digits, always: copied by an instruction or two.
    match <[u8; 3]>::try_from(status.as_str().as_bytes()) {
        Ok(digits) => out.extend_from_slice(&digits),
        Err(_) => out.extend_from_slice(status.as_str().as_bytes()),
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

impl FromStr for AccessFormat {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<AccessFormat, ConfigError> {
        let known = AccessFormat::NAMES.into_iter().find(|(_, name)| *name == text);
        known.map(|(format, _)| format).ok_or_else(|| {
            let problem = format!("{text:?} is not known; write common, combined, json or logfmt");
            ConfigError::new("access_log_format", problem)
        })
    }
}

impl fmt::Display for AccessFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = AccessFormat::NAMES.into_iter().find(|(format, _)| format == self);
        f.write_str(known.map_or("", |(_, name)| name))
    }
}

fn before(out: &mut Vec<u8>, asked: &Entry<'_>, client: &str, stamp: &Stamp) -> usize {
    out.extend_from_slice(if client.is_empty() { b"-" } else { client.as_bytes() });
    out.extend_from_slice(b" - - [");
    let time = out.len();
    out.extend_from_slice(&stamp.common);
    out.extend_from_slice(b"] \"");
    if asked.method.is_empty() {
        out.extend_from_slice(b"-\"");
    } else {
        // A token (RFC 9110 section 9.1): nothing to escape.
        out.extend_from_slice(kept(asked.method));
        out.push(b' ');
        escape::quotable(out, kept(asked.target));
        let is_old = asked.minor_version == 0;
        out.extend_from_slice(if is_old { b" HTTP/1.0\"" } else { b" HTTP/1.1\"" });
    }
    time
}

fn combined_behind(out: &mut Vec<u8>, asked: &Entry<'_>) {
    for text in [asked.referer, asked.user_agent] {
        out.extend_from_slice(b" \"");
        escape::quotable(out, if text.is_empty() { b"-" } else { kept(text) });
        out.push(b'"');
    }
    out.push(b'\n');
}

/// The pieces of a line of names and values: what stands before each value, with its name.
/// Constants of a type, so that each of them is copied by an instruction or two.
trait Style {
    const TIME: &[u8];
    const CLIENT: &[u8];
    const METHOD: &[u8];
    const TARGET: &[u8];
    const VERSIONS: [&[u8]; 2];
    const STATUS: &[u8];
    const BYTES: &[u8];
    const DURATION: &[u8];
    const SHARD: &[u8];
    const ROUTE: &[u8];
    const REFERER: &[u8];
    const USER_AGENT: &[u8];
    const TRACE_ID: &[u8];
    const END: &[u8];
    /// What closes a text that is nothing but plain.
    const CLOSE: &[u8];
    fn text(out: &mut Vec<u8>, text: &[u8]);
}

struct Json;

impl Style for Json {
    const TIME: &[u8] = b"{\"time\":\"";
    const CLIENT: &[u8] = b",\"client\":\"";
    const METHOD: &[u8] = b",\"method\":\"";
    const TARGET: &[u8] = b",\"target\":";
    const VERSIONS: [&[u8]; 2] = [b",\"version\":\"1.0\"", b",\"version\":\"1.1\""];
    const STATUS: &[u8] = b",\"status\":";
    const BYTES: &[u8] = b",\"bytes\":";
    const DURATION: &[u8] = b",\"duration_us\":";
    const SHARD: &[u8] = b",\"shard\":";
    const ROUTE: &[u8] = b",\"route\":";
    const REFERER: &[u8] = b",\"referer\":";
    const USER_AGENT: &[u8] = b",\"user_agent\":";
    const TRACE_ID: &[u8] = b",\"trace_id\":\"";
    const END: &[u8] = b"}\n";
    const CLOSE: &[u8] = b"\"";

    fn text(out: &mut Vec<u8>, text: &[u8]) {
        escape::json(out, text);
    }
}

struct Logfmt;

impl Style for Logfmt {
    const TIME: &[u8] = b"time=";
    const CLIENT: &[u8] = b" client=";
    const METHOD: &[u8] = b" method=";
    const TARGET: &[u8] = b" target=";
    const VERSIONS: [&[u8]; 2] = [b" version=1.0", b" version=1.1"];
    const STATUS: &[u8] = b" status=";
    const BYTES: &[u8] = b" bytes=";
    const DURATION: &[u8] = b" duration_us=";
    const SHARD: &[u8] = b" shard=";
    const ROUTE: &[u8] = b" route=";
    const REFERER: &[u8] = b" referer=";
    const USER_AGENT: &[u8] = b" user_agent=";
    const TRACE_ID: &[u8] = b" trace_id=";
    const END: &[u8] = b"\n";
    const CLOSE: &[u8] = b"";

    fn text(out: &mut Vec<u8>, text: &[u8]) {
        escape::logfmt(out, text);
    }
}

fn pairs_before<S: Style>(
    out: &mut Vec<u8>,
    asked: &Entry<'_>,
    client: &str,
    stamp: &Stamp,
) -> usize {
    out.extend_from_slice(S::TIME);
    let time = out.len();
    out.extend_from_slice(&stamp.rfc3339);
    out.extend_from_slice(S::CLOSE);
    if !client.is_empty() {
        out.extend_from_slice(S::CLIENT);
        out.extend_from_slice(client.as_bytes());
        out.extend_from_slice(S::CLOSE);
    }
    if !asked.method.is_empty() {
        out.extend_from_slice(S::METHOD);
        // A token (RFC 9110 section 9.1): nothing to escape.
        out.extend_from_slice(kept(asked.method));
        out.extend_from_slice(S::CLOSE);
        out.extend_from_slice(S::TARGET);
        S::text(out, kept(asked.target));
        out.extend_from_slice(S::VERSIONS[usize::from(asked.minor_version != 0)]);
    }
    time
}

fn pairs_of_answer<S: Style>(out: &mut Vec<u8>, status: StatusCode, bytes: u64) {
    out.extend_from_slice(S::STATUS);
    write_status(out, status);
    out.extend_from_slice(S::BYTES);
    write_number(out, bytes);
    out.extend_from_slice(S::DURATION);
}

fn pairs_of_route<S: Style>(out: &mut Vec<u8>, shard: usize, route: &[u8]) {
    out.extend_from_slice(S::SHARD);
    write_number(out, shard as u64);
    if !route.is_empty() {
        out.extend_from_slice(S::ROUTE);
        S::text(out, kept(route));
    }
}

fn pairs_behind<S: Style>(out: &mut Vec<u8>, asked: &Entry<'_>) {
    let mut text = |name: &[u8], text: &[u8]| {
        if !text.is_empty() {
            out.extend_from_slice(name);
            S::text(out, kept(text));
        }
    };
    text(S::REFERER, asked.referer);
    text(S::USER_AGENT, asked.user_agent);
    if asked.trace_id > 0 {
        out.extend_from_slice(S::TRACE_ID);
        escape::hex(out, asked.trace_id);
        out.extend_from_slice(S::CLOSE);
    }
    out.extend_from_slice(S::END);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::sample;

    struct Answer {
        ended_seconds: u64,
        status: u16,
        bytes: u64,
        micros: u64,
        shard: usize,
    }

    const FINE: Answer =
        Answer { ended_seconds: 784_111_777, status: 200, bytes: 512, micros: 1234, shard: 1 };
    const NONE: Answer = Answer { ended_seconds: 0, status: 400, bytes: 0, micros: 0, shard: 0 };

    /// The line as a shard puts it together.
    fn line(format: AccessFormat, asked: &Entry<'_>, answer: &Answer) -> String {
        let client = asked.client.map(|client| client.to_string()).unwrap_or_default();
        let mut line = Vec::new();
        let at = format.write_before(&mut line, asked, &client, &Stamp::new(1));
        let status = StatusCode::from_u16(answer.status).expect("a status");
        format.write_answer(&mut line, status, answer.bytes);
        if format.has_duration() {
            write_number(&mut line, answer.micros);
        }
        format.write_route(&mut line, answer.shard, asked.route);
        format.write_behind(&mut line, asked);
        format.set_time(&mut line, at, &Stamp::new(answer.ended_seconds));
        String::from_utf8(line).expect("ASCII")
    }

    #[test]
    fn a_line_in_each_format() {
        let entry = sample();
        let common = "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \
                      \"GET /items/7?full HTTP/1.1\" 200 512";
        assert_eq!(line(AccessFormat::Common, &entry, &FINE), format!("{common}\n"));
        assert_eq!(
            line(AccessFormat::Combined, &entry, &FINE),
            format!("{common} \"http://example.org/\" \"curl/8\"\n")
        );
        assert_eq!(
            line(AccessFormat::Json, &entry, &FINE),
            "{\"time\":\"1994-11-06T08:49:37Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"target\":\"/items/7?full\",\"version\":\"1.1\",\"status\":200,\"bytes\":512,\
             \"duration_us\":1234,\"shard\":1,\"route\":\"/items/{id}\",\
             \"referer\":\"http://example.org/\",\"user_agent\":\"curl/8\",\
             \"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n"
        );
        assert_eq!(
            line(AccessFormat::Logfmt, &entry, &FINE),
            "time=1994-11-06T08:49:37Z client=192.0.2.7 method=GET target=/items/7?full \
             version=1.1 status=200 bytes=512 duration_us=1234 shard=1 route=/items/{id} \
             referer=http://example.org/ user_agent=curl/8 \
             trace_id=0af7651916cd43dd8448eb211c80319c\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let refused = Entry::default();
        assert_eq!(
            line(AccessFormat::Common, &refused, &NONE),
            "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 400 0\n"
        );
        assert_eq!(
            line(AccessFormat::Logfmt, &refused, &NONE),
            "time=1970-01-01T00:00:00Z status=400 bytes=0 duration_us=0 shard=0\n"
        );
        let entry = Entry { method: b"GET", target: b"/", ..Entry::default() };
        let missing = Answer { status: 404, ..NONE };
        assert_eq!(
            line(AccessFormat::Combined, &entry, &missing),
            "- - - [01/Jan/1970:00:00:00 +0000] \"GET / HTTP/1.0\" 404 0 \"-\" \"-\"\n"
        );
        assert_eq!(
            line(AccessFormat::Json, &entry, &missing),
            "{\"time\":\"1970-01-01T00:00:00Z\",\"method\":\"GET\",\"target\":\"/\",\
             \"version\":\"1.0\",\"status\":404,\"bytes\":0,\"duration_us\":0,\"shard\":0}\n"
        );
    }

    #[test]
    fn no_text_of_a_peer_ends_a_line_or_a_value() {
        let evil = b"x\" 200 1\r\n127.0.0.1 - - \x1b[2J\",\"status\":200 status=200";
        let entry = Entry { target: evil, user_agent: evil, referer: evil, ..sample() };
        for (format, _) in AccessFormat::NAMES {
            let line = line(format, &entry, &FINE);
            let visible = |byte: u8| matches!(byte, b' '..=b'~');
            assert!(line.trim_end_matches('\n').bytes().all(visible), "{line:?}");
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&line(AccessFormat::Json, &entry, &FINE)).expect("JSON");
        assert_eq!(json["target"].as_str().map(str::as_bytes), Some(&evil[..]));
        assert_eq!(json["status"], 200);
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(13));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for (format, name) in AccessFormat::NAMES {
            assert_eq!(name.parse(), Ok(format));
            assert_eq!(format.to_string(), name);
        }
        let error = "xml".parse::<AccessFormat>().expect_err("unknown").to_string();
        assert!(error.contains("common, combined, json or logfmt"), "{error}");
    }
}
