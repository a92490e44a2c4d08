//! Reads a whole request head in one pass: the path that every well-formed request takes.
//!
//! `read` accepts a head only when it is certain of every rule; where it is not (more bytes needed,
//! an offence, a limit hit) it says so, and the scanner gives the verdict. What a head *means* is
//! judged here, after all of its lines were found to be well formed.

use http::{Method, Version};

use super::error::ProtocolError;
use super::field_section;
use super::fields::{Fields, LastHost, Span};
use super::framing::{self, Framing, Sight};
use super::host::is_authority;
use super::known::Known;
use super::limits::Limits;
use super::octets::{Octets, PATH, TARGET, TOKEN};
use super::scan::Bounds;
use super::sixteen;
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
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) enum Reading {
    /// Well formed and served.
    Accepted(Head),
    /// Well formed in every line, but what it says is refused.
    Refused(ProtocolError),
    /// Not whole, or not well formed: the scanner knows which.
    Uncertain,
}

struct RequestLine {
    method: Method,
    target: Span,
    /// Where the first `?` of the target stands; its end where there is none.
    path_end: u32,
    version: Version,
    end: usize,
}

/// Reads the head that starts at `start` in `input`; with `IS_GET` one of which [`is_get`] has said
/// so. A method that is known beforehand is never moved, and neither is what depends on it.
///
/// Part of the one look that most heads get: in one piece with its caller, a head is not moved from
/// one result into the next.
#[inline(always)]
pub(super) fn read<const IS_GET: bool>(
    input: &[u8],
    start: usize,
    limits: &Limits,
    fields: &mut Fields,
) -> Reading {
    let bounds = Bounds::head(limits);
    let bytes = &input[..input.len().min(start + bounds.section_bytes_max)];
    let Some(line) = request_line::<IS_GET>(bytes, start, limits) else {
        return Reading::Uncertain;
    };
    let (list, mut known) = (fields.start_headers(), Known::default());
    let Some(size) = field_section::read(bytes, line.end, &bounds, list, &mut known) else {
        return Reading::Uncertain;
    };
    let size = line.end + size;
    match judge::<IS_GET>(bytes, line, size, &known, &mut fields.host) {
        Ok(head) => Reading::Accepted(head),
        Err(error) => Reading::Refused(error),
    }
}

#[inline(always)]
fn request_line<const IS_GET: bool>(
    bytes: &[u8],
    start: usize,
    limits: &Limits,
) -> Option<RequestLine> {
    let (method, method_end) =
        if IS_GET { (Method::GET, start + 3) } else { method(bytes, start, limits)? };
    let path = path(bytes, method_end + 1)?;
    let target = match bytes[path.end as usize] {
        b'?' => Span { start: path.start, ..word(bytes, path.end as usize, &TARGET)? },
        _ => path,
    };
    if bytes[target.end as usize] != b' ' || target.is_empty() {
        return None;
    }
    if target.size() > limits.target_bytes_max {
        return None;
    }
    let start = target.end as usize + 1;
    let version = bytes.get(start..)?.first_chunk::<10>()?;
    // A comparison of the whole is two instructions, a pattern one for each octet.
    let version =
        if *version == *b"HTTP/1.1\r\n" { Version::HTTP_11 } else { other_version(version)? };
    Some(RequestLine { method, target, path_end: path.end, version, end: start + 10 })
}

/// Whether the method is GET, which most are.
#[inline(always)]
pub(super) fn is_get(input: &[u8], limits: &Limits) -> bool {
    input.starts_with(b"GET ") && limits.method_bytes_max >= 3
}

/// The method, and where the space behind it stands.
#[inline(always)]
fn method(bytes: &[u8], start: usize, limits: &Limits) -> Option<(Method, usize)> {
    let method = word(bytes, start, &TOKEN)?;
    let is_fit = (1..=limits.method_bytes_max).contains(&method.size());
    if !is_fit || bytes[method.end as usize] != b' ' {
        return None;
    }
    Some((Method::from_bytes(method.of(bytes)).ok()?, method.end as usize))
}

#[cold]
fn other_version(version: &[u8; 10]) -> Option<Version> {
    match version {
        b"HTTP/1.0\r\n" => Some(Version::HTTP_10),
        // RFC 9110 section 2.5: a higher minor version is served as the highest one we know.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9', b'\r', b'\n'] => {
            Some(Version::HTTP_11)
        }
        _ => None,
    }
}

/// The path from `start` on, up to an octet that does not belong to it and is there.
#[inline(always)]
fn path(bytes: &[u8], start: usize) -> Option<Span> {
    let mut at = start;
    while let Some(octets) = bytes.get(at..)?.first_chunk() {
        match sixteen::first_stranger_to_path(octets) {
            None => at += octets.len(),
            Some(index) => return Some(Span::new(start, at + index)),
        }
    }
    Some(Span { start: start as u32, ..word(bytes, at, &PATH)? })
}

/// The fitting octets from `start` on, up to one that does not fit and is there.
#[inline(always)]
fn word(bytes: &[u8], start: usize, fitting: &Octets) -> Option<Span> {
    let size = fitting.first_stranger(bytes.get(start..)?)?;
    Some(Span::new(start, start + size))
}

/// Judges a head whose lines are all well formed, in a fixed order.
#[inline(always)]
fn judge<const IS_GET: bool>(
    bytes: &[u8],
    line: RequestLine,
    size: usize,
    known: &Known<'_>,
    last_host: &mut LastHost,
) -> Result<Head, ProtocolError> {
    let method = line.method;
    // RFC 9110 section 9.3.6: an origin server may leave CONNECT out.
    if method == Method::CONNECT {
        return Err(ProtocolError::ConnectUnsupported);
    }
    let target = target::read(bytes, line.target, line.path_end, &method)?;
    let host = match known.host {
        Sight::Once(value) if last_host.is(value) => Some(Span::within(bytes, value)),
        other => host(bytes, other, line.version, target.form, last_host)?,
    };
    let framing = framing::judge(&known.length, &known.coding, line.version)?;
    known.check()?;
    let expects_continue = known.expects_continue(line.version)? && framing.has_body();
    if known.asks_for_other_web_socket(&method, line.version) {
        return Err(ProtocolError::WebSocketVersion);
    }
    Ok(Head {
        size,
        method: if IS_GET { Method::GET } else { method },
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
#[inline(never)]
fn host(
    bytes: &[u8],
    host: Sight<&[u8]>,
    version: Version,
    form: TargetForm,
    last: &mut LastHost,
) -> Result<Option<Span>, ProtocolError> {
    match host {
        Sight::Once([]) if form == TargetForm::Asterisk => Ok(None),
        Sight::Once(value) if is_authority(value) => {
            last.remember(value);
            Ok(Some(Span::within(bytes, value)))
        }
        Sight::Once(_) => Err(ProtocolError::HostInvalid),
        Sight::Again => Err(ProtocolError::HostRepeated),
        Sight::Never if version == Version::HTTP_10 => Ok(None),
        Sight::Never => Err(ProtocolError::HostMissing),
    }
}
