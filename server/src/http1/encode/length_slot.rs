//! Content-Length for a body that is serialised straight behind its head.

use std::ops::Range;

/// The place of a Content-Length whose value is not known yet.
///
/// The field is the last one of its head. Its digits are guessed, the body is written behind the
/// head, and [`LengthSlot::fill`] puts the true size in. When the guess had as many digits as the
/// truth, nothing moves; otherwise the body is shifted by the difference, so that the number on the
/// wire never has padding (`005` is refused by strict parsers, this one included).
#[derive(Debug)]
#[must_use = "a slot that is not filled leaves a wrong length on the wire"]
pub struct LengthSlot {
    /// Where the digits start in the buffer.
    start: usize,
    /// Digits that were left room for: `1 <= digit_count <= 20`.
    digit_count: usize,
}

const NAME: &[u8] = b"content-length: ";
const END: &[u8] = b"\r\n\r\n";

impl LengthSlot {
    /// Appends the field and the end of the head, with room for as many digits as `size_guess` has.
    ///
    /// A good guess is the size of the last body of the same route.
    #[inline]
    pub fn reserve(out: &mut Vec<u8>, size_guess: usize) -> Self {
        out.extend_from_slice(NAME);
        let start = out.len();
        out.extend_from_slice(itoa::Buffer::new().format(size_guess).as_bytes());
        let digit_count = out.len() - start;
        out.extend_from_slice(END);
        Self { start, digit_count }
    }

    /// Bytes of the body so far.
    #[inline]
    pub fn body_size(&self, out: &[u8]) -> usize {
        out.len().saturating_sub(self.body_start())
    }

    /// Where the body starts, for the caller who takes back what was serialised.
    #[inline]
    pub fn body_start(&self) -> usize {
        self.start + self.digit_count + END.len()
    }

    /// Writes the size of everything behind the head, and returns it.
    ///
    /// Nothing before the slot may have been removed from `out` since [`LengthSlot::reserve`].
    #[inline]
    pub fn fill(self, out: &mut Vec<u8>) -> usize {
        let size = self.body_size(out);
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(size).as_bytes();
        let place = self.start..self.start + self.digit_count;
        if digits.len() == self.digit_count {
            out[place].copy_from_slice(digits);
        } else {
            make_fit(out, place, digits);
        }
        size
    }
}

/// Moves everything behind the digits, so that there is room for exactly these.
#[cold]
fn make_fit(out: &mut Vec<u8>, place: Range<usize>, digits: &[u8]) {
    drop(out.splice(place, digits.iter().copied()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size_guess: usize, size: usize) {
        let body: Vec<u8> = (0..size).map(|index| index as u8).collect();
        let mut out = b"before\r\n".to_vec();
        let slot = LengthSlot::reserve(&mut out, size_guess);
        assert_eq!(slot.body_size(&out), 0);
        assert_eq!(slot.body_start(), out.len());
        out.extend_from_slice(&body);
        assert_eq!(slot.fill(&mut out), size);
        let mut expected = format!("before\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        expected.extend_from_slice(&body);
        assert_eq!(out, expected, "guess {size_guess}, size {size}");
    }

    #[test]
    fn the_length_has_exactly_its_digits() {
        for size_guess in [0, 9, 10, 500, 12_345, usize::MAX] {
            for size in [0, 1, 9, 10, 99, 100, 999, 1000, 12_345, 100_000] {
                check(size_guess, size);
            }
        }
    }
}
