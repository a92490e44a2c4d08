//! What a handler returns, and how it becomes bytes in the connection's send buffer.
//!
//! A response is written straight into the send buffer as soon as the handler returns it: text is
//! copied once, JSON is serialised in place, and only what is large or not there yet (shared bytes,
//! streams) is left for the connection to send behind the head.

use std::mem;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::body::{Body, BodyStream};
use crate::content_type::ContentType;
use crate::date::Start;
use crate::faults::{note_unsent, route};
use crate::http1::encode::{self, BodyRule, LengthSlot};

/// Shared bytes below this are copied behind the head: one send instead of two.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// A whole response as a value: for middleware, and for handlers that build it piece by piece.
#[derive(Debug, Default)]
pub struct Response {
    /// The status; 200 by default.
    pub status: StatusCode,
    /// The fields. Those about framing and the connection are the server's own business and are
    /// left out when the response is sent: `Content-Length` (save of a response to HEAD that has no
    /// content to be measured), `Transfer-Encoding`, `Trailer`, `Connection` (save `close`, which
    /// is obeyed), `Keep-Alive`, `Proxy-Connection`, `Date` and `Server`. So is what describes the
    /// content of a 304, which has none; middleware learns from it what the 200 would be like.
    pub headers: HeaderMap,
    /// The content.
    pub body: Body,
}

impl Response {
    /// An empty response with a status.
    pub fn new(status: StatusCode) -> Response {
        Response { status, ..Response::default() }
    }

    /// The same response with a field, in the place of those with its name.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Response {
        self.headers.insert(name, value);
        self
    }
}

/// Turns into a response. Implement [`into_response`](IntoResponse::into_response) for your types.
pub trait IntoResponse: Sized {
    /// The response as a value.
    fn into_response(self) -> Response;

    /// Writes the response. The types of this crate that can be written without becoming a
    /// [`Response`] first do so here.
    #[doc(hidden)]
    fn respond(self, responder: &mut Responder<'_>) {
        responder.response(self.into_response());
    }
}

/// What a response must know of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFacts {
    pub(crate) is_head: bool,
    pub(crate) version: Version,
    pub(crate) keeps_alive: bool,
    /// Whether the connection ends after an answer that does not read the request's body on: so
    /// much of it, or nobody knows how much, is still to come.
    pub(crate) closes_unread: bool,
}

/// What is left to do once the head, and perhaps the content, is in the send buffer.
pub(crate) enum Rest {
    Nothing,
    /// Bytes to send behind the buffer.
    Shared(Bytes),
    /// Content that is produced while it is sent.
    Stream {
        stream: BodyStream,
        coding: StreamCoding,
    },
}

/// How the end of a stream is told to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamCoding {
    /// By chunks.
    Chunked,
    /// By the length in the head: so many bytes are left.
    Length(u64),
    /// By the end of the connection (HTTP/1.0).
    Close,
}

/// Writes one response into the send buffer.
pub struct Responder<'a> {
    out: &'a mut Vec<u8>,
    /// Where this response starts in `out`.
    start: usize,
    facts: RequestFacts,
    common: Start<'a>,
    status: Option<StatusCode>,
    /// Fields of the application; most answers have none.
    headers: Option<HeaderMap>,
    rest: Rest,
    written: Option<StatusCode>,
    /// What a response to HEAD says of content that it was not made with; zero where nothing.
    length_of_get: u64,
}

impl<'a> Responder<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, facts: RequestFacts, common: Start<'a>) -> Self {
        Responder {
            start: out.len(),
            out,
            facts,
            common,
            status: None,
            headers: None,
            rest: Rest::Nothing,
            written: None,
            length_of_get: 0,
        }
    }

    /// The status that was written, whether the connection stays open, and what is left to send.
    ///
    /// Called last, and yet not given the responder: that would be moved here for it, and is large.
    pub(crate) fn finish(&mut self) -> (StatusCode, bool, Rest) {
        let status = self.written.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.facts.keeps_alive, mem::replace(&mut self.rest, Rest::Nothing))
    }

    /// Overrides the status of what is written next.
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.status.get_or_insert(status);
    }

    /// Adds fields to what is written next. What is there was added by somebody further outside,
    /// and wins over a field of the same name.
    pub(crate) fn add_headers(&mut self, mut headers: HeaderMap) {
        if let Some(outer) = self.headers.take() {
            headers.extend(outer);
        }
        if !headers.is_empty() {
            self.headers = Some(headers);
        }
    }

    pub(crate) fn close(&mut self) {
        self.facts.keeps_alive = false;
    }

    /// Takes back what was written of this response, and writes a 500 that closes instead.
    #[cold]
    pub(crate) fn fail(&mut self) {
        self.out.truncate(self.start);
        (self.status, self.rest, self.length_of_get) = (None, Rest::Nothing, 0);
        self.headers = None;
        self.close();
        crate::problem::Problem::new(StatusCode::INTERNAL_SERVER_ERROR).respond(self);
    }

    /// Writes a response whose content is there.
    pub(crate) fn content(
        &mut self,
        status: StatusCode,
        content_type: ContentType,
        content: &[u8],
    ) {
        let rule = self.head(status, content_type);
        self.end_head(rule, content.len() as u64);
        if rule.sends_content() {
            self.out.extend_from_slice(content);
        } else if !content.is_empty() {
            note_unsent(rule, status);
        }
    }

    /// Writes a response whose content is serialised behind its head by `write`.
    pub(crate) fn serialize<E: std::fmt::Display>(
        &mut self,
        status: StatusCode,
        content_type: ContentType,
        size_guess: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> usize {
        let rule = self.head(status, content_type);
        if !rule.may_have_length() {
            encode::end_head(self.out);
            note_unsent(rule, status);
            return 0;
        }
        let slot = LengthSlot::reserve(self.out, size_guess);
        let content_start = slot.body_start();
        if let Err(error) = write(self.out) {
            tracing::error!(%error, route = route(), "a response can not be serialised");
            self.fail();
            return 0;
        }
        let size = slot.body_size(self.out);
        if rule == BodyRule::Empty {
            self.out.truncate(content_start);
        }
        let filled = slot.fill(self.out);
        if !rule.sends_content() {
            self.out.truncate(self.out.len() - filled);
        }
        size
    }

    /// Writes a response whose fields are ready lines, and whose content somebody else keeps as
    /// well.
    pub(crate) fn prepared(&mut self, status: StatusCode, lines: &[u8], content: &Bytes) {
        let rule = self.head(status, ContentType::NONE);
        self.out.extend_from_slice(lines);
        self.end_head(rule, content.len() as u64);
        if rule.sends_content() {
            self.share(content.clone());
        }
    }

    /// Sends content that is there: small content with its head, large content without a copy.
    fn share(&mut self, content: Bytes) {
        if content.len() < COPY_BYTES_MAX {
            self.out.extend_from_slice(&content);
        } else {
            self.rest = Rest::Shared(content);
        }
    }

    /// Writes a response value.
    pub(crate) fn response(&mut self, response: Response) {
        let Response { status, headers, body } = response;
        self.add_headers(headers);
        match body {
            Body::Empty => self.content(status, ContentType::NONE, b""),
            Body::Bytes(bytes) if bytes.len() < COPY_BYTES_MAX => {
                self.content(status, ContentType::NONE, &bytes)
            }
            Body::Bytes(bytes) => {
                let rule = self.head(status, ContentType::NONE);
                self.end_head(rule, bytes.len() as u64);
                if rule.sends_content() {
                    self.rest = Rest::Shared(bytes);
                } else {
                    note_unsent(rule, status);
                }
            }
            Body::Stream(stream) => self.stream(status, stream),
        }
    }

    fn stream(&mut self, status: StatusCode, stream: BodyStream) {
        let status = self.final_status(status);
        let rule = BodyRule::of(self.facts.is_head, status, self.facts.version);
        let coding = match stream.size() {
            Some(size) => StreamCoding::Length(size),
            None if rule == BodyRule::Empty => StreamCoding::Length(0),
            None if rule.may_chunk() => StreamCoding::Chunked,
            None => StreamCoding::Close,
        };
        if coding == StreamCoding::Close && rule.sends_content() {
            self.close();
        }
        // The stream may be made of the body.
        self.facts.closes_unread &= !rule.sends_content();
        let rule = self.head(status, ContentType::NONE);
        match coding {
            StreamCoding::Length(size) => self.end_head(rule, size),
            // RFC 9112 section 6.1: never to HTTP/1.0, and not where no content may follow.
            StreamCoding::Chunked => {
                encode::transfer_encoding(self.out);
                if let Some(names) = stream.announcement() {
                    encode::field(self.out, &header::TRAILER, &names);
                }
                encode::end_head(self.out);
            }
            StreamCoding::Close => encode::end_head(self.out),
        }
        if rule.sends_content() {
            self.rest = Rest::Stream { stream, coding };
        } else {
            note_unsent(rule, status);
        }
    }

    /// The status that counts. An interim one is no answer: the peer would wait for the real one.
    /// RFC 9110 section 15: from 600 on there is none.
    #[inline]
    fn final_status(&mut self, status: StatusCode) -> StatusCode {
        let status = self.status.take().unwrap_or(status);
        if (200..600).contains(&status.as_u16()) { status } else { self.no_final_status(status) }
    }

    #[cold]
    fn no_final_status(&self, status: StatusCode) -> StatusCode {
        let kind = match status.as_u16() {
            ..200 => "an interim status",
            _ => "a status that HTTP does not have",
        };
        tracing::error!(%status, route = route(), "a handler answered with {kind}");
        StatusCode::INTERNAL_SERVER_ERROR
    }

    /// Everything of the head but the fields about the content's size.
    fn head(&mut self, status: StatusCode, content_type: ContentType) -> BodyRule {
        let status = self.final_status(status);
        self.written = Some(status);
        self.facts.keeps_alive &= !self.facts.closes_unread;
        let rule = BodyRule::of(self.facts.is_head, status, self.facts.version);
        let headers = self.headers.take().map(|headers| self.obeyed(headers, status, rule));
        self.common.write(self.out, status);
        let has = |name| headers.as_ref().is_some_and(|all| all.contains_key(name));
        if has(header::UPGRADE) {
            encode::connection_to_upgrade(self.out, self.facts.version, self.facts.keeps_alive);
        } else {
            encode::connection(self.out, self.facts.version, self.facts.keeps_alive);
        }
        if !has(header::CONTENT_TYPE) && rule.may_have_length() {
            content_type.write(self.out);
        }
        if let Some(headers) = &headers {
            for (name, value) in headers.iter().filter(|(name, _)| !is_ours(name)) {
                encode::field(self.out, name, value);
            }
        }
        rule
    }

    /// The application's fields, after the server has done what they ask of it.
    fn obeyed(&mut self, mut headers: HeaderMap, status: StatusCode, rule: BodyRule) -> HeaderMap {
        if asks_to_close(&headers) {
            self.facts.keeps_alive = false;
        }
        drop_repeated_fields(&mut headers);
        // RFC 9110 section 15.4.5: the client has these beside its content already.
        if status == StatusCode::NOT_MODIFIED {
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                headers.remove(name);
            }
        }
        // RFC 9110 section 9.3.2: a handler of HEAD alone has no content to be measured. What it
        // says of GET's is all that is known.
        if matches!(rule, BodyRule::FieldsOnly | BodyRule::FieldsOnlyUnchunked) {
            let said = headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok());
            self.length_of_get = said.and_then(|said| said.parse().ok()).unwrap_or(0);
        }
        headers
    }

    fn end_head(&mut self, rule: BodyRule, size: u64) {
        if rule.may_have_length() {
            let size = if size == 0 { self.length_of_get } else { size };
            let size = if rule == BodyRule::Empty { 0 } else { size };
            encode::content_length_and_end(self.out, size);
        } else {
            encode::end_head(self.out);
        }
    }
}

fn asks_to_close(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONNECTION).iter();
    values.any(|value| {
        let options = value.as_bytes().split(|byte| *byte == b',');
        options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(b"close"))
    })
}

// RFC 9110 section 5.3: only a field that is a list may be repeated. The last one counts.
fn drop_repeated_fields(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    const SINGLE: [HeaderName; 11] = [
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::CONTENT_DISPOSITION,
        header::CONTENT_LOCATION,
        header::ETAG,
        header::LAST_MODIFIED,
        header::LOCATION,
        header::RETRY_AFTER,
        header::AGE,
        header::EXPIRES,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ];
    for name in SINGLE {
        let last = headers.get_all(&name).iter().next_back().cloned();
        if let Some(last) = last {
            headers.insert(name, last);
        }
    }
}

/// Whether the server writes the field itself, or nobody does.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [HeaderName; 6] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::CONNECTION,
        header::DATE,
        header::SERVER,
    ];
    // RFC 9110 section 7.6.1: two are about a connection, and a handler has them from another one.
    OURS.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}
