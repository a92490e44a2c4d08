//! Compresses responses for clients that take a coding, and decodes the bodies of requests.
//!
//! What is compressed: content of a type that is text at heart, of at least
//! [`bytes_min`](Compression::bytes_min) bytes or of an unknown size, that is in no coding yet.
//! Content that is there is compressed in one go, a stream piece by piece: when its producer
//! pauses, what the client needs to decode everything so far goes out.

mod decoder;
mod decompression;
mod encoder;
mod stream;

use std::rc::Rc;

use bytes::Bytes;
use corelane_runtime::Shard;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::vary::{add_vary, contains_token};
use super::{Inner, Layer, Middleware, Reply};
use crate::body::{Body, BodyStream};
use crate::coding::{Acceptable, Coding};
use crate::extract::Exchange;
use crate::response::Response;
pub use decompression::{Decompression, decompression};
use encoder::{Encoders, Levels};
use stream::{CompressedStream, Pieces};

/// Content from this size on is compressed as a stream: in one go it would hold the shard up.
const WHOLE_BYTES_MAX: usize = 256 * 1024;

/// Compresses responses by `Accept-Encoding`.
///
/// ```
/// use corelane::middleware::compression;
/// use corelane::{App, get};
///
/// let app = App::new()
///     .route("/", get(async || "hello ".repeat(1000)))
///     .layer(compression());
/// # let _ = app;
/// ```
///
/// What comes with a secret of the client's, a token against forged requests for example, beside
/// text that an attacker chooses, should not be compressed: the size tells of the secret (BREACH).
pub fn compression() -> Compression {
    Compression {
        codings: vec![Coding::Zstd, Coding::Gzip, Coding::Brotli],
        bytes_min: 1024,
        levels: Levels { brotli: 5, zstd: 1, gzip: 5 },
    }
}

/// The settings of [`compression`].
#[derive(Clone, Debug)]
pub struct Compression {
    codings: Vec<Coding>,
    bytes_min: usize,
    levels: Levels,
}

impl Compression {
    /// The codings to use; of those that a client likes equally, the first. Default: Zstandard,
    /// gzip, Brotli, by what a byte saved costs (`docs/compression.md`).
    #[must_use]
    pub fn codings(mut self, codings: impl IntoIterator<Item = Coding>) -> Compression {
        self.codings = codings.into_iter().collect();
        self
    }

    /// The least size of content that is compressed. Default 1024 bytes: below, the answer fits
    /// into one packet as it is.
    #[must_use]
    pub fn bytes_min(mut self, bytes: usize) -> Compression {
        self.bytes_min = bytes;
        self
    }

    /// How hard a coding tries: Brotli 0 to 11, Zstandard 1 to 22, gzip 0 to 9; others are taken
    /// for the nearest. Defaults 5, 1 and 5: what JSON becomes smaller by beyond them costs more
    /// than twice as much time.
    #[must_use]
    pub fn level(mut self, coding: Coding, level: u8) -> Compression {
        match coding {
            Coding::Brotli => self.levels.brotli = u32::from(level.min(11)),
            Coding::Zstd => self.levels.zstd = i32::from(level.clamp(1, 22)),
            Coding::Gzip => self.levels.gzip = u32::from(level.min(9)),
        }
        self
    }
}

impl Layer for Compression {
    fn on_shard(&self, _: &Rc<Shard>) -> Rc<dyn Middleware> {
        let encoders = Rc::new(Encoders::new(self.levels));
        Rc::new(Compressor(Rc::new(Shared { settings: self.clone(), encoders })))
    }
}

struct Compressor(Rc<Shared>);

struct Shared {
    settings: Compression,
    encoders: Rc<Encoders>,
}

impl Middleware for Compressor {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let is_wish = |name: &str| name.eq_ignore_ascii_case("accept-encoding");
        let wishes = exchange.headers().filter(|(name, _)| is_wish(name));
        let acceptable = Acceptable::read(wishes.map(|(_, value)| value));
        let shared = Rc::clone(&self.0);
        inner.call(exchange).map(move |response| shared.compress(response, &acceptable))
    }
}

impl Shared {
    fn compress(&self, mut response: Response, acceptable: &Acceptable) -> Response {
        let coding = acceptable.choose(self.settings.codings.iter().copied());
        // RFC 9110 section 15.3.7: Vary is there if the whole would have had it.
        if response.status == StatusCode::PARTIAL_CONTENT && may_be_coded(&response.headers) {
            add_vary(&mut response.headers, "accept-encoding");
            return response;
        }
        let bytes_min = if acceptable.refuses_identity() { 1 } else { self.settings.bytes_min };
        if !is_compressible(&response, bytes_min) {
            return response;
        }
        // RFC 9110 section 12.5.5: also for those who got it as it is.
        add_vary(&mut response.headers, "accept-encoding");
        let Some(coding) = coding else { return response };
        // RFC 9110 section 15.4.5: a 304 has the tag of its 200, which would be compressed.
        if response.status == StatusCode::NOT_MODIFIED {
            weaken_tag(&mut response.headers);
            return response;
        }
        let body = std::mem::take(&mut response.body);
        match self.encode(coding, body) {
            Ok(body) => response.body = body,
            Err(body) => {
                response.body = body;
                return response;
            }
        }
        let headers = &mut response.headers;
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        // RFC 9110 section 8.8.3.3: another representation must not have the same strong tag.
        weaken_tag(headers);
        headers.remove(header::ACCEPT_RANGES);
        response
    }

    /// The body in the coding, or the body as it was where that went wrong.
    fn encode(&self, coding: Coding, body: Body) -> Result<Body, Body> {
        let stream = match body {
            Body::Bytes(bytes) if bytes.len() < WHOLE_BYTES_MAX => {
                return match self.encoders.encode(coding, &bytes) {
                    Ok(encoded) => Ok(Body::from(encoded)),
                    Err(error) => {
                        tracing::error!(%error, "a response can not be compressed");
                        Err(Body::Bytes(bytes))
                    }
                };
            }
            Body::Bytes(bytes) => BodyStream::new(Pieces(bytes)),
            Body::Stream(stream) => stream,
            Body::Empty => return Err(Body::Empty),
        };
        let encoders = Rc::clone(&self.encoders);
        let compressed = |stream| CompressedStream::new(stream, encoders, coding);
        Ok(Body::Stream(stream.wrap(compressed)))
    }
}

/// Whether the content is to be compressed; of a 304, whether that of its 200 would be.
///
/// A 304 tells by Content-Type and Content-Length, which do not go out in it. One that says nothing
/// of them may be about anything.
fn is_compressible(response: &Response, bytes_min: usize) -> bool {
    let Response { status, headers, body } = response;
    let is_unmodified = *status == StatusCode::NOT_MODIFIED;
    let size = match body {
        _ if is_unmodified => said_length(headers),
        Body::Empty => return false,
        Body::Bytes(bytes) => Some(bytes.len() as u64),
        Body::Stream(stream) => stream.size(),
    };
    let is_large = size.is_none_or(|size| size >= bytes_min as u64);
    // RFC 9111 section 5.2.2.6: no-transform forbids it. A part is of the content as it was.
    let is_fixed = *status == StatusCode::PARTIAL_CONTENT
        || headers.contains_key(header::CONTENT_ENCODING)
        || headers.contains_key(header::CONTENT_RANGE)
        || contains_token(headers, &header::CACHE_CONTROL, "no-transform");
    is_large && !is_fixed && media(headers).map_or(is_unmodified, is_text_at_heart)
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the whole, of which this is a part or several, may have been compressed.
fn may_be_coded(headers: &HeaderMap) -> bool {
    let is_several = |media: &[u8]| media.starts_with(b"multipart/byteranges");
    media(headers).is_some_and(|media| is_text_at_heart(media) || is_several(media))
}

fn media(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes)
}

/// Whether content of this type is worth compressing: pictures and films are compressed already.
fn is_text_at_heart(media: &[u8]) -> bool {
    const OTHERS: [&str; 9] = [
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/x-ndjson",
        "application/vnd.ms-fontobject",
        "font/otf",
        "font/ttf",
        "image/bmp",
    ];
    let end = media.iter().position(|octet| *octet == b';').unwrap_or(media.len());
    let media = media[..end].trim_ascii().to_ascii_lowercase();
    media.starts_with(b"text/")
        || media.ends_with(b"+json")
        || media.ends_with(b"+xml")
        || OTHERS.iter().any(|known| known.as_bytes() == media)
}

fn weaken_tag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else { return };
    if !tag.as_bytes().starts_with(b"\"") {
        return;
    }
    let weak = [b"W/", tag.as_bytes()].concat();
    if let Ok(weak) = HeaderValue::from_maybe_shared(Bytes::from(weak)) {
        headers.insert(header::ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_are_text_at_heart() {
        for media in [
            "text/html",
            "text/plain; charset=utf-8",
            "TEXT/CSS",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "application/wasm",
            "text/event-stream",
        ] {
            assert!(is_text_at_heart(media.as_bytes()), "{media}");
        }
        for media in [
            "image/png",
            "video/mp4",
            "application/octet-stream",
            "application/gzip",
            "font/woff2",
            "application/zip",
            "multipart/byteranges; boundary=text/plain",
            "",
            "json",
        ] {
            assert!(!is_text_at_heart(media.as_bytes()), "{media}");
        }
    }

    #[test]
    fn tags_become_weak_once() {
        for (tag, expected) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ETAG, HeaderValue::from_static(tag));
            weaken_tag(&mut headers);
            assert_eq!(headers[header::ETAG], expected);
        }
    }
}
