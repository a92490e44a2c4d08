//! The chunked transfer coding, taken apart as it arrives: strict, resumable, without a buffer.
//!
//! ```text
//!  Start ─hex─> Size ─CR─> LineFeed ─LF─┬─ size > 0 ─> Data ─all bytes─> DataReturn ─┐
//!    ^           │                      │                                            CR
//!    │           │                      └─ size = 0 ─> Trailers ─empty line─> end    v
//!    └─LF────────┼──────────────────────────────────────────────────────────── DataLineFeed
//!                │
//!                └─;─> NameStart ─tchar─> Name ─=─> ValueStart ─┬─tchar─> Token
//!                                                               └─"─> Quoted ─"─> QuotedEnd
//!
//!  Name, Token and QuotedEnd go on to NameStart at ";" and to LineFeed at CR; in Quoted, a
//!  backslash leads through Escaped and back.
//! ```

use super::connection::Step;
use super::error::ProtocolError;
use super::field_section;
use super::fields::Fields;
use super::known::Known;
use super::limits::Limits;
use super::octets::{QUOTED, TOKEN};
use super::scan::{Bounds, Scanner};

/// The most digits of a chunk size: 64 bits. More are refused even when they are zeros.
const SIZE_DIGITS_MAX: u32 = 16;

/// The decoder of one chunked body.
///
/// Invariant: `received <= body_bytes_max`, where `received` counts the sizes that were announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    /// The size being read, then the bytes of the chunk that are still to come.
    remaining: u64,
    received: u64,
    body_bytes_max: u64,
    extension_bytes: u32,
    line_bytes: u32,
    trailers: Scanner,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Size,
    NameStart,
    Name,
    ValueStart,
    Token,
    Quoted,
    Escaped,
    QuotedEnd,
    LineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self {
            remaining: 0,
            received: 0,
            body_bytes_max: u64::MAX,
            extension_bytes: 0,
            line_bytes: 0,
            trailers: Scanner::trailers(),
            state: State::Start,
        }
    }

    /// Bounds the content, before any of it.
    pub(super) const fn limit(&mut self, body_bytes_max: u64) {
        self.body_bytes_max = body_bytes_max;
    }

    /// Goes on in `input`, up to the next data, the end of the body, or the end of the input.
    pub(super) fn step(
        &mut self,
        input: &[u8],
        limits: &Limits,
        fields: &mut Fields,
    ) -> Result<Step, ProtocolError> {
        for (at, byte) in input.iter().enumerate() {
            match self.state {
                State::Data => return Ok(self.data(at, input.len() - at)),
                State::Trailers => return self.trailers(input, at, limits, fields),
                _ => self.state = self.accept(*byte, limits)?,
            }
        }
        Ok(Step::NeedMore { consumed: input.len() })
    }

    /// `available >= 1`, and in this state `remaining >= 1`: there is content.
    fn data(&mut self, skip: usize, available: usize) -> Step {
        let size = available.min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        self.remaining -= size as u64;
        if self.remaining == 0 {
            self.state = State::DataReturn;
        }
        Step::Data { skip, size }
    }

    fn accept(&mut self, byte: u8, limits: &Limits) -> Result<State, ProtocolError> {
        match self.state {
            State::LineFeed => self.line_end(byte),
            // RFC 9112 section 7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF.
            State::DataReturn if byte == b'\r' => Ok(State::DataLineFeed),
            State::DataLineFeed if byte == b'\n' => Ok(State::Start),
            State::DataReturn | State::DataLineFeed => Err(ProtocolError::ChunkEndInvalid),
            _ => self.size_line(byte, limits),
        }
    }

    fn size_line(&mut self, byte: u8, limits: &Limits) -> Result<State, ProtocolError> {
        let next = match self.state {
            State::Start | State::Size => self.size(byte)?,
            state => extension(state, byte)?,
        };
        if next == State::LineFeed {
            return Ok(next);
        }
        self.line_bytes += 1;
        if self.line_bytes as usize > limits.chunk_line_bytes_max {
            return Err(ProtocolError::ChunkLineTooLong);
        }
        // Extensions are ignored, so a peer could send them for ever beside one byte of content.
        self.extension_bytes += u32::from(next != State::Size);
        if self.extension_bytes as usize > limits.chunk_extension_bytes_max {
            return Err(ProtocolError::ChunkExtensionsTooLarge);
        }
        Ok(next)
    }

    fn size(&mut self, byte: u8) -> Result<State, ProtocolError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b';' if self.state == State::Size => return Ok(State::NameStart),
            b'\r' if self.state == State::Size => return Ok(State::LineFeed),
            b'\n' => return Err(ProtocolError::BareLineFeed),
            _ => return Err(ProtocolError::ChunkSizeInvalid),
        };
        // RFC 9112 section 7.1: a recipient must anticipate large sizes and prevent overflows.
        if self.line_bytes >= SIZE_DIGITS_MAX {
            return Err(ProtocolError::ChunkSizeInvalid);
        }
        self.remaining = (self.remaining << 4) + u64::from(digit);
        Ok(State::Size)
    }

    fn line_end(&mut self, byte: u8) -> Result<State, ProtocolError> {
        if byte != b'\n' {
            return Err(ProtocolError::BareCarriageReturn);
        }
        self.line_bytes = 0;
        if self.remaining == 0 {
            return Ok(State::Trailers);
        }
        let received = self.received.checked_add(self.remaining);
        match received.filter(|received| *received <= self.body_bytes_max) {
            Some(received) => self.received = received,
            None => return Err(ProtocolError::ContentTooLarge),
        }
        Ok(State::Data)
    }

    // RFC 9112 section 7.1.2: trailer-section = *( field-line CRLF ), closed by an empty line.
    fn trailers(
        &mut self,
        input: &[u8],
        start: usize,
        limits: &Limits,
        fields: &mut Fields,
    ) -> Result<Step, ProtocolError> {
        let bounds = Bounds::trailers(limits);
        let Some(size) = self.trailers.advance(&input[start..], &bounds)? else {
            return Ok(Step::NeedMore { consumed: start });
        };
        // The two readings would have to disagree; a test holds them together.
        let (list, known) = (fields.start_trailers(), &mut Known::default());
        field_section::read(&input[..start + size], start, &bounds, list, known)
            .ok_or(ProtocolError::HeadInvalid)?;
        Ok(Step::End { consumed: start + size })
    }
}

// RFC 9112 section 7.1.1: chunk-ext = *( ";" name [ "=" ( token / quoted-string ) ] ). The grammar
// also has "bad whitespace" around the signs, which senders must not generate; we refuse it, as we
// refuse every other octet that has no place here (section 7.1: each line ends with CRLF).
fn extension(state: State, byte: u8) -> Result<State, ProtocolError> {
    let is_token = TOKEN.contain(byte);
    match (state, byte) {
        (State::Name | State::Token | State::QuotedEnd, b'\r') => Ok(State::LineFeed),
        (State::Name | State::Token | State::QuotedEnd, b';') => Ok(State::NameStart),
        (State::NameStart | State::Name, _) if is_token => Ok(State::Name),
        (State::Name, b'=') => Ok(State::ValueStart),
        (State::ValueStart, b'"') => Ok(State::Quoted),
        (State::ValueStart | State::Token, _) if is_token => Ok(State::Token),
        (State::Quoted, b'"') => Ok(State::QuotedEnd),
        (State::Quoted, b'\\') => Ok(State::Escaped),
        (State::Quoted, _) if QUOTED.contain(byte) => Ok(State::Quoted),
        (State::Escaped, b'"' | b'\\') => Ok(State::Quoted),
        (State::Escaped, _) if QUOTED.contain(byte) => Ok(State::Quoted),
        (_, b'\n') => Err(ProtocolError::BareLineFeed),
        _ => Err(ProtocolError::ChunkExtensionInvalid),
    }
}
