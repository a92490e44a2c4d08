//! The lines of the access log.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use corelane_runtime::ConfigError;

use super::escape;
use super::stamp::Stamp;
use crate::records::Entry;

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

    /// Writes the entry and a line feed.
    pub(super) fn write(self, out: &mut Vec<u8>, entry: &Entry<'_>, stamp: &Stamp) {
        match self {
            AccessFormat::Common => common(out, entry, stamp),
            AccessFormat::Combined => {
                common(out, entry, stamp);
                for text in [entry.referer, entry.user_agent] {
                    out.push(b' ');
                    escape::quoted(out, if text.is_empty() { b"-" } else { text });
                }
            }
            AccessFormat::Json => pairs(out, entry, stamp, Style::JSON),
            AccessFormat::Logfmt => pairs(out, entry, stamp, Style::LOGFMT),
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

fn common(out: &mut Vec<u8>, entry: &Entry<'_>, stamp: &Stamp) {
    // A Vec takes everything that is written to it.
    match entry.client {
        Some(client) => _ = write!(out, "{client}"),
        None => out.push(b'-'),
    }
    let _ = write!(out, " - - [{}] ", stamp.common);
    match entry.method.is_empty() {
        true => escape::quoted(out, b"-"),
        false => escape::quoted(out, &request_line(entry)),
    }
    let _ = write!(out, " {} {}", entry.status, entry.bytes);
}

fn request_line(entry: &Entry<'_>) -> Vec<u8> {
    let version = if entry.minor_version == 0 { &b" HTTP/1.0"[..] } else { b" HTTP/1.1" };
    [entry.method, b" ", entry.target, version].concat()
}

/// How names and values stand side by side.
struct Style {
    open: &'static [u8],
    quote: &'static [u8],
    equals: u8,
    comma: u8,
    close: &'static [u8],
    text: fn(&mut Vec<u8>, &[u8]),
}

impl Style {
    const JSON: Style = Style {
        open: b"{",
        quote: b"\"",
        equals: b':',
        comma: b',',
        close: b"}",
        text: escape::json,
    };
    const LOGFMT: Style = Style {
        open: b"",
        quote: b"",
        equals: b'=',
        comma: b' ',
        close: b"",
        text: escape::logfmt,
    };

    fn name(&self, out: &mut Vec<u8>, name: &str) {
        out.extend_from_slice(self.quote);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(self.quote);
        out.push(self.equals);
    }

    fn text(&self, out: &mut Vec<u8>, name: &str, text: &[u8]) {
        out.push(self.comma);
        self.name(out, name);
        (self.text)(out, text);
    }

    fn number(&self, out: &mut Vec<u8>, name: &str, number: u64) {
        out.push(self.comma);
        self.name(out, name);
        let _ = write!(out, "{number}");
    }
}

fn pairs(out: &mut Vec<u8>, entry: &Entry<'_>, stamp: &Stamp, style: Style) {
    out.extend_from_slice(style.open);
    style.name(out, "time");
    (style.text)(out, stamp.rfc3339.as_bytes());
    if let Some(client) = entry.client {
        style.text(out, "client", client.to_string().as_bytes());
    }
    if !entry.method.is_empty() {
        style.text(out, "method", entry.method);
        style.text(out, "target", entry.target);
        style.text(out, "version", if entry.minor_version == 0 { b"1.0" } else { b"1.1" });
    }
    style.number(out, "status", u64::from(entry.status));
    style.number(out, "bytes", entry.bytes);
    style.number(out, "duration_us", entry.duration_nanos / 1000);
    style.number(out, "shard", u64::from(entry.shard));
    let optional =
        [("route", entry.route), ("referer", entry.referer), ("user_agent", entry.user_agent)];
    for (name, text) in optional.into_iter().filter(|(_, text)| !text.is_empty()) {
        style.text(out, name, text);
    }
    if entry.trace_id > 0 {
        style.text(out, "trace_id", format!("{:032x}", entry.trace_id).as_bytes());
    }
    out.extend_from_slice(style.close);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::sample;

    fn line(format: AccessFormat, entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        format.write(&mut out, entry, &Stamp::new(entry.ended_nanos / 1_000_000_000));
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_line_in_each_format() {
        let entry = sample();
        let common = "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \
                      \"GET /items/7?full HTTP/1.1\" 200 512";
        assert_eq!(line(AccessFormat::Common, &entry), format!("{common}\n"));
        assert_eq!(
            line(AccessFormat::Combined, &entry),
            format!("{common} \"http://example.org/\" \"curl/8\"\n")
        );
        assert_eq!(
            line(AccessFormat::Json, &entry),
            "{\"time\":\"1994-11-06T08:49:37Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"target\":\"/items/7?full\",\"version\":\"1.1\",\"status\":200,\"bytes\":512,\
             \"duration_us\":1234,\"shard\":1,\"route\":\"/items/{id}\",\
             \"referer\":\"http://example.org/\",\"user_agent\":\"curl/8\",\
             \"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n"
        );
        assert_eq!(
            line(AccessFormat::Logfmt, &entry),
            "time=1994-11-06T08:49:37Z client=192.0.2.7 method=GET target=/items/7?full \
             version=1.1 status=200 bytes=512 duration_us=1234 shard=1 route=/items/{id} \
             referer=http://example.org/ user_agent=curl/8 \
             trace_id=0af7651916cd43dd8448eb211c80319c\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let refused = Entry { status: 400, ..Entry::default() };
        assert_eq!(
            line(AccessFormat::Common, &refused),
            "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 400 0\n"
        );
        assert_eq!(
            line(AccessFormat::Logfmt, &refused),
            "time=1970-01-01T00:00:00Z status=400 bytes=0 duration_us=0 shard=0\n"
        );
        let entry = Entry { method: b"GET", target: b"/", status: 404, ..Entry::default() };
        assert_eq!(
            line(AccessFormat::Combined, &entry),
            "- - - [01/Jan/1970:00:00:00 +0000] \"GET / HTTP/1.0\" 404 0 \"-\" \"-\"\n"
        );
        assert_eq!(
            line(AccessFormat::Json, &entry),
            "{\"time\":\"1970-01-01T00:00:00Z\",\"method\":\"GET\",\"target\":\"/\",\
             \"version\":\"1.0\",\"status\":404,\"bytes\":0,\"duration_us\":0,\"shard\":0}\n"
        );
    }

    #[test]
    fn no_text_of_a_peer_ends_a_line_or_a_value() {
        let evil = b"x\" 200 1\r\n127.0.0.1 - - \x1b[2J\",\"status\":200 status=200";
        let entry = Entry { target: evil, user_agent: evil, referer: evil, ..sample() };
        for (format, _) in AccessFormat::NAMES {
            let line = line(format, &entry);
            let visible = |byte: u8| matches!(byte, b' '..=b'~');
            assert!(line.trim_end_matches('\n').bytes().all(visible), "{line:?}");
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&line(AccessFormat::Json, &entry)).expect("JSON");
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
