//! Where the fields of a head lie: reusable scratch that owns positions, never bytes.

use super::limits::FIELD_COUNT_CAP;
use crate::same::is_same;

/// A range of the input: `start <= end`, both offsets from its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    // Heads are capped at a mebibyte behind at most two empty lines, so no offset is ever cut here.
    #[inline]
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Where `part` lies inside of `whole`.
    #[inline]
    pub(super) fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr() - whole.as_ptr().addr();
        Self::new(start, start + part.len())
    }

    /// The bytes that this span names.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than the input that the span was made for.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// Number of bytes.
    #[inline]
    pub fn size(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the span names no byte.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line: where its name and its value lie, without whitespace around the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The name, in the case that the peer wrote.
    pub name: Span,
    /// The value. RFC 9110 section 5.5: may hold HTAB and bytes beyond ASCII, may be empty.
    pub value: Span,
}

/// Reusable scratch, one per shard: filled by each head, so that parsing allocates nothing.
///
/// The spans name bytes of the input that the last step saw. They are good until that input moves
/// or until another step is taken with the same scratch, on whichever connection.
#[derive(Clone, Debug)]
pub struct Fields {
    headers: Vec<Field>,
    trailers: Vec<Field>,
    pub(super) host: LastHost,
}

/// The host that was named last, among those that are valid: nearly all requests of a shard name
/// the same one, which need not be judged again.
#[derive(Clone, Debug, Default)]
pub(super) struct LastHost(Vec<u8>);

impl LastHost {
    /// Longer ones are judged each time. RFC 1035 section 3.1: a name has at most 255 octets.
    const BYTES_MAX: usize = 255;

    #[inline]
    pub(super) fn is(&self, host: &[u8]) -> bool {
        !host.is_empty() && is_same(&self.0, host)
    }

    #[cold]
    pub(super) fn remember(&mut self, host: &[u8]) {
        self.0.clear();
        if host.len() <= Self::BYTES_MAX {
            self.0.extend_from_slice(host);
        }
    }
}

impl Fields {
    /// Empty scratch with room for every head that the limits can allow.
    pub fn new() -> Self {
        Self {
            headers: Vec::with_capacity(FIELD_COUNT_CAP),
            trailers: Vec::with_capacity(FIELD_COUNT_CAP),
            host: LastHost::default(),
        }
    }

    /// Number of header fields.
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// Whether the head had no field.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The positions of the header fields, for those who keep a copy of the head.
    pub fn spans(&self) -> &[Field] {
        &self.headers
    }

    /// Names and values of the header fields, in the order in which they came.
    pub fn iter<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        pairs(&self.headers, bytes)
    }

    /// The value of the first header field called `name`, in any letter case.
    pub fn find<'a>(&'a self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        self.find_all(bytes, name).next()
    }

    /// The values of all header fields called `name`, in any letter case.
    pub fn find_all<'a, 'n>(
        &'a self,
        bytes: &'a [u8],
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let called = move |field: &&Field| {
            field.name.size() == name.len()
                && field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes())
        };
        self.headers.iter().filter(called).map(|field| field.value.of(bytes))
    }

    /// Names and values of the trailer fields; filled by [`Step::End`](super::Step::End).
    ///
    /// RFC 9110 section 6.5.1: trailers are kept apart from headers. Framing, routing and
    /// authentication never look at them.
    pub fn trailers<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        pairs(&self.trailers, bytes)
    }

    /// The positions of the trailer fields.
    pub fn trailer_spans(&self) -> &[Field] {
        &self.trailers
    }

    pub(super) fn start_headers(&mut self) -> &mut Vec<Field> {
        self.headers.clear();
        self.trailers.clear();
        &mut self.headers
    }

    pub(super) fn start_trailers(&mut self) -> &mut Vec<Field> {
        self.trailers.clear();
        &mut self.trailers
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

fn pairs<'a>(
    fields: &'a [Field],
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + 'a {
    fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_name_in_any_case() {
        let bytes = b"A: 1\r\naB: 2\r\na: 3\r\n";
        let field = |name: (usize, usize), value: (usize, usize)| Field {
            name: Span::new(name.0, name.1),
            value: Span::new(value.0, value.1),
        };
        let mut fields = Fields::new();
        fields.start_headers().extend([
            field((0, 1), (3, 4)),
            field((6, 8), (10, 11)),
            field((13, 14), (16, 17)),
        ]);
        assert_eq!((fields.len(), fields.is_empty()), (3, false));
        assert_eq!(fields.spans()[1], field((6, 8), (10, 11)));
        assert_eq!(fields.find(bytes, "Ab"), Some(&b"2"[..]));
        assert_eq!(fields.find(bytes, "b"), None);
        assert_eq!(fields.find_all(bytes, "A").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(fields.iter(bytes).nth(1), Some((&b"aB"[..], &b"2"[..])));
        assert_eq!(fields.trailers(bytes).count(), 0);
        fields.start_trailers().push(field((0, 1), (3, 4)));
        assert_eq!(fields.trailer_spans(), [field((0, 1), (3, 4))]);
        assert_eq!(fields.trailers(bytes).next(), Some((&b"A"[..], &b"1"[..])));
        fields.start_headers();
        assert!(fields.is_empty() && fields.trailer_spans().is_empty());
    }
}
