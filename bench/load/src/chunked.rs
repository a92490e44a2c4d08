//! The end of a chunked body: RFC 9112 section 7.1, no I/O.

use std::fmt;

/// Digits of a chunk's size; more than fit into 60 bits are no honest size.
const SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of chunk extensions or trailer fields in a row that are put up with.
const IGNORED_BYTES_MAX: u32 = 64 * 1024;

/// Finds the data in a chunked body.
///
/// ```text
///   Size ──digits, ext──► SizeEnd ──LF──► Data ──all──► DataEnd ──CRLF──► Size
///                            │ size 0
///                            ▼
///                         Trailer (line by line) ──empty line──► the end
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Of the chunk's data, not seen yet; while its size is read, the size so far.
    left: u64,
    digit_count: u8,
    ignored_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLf,
    /// At the start of a line, where an empty one ends the body.
    Trailer,
    TrailerLine,
    TrailerEnd,
}

/// What a step through the body found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So many bytes of data are next.
    Data(usize),
    /// The body ends here.
    End,
    /// Nothing more in this input.
    Nothing,
}

/// The peer's chunks make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;

impl fmt::Display for BadChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed chunk")
    }
}

impl Chunked {
    pub(crate) fn new() -> Chunked {
        Chunked { state: State::Size, left: 0, digit_count: 0, ignored_bytes: 0 }
    }

    /// Goes through `input` up to the next data or the end. Says how many bytes of framing were
    /// passed, and what follows them; data is then passed as well.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Result<(usize, Found), BadChunk> {
        let mut at = 0;
        while at < input.len() {
            if self.state == State::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let size = left.min(input.len() - at);
                self.left -= size as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                return Ok((at, Found::Data(size)));
            }
            let is_end = self.take(input[at])?;
            at += 1;
            if is_end {
                return Ok((at, Found::End));
            }
        }
        Ok((at, Found::Nothing))
    }

    /// Takes one byte of framing; says whether it is the body's last.
    fn take(&mut self, byte: u8) -> Result<bool, BadChunk> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return self.take_digit(byte),
            (State::Size | State::Extension, b'\r') if self.digit_count > 0 => State::SizeEnd,
            (State::Size | State::Extension, b'\n') => return Err(BadChunk),
            (State::Size, b';' | b' ' | b'\t') if self.digit_count > 0 => State::Extension,
            (State::Extension, _) => return self.ignore(),
            (State::SizeEnd, b'\n') if self.left > 0 => State::Data,
            (State::SizeEnd, b'\n') => State::Trailer,
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => {
                *self = Chunked::new();
                return Ok(false);
            }
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::Trailer | State::TrailerLine, b'\n') => {
                self.state = State::Trailer;
                return self.ignore();
            }
            (State::Trailer | State::TrailerLine, _) => {
                self.state = State::TrailerLine;
                return self.ignore();
            }
            (State::TrailerEnd, b'\n') => return Ok(true),
            _ => return Err(BadChunk),
        };
        Ok(false)
    }

    fn take_digit(&mut self, byte: u8) -> Result<bool, BadChunk> {
        self.digit_count += 1;
        if self.digit_count > SIZE_DIGITS_MAX {
            return Err(BadChunk);
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.left = self.left << 4 | u64::from(digit);
        Ok(false)
    }

    fn ignore(&mut self) -> Result<bool, BadChunk> {
        self.ignored_bytes += 1;
        if self.ignored_bytes > IGNORED_BYTES_MAX {
            return Err(BadChunk);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes what arrives in pieces of `piece` bytes: the data, and how much follows the end.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), BadChunk> {
        let mut chunked = Chunked::new();
        let mut data = Vec::new();
        let mut passed = 0;
        for piece in input.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (size, found) = chunked.advance(rest)?;
                rest = &rest[size..];
                passed += size;
                match found {
                    Found::Data(size) => {
                        data.extend_from_slice(&rest[..size]);
                        rest = &rest[size..];
                        passed += size;
                    }
                    Found::End => return Ok((data, Some(input.len() - passed))),
                    Found::Nothing => {}
                }
            }
        }
        Ok((data, None))
    }

    fn check(input: &str, expected: Result<(&str, Option<usize>), BadChunk>) {
        let expected = expected.map(|(data, rest)| (data.as_bytes().to_vec(), rest));
        for piece in 1..=input.len().max(1) {
            assert_eq!(decode(input.as_bytes(), piece), expected, "{input:?} by {piece}");
        }
    }

    #[test]
    fn bodies_end_where_they_end() {
        check("0\r\n\r\n", Ok(("", Some(0))));
        check("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", Some(0))));
        check("A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\nHTTP", Ok(("0123456789x", Some(4))));
        check("0001;a=\"b\"\r\nx\r\n0\r\nT: v\r\nU: w\r\n\r\n", Ok(("x", Some(0))));
        check("5\r\nhel", Ok(("hel", None)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for input in ["\r\n", "x\r\n", "5\nhello", "1\r\nab", "-1\r\n", "1000000000000000\r\n"] {
            check(input, Err(BadChunk));
        }
    }
}
