//! The protocol core as a whole: what a byte stream is, however it was cut into reads.

mod misspelt;
mod random;

use super::connection::Connection;
use super::error::ProtocolError::{self, *};
use super::fields::Fields;
use super::limits::{FIELD_COUNT_CAP, HEAD_BYTES_CAP, Limits};
use super::{EndOfInput, Framing, Step};

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: next\r\n\r\n";

/// Everything that a byte stream amounts to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Per request: method, path, body when complete, trailers.
    requests: Vec<String>,
    refusal: Option<ProtocolError>,
    is_closed: bool,
    end: Option<EndOfInput>,
}

/// Feeds `pieces` one after the other, as reads from a socket would.
fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits, body_max: u64) -> Outcome {
    let (mut connection, mut fields) = (Connection::new(), Fields::new());
    let (mut outcome, mut pending) = (Outcome::default(), Vec::new());
    for piece in pieces {
        pending.extend_from_slice(piece);
        drain(&mut connection, &mut pending, limits, &mut fields, body_max, &mut outcome);
    }
    outcome.end = Some(connection.end_of_input(&pending));
    outcome
}

fn drain(
    connection: &mut Connection,
    pending: &mut Vec<u8>,
    limits: &Limits,
    fields: &mut Fields,
    body_max: u64,
    outcome: &mut Outcome,
) {
    loop {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let consumed = match connection.step(pending, limits, fields) {
            Step::NeedMore { consumed } => {
                pending.drain(..consumed);
                return;
            }
            Step::Head(head) => {
                let end = if head.framing.has_body() { "" } else { "." };
                let path = text(head.path(pending));
                outcome.requests.push(format!("{} {path} {end}", head.method));
                if connection.limit_body(body_max).is_err() {
                    outcome.requests.pop();
                }
                head.size
            }
            Step::Data { skip, size } => {
                assert!(size > 0, "data is never empty");
                let request = outcome.requests.last_mut().unwrap();
                request.push_str(&text(&pending[skip..skip + size]));
                skip + size
            }
            Step::End { consumed } => {
                let request = outcome.requests.last_mut().unwrap();
                request.push('.');
                for (name, value) in fields.trailers(pending) {
                    request.push_str(&format!(" {}={}", text(name), text(value)));
                }
                consumed
            }
            Step::Refused(error) => {
                assert!(connection.is_closing() && connection.refusal() == Some(error));
                outcome.refusal = Some(error);
                return;
            }
            Step::Closed => {
                outcome.is_closed = true;
                return;
            }
        };
        pending.drain(..consumed);
    }
}

/// Runs `input` whole, byte by byte and split in two at every offset: the outcome must be the same.
fn outcome_with(input: &[u8], limits: &Limits, body_max: u64) -> Outcome {
    let whole = run([input], limits, body_max);
    let shown = String::from_utf8_lossy(input);
    assert_eq!(run(input.chunks(1), limits, body_max), whole, "byte by byte: {shown:?}");
    for middle in 0..=input.len() {
        let (first, second) = input.split_at(middle);
        let split = run([first, second], limits, body_max);
        assert_eq!(split, whole, "split at {middle}: {shown:?}");
    }
    whole
}

/// A valid request behind a refused one must never be seen.
fn check_refused_with(input: &[u8], limits: &Limits, body_max: u64, expected: ProtocolError) {
    let behind = [input, NEXT.as_bytes()].concat();
    for bytes in [input, &behind] {
        let outcome = outcome_with(bytes, limits, body_max);
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(outcome.refusal, Some(expected), "{shown:?}");
        assert!(!outcome.requests.iter().any(|r| r.contains("/next")), "{shown:?}");
    }
}

fn check_refused(input: impl AsRef<[u8]>, expected: ProtocolError) {
    check_refused_with(input.as_ref(), &Limits::default(), u64::MAX, expected);
}

/// Runs `input` alone, and with a request behind that must be seen unless the connection closes.
fn check(input: &str, requests: &[&str], keeps_alive: bool) {
    let limits = Limits::default();
    let outcome = outcome_with(input.as_bytes(), &limits, u64::MAX);
    assert_eq!(outcome.refusal, None, "{input:?}");
    assert_eq!(outcome.requests, requests, "{input:?}");
    assert_eq!((outcome.is_closed, outcome.end), (!keeps_alive, Some(EndOfInput::Clean)));
    let behind = outcome_with([input, NEXT].concat().as_bytes(), &limits, u64::MAX);
    let next = usize::from(keeps_alive);
    assert_eq!(behind.requests.len(), requests.len() + next, "{input:?}");
}

/// A head with `Host` and these lines behind it.
fn with_lines(lines: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

fn chunked(body: &str) -> String {
    with_lines("Transfer-Encoding: chunked\r\n") + body
}

#[test]
fn plain_requests() {
    check(NEXT, &["GET /next ."], true);
    check("\r\n\r\nGET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /a ."], true);
    check("GET / HTTP/1.0\r\n\r\n", &["GET / ."], false);
    check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &["GET / ."], true);
    check("GET / HTTP/1.7\r\nhost: h\r\n\r\n", &["GET / ."], true);
    check("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", &["OPTIONS * ."], true);
    check("BREW http://h HTTP/1.1\r\nHost: g\r\n\r\n", &["BREW / ."], true);
    check(&with_lines("Connection: x, close\r\n"), &["POST /p ."], false);
    check(&with_lines("X:\r\nY: \t \r\nZ: \u{e9}\tz \t\r\n"), &["POST /p ."], true);
    check(&NEXT.repeat(3), &["GET /next ."; 3], true);
    check(&format!("{NEXT}\r\n{NEXT}\r\n\r\n{NEXT}"), &["GET /next ."; 3], true);
}

/// Targets are looked at sixteen octets at a time, what is left at the end of the input one by one.
#[test]
fn targets_of_any_length() {
    for size in 0..40 {
        let path = format!("/{}", "p".repeat(size));
        for query in ["", "?", "?q", "?q?/0123456789abcdef"] {
            let expected = format!("GET {path} .");
            check(&format!("GET {path}{query} HTTP/1.0\r\n\r\n"), &[&expected], false);
        }
    }
}

#[test]
fn bodies_of_a_length() {
    check(&with_lines("Content-Length: 0\r\n"), &["POST /p ."], true);
    check(&(with_lines("Content-Length: 5\r\n") + "GET /"), &["POST /p GET /."], true);
    check(
        &(with_lines("Content-Length: 1\r\nConnection: close\r\n") + "x"),
        &["POST /p x."],
        false,
    );
}

#[test]
fn chunked_bodies() {
    check(&chunked("0\r\n\r\n"), &["POST /p ."], true);
    check(
        &chunked("3\r\nabc\r\n0000A\r\n0123456789\r\n0\r\n\r\n"),
        &["POST /p abc0123456789."],
        true,
    );
    check(
        &chunked("1;a\r\nx\r\n1;a=b;c=\"d;\\\"\t\"\r\ny\r\n0;e=f\r\n\r\n"),
        &["POST /p xy."],
        true,
    );
    check(
        &chunked("1\r\nx\r\n0\r\nA: 1\r\nHost: evil\r\n\r\n"),
        &["POST /p x. A=1 Host=evil"],
        true,
    );
}

#[test]
fn broken_chunks() {
    for size in ["", "g", "0x1", "+1", "-1", "1_", " 1", "1 ", "\t1", "00000000000000001"] {
        check_refused(chunked(&format!("{size}\r\nx\r\n0\r\n\r\n")), ChunkSizeInvalid);
    }
    for line in ["1 ;a\r\nx\r\n", ";a\r\nx\r\n"] {
        check_refused(chunked(line), ChunkSizeInvalid);
    }
    for extension in
        [";", ";;", ";[", ";a=", ";a=\"\u{0}\"", ";a\u{0}", "; a", ";a =b", ";a=\"b\"c"]
    {
        check_refused(chunked(&format!("1{extension}\r\nx\r\n")), ChunkExtensionInvalid);
    }
    for line in ["1\nx\r\n", "1;a\nx\r\n", "1;a=\"\nx\"\r\n"] {
        check_refused(chunked(line), BareLineFeed);
    }
    for line in ["1\rx\r\n", "1;a\rb\r\nx\r\n"] {
        check_refused(chunked(line), BareCarriageReturn);
    }
    for data in ["1\r\nxy\r\n", "1\r\nx\n0\r\n", "1\r\nx\r0\r\n", "2\r\nx\r\n0\r\n"] {
        check_refused(chunked(data), ChunkEndInvalid);
    }
}

#[test]
fn chunk_budgets() {
    let limits = Limits::default();
    check_refused(chunked(&format!("1;{}\r\nx\r\n", "a".repeat(65536))), ChunkLineTooLong);
    let flood = format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(30);
    check_refused(chunked(&flood), ChunkExtensionsTooLarge);
    // Of each line all but the size counts: the semicolon and 127 letters.
    let lines = format!("1;{}\r\nx\r\n", "a".repeat(127));
    let whole = lines.repeat(limits.chunk_extension_bytes_max / 128);
    let outcome = outcome_with(chunked(&(whole.clone() + "0\r\n\r\n")).as_bytes(), &limits, 100);
    assert_eq!((outcome.refusal, outcome.requests.len()), (None, 1));
    check_refused(chunked(&(whole + "0;")), ChunkExtensionsTooLarge);
    let trailer = format!("0\r\nA: {}\r\n\r\n", "b".repeat(limits.trailer_bytes_max));
    check_refused(chunked(&trailer), TrailersTooLarge);
    let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(limits.trailer_count_max + 1));
    check_refused(chunked(&trailers), TrailersTooMany);
    check_refused(chunked("0\r\n A: b\r\n\r\n"), FieldFolded);
    check_refused(chunked("0\r\nA: b\n\r\n"), BareLineFeed);
    check_refused(chunked("0\r\nA b\r\n\r\n"), FieldNameInvalid);
}

#[test]
fn body_limits() {
    let check = |input: &str, body_max, expected| {
        let outcome = outcome_with(input.as_bytes(), &Limits::default(), body_max);
        assert_eq!(outcome.refusal, expected, "{input:?}");
    };
    let length = with_lines("Content-Length: 5\r\n") + "01234";
    check(&length, 5, None);
    check(&length, 4, Some(ContentTooLarge));
    check(&chunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 5, None);
    check(&chunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 4, Some(ContentTooLarge));
    check(&chunked("1\r\nx\r\nffffffffffffffff\r\nx"), u64::MAX, Some(ContentTooLarge));
}

#[test]
fn broken_request_lines() {
    for line in ["\u{16}\u{3}\u{1}", " GET / HTTP/1.1", "GE(T / HTTP/1.1", "GET\t/ HTTP/1.1"] {
        check_refused(format!("{line}\r\nHost: h\r\n\r\n"), MethodInvalid);
    }
    for target in ["", " /", "/a#b", "/a\\b", "/\u{e9}", "/\u{0}", "/\u{7f}", "/\t"] {
        check_refused(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), TargetInvalid);
    }
    check_refused("GET /\r\n\r\n", TargetInvalid);
    for target in ["*", "a", "h:80", "ftp://h/"] {
        check_refused(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), TargetForm);
    }
    for version in ["http/1.1", "HTTP/1", "HTTP/01.1", "HTTP/1.1x", "HTTP/1.1 ", " HTTP/1.1", "a b"]
    {
        check_refused(format!("GET / {version}\r\nHost: h\r\n\r\n"), VersionInvalid);
    }
    for version in ["HTTP/2.0", "HTTP/9.9", "HTTP/0.9"] {
        check_refused(format!("GET / {version}\r\nHost: h\r\n\r\n"), VersionUnsupported);
    }
    check_refused("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", ConnectUnsupported);
    check_refused("\r\n\r\n\r\n", BlankLines);
    check_refused("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", BareLineFeed);
    check_refused("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", BareCarriageReturn);
}

#[test]
fn broken_fields() {
    for line in ["A : b", "A\t: b", ": b", "A", "A(: b", "\u{e9}: b"] {
        check_refused(with_lines(&format!("{line}\r\n")), FieldNameInvalid);
    }
    for value in ["\u{0}", "\u{1}", "\u{b}", "\u{7f}", "a\u{c}"] {
        check_refused(with_lines(&format!("A: {value}\r\n")), FieldValueInvalid);
    }
    for line in [" A: b", "\tA: b", "A: b\r\n c", "A: b\r\n\tc", "A:\r\n \r\n"] {
        check_refused(with_lines(&format!("{line}\r\n")), FieldFolded);
    }
    check_refused("GET / HTTP/1.1\r\n Host: h\r\n\r\n", FieldFolded);
    for head in ["GET / HTTP/1.1\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\n\r\n"] {
        check_refused(head, BareLineFeed);
    }
    check_refused("GET / HTTP/1.1\r\nHost: h\r\n\n", BareLineFeed);
    for head in ["GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\r\n"] {
        check_refused(head, BareCarriageReturn);
    }
    check_refused("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", BareCarriageReturn);
}

#[test]
fn meaning_is_judged_after_form() {
    let twice = "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n";
    check_refused(format!("{twice}\r\n"), HostRepeated);
    check_refused(format!("{twice}A: b\n\r\n"), BareLineFeed);
    check_refused("GET / HTTP/1.1\r\n\r\n", HostMissing);
    check_refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HostInvalid);
    check_refused(
        with_lines("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        LengthWithCoding,
    );
    check_refused(with_lines("Expect: 200-ok\r\n"), ExpectationUnknown);
}

#[test]
fn head_limits_are_exact() {
    let limits = Limits {
        head_bytes_max: 60,
        field_count_max: 3,
        field_line_bytes_max: 20,
        target_bytes_max: 10,
        method_bytes_max: 5,
        ..Limits::default()
    };
    let fits = |input: &str| {
        let outcome = outcome_with(input.as_bytes(), &limits, u64::MAX);
        assert_eq!((outcome.refusal, outcome.requests.len()), (None, 1), "{input:?}");
    };
    let refused = |input: &str, error| check_refused_with(input.as_bytes(), &limits, 0, error);
    fits("BREWS /23456789a HTTP/1.1\r\nHost: h\r\n\r\n");
    refused("BREWED ", MethodTooLong);
    refused(&("B".repeat(40) + " "), MethodTooLong);
    refused(&"B".repeat(41), MethodInvalid);
    refused("GET /23456789ab ", TargetTooLong);
    let line =
        |size: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nA:{}\r\n\r\n", "b".repeat(size - 2));
    fits(&line(20));
    refused(&line(21), FieldTooLarge);
    fits("GET / HTTP/1.1\r\nHost: h\r\nA:\r\nA:\r\n\r\n");
    refused("GET / HTTP/1.1\r\nHost: h\r\nA:\r\nA:\r\nA:\r\n\r\n", FieldsTooMany);
    let head = |size: usize| {
        let lines = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nAAAAAAAAAAAA: b\r\nB:{}\r\n\r\n",
            "b".repeat(size - 48)
        );
        assert_eq!(lines.len(), size);
        lines
    };
    fits(&head(60));
    refused(&head(61), HeadTooLarge);
}

/// GET has a way of its own through the code.
#[test]
fn the_limit_of_methods_holds_for_the_most_usual_one() {
    for (method_bytes_max, refusal) in [(2, Some(MethodTooLong)), (3, None)] {
        let limits = Limits { method_bytes_max, ..Limits::default() };
        assert_eq!(outcome_with(NEXT.as_bytes(), &limits, u64::MAX).refusal, refusal);
    }
}

#[test]
fn caps_hold_whatever_the_limits_say() {
    const ALL: usize = usize::MAX;
    let limits = Limits {
        head_bytes_max: ALL,
        field_count_max: ALL,
        field_line_bytes_max: ALL,
        target_bytes_max: ALL,
        method_bytes_max: ALL,
        trailer_bytes_max: ALL,
        trailer_count_max: ALL,
        ..Limits::default()
    };
    let check = |input: String, expected| {
        for bytes in [input.clone(), format!("\r\n{input}")] {
            assert_eq!(run([bytes.as_bytes()], &limits, u64::MAX).refusal, expected);
        }
    };
    let large = |rest: &str, size: usize| format!("{rest}A: {}\r\n\r\n", "b".repeat(size - 7));
    let head = "GET / HTTP/1.1\r\nHost: h\r\n";
    check(large(head, HEAD_BYTES_CAP - head.len()), None);
    check(large(head, HEAD_BYTES_CAP + 1 - head.len()), Some(HeadTooLarge));
    check(with_lines(&"A: b\r\n".repeat(FIELD_COUNT_CAP - 1)), None);
    check(with_lines(&"A: b\r\n".repeat(FIELD_COUNT_CAP)), Some(FieldsTooMany));
    check(chunked(&large("0\r\n", HEAD_BYTES_CAP)), None);
    check(chunked(&large("0\r\n", HEAD_BYTES_CAP + 1)), Some(TrailersTooLarge));
    let trailers = |count: usize| chunked(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(count)));
    check(trailers(FIELD_COUNT_CAP), None);
    check(trailers(FIELD_COUNT_CAP + 1), Some(TrailersTooMany));
}

#[test]
fn end_of_input_names_what_was_cut() {
    let check = |input: &str, expected| {
        let outcome = run([input.as_bytes()], &Limits::default(), u64::MAX);
        assert_eq!(outcome.end, Some(expected), "{input:?}");
    };
    check("", EndOfInput::Clean);
    check("\r\n", EndOfInput::Clean);
    check(NEXT, EndOfInput::Clean);
    check("\r", EndOfInput::TruncatedHead);
    check("GE", EndOfInput::TruncatedHead);
    check(&with_lines("Content-Length: 1\r\n"), EndOfInput::TruncatedBody);
    check(&chunked("0\r\n"), EndOfInput::TruncatedBody);
}

#[test]
fn closing_parses_nothing_more() {
    let (mut connection, mut fields) = (Connection::new(), Fields::new());
    let limits = Limits::default();
    let input = with_lines("Content-Length: 1\r\n") + "x" + NEXT;
    let Step::Head(head) = connection.step(input.as_bytes(), &limits, &mut fields) else {
        panic!("a head")
    };
    assert_eq!(head.framing, Framing::Length(1));
    assert!(connection.is_in_body() && !connection.is_closing());
    assert_eq!(connection.body_bytes_left(), Some(1));
    connection.close();
    assert!(connection.is_in_body() && connection.is_closing());
    let rest = &input.as_bytes()[head.size..];
    assert_eq!(connection.step(rest, &limits, &mut fields), Step::Data { skip: 0, size: 1 });
    assert_eq!(connection.body_bytes_left(), Some(0));
    assert_eq!(connection.step(&rest[1..], &limits, &mut fields), Step::End { consumed: 0 });
    assert!(!connection.is_in_body() && connection.body_bytes_left().is_none());
    assert_eq!(connection.step(&rest[1..], &limits, &mut fields), Step::Closed);
    assert!(connection.is_closing() && connection.refusal().is_none());
}

#[test]
fn closing_between_requests_or_in_a_head_ends_at_once() {
    let (limits, mut fields) = (Limits::default(), Fields::new());
    for begun in ["", "GET"] {
        let mut connection = Connection::new();
        let step = connection.step(begun.as_bytes(), &limits, &mut fields);
        assert_eq!(step, Step::NeedMore { consumed: 0 });
        assert!(!connection.is_closing() && !connection.is_in_body());
        connection.close();
        assert_eq!(connection.step(NEXT.as_bytes(), &limits, &mut fields), Step::Closed);
        assert_eq!(connection.end_of_input(NEXT.as_bytes()), EndOfInput::Clean);
    }
}

#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= 96, "{} bytes", size_of::<Connection>());
}

#[test]
fn the_authority_of_the_target_replaces_host() {
    let (mut connection, mut fields) = (Connection::new(), Fields::new());
    let input = b"\r\nGET http://a:1/p?q HTTP/1.1\r\nHost: b\r\n\r\n";
    let Step::Head(head) = connection.step(input, &Limits::default(), &mut fields) else {
        panic!("a head")
    };
    assert_eq!(head.authority.unwrap().of(input), b"a:1");
    assert_eq!(head.query.unwrap().of(input), b"q");
    assert_eq!(head.target.of(input), b"http://a:1/p?q");
    assert_eq!(fields.find(input, "host"), Some(&b"b"[..]));
    assert_eq!(head.size, input.len());
}

/// The scratch is shared by all connections of a shard: what one leaves there is not another's.
#[test]
fn trailers_of_another_connection_are_not_seen() {
    let (limits, mut fields) = (Limits::default(), Fields::new());
    let mut mine = Connection::new();
    let head = with_lines("Content-Length: 1\r\n");
    assert!(matches!(mine.step(head.as_bytes(), &limits, &mut fields), Step::Head(_)));
    let mut other = Connection::new();
    let head = chunked("");
    assert!(matches!(other.step(head.as_bytes(), &limits, &mut fields), Step::Head(_)));
    let end = b"0\r\nA: b\r\n\r\n";
    assert_eq!(other.step(end, &limits, &mut fields), Step::End { consumed: end.len() });
    assert_eq!(fields.trailers(end).count(), 1);
    assert_eq!(mine.step(b"x", &limits, &mut fields), Step::Data { skip: 0, size: 1 });
    assert_eq!(mine.step(b"", &limits, &mut fields), Step::End { consumed: 0 });
    assert_eq!(fields.trailers(b"").count(), 0);
}
