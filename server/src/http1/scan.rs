//! The strict, resumable scanner: finds the end of a head or trailer section, or its first offence.
//!
//! A head that is whole and well formed never comes here (`head.rs` reads it in one pass). What is
//! split or malformed does. The scanner looks at each byte once, in order, and its verdict is about
//! the first byte that no request could have at that place. So the verdict is a function of the
//! bytes alone, however they were cut into reads, and a byte that drips in costs one look.
//!
//! ```text
//!  head ──> Method ─SP─> Target ─SP─> Version ─CR─> LineFeed ─LF─┐
//!                                                    ^           v
//!  trailers ─────────────────────────────────────────┼────> LineStart ─CR─> LastLineFeed ─LF─> End
//!                                                    CR          │tchar
//!                                                  Value <─:─── Name
//! ```

use super::error::ProtocolError;
use super::limits::{FIELD_COUNT_CAP, HEAD_BYTES_CAP, Limits};
use super::octets::{FIELD_VALUE, TARGET, TOKEN};

/// How many times the longest method something may be long that is still taken for one.
const NOISE_FACTOR: usize = 8;

/// How far a head or trailer section was looked at, and what is expected next.
///
/// Invariant: `part <= scanned`, both offsets from the start of the section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner {
    scanned: u32,
    part: u32,
    field_count: u16,
    state: State,
}

/// The bounds of a section, and what exceeding them means.
pub(super) struct Bounds<'a> {
    pub(super) limits: &'a Limits,
    pub(super) section_bytes_max: usize,
    section_error: ProtocolError,
    pub(super) field_count_max: usize,
    field_count_error: ProtocolError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Method,
    Target,
    Version,
    OtherMajor,
    LineFeed,
    LineStart,
    Name,
    Value,
    LastLineFeed,
    End,
}

impl<'a> Bounds<'a> {
    pub(super) fn head(limits: &'a Limits) -> Self {
        Self {
            limits,
            section_bytes_max: limits.head_bytes_max.min(HEAD_BYTES_CAP),
            section_error: ProtocolError::HeadTooLarge,
            field_count_max: limits.field_count_max.min(FIELD_COUNT_CAP),
            field_count_error: ProtocolError::FieldsTooMany,
        }
    }

    pub(super) fn trailers(limits: &'a Limits) -> Self {
        Self {
            limits,
            section_bytes_max: limits.trailer_bytes_max.min(HEAD_BYTES_CAP),
            section_error: ProtocolError::TrailersTooLarge,
            field_count_max: limits.trailer_count_max.min(FIELD_COUNT_CAP),
            field_count_error: ProtocolError::TrailersTooMany,
        }
    }
}

impl Scanner {
    pub(super) const fn head() -> Self {
        Self { scanned: 0, part: 0, field_count: 0, state: State::Method }
    }

    pub(super) const fn trailers() -> Self {
        Self { scanned: 0, part: 0, field_count: 0, state: State::LineStart }
    }

    /// Looks at what is new in `section`, which always starts at the section's first byte.
    ///
    /// Returns the size of the section when its end is there, `None` when more bytes are needed.
    pub(super) fn advance(
        &mut self,
        section: &[u8],
        bounds: &Bounds<'_>,
    ) -> Result<Option<usize>, ProtocolError> {
        for byte in &section[self.scanned as usize..] {
            if self.scanned as usize >= bounds.section_bytes_max {
                return Err(bounds.section_error);
            }
            self.accept(*byte, bounds)?;
            if self.state == State::End {
                return Ok(Some(self.scanned as usize));
            }
        }
        Ok(None)
    }

    fn accept(&mut self, byte: u8, bounds: &Bounds<'_>) -> Result<(), ProtocolError> {
        let size = (self.scanned - self.part) as usize;
        let next = match self.state {
            State::Method => method(byte, size, bounds)?,
            State::Target => target(byte, size, bounds)?,
            State::Version => version(byte, size)?,
            State::OtherMajor => other_major(byte, size)?,
            State::LineFeed => line_feed(byte, State::LineStart)?,
            State::LineStart => self.line_start(byte, bounds)?,
            State::Name => name(byte, size, bounds)?,
            State::Value => value(byte, size, bounds)?,
            State::LastLineFeed => line_feed(byte, State::End)?,
            State::End => State::End,
        };
        self.scanned += 1;
        if next != self.state && matches!(next, State::Target | State::Version | State::LineStart) {
            self.part = self.scanned;
        }
        self.state = next;
        Ok(())
    }

    fn line_start(&mut self, byte: u8, bounds: &Bounds<'_>) -> Result<State, ProtocolError> {
        match byte {
            b'\r' => return Ok(State::LastLineFeed),
            // RFC 9112 section 5.2: a server must refuse obs-fold or replace it; we refuse. The
            // same check obeys section 2.2 about whitespace before the first field line.
            b' ' | b'\t' => return Err(ProtocolError::FieldFolded),
            _ => {}
        }
        if usize::from(self.field_count) >= bounds.field_count_max {
            return Err(bounds.field_count_error);
        }
        if !TOKEN.contain(byte) {
            return Err(offence(byte, ProtocolError::FieldNameInvalid));
        }
        self.field_count += 1;
        Ok(State::Name)
    }
}

// RFC 9112 section 3: a method that is longer than any implemented one is answered with 501. What
// does not even end soon is no method, but noise.
fn method(byte: u8, size: usize, bounds: &Bounds<'_>) -> Result<State, ProtocolError> {
    let size_max = bounds.limits.method_bytes_max;
    match byte {
        b' ' if size > size_max => Err(ProtocolError::MethodTooLong),
        b' ' if size > 0 => Ok(State::Target),
        _ if !TOKEN.contain(byte) => Err(offence(byte, ProtocolError::MethodInvalid)),
        _ if size >= size_max.saturating_mul(NOISE_FACTOR) => Err(ProtocolError::MethodInvalid),
        _ => Ok(State::Method),
    }
}

fn target(byte: u8, size: usize, bounds: &Bounds<'_>) -> Result<State, ProtocolError> {
    // RFC 9112 section 3: exactly one space on either side of the target. The section allows
    // lenient parsing and warns of it; a second space is refused because its octet is no target.
    if byte == b' ' && size > 0 {
        return Ok(State::Version);
    }
    if !TARGET.contain(byte) {
        return Err(offence(byte, ProtocolError::TargetInvalid));
    }
    if size >= bounds.limits.target_bytes_max {
        return Err(ProtocolError::TargetTooLong);
    }
    Ok(State::Target)
}

// RFC 9112 section 2.3: HTTP-version = "HTTP/" DIGIT "." DIGIT, case-sensitive.
fn version(byte: u8, size: usize) -> Result<State, ProtocolError> {
    let fits = match size {
        0..=4 => byte == b"HTTP/"[size],
        5 if byte.is_ascii_digit() && byte != b'1' => return Ok(State::OtherMajor),
        5 => byte == b'1',
        6 => byte == b'.',
        7 => byte.is_ascii_digit(),
        _ if byte == b'\r' => return Ok(State::LineFeed),
        _ => false,
    };
    if fits { Ok(State::Version) } else { Err(offence(byte, ProtocolError::VersionInvalid)) }
}

fn other_major(byte: u8, size: usize) -> Result<State, ProtocolError> {
    match (size, byte) {
        (6, b'.') => Ok(State::OtherMajor),
        // RFC 9110 section 15.6.6: the major version is not supported.
        (7, b'0'..=b'9') => Err(ProtocolError::VersionUnsupported),
        _ => Err(offence(byte, ProtocolError::VersionInvalid)),
    }
}

// RFC 9112 section 5.1: no whitespace between the name and the colon.
fn name(byte: u8, size: usize, bounds: &Bounds<'_>) -> Result<State, ProtocolError> {
    if !TOKEN.contain(byte) && byte != b':' {
        return Err(offence(byte, ProtocolError::FieldNameInvalid));
    }
    within_line(size, bounds)?;
    Ok(if byte == b':' { State::Value } else { State::Name })
}

fn value(byte: u8, size: usize, bounds: &Bounds<'_>) -> Result<State, ProtocolError> {
    if byte == b'\r' {
        return Ok(State::LineFeed);
    }
    if !FIELD_VALUE.contain(byte) {
        return Err(offence(byte, ProtocolError::FieldValueInvalid));
    }
    within_line(size, bounds)?;
    Ok(State::Value)
}

fn within_line(size: usize, bounds: &Bounds<'_>) -> Result<(), ProtocolError> {
    if size >= bounds.limits.field_line_bytes_max {
        return Err(ProtocolError::FieldTooLarge);
    }
    Ok(())
}

// RFC 9112 section 2.2: a bare CR is invalid wherever it stands.
fn line_feed(byte: u8, next: State) -> Result<State, ProtocolError> {
    if byte == b'\n' { Ok(next) } else { Err(ProtocolError::BareCarriageReturn) }
}

// RFC 9112 section 2.2 lets a recipient take a bare LF as a line end. We do not: two readings of
// where a line ends are what request smuggling lives on.
fn offence(byte: u8, otherwise: ProtocolError) -> ProtocolError {
    if byte == b'\n' { ProtocolError::BareLineFeed } else { otherwise }
}
