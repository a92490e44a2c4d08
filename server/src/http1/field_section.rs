//! Reads a whole section of field lines: those of a head, or trailers, in one pass.
//!
//! Only what is certainly well formed is taken; about everything else the scanner speaks.

use super::fields::{Field, Span};
use super::known::Known;
use super::octets::{FIELD_VALUE, TOKEN};
use super::scan::Bounds;
use super::sixteen;

/// Reads the lines from `start` up to and with the empty line, noting each field in `list`.
///
/// Returns the size of the section; `None` when it is not whole or not certainly well formed. What
/// matters to framing is noted in `known`.
#[inline(always)]
pub(super) fn read<'a>(
    bytes: &'a [u8],
    start: usize,
    bounds: &Bounds<'_>,
    list: &mut Vec<Field>,
    known: &mut Known<'a>,
) -> Option<usize> {
    let mut at = start;
    while bytes.get(at..at + 2)? != b"\r\n" {
        let (field, end) = line(bytes, at)?;
        if end - at > bounds.limits.field_line_bytes_max || list.len() == bounds.field_count_max {
            return None;
        }
        known.note(field.name.of(bytes), field.value.of(bytes));
        list.push(field);
        at = end + 2;
    }
    Some(at + 2 - start)
}

/// The field whose line starts at `start`, and where its line end stands.
///
/// RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS. The line end must be CRLF.
#[inline(always)]
fn line(bytes: &[u8], start: usize) -> Option<(Field, usize)> {
    let colon = name_end(bytes, start)?;
    if bytes[colon] != b':' || colon == start {
        return None;
    }
    let first = colon + 1 + blanks(bytes[colon + 1..].iter());
    let end = value_end(bytes, first)?;
    if bytes.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    let last = end - blanks(bytes[first..end].iter().rev());
    Some((Field { name: Span::new(start, colon), value: Span::new(first, last) }, end))
}

/// Where the first octet from `start` on stands that no name holds (RFC 9110 section 5.6.2).
#[inline(always)]
fn name_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    if let Some(octets) = bytes[start..].first_chunk() {
        at += sixteen::first_unusual_in_name(octets).unwrap_or(octets.len());
        if bytes.get(at) == Some(&b':') {
            return Some(at);
        }
    }
    Some(at + TOKEN.first_stranger(&bytes[at..])?)
}

/// How many octets of whitespace there are, before any other.
#[inline]
fn blanks<'a>(octets: impl Iterator<Item = &'a u8>) -> usize {
    octets.take_while(|octet| matches!(octet, b' ' | b'\t')).count()
}

/// Where the first octet from `at` on stands that no value holds (RFC 9110 section 5.5): a control
/// character other than HTAB. `None` when there is none.
#[inline(always)]
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += match bytes.get(at..)?.first_chunk() {
            None => return last_value_end(bytes, at),
            Some(octets) => match sixteen::first_control(octets) {
                None => octets.len(),
                Some(index) if octets[index] == b'\t' => index + 1,
                Some(index) => return Some(at + index),
            },
        };
    }
}

/// The same, for fewer than sixteen octets.
fn last_value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let size = bytes[at..].iter().position(|octet| !FIELD_VALUE.contain(*octet))?;
    Some(at + size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;

    /// Reads `section`, whose last byte does not belong to it when it is well formed.
    fn check(section: &str, expected: Option<&[(&str, &str)]>) {
        let limits = Limits { field_line_bytes_max: 10, ..Limits::default() };
        let (bytes, mut list) = (section.as_bytes(), Vec::new());
        let known = &mut Known::default();
        let size = read(bytes, 0, &Bounds::head(&limits), &mut list, known);
        assert_eq!(size.is_some(), expected.is_some(), "{section:?}");
        if let (Some(size), Some(expected)) = (size, expected) {
            let pair = |field: &Field| (field.name.of(bytes), field.value.of(bytes));
            let seen: Vec<_> = list.iter().map(pair).collect();
            let expected: Vec<_> =
                expected.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            assert_eq!((size, seen), (section.len() - 1, expected), "{section:?}");
        }
    }

    #[test]
    fn sections() {
        check("\r\n.", Some(&[]));
        check("A: b\r\nC:\r\n\r\n.", Some(&[("A", "b"), ("C", "")]));
        check("A:  b c \t\r\n\r\n.", Some(&[("A", "b c")]));
        check("A:23456789\r\n\r\n.", Some(&[("A", "23456789")]));
        for bad in ["\n", "A: b\n\r\n", "A: b\r\n\n", "A: b\nC: d\r\n\r\n", "A:234567890\r\n\r\n"] {
            check(bad, None);
        }
        for partial in ["", "A", "A: b", "A: b\r\n", "A: b\r\n\r"] {
            check(partial, None);
        }
    }

    #[test]
    fn as_many_fields_as_the_bounds_allow() {
        let lines = vec![("A", "b"); 100];
        check(&("A: b\r\n".repeat(100) + "\r\n."), Some(&lines));
        check(&("A: b\r\n".repeat(101) + "\r\n."), None);
    }

    /// Each octet at each place of a word, beside neighbours that could borrow or carry.
    #[test]
    fn the_end_of_a_value_is_found_wherever_it_stands() {
        for octet in 0..=255 {
            for at in 0..40 {
                for neighbour in [b' ', b'a', b'~', 0x80, 0xff, b'\t'] {
                    let mut bytes = [neighbour; 40];
                    bytes[at] = octet;
                    let expected = (!FIELD_VALUE.contain(octet)).then_some(at);
                    assert_eq!(value_end(&bytes, 0), expected, "{octet:#x} at {at}, {neighbour}");
                    bytes[39] = b'\r';
                    assert_eq!(value_end(&bytes, 0), expected.or(Some(39)), "{octet:#x} at {at}");
                }
            }
        }
    }
}
