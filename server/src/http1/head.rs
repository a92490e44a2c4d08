//! Reads a whole request head in one pass: the path that every well-formed request takes.
//!
//! `read` accepts a head only when it is certain of every rule; where it is not (more bytes needed,
//! an offence, a limit hit) it says so, and the scanner gives the verdict. What a head *means* is
//! judged here, after all of its lines were found to be well formed.

use http::{Method, Version};

use super::error::ProtocolError;
use super::field_section;
use super::fields::{Fields, Span};
use super::framing::{self, Framing, Sight};
use super::host::is_authority;
use super::known::Known;
use super::limits::Limits;
use super::octets::{Octets, TARGET, TOKEN};
use super::scan::Bounds;
use super::target::{self, TargetForm};

/// A complete request head. Every span is an offset into the input of the step that returned it,
/// and lies inside its first `size` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes to consume: the head with its empty line, and empty lines before it.
    pub size: usize,
    /// The method; one that nobody registered is an extension method, for the router to refuse.
    pub method: Method,
    /// The request target as it was sent.
    pub target: Span,
    /// The form of the target.
    pub form: TargetForm,
    /// The path of the target. Empty when an absolute target has none: see [`Head::path`].
    pub path: Span,
    /// The query behind the `?`, when there is a `?`.
    pub query: Option<Span>,
    /// Host and port of the request: of an absolute target, else of the Host field. Never empty;
    /// `None` when Host is absent in HTTP/1.0, or empty beside `*`.
    pub authority: Option<Span>,
    /// HTTP/1.0, or HTTP/1.1 for this and every later minor version.
    pub version: Version,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the peer wants the connection to stay open after this exchange.
    pub keeps_alive: bool,
    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl Head {
    /// The path to route by, from the input of the step that returned this head.
    ///
    /// RFC 9110 section 4.2.3: an empty path is the same as `/`.
    #[inline]
    pub fn path<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        if self.path.is_empty() { b"/" } else { self.path.of(input) }
    }
}

/// What one look at a possible head said.
pub(super) enum Reading {
    /// Well formed and served.
    Accepted(Head),
    /// Well formed in every line, but what it says is refused.
    Refused(ProtocolError),
    /// Not whole, or not well formed: the scanner knows which.
    Uncertain,
}

struct RequestLine {
    method: Span,
    target: Span,
    version: Version,
    end: usize,
}

/// Reads the head that starts at `start` in `input`.
#[inline]
pub(super) fn read(input: &[u8], start: usize, limits: &Limits, fields: &mut Fields) -> Reading {
    let bounds = Bounds::head(limits);
    let bytes = &input[..input.len().min(start + bounds.section_bytes_max)];
    let Some(line) = request_line(bytes, start, limits) else {
        return Reading::Uncertain;
    };
    match field_section::read(bytes, line.end, &bounds, fields.start_headers()) {
        None => Reading::Uncertain,
        Some((size, known)) => match judge(bytes, &line, line.end + size, known) {
            Ok(head) => Reading::Accepted(head),
            Err(error) => Reading::Refused(error),
        },
    }
}

#[inline]
fn request_line(bytes: &[u8], start: usize, limits: &Limits) -> Option<RequestLine> {
    let method = word(&bytes[start..], limits.method_bytes_max, &TOKEN)?;
    let method = Span::new(start, start + method);
    let start = method.end as usize + 1;
    let target = word(&bytes[start..], limits.target_bytes_max, &TARGET)?;
    let target = Span::new(start, start + target);
    let start = target.end as usize + 1;
    let version = match bytes.get(start..start + 10)? {
        b"HTTP/1.1\r\n" => Version::HTTP_11,
        b"HTTP/1.0\r\n" => Version::HTTP_10,
        // RFC 9110 section 2.5: a higher minor version is served as the highest one we know.
        [name @ .., b'2'..=b'9', b'\r', b'\n'] if name == b"HTTP/1." => Version::HTTP_11,
        _ => return None,
    };
    Some(RequestLine { method, target, version, end: start + 10 })
}

/// The size of the word that `bytes` start with: one or more fitting octets, then a space.
#[inline]
fn word(bytes: &[u8], size_max: usize, fitting: &Octets) -> Option<usize> {
    let size = fitting.first_stranger(bytes)?;
    (bytes[size] == b' ' && (1..=size_max).contains(&size)).then_some(size)
}

/// Judges a head whose lines are all well formed, in a fixed order.
fn judge(
    bytes: &[u8],
    line: &RequestLine,
    size: usize,
    known: Known<'_>,
) -> Result<Head, ProtocolError> {
    let method =
        Method::from_bytes(line.method.of(bytes)).map_err(|_| ProtocolError::MethodInvalid)?;
    // RFC 9110 section 9.3.6: an origin server may leave CONNECT out.
    if method == Method::CONNECT {
        return Err(ProtocolError::ConnectUnsupported);
    }
    let target = target::read(bytes, line.target, &method)?;
    let host = host(bytes, known.host, line.version, target.form)?;
    let framing = framing::judge(known.length, known.coding, line.version)?;
    known.check()?;
    let expects_continue = known.expects_continue(line.version)? && framing.has_body();
    if known.asks_for_other_web_socket(&method, line.version) {
        return Err(ProtocolError::WebSocketVersion);
    }
    Ok(Head {
        size,
        method,
        target: line.target,
        form: target.form,
        path: target.path,
        query: target.query,
        // RFC 9112 section 3.2.2: the authority of an absolute target replaces Host.
        authority: target.authority.or(host),
        version: line.version,
        framing,
        keeps_alive: known.keeps_alive(line.version),
        expects_continue,
    })
}

// RFC 9112 section 3.2: an HTTP/1.1 request without Host, and any request with two of them or with
// an invalid value, must be answered with 400. An empty value is what a client must send when its
// target has no authority, which of ours is only `*`: RFC 9110 section 4.2.1 has a URI of http with
// an empty host rejected.
fn host(
    bytes: &[u8],
    host: Sight<&[u8]>,
    version: Version,
    form: TargetForm,
) -> Result<Option<Span>, ProtocolError> {
    match host {
        Sight::Once([]) if form == TargetForm::Asterisk => Ok(None),
        Sight::Once(value) if is_authority(value) => Ok(Some(Span::within(bytes, value))),
        Sight::Once(_) => Err(ProtocolError::HostInvalid),
        Sight::Again => Err(ProtocolError::HostRepeated),
        Sight::Never if version == Version::HTTP_10 => Ok(None),
        Sight::Never => Err(ProtocolError::HostMissing),
    }
}
