//! What is known of a request when it is recorded.

use std::net::IpAddr;

/// Bytes that are kept of each text: what is longer is cut off.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// A request, as access log and spans see it: borrowed from where it lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The minor version of HTTP/1.
    pub(crate) minor_version: u8,
    /// As far as the proxies in front are trusted; `None` for a Unix socket that says nothing.
    pub(crate) client: Option<IpAddr>,
    /// Zero where it belongs to none.
    pub(crate) trace_id: u128,
    /// Its own span, zero where it has none, and its caller's.
    pub(crate) span_id: u64,
    pub(crate) parent_id: u64,
    /// Empty where the request broke the protocol before it had one.
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    /// The pattern of the route that answered; empty where none did.
    pub(crate) route: &'a [u8],
    pub(crate) referer: &'a [u8],
    pub(crate) user_agent: &'a [u8],
}

/// The part of a text that is kept.
pub(crate) fn kept(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_BYTES_MAX)]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One entry with a value in each field.
    pub(crate) fn sample() -> Entry<'static> {
        Entry {
            minor_version: 1,
            client: Some(IpAddr::from([192, 0, 2, 7])),
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span_id: 0xb7ad_6b71_6920_3331,
            parent_id: 7,
            method: b"GET",
            target: b"/items/7?full",
            route: b"/items/{id}",
            referer: b"http://example.org/",
            user_agent: b"curl/8",
        }
    }
}
