//! Reads a whole section of field lines: those of a head, or trailers.
//!
//! The grammar is httparse's; what that is lenient about is checked here, line by line.

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::{Field, Span};
use super::known::Known;
use super::limits::FIELD_COUNT_CAP;
use super::scan::Bounds;

/// Fields that the first, small array holds. Clearing an array of [`FIELD_COUNT_CAP`] costs more
/// than reading a few fields, and few requests have more than this.
const FEW: usize = 24;

/// Reads the lines from `start` up to and with the empty line, noting each field in `list`.
///
/// Returns the size of the section and the fields that matter to framing; `None` when it is not
/// whole or not certainly well formed.
#[inline]
pub(super) fn read<'a>(
    bytes: &'a [u8],
    start: usize,
    bounds: &Bounds<'_>,
    list: &mut Vec<Field>,
) -> Option<(usize, Known<'a>)> {
    let mut few = [EMPTY_HEADER; FEW];
    match httparse::parse_headers(&bytes[start..], &mut few) {
        Ok(Status::Complete((size, headers))) => {
            collect(&bytes[..start + size], headers, bounds, list).map(|known| (size, known))
        }
        Err(httparse::Error::TooManyHeaders) => read_many(bytes, start, bounds, list),
        _ => None,
    }
}

#[cold]
fn read_many<'a>(
    bytes: &'a [u8],
    start: usize,
    bounds: &Bounds<'_>,
    list: &mut Vec<Field>,
) -> Option<(usize, Known<'a>)> {
    let mut many = [EMPTY_HEADER; FIELD_COUNT_CAP];
    match httparse::parse_headers(&bytes[start..], &mut many) {
        Ok(Status::Complete((size, headers))) => {
            collect(&bytes[..start + size], headers, bounds, list).map(|known| (size, known))
        }
        _ => None,
    }
}

/// Notes each field of the section at the end of `bytes`, and recognises the known ones.
#[inline]
fn collect<'a>(
    bytes: &'a [u8],
    headers: &[Header<'a>],
    bounds: &Bounds<'_>,
    list: &mut Vec<Field>,
) -> Option<Known<'a>> {
    let mut known = Known::default();
    let (mut line_start, mut line_bytes_max) = (None, 0);
    for header in headers {
        let name = Span::within(bytes, header.name.as_bytes());
        let value = Span::within(bytes, header.value);
        let start = name.start as usize;
        line_bytes_max = line_bytes_max.max(line_bytes(bytes, line_start, start)?);
        line_start = Some(start);
        list.push(Field { name, value });
        known.note(header.name.as_bytes(), header.value);
    }
    // The empty line is at the end; it must be CRLF, and so must the end of the line before it.
    let empty_line = bytes.len().checked_sub(2)?;
    line_bytes_max = line_bytes_max.max(line_bytes(bytes, line_start, empty_line)?);
    let fits = line_bytes_max <= bounds.limits.field_line_bytes_max
        && headers.len() <= bounds.field_count_max;
    (fits && bytes.ends_with(b"\r\n")).then_some(known)
}

/// The size of the line before `next`. httparse takes a bare LF as its end: it must be CRLF.
#[inline]
fn line_bytes(bytes: &[u8], start: Option<usize>, next: usize) -> Option<usize> {
    let Some(start) = start else { return Some(0) };
    let end = next.checked_sub(2)?;
    (bytes[end] == b'\r' && bytes[end + 1] == b'\n').then(|| end.saturating_sub(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;

    /// Reads `section`, whose last byte does not belong to it when it is well formed.
    fn check(section: &str, expected: Option<&[(&str, &str)]>) {
        let limits = Limits { field_line_bytes_max: 10, ..Limits::default() };
        let (bytes, mut list) = (section.as_bytes(), Vec::new());
        let size = read(bytes, 0, &Bounds::head(&limits), &mut list).map(|(size, _)| size);
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
    fn many_fields_take_the_large_array() {
        let lines = vec![("A", "b"); FEW + 1];
        check(&("A: b\r\n".repeat(FEW + 1) + "\r\n."), Some(&lines));
        check(&("A: b\r\n".repeat(101) + "\r\n."), None);
    }
}
