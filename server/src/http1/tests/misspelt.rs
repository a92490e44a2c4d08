//! Lines with one octet more or another: each counts for what a careful reader takes it for, or is
//! refused. Smuggling lives on spellings that one reader takes for a field and another does not.

use http::Version;

use crate::http1::{Connection, Fields, Framing, Head, Limits, Step};

/// The line with each octet in each place, and with each octet instead of each of its own.
fn misspelt(line: &str) -> impl Iterator<Item = Vec<u8>> + '_ {
    let places = (0..=line.len()).flat_map(|at| (0..=255).map(move |octet: u8| (at, octet)));
    places.flat_map(move |(at, octet)| {
        let (before, behind) = line.as_bytes().split_at(at);
        let with = |behind: &[u8]| [before, &[octet], behind].concat();
        [with(behind), with(behind.get(1..).unwrap_or_default())]
    })
}

/// What the head says; `None` where it is refused.
fn head(lines: &[&[u8]]) -> Option<Head> {
    let input = [&lines.join(&b"\r\n"[..]), &b"\r\n\r\n"[..]].concat();
    let (mut connection, mut fields) = (Connection::new(), Fields::new());
    match connection.step(&input, &Limits::default(), &mut fields) {
        Step::Head(head) => Some(head),
        Step::Refused(_) => None,
        other => panic!("{}: {other:?}", input.escape_ascii()),
    }
}

/// Checks what a head says that has `line` and `beside` in it: what a careful reader makes of the
/// value, and `otherwise` where to that reader the field has another name.
fn check<T: std::fmt::Debug + PartialEq>(
    line: &str,
    beside: &str,
    said: impl Fn(&Head) -> T,
    meant: impl Fn(&[u8]) -> Option<T>,
    otherwise: impl Fn() -> T,
) {
    let own = line.split_once(':').unwrap().0.to_lowercase();
    for line in misspelt(line) {
        let expected = field(&line).and_then(|(name, value)| match name {
            name if name == own => meant(&value),
            name if name == own.replace('-', "_") => None,
            _ => Some(otherwise()),
        });
        let found = head(&[b"POST / HTTP/1.1", b"Host: h", beside.as_bytes(), &line]);
        assert_eq!(found.as_ref().map(&said), expected, "{}", line.escape_ascii());
    }
}

/// The name in lower case and the value of a field line, where it is one.
fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_value = |octet: &u8| *octet == b'\t' || (*octet >= b' ' && *octet != 0x7f);
    let fits = is_token(name) && value.iter().all(is_value);
    fits.then(|| (String::from_utf8_lossy(name).to_lowercase(), trimmed(value).to_vec()))
}

fn is_token(name: &[u8]) -> bool {
    let is_tchar = |octet: &u8| match octet {
        b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'['..=b']' | b'{' | b'}' => false,
        octet => octet.is_ascii_graphic(),
    };
    !name.is_empty() && name.iter().all(is_tchar)
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let start = value.iter().position(|octet| !is_blank(octet)).unwrap_or(value.len());
    let end = value.iter().rposition(|octet| !is_blank(octet)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The elements of a list, in lower case, without those that are empty.
fn elements(value: &[u8]) -> Vec<Vec<u8>> {
    let elements = value.split(|octet| *octet == b',').map(trimmed);
    elements.filter(|element| !element.is_empty()).map(<[u8]>::to_ascii_lowercase).collect()
}

#[test]
fn only_what_says_chunked_is_chunked() {
    let meant = |value: &[u8]| value.eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked);
    check("Transfer-Encoding: chunked", "X: y", |head| head.framing, meant, || Framing::None);
}

#[test]
fn only_a_number_is_a_length() {
    let meant = |value: &[u8]| {
        let text = std::str::from_utf8(value).ok()?;
        let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        number.map(Framing::Length)
    };
    check("Content-Length: 50", "X: y", |head| head.framing, meant, || Framing::None);
}

#[test]
fn only_what_says_close_closes() {
    let meant = |value: &[u8]| Some(!elements(value).iter().any(|option| option == b"close"));
    check("Connection: te, close", "X: y", |head| head.keeps_alive, meant, || true);
}

#[test]
fn nothing_else_is_expected_than_to_continue() {
    let meant = |value: &[u8]| {
        let elements = elements(value);
        elements.iter().all(|element| element == b"100-continue").then_some(!elements.is_empty())
    };
    let said = |head: &Head| head.expects_continue;
    check("Expect: 100-continue", "Content-Length: 5", said, meant, || false);
}

#[test]
fn a_request_line_has_three_words() {
    for line in misspelt("GET /a HTTP/1.1") {
        let words: Vec<_> = line.split(|octet| *octet == b' ').collect();
        let [method, target, version] = words[..] else {
            assert_eq!(head(&[&line, b"Host: h"]), None, "{}", line.escape_ascii());
            continue;
        };
        let is_target = |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b'#' | b'\\');
        let fits = is_token(method)
            && target.starts_with(b"/")
            && target.iter().all(is_target)
            && matches!(version, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9']);
        let expected = match version.last() {
            Some(b'0') => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        let found = head(&[&line, b"Host: h"]).map(|head| head.version);
        assert_eq!(found, fits.then_some(expected), "{}", line.escape_ascii());
    }
}
