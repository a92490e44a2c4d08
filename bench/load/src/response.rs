//! Responses out of bytes: heads by `httparse`, framing by RFC 9112 section 6.3, no I/O.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use crate::chunked::{BadChunk, Chunked, Found};

/// Header fields in one head; a response with more is malformed.
const HEADERS_MAX: usize = 100;
/// Bytes of one head; a response with more is malformed.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What a head says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// Whether the server will take another request on this connection.
    pub(crate) keeps_alive: bool,
    framing: Framing,
}

/// How the body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    /// By the end of the connection.
    Close,
}

/// The next thing in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The head of a final response.
    Head(Head),
    /// A piece of the body.
    Body(&'a [u8]),
    /// The response is complete.
    End,
    /// Nothing more in this input.
    NeedMore,
}

/// The peer sent something that is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The head does not parse, is too large, or frames its body in a contradictory way.
    Head,
    /// The chunked body does not parse.
    Chunk,
    /// The connection ended within a response.
    Truncated,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Head => "malformed head",
            Malformed::Chunk => "malformed chunk",
            Malformed::Truncated => "truncated response",
        })
    }
}

impl From<BadChunk> for Malformed {
    fn from(_: BadChunk) -> Malformed {
        Malformed::Chunk
    }
}

/// The last head of a final response that was parsed, and what it said.
///
/// Most servers answer the same request with the same head for a whole second, until `Date`
/// changes. Comparing 150 bytes is a tenth of the work of parsing them, and no less exact: a head
/// ends with an empty line, so input that begins with these bytes begins with this head.
#[derive(Debug, Default)]
pub(crate) struct HeadCache {
    bytes: Vec<u8>,
    said: Option<(Head, bool)>,
}

impl HeadCache {
    fn find(&self, input: &[u8], is_head_request: bool) -> Option<(Head, usize)> {
        let (head, was_head_request) = self.said?;
        let is_same = was_head_request == is_head_request && input.starts_with(&self.bytes);
        is_same.then_some((head, self.bytes.len()))
    }

    fn keep(&mut self, bytes: &[u8], head: Head, is_head_request: bool) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.said = Some((head, is_head_request));
    }
}

/// Where in a response a connection is.
///
/// ```text
///   Head ──head──► Body ──last byte──► (End) ──► Head
///     ▲  1xx │
///     └──────┘
/// ```
#[derive(Debug)]
pub(crate) struct ResponseParser {
    state: State,
    /// A head that has begun and not ended; empty as a rule.
    partial: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunked),
    Close,
    /// All of the body was there; the end is still to be told.
    End,
}

impl ResponseParser {
    pub(crate) fn new() -> ResponseParser {
        ResponseParser { state: State::Head, partial: Vec::new() }
    }

    /// Begins with a new connection.
    pub(crate) fn reset(&mut self) {
        self.state = State::Head;
        self.partial.clear();
    }

    /// Takes the next event out of `input`, which is advanced past it.
    ///
    /// # Errors
    /// Nothing sensible can follow: the connection is to be closed.
    pub(crate) fn advance<'a>(
        &mut self,
        input: &mut &'a [u8],
        is_head_request: bool,
        cache: &mut HeadCache,
    ) -> Result<Event<'a>, Malformed> {
        match &mut self.state {
            State::Head => self.advance_head(input, is_head_request, cache),
            State::Length(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                if size == 0 {
                    return Ok(Event::NeedMore);
                }
                *left -= size as u64;
                if *left == 0 {
                    self.state = State::End;
                }
                Ok(Event::Body(take(input, size)))
            }
            State::Chunked(chunked) => {
                let (size, found) = chunked.advance(input)?;
                take(input, size);
                Ok(match found {
                    Found::Data(size) => Event::Body(take(input, size)),
                    Found::Nothing => Event::NeedMore,
                    Found::End => {
                        self.state = State::Head;
                        Event::End
                    }
                })
            }
            State::Close if input.is_empty() => Ok(Event::NeedMore),
            State::Close => Ok(Event::Body(take(input, input.len()))),
            State::End => {
                self.state = State::Head;
                Ok(Event::End)
            }
        }
    }

    /// The connection has ended; says whether that completes a response.
    ///
    /// # Errors
    /// It ended within a response.
    pub(crate) fn finish(&mut self) -> Result<bool, Malformed> {
        match self.state {
            State::Head if self.partial.is_empty() => Ok(false),
            State::Close => {
                self.reset();
                Ok(true)
            }
            _ => Err(Malformed::Truncated),
        }
    }

    fn advance_head<'a>(
        &mut self,
        input: &mut &'a [u8],
        is_head_request: bool,
        cache: &mut HeadCache,
    ) -> Result<Event<'a>, Malformed> {
        if input.is_empty() {
            return Ok(Event::NeedMore);
        }
        if self.partial.is_empty()
            && let Some((head, size)) = cache.find(input, is_head_request)
        {
            take(input, size);
            return Ok(self.begin_body(head));
        }
        loop {
            let Some((head, size)) = self.parse_head(input, is_head_request)? else {
                return Ok(Event::NeedMore);
            };
            // What was kept from earlier input is not in this one.
            let bytes = take(input, size - self.partial.len());
            if self.partial.is_empty() && head.status >= 200 {
                cache.keep(bytes, head, is_head_request);
            }
            self.partial.clear();
            // RFC 9110 section 15.2: a client MUST be able to parse interim responses; the final
            // one follows. 101 would be final, but nobody asked for an upgrade.
            if head.status >= 200 {
                return Ok(self.begin_body(head));
            }
            if head.status == 101 {
                return Err(Malformed::Head);
            }
        }
    }

    /// Parses a head from what was kept and `input`; keeps both where it is not complete.
    fn parse_head(
        &mut self,
        input: &mut &[u8],
        is_head_request: bool,
    ) -> Result<Option<(Head, usize)>, Malformed> {
        let kept = self.partial.len();
        if kept > 0 {
            self.partial.extend_from_slice(input);
        }
        let bytes = if kept > 0 { &self.partial } else { *input };
        let parsed = parse(bytes, is_head_request)?;
        if parsed.is_none() {
            if kept == 0 {
                self.partial.extend_from_slice(input);
            }
            take(input, input.len());
            if self.partial.len() > HEAD_BYTES_MAX {
                return Err(Malformed::Head);
            }
        } else {
            self.partial.truncate(kept);
        }
        Ok(parsed)
    }

    fn begin_body(&mut self, head: Head) -> Event<'static> {
        self.state = match head.framing {
            Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
            Framing::Close => State::Close,
        };
        Event::Head(head)
    }
}

fn take<'a>(input: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(size);
    *input = rest;
    taken
}

/// Parses a head; `None` where it has no end yet.
fn parse(bytes: &[u8], is_head_request: bool) -> Result<Option<(Head, usize)>, Malformed> {
    // Left uninitialised: clearing them would cost more than parsing does.
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let status = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, bytes, &mut headers)
        .map_err(|_| Malformed::Head)?;
    let Status::Complete(size) = status else {
        return Ok(None);
    };
    let (Some(code), Some(version)) = (response.code, response.version) else {
        return Err(Malformed::Head);
    };
    let fields = Fields::read(response.headers)?;
    let has_no_body = is_head_request || code < 200 || code == 204 || code == 304;
    let framing = match (&fields, has_no_body) {
        // RFC 9112 section 6.3, rule 1.
        (_, true) => Framing::Length(0),
        // Rule 4: chunked, or whatever ends with the connection. Both fields at once are an
        // attempt at smuggling, which rule 3 says ought to be handled as an error.
        (Fields { coding: Some(_), length: Some(_), .. }, _) => return Err(Malformed::Head),
        (Fields { coding: Some(Coding::Chunked), .. }, _) => Framing::Chunked,
        (Fields { coding: Some(Coding::Other), .. }, _) => Framing::Close,
        // Rules 6 and 8.
        (Fields { length: Some(length), .. }, _) => Framing::Length(*length),
        _ => Framing::Close,
    };
    // RFC 9112 section 9.3: HTTP/1.1 persists unless it says close; HTTP/1.0 the reverse.
    let keeps_alive = match version {
        1 => !fields.says_close,
        _ => fields.says_keep_alive && !fields.says_close,
    };
    let head =
        Head { status: code, keeps_alive: keeps_alive && framing != Framing::Close, framing };
    Ok(Some((head, size)))
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    Chunked,
    Other,
}

/// The fields that say where a response, and its connection, ends.
#[derive(Debug, Default)]
struct Fields {
    length: Option<u64>,
    coding: Option<Coding>,
    says_close: bool,
    says_keep_alive: bool,
}

impl Fields {
    fn read(headers: &[Header<'_>]) -> Result<Fields, Malformed> {
        let mut fields = Fields::default();
        for header in headers {
            // By size first: almost no field has one of these.
            match header.name.len() {
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    let length = parse_length(header.value).ok_or(Malformed::Head)?;
                    // Rule 5: different lengths are an unrecoverable error.
                    if fields.length.is_some_and(|known| known != length) {
                        return Err(Malformed::Head);
                    }
                    fields.length = Some(length);
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    // The last coding is the outermost, and the one that frames.
                    fields.coding = Some(match tokens(header.value).last() {
                        Some(last) if last.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
                        _ => Coding::Other,
                    });
                }
                10 if header.name.eq_ignore_ascii_case("connection") => {
                    for token in tokens(header.value) {
                        fields.says_close |= token.eq_ignore_ascii_case(b"close");
                        fields.says_keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// Digits only: `str::parse` would take a sign.
fn parse_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then_some(())?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and body of each response, then how the connection ends.
    type Outcome = (Vec<(u16, String, bool)>, Result<bool, Malformed>);

    fn parse_pieces(input: &[u8], piece: usize, is_head_request: bool) -> Outcome {
        let mut parser = ResponseParser::new();
        let mut cache = HeadCache::default();
        let (mut responses, mut body, mut head) = (Vec::new(), Vec::new(), None);
        let mut end = |head: &mut Option<Head>, body: &mut Vec<u8>| {
            let head: Head = head.take().expect("a head before the end");
            let text = String::from_utf8(std::mem::take(body)).expect("UTF-8");
            responses.push((head.status, text, head.keeps_alive));
        };
        for piece in input.chunks(piece) {
            let mut rest = piece;
            loop {
                match parser.advance(&mut rest, is_head_request, &mut cache) {
                    Ok(Event::Head(new)) => head = Some(new),
                    Ok(Event::Body(bytes)) => body.extend_from_slice(bytes),
                    Ok(Event::End) => end(&mut head, &mut body),
                    Ok(Event::NeedMore) => break,
                    Err(error) => return (responses, Err(error)),
                }
            }
            assert!(rest.is_empty());
        }
        let finished = parser.finish();
        if finished == Ok(true) {
            end(&mut head, &mut body);
        }
        (responses, finished)
    }

    /// Whole, byte by byte, and in pieces of every size between.
    fn check_request(
        is_head_request: bool,
        input: &str,
        responses: &[(u16, &str, bool)],
        finished: Result<bool, Malformed>,
    ) {
        let responses: Vec<_> = responses
            .iter()
            .map(|(status, body, keeps_alive)| (*status, (*body).to_owned(), *keeps_alive))
            .collect();
        for piece in 1..=input.len().max(1) {
            let outcome = parse_pieces(input.as_bytes(), piece, is_head_request);
            assert_eq!(outcome, (responses.clone(), finished), "{input:?} by {piece}");
        }
    }

    fn check(input: &str, responses: &[(u16, &str, bool)], finished: Result<bool, Malformed>) {
        check_request(false, input, responses, finished);
    }

    #[test]
    fn lengths_end_bodies() {
        let one = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello";
        check(one, &[(200, "hello", true)], Ok(false));
        check(&one.repeat(3), &[(200, "hello", true); 3], Ok(false));
        check("HTTP/1.1 404 \r\ncontent-length: 0\r\n\r\n", &[(404, "", true)], Ok(false));
    }

    #[test]
    fn chunks_end_bodies() {
        let one = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n\
                   3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: u\r\n\r\n";
        check(&one.repeat(2), &[(200, "abcde", true); 2], Ok(false));
    }

    #[test]
    fn the_end_of_the_connection_ends_bodies() {
        check("HTTP/1.1 200 OK\r\n\r\nabc", &[(200, "abc", false)], Ok(true));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", &[(200, "", false)], Ok(true));
    }

    #[test]
    fn some_responses_have_no_body() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        check_request(true, &head.repeat(2), &[(200, "", true); 2], Ok(false));
        check(
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            &[(204, "", true), (304, "", true)],
            Ok(false),
        );
    }

    #[test]
    fn interim_responses_are_passed() {
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            &[(200, "x", true)],
            Ok(false),
        );
    }

    #[test]
    fn persistence_is_as_the_head_says() {
        let check = |version: &str, field: &str, keeps_alive| {
            let input = format!("HTTP/1.{version} 200 OK\r\n{field}Content-Length: 0\r\n\r\n");
            check(&input, &[(200, "", keeps_alive)], Ok(false));
        };
        check("1", "", true);
        check("1", "Connection: a, CLOSE\r\n", false);
        check("0", "", false);
        check("0", "Connection: Keep-Alive\r\n", true);
    }

    #[test]
    fn malformed_responses_are_refused() {
        for (input, error) in [
            ("HTTQ/1.1 200 OK\r\n\r\n", Malformed::Head),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Malformed::Head),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", Malformed::Head),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Malformed::Head),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Malformed::Head,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", Malformed::Chunk),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", Malformed::Truncated),
            ("HTTP/1.1 200", Malformed::Truncated),
        ] {
            check(input, &[], Err(error));
        }
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse_pieces(endless.as_bytes(), 1000, false).1, Err(Malformed::Head));
    }

    #[test]
    fn a_known_head_is_not_mistaken_for_another() {
        let a = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        let b = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world";
        check(
            &format!("{a}{b}{b}{a}{a}"),
            &[
                (200, "x", true),
                (200, "hello world", true),
                (200, "hello world", true),
                (200, "x", true),
                (200, "x", true),
            ],
            Ok(false),
        );
    }
}
