//! Decodes the bodies of requests that come in a content coding.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use corelane_runtime::Shard;
use futures_core::Stream;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::decoder::{Decoder, decode_whole};
use crate::coding::Coding;
use crate::extract::{BodyChunk, BodyUse, Exchange, RequestBody, RequestBodyError};
use crate::middleware::{Inner, Layer, Middleware, Reply};
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// Decoded bytes that are handed on at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// Decodes the bodies of requests by `Content-Encoding`: gzip, Brotli, Zstandard.
///
/// ```
/// use corelane::middleware::decompression;
/// use corelane::{App, post};
///
/// let app = App::new()
///     .route("/", post(async |text: String| text.len().to_string()))
///     .layer(decompression());
/// # let _ = app;
/// ```
///
/// The limit of the route's body counts for what is decoded as well: a small body that becomes a
/// large one gets 413, and no more than the limit is ever decoded. A coding that is unknown, or
/// more than one: 415 with those that there are. What is not in its coding: 400.
pub fn decompression() -> Decompression {
    Decompression { streams_max: 64 }
}

/// The settings of [`decompression`].
#[derive(Clone, Debug)]
pub struct Decompression {
    streams_max: usize,
}

impl Decompression {
    /// Streamed bodies that a shard decodes at once. Default 64: each may need a window of 16 MiB
    /// (Brotli) where its sender has chosen so. Beyond it: 503.
    #[must_use]
    pub fn streams_max(mut self, count: usize) -> Decompression {
        self.streams_max = count;
        self
    }
}

impl Layer for Decompression {
    fn on_shard(&self, _: &Rc<Shard>) -> Rc<dyn Middleware> {
        Rc::new(Decompressor { streams_max: self.streams_max, stream_count: Rc::default() })
    }
}

struct Decompressor {
    streams_max: usize,
    stream_count: Rc<Cell<usize>>,
}

impl Middleware for Decompressor {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let coding = match coding_of(exchange) {
            Ok(Some(coding)) => coding,
            Ok(None) => return inner.call(exchange),
            Err(Unsupported) => return Reply::ready(unsupported()),
        };
        match (inner.body_use(), exchange.body_use()) {
            (BodyUse::Unused, _) | (_, BodyUse::Unused) => inner.call(exchange),
            (BodyUse::Stream, BodyUse::Stream) => match self.decode_stream(exchange, coding) {
                Ok(()) => call_decoded(exchange, inner),
                Err(refusal) => Reply::ready(*refusal),
            },
            // Decoded at once when it is there: a decoder is not held while the peer sends.
            _ => inner.with_body(exchange, move |exchange, inner| {
                let bytes_max = exchange.body_bytes_max();
                match decode_whole(coding, exchange.body_mut(), bytes_max) {
                    Ok(decoded) => exchange.set_body(decoded),
                    Err(error) => return Reply::ready(error),
                }
                call_decoded(exchange, inner)
            }),
        }
    }
}

/// Goes on with a body that is not in a coding any more.
fn call_decoded(exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
    exchange.remove_header("content-encoding");
    exchange.remove_header("content-length");
    inner.call(exchange)
}

impl Decompressor {
    /// Puts the decoded stream in the place of the received one.
    fn decode_stream(
        &self,
        exchange: &mut Exchange<'_>,
        coding: Coding,
    ) -> Result<(), Box<Response>> {
        let bytes_max = exchange.body_bytes_max();
        let place = self.place()?;
        if let Some(content) = exchange.take_stream() {
            exchange.set_stream(
                content.wrap(|content| Decoded::new(content, coding, bytes_max, place)),
            );
        }
        Ok(())
    }

    fn place(&self) -> Result<Place, Box<Response>> {
        if self.stream_count.get() >= self.streams_max {
            let detail = "too many compressed bodies are decoded already";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail);
            return Err(Box::new(problem.into_response()));
        }
        self.stream_count.set(self.stream_count.get() + 1);
        Ok(Place(Rc::clone(&self.stream_count)))
    }
}

/// The body is in a coding that is not known, or in several.
struct Unsupported;

fn coding_of(exchange: &Exchange<'_>) -> Result<Option<Coding>, Unsupported> {
    let named =
        exchange.headers().filter(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
    let mut coding = None;
    for name in named.flat_map(|(_, value)| value.split(|octet| *octet == b',')) {
        let name = name.trim_ascii();
        // RFC 9110 section 8.4.1: identity should not be named, and says nothing if it is.
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            continue;
        }
        let known = Coding::named(name).ok_or(Unsupported)?;
        if coding.replace(known).is_some() {
            return Err(Unsupported);
        }
    }
    Ok(coding)
}

// RFC 9110 section 12.5.3: a 415 for a coding says which would have been taken.
fn unsupported() -> Response {
    let detail = "the body must be in one of the codings gzip, br and zstd, or in none";
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail(detail);
    let codings = HeaderValue::from_static("gzip, br, zstd");
    problem.into_response().with_header(header::ACCEPT_ENCODING, codings)
}

/// A place among the streams that are decoded, given back when its stream is dropped.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A body's stream on its way through a decoder.
struct Decoded {
    content: RequestBody,
    coding: Coding,
    decoder: Option<Decoder>,
    /// A received piece, and how much of it is used up.
    piece: Option<(BodyChunk, usize)>,
    bytes_left: u64,
    is_over: bool,
    _place: Place,
}

impl Decoded {
    fn new(content: RequestBody, coding: Coding, bytes_max: u64, place: Place) -> Decoded {
        Decoded {
            content,
            coding,
            decoder: None,
            piece: None,
            bytes_left: bytes_max,
            is_over: false,
            _place: place,
        }
    }

    /// Decodes some of the piece that is there.
    fn decode(&mut self) -> Result<Option<BodyChunk>, RequestBodyError> {
        let Some((piece, used)) = &mut self.piece else { return Ok(None) };
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                none.insert(Decoder::new(self.coding).map_err(|_| RequestBodyError::Malformed)?)
            }
        };
        let mut room = vec![0; PIECE_BYTES];
        let (taken, given) = decoder.decode(&piece[*used..], &mut room)?;
        if taken + given == 0 && *used < piece.len() {
            return Err(RequestBodyError::Malformed);
        }
        *used += taken;
        if *used == piece.len() && given < PIECE_BYTES {
            self.piece = None;
        }
        self.bytes_left =
            self.bytes_left.checked_sub(given as u64).ok_or(RequestBodyError::TooLarge)?;
        room.truncate(given);
        Ok((given > 0).then(|| BodyChunk::from(Bytes::from(room))))
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyChunk, RequestBodyError>>> {
        loop {
            while self.piece.is_some() {
                if let Some(decoded) = self.decode().transpose() {
                    return Poll::Ready(Some(decoded));
                }
            }
            match ready!(Pin::new(&mut self.content).poll_next(context)) {
                Some(Ok(piece)) => self.piece = Some((piece, 0)),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.is_over = true;
                    let is_whole = self.decoder.as_ref().is_some_and(Decoder::is_done);
                    return Poll::Ready((!is_whole).then_some(Err(RequestBodyError::Malformed)));
                }
            }
        }
    }
}

impl Stream for Decoded {
    type Item = Result<BodyChunk, RequestBodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let polled = self.poll(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.is_over = true;
        }
        polled
    }
}
