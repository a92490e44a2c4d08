//! The media types of what the server writes itself: as values, and as ready lines of a head.

use http::HeaderValue;

/// A media type that is known when the program is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentType {
    value: &'static str,
    /// The whole field line; empty for none.
    line: &'static [u8],
}

macro_rules! content_type {
    ($value:literal) => {
        ContentType { value: $value, line: concat!("content-type: ", $value, "\r\n").as_bytes() }
    };
}

impl ContentType {
    /// No content, or content whose type somebody else names.
    pub(crate) const NONE: ContentType = ContentType { value: "", line: b"" };
    pub(crate) const TEXT: ContentType = content_type!("text/plain; charset=utf-8");
    pub(crate) const BINARY: ContentType = content_type!("application/octet-stream");
    pub(crate) const JSON: ContentType = content_type!("application/json");
    pub(crate) const PROBLEM: ContentType = content_type!("application/problem+json");

    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.value)
    }

    pub(crate) fn line(self) -> &'static [u8] {
        self.line
    }
}
