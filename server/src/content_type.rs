//! The media types of what the server writes itself: as values, and as ready lines of a head.

use http::HeaderValue;

/// A media type that is known when the program is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentType {
    value: &'static str,
    /// The whole field line, and zeros behind it.
    line: &'static [u8; LINE_BYTES_MAX],
    /// Bytes of the line; zero for none.
    size: usize,
}

/// The longest of the lines has 41 bytes. Three times sixteen are copied without a call.
const LINE_BYTES_MAX: usize = 48;

macro_rules! content_type {
    ($value:literal) => {{
        const LINE: &[u8] = concat!("content-type: ", $value, "\r\n").as_bytes();
        ContentType { value: $value, line: &padded(LINE), size: LINE.len() }
    }};
}

const fn padded(line: &[u8]) -> [u8; LINE_BYTES_MAX] {
    let mut padded = [0; LINE_BYTES_MAX];
    padded.split_at_mut(line.len()).0.copy_from_slice(line);
    padded
}

impl ContentType {
    /// No content, or content whose type somebody else names.
    pub(crate) const NONE: ContentType = ContentType { value: "", line: &padded(b""), size: 0 };
    pub(crate) const TEXT: ContentType = content_type!("text/plain; charset=utf-8");
    pub(crate) const BINARY: ContentType = content_type!("application/octet-stream");
    pub(crate) const JSON: ContentType = content_type!("application/json");
    pub(crate) const PROBLEM: ContentType = content_type!("application/problem+json");

    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.value)
    }

    /// Appends the field.
    #[inline]
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let end = out.len() + self.size;
        out.extend_from_slice(self.line);
        out.truncate(end);
    }
}
