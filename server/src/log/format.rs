//! The lines of the access log.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use corelane_runtime::ConfigError;

use super::escape;
use super::stamp::Stamp;
use crate::records::{Ended, Entry};

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

    /// Appends the line of an exchange of this shard; `stamp` is when it has ended.
    pub(super) fn write(self, out: &mut Vec<u8>, ended: &Ended<'_>, shard: usize, stamp: &Stamp) {
        match self {
            AccessFormat::Common => common(out, ended, stamp),
            AccessFormat::Combined => {
                common(out, ended, stamp);
                combined(out, &ended.asked);
            }
            AccessFormat::Json => pairs::<Json>(out, ended, shard, stamp),
            AccessFormat::Logfmt => pairs::<Logfmt>(out, ended, shard, stamp),
        }
        out.push(b'\n');
    }
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

fn write_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        // What nearly all are is written without the machinery of `fmt`.
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            write_number(out, first);
            for octet in rest {
                out.push(b'.');
                write_number(out, octet);
            }
        }
        IpAddr::V6(_) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

fn common(out: &mut Vec<u8>, ended: &Ended<'_>, stamp: &Stamp) {
    let asked = &ended.asked;
    match asked.client {
        Some(client) => write_address(out, client),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(&stamp.common);
    out.extend_from_slice(b"] \"");
    if asked.method.is_empty() {
        out.extend_from_slice(b"-\" ");
    } else {
        // A token (RFC 9110 section 9.1): nothing to escape.
        out.extend_from_slice(asked.method);
        out.push(b' ');
        escape::quotable(out, asked.target);
        let is_old = asked.minor_version == 0;
        out.extend_from_slice(if is_old { b" HTTP/1.0\" " } else { b" HTTP/1.1\" " });
    }
    write_number(out, ended.status);
    out.push(b' ');
    write_number(out, ended.bytes);
}

fn combined(out: &mut Vec<u8>, asked: &Entry<'_>) {
    for text in [asked.referer, asked.user_agent] {
        out.extend_from_slice(b" \"");
        escape::quotable(out, if text.is_empty() { b"-" } else { text });
        out.push(b'"');
    }
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
    const END: &[u8] = b"}";
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
    const END: &[u8] = b"";
    const CLOSE: &[u8] = b"";

    fn text(out: &mut Vec<u8>, text: &[u8]) {
        escape::logfmt(out, text);
    }
}

fn pairs<S: Style>(out: &mut Vec<u8>, ended: &Ended<'_>, shard: usize, stamp: &Stamp) {
    pairs_of_request::<S>(out, &ended.asked, stamp);
    out.extend_from_slice(S::STATUS);
    write_number(out, ended.status);
    out.extend_from_slice(S::BYTES);
    write_number(out, ended.bytes);
    out.extend_from_slice(S::DURATION);
    write_number(out, u64::try_from(ended.duration.as_micros()).unwrap_or(u64::MAX));
    out.extend_from_slice(S::SHARD);
    write_number(out, shard);
    pairs_behind::<S>(out, &ended.asked);
}

fn pairs_of_request<S: Style>(out: &mut Vec<u8>, asked: &Entry<'_>, stamp: &Stamp) {
    out.extend_from_slice(S::TIME);
    out.extend_from_slice(&stamp.rfc3339);
    out.extend_from_slice(S::CLOSE);
    if let Some(client) = asked.client {
        out.extend_from_slice(S::CLIENT);
        write_address(out, client);
        out.extend_from_slice(S::CLOSE);
    }
    if !asked.method.is_empty() {
        out.extend_from_slice(S::METHOD);
        // A token (RFC 9110 section 9.1): nothing to escape.
        out.extend_from_slice(asked.method);
        out.extend_from_slice(S::CLOSE);
        out.extend_from_slice(S::TARGET);
        S::text(out, asked.target);
        out.extend_from_slice(S::VERSIONS[usize::from(asked.minor_version != 0)]);
    }
}

fn pairs_behind<S: Style>(out: &mut Vec<u8>, asked: &Entry<'_>) {
    let mut text = |name: &[u8], text: &[u8]| {
        if !text.is_empty() {
            out.extend_from_slice(name);
            S::text(out, text);
        }
    };
    text(S::ROUTE, asked.route);
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

    /// A request that was answered by shard 1.
    fn line(format: AccessFormat, ended: &Ended<'_>) -> String {
        let mut line = Vec::new();
        let stamp = Stamp::new(ended.ended_nanos / 1_000_000_000);
        format.write(&mut line, ended, 1, &stamp);
        String::from_utf8(line).expect("ASCII")
    }

    #[test]
    fn a_line_in_each_format() {
        let ended = sample();
        let common = "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \
                      \"GET /items/7?full HTTP/1.1\" 200 512";
        assert_eq!(line(AccessFormat::Common, &ended), format!("{common}\n"));
        assert_eq!(
            line(AccessFormat::Combined, &ended),
            format!("{common} \"http://example.org/\" \"curl/8\"\n")
        );
        assert_eq!(
            line(AccessFormat::Json, &ended),
            "{\"time\":\"1994-11-06T08:49:37Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"target\":\"/items/7?full\",\"version\":\"1.1\",\"status\":200,\"bytes\":512,\
             \"duration_us\":1234,\"shard\":1,\"route\":\"/items/{id}\",\
             \"referer\":\"http://example.org/\",\"user_agent\":\"curl/8\",\
             \"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n"
        );
        assert_eq!(
            line(AccessFormat::Logfmt, &ended),
            "time=1994-11-06T08:49:37Z client=192.0.2.7 method=GET target=/items/7?full \
             version=1.1 status=200 bytes=512 duration_us=1234 shard=1 route=/items/{id} \
             referer=http://example.org/ user_agent=curl/8 \
             trace_id=0af7651916cd43dd8448eb211c80319c\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let refused = Ended { status: 400, ..Ended::default() };
        assert_eq!(
            line(AccessFormat::Common, &refused),
            "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 400 0\n"
        );
        assert_eq!(
            line(AccessFormat::Logfmt, &refused),
            "time=1970-01-01T00:00:00Z status=400 bytes=0 duration_us=0 shard=1\n"
        );
        let asked = Entry { method: b"GET", target: b"/", ..Entry::default() };
        let missing = Ended { asked, status: 404, ..Ended::default() };
        assert_eq!(
            line(AccessFormat::Combined, &missing),
            "- - - [01/Jan/1970:00:00:00 +0000] \"GET / HTTP/1.0\" 404 0 \"-\" \"-\"\n"
        );
        assert_eq!(
            line(AccessFormat::Json, &missing),
            "{\"time\":\"1970-01-01T00:00:00Z\",\"method\":\"GET\",\"target\":\"/\",\
             \"version\":\"1.0\",\"status\":404,\"bytes\":0,\"duration_us\":0,\"shard\":1}\n"
        );
    }

    #[test]
    fn no_text_of_a_peer_ends_a_line_or_a_value() {
        let evil = b"x\" 200 1\r\n127.0.0.1 - - \x1b[2J\",\"status\":200 status=200";
        let asked = Entry { target: evil, user_agent: evil, referer: evil, ..sample().asked };
        let ended = Ended { asked, ..sample() };
        for (format, _) in AccessFormat::NAMES {
            let line = line(format, &ended);
            let visible = |byte: u8| matches!(byte, b' '..=b'~');
            assert!(line.trim_end_matches('\n').bytes().all(visible), "{line:?}");
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&line(AccessFormat::Json, &ended)).expect("JSON");
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
