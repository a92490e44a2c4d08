//! The fields that follow a request's body.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Exchange, FromRequest};
use crate::http1::Fields;
use crate::http1::encode::may_trail;

/// The fields behind a chunked body, for a handler that takes the body whole by another argument;
/// empty for every other one. A [`RequestBody`](super::RequestBody) has its own when it is over.
///
/// They are kept apart from the fields of the head, and those that may not be trailers are left
/// out: framing, routing, authentication, the form of the content (RFC 9110 section 6.5.1).
///
/// ```
/// use corelane::{Trailers, post};
///
/// let route = post(async |body: String, Trailers(trailers): Trailers| {
///     format!("{} bytes, checksum {:?}", body.len(), trailers.get("x-checksum"))
/// });
/// # let _ = route;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Trailers(
    /// The fields, by name.
    pub HeaderMap,
);

impl FromRequest for Trailers {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Trailers, Infallible> {
        Ok(Trailers(exchange.trailers().cloned().unwrap_or_default()))
    }
}

/// The trailers of a body that has just ended in `bytes`, as a map of their own.
pub(crate) fn trailing(fields: &Fields, bytes: &[u8]) -> Option<Box<HeaderMap>> {
    if fields.trailer_spans().is_empty() {
        return None;
    }
    let mut map = HeaderMap::new();
    for (name, value) in fields.trailers(bytes) {
        // The protocol core has accepted both; its grammar is no wider than this one.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            && may_trail(&name)
        {
            map.append(name, value);
        }
    }
    Some(Box::new(map))
}
