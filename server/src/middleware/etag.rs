//! Entity tags for answers that are made anew each time.

use std::hash::{DefaultHasher, Hasher};

use http::{HeaderValue, Method, StatusCode, header};

use super::{Inner, Middleware, Reply};
use crate::body::Body;
use crate::extract::Exchange;
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// Gives an `ETag` to each 200 to `GET` and `HEAD` whose content is there, and answers 304 where
/// the client has the same content already.
///
/// The handler does its work either way: what is saved is the sending. The tag is weak: a hash of
/// 64 bits and the size (RFC 9110 section 8.8.1); so `If-Match`, which compares strongly, is met by
/// `*` alone, and answered with 412 otherwise. Content that is a stream, or that has a tag already,
/// is left alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntityTags;

impl Middleware for EntityTags {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        if !matches!(*exchange.method(), Method::GET | Method::HEAD) {
            return inner.call(exchange);
        }
        let lists = |wanted: &str| -> Vec<Vec<u8>> {
            let named = exchange.headers().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            named.map(|(_, value)| value.to_vec()).collect()
        };
        let (wanted, known) = (lists("if-match"), lists("if-none-match"));
        inner.call(exchange).map(move |response| tagged(response, &wanted, &known))
    }
}

/// The response with the tag of its content, or what the values of If-Match, `wanted`, and of
/// If-None-Match, `known`, make of it.
pub(crate) fn tagged(mut response: Response, wanted: &[Vec<u8>], known: &[Vec<u8>]) -> Response {
    let Body::Bytes(content) = &response.body else { return response };
    if response.status != StatusCode::OK || response.headers.contains_key(header::ETAG) {
        return response;
    }
    // RFC 9110 section 13.2.2, step 1: before anything is made of If-None-Match.
    if !wanted.is_empty() && !wanted.iter().any(|list| list == b"*") {
        return Problem::new(StatusCode::PRECONDITION_FAILED).into_response();
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    let tag = format!("W/\"{:016x}-{:x}\"", hasher.finish(), content.len());
    let is_known = known.iter().any(|list| names(list, &tag));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers.insert(header::ETAG, tag);
    }
    if is_known {
        // What describes the content does not go out, but tells layers around this one of it.
        response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
        response.status = StatusCode::NOT_MODIFIED;
        response.body = Body::Empty;
    }
    response
}

/// Whether a list of entity tags names this one. RFC 9110 section 13.1.2: compared weakly.
fn names(list: &[u8], tag: &str) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    // Our own tags have no comma in them, so a tag that has one can only be another's.
    let mut tags = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tags.any(|known| known == b"*" || opaque(known) == opaque(tag.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags() {
        let tag = "W/\"0123-5\"";
        for (list, expected) in [
            ("*", true),
            ("W/\"0123-5\"", true),
            ("\"0123-5\"", true),
            ("\"a,b\", W/\"x\" ,W/\"0123-5\"", true),
            ("", false),
            ("0123-5", false),
            ("\"0123-50\"", false),
            ("w/\"0123-5\"", false),
        ] {
            assert_eq!(names(list.as_bytes(), tag), expected, "{list}");
        }
    }
}
