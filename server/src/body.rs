//! Response content: nothing, bytes, or a stream that is produced while it is sent.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use corelane_runtime::Moment;
use corelane_runtime::fs::FileRange;
use futures_core::Stream;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::BoxError;
use crate::files::FileStream;
use crate::http1::encode;

/// The content of a response.
#[derive(Debug, Default)]
pub enum Body {
    /// No content.
    #[default]
    Empty,
    /// Content that is there; sent without a copy where it is large.
    Bytes(Bytes),
    /// Content that comes bit by bit.
    Stream(BodyStream),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::Bytes(Bytes::from(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::Bytes(Bytes::from(text))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

/// Content as a stream of pieces. It need not be `Send`: it is polled on its connection's shard.
///
/// What is produced without a pause is sent together; when the producer pauses, what is there goes
/// out. A peer that reads slowly slows the producer down, and one that goes away drops it. An
/// error ends the connection without an end of the content, so that the peer can tell.
pub struct BodyStream {
    pieces: Producer,
    size: Option<u64>,
    /// Boxed, since few streams have any.
    trailers: Option<Box<Announced>>,
}

/// Trailers that a stream will have when it is over.
struct Announced {
    names: Vec<HeaderName>,
    make: Box<dyn FnOnce() -> HeaderMap>,
}

enum Producer {
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>>>>),
    /// Boxed: what a connection waits with has room for the largest of these.
    File(Box<FileStream>),
}

impl BodyStream {
    /// Content of a size that is not known: chunked for HTTP/1.1, until the end of the connection
    /// for HTTP/1.0.
    pub fn new<S, E>(pieces: S) -> BodyStream
    where
        S: Stream<Item = Result<Bytes, E>> + 'static,
        E: Into<BoxError> + 'static,
    {
        let pieces = Producer::Stream(Box::pin(Pieces { inner: pieces }));
        BodyStream { pieces, size: None, trailers: None }
    }

    /// Pieces of a file, of `size` bytes together.
    pub(crate) fn of_file(pieces: FileStream, size: u64) -> BodyStream {
        BodyStream { pieces: Producer::File(Box::new(pieces)), size: Some(size), trailers: None }
    }

    /// The same content with its size in bytes, which becomes `Content-Length`. A stream that
    /// yields more, or ends before, ends the connection.
    #[must_use]
    pub fn with_size(mut self, size: u64) -> BodyStream {
        self.size = Some(size);
        self
    }

    /// The same content with fields behind it, such as a checksum, that `make` is asked for when
    /// the last piece is out.
    ///
    /// `names` are announced in the head by `Trailer`; others that `make` returns are left out, and
    /// so are those that may not be trailers (RFC 9110 section 6.5.1: framing, routing,
    /// authentication, the form of the content). Trailers are only sent behind chunked content: to
    /// HTTP/1.1, where the size is not told before. Many clients drop them: nothing may depend on
    /// their arrival.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// use bytes::Bytes;
    /// use corelane::{BodyStream, HeaderMap, HeaderName, HeaderValue, get};
    /// use futures_util::{StreamExt, stream};
    ///
    /// let route = get(async || {
    ///     let size = Rc::new(Cell::new(0));
    ///     let seen = Rc::clone(&size);
    ///     let pieces = stream::iter(["one ", "two"]).map(move |piece| {
    ///         seen.set(seen.get() + piece.len());
    ///         Ok::<_, std::io::Error>(Bytes::from(piece))
    ///     });
    ///     let name = HeaderName::from_static("x-size");
    ///     BodyStream::new(pieces).with_trailers([name.clone()], move || {
    ///         HeaderMap::from_iter([(name, HeaderValue::from(size.get()))])
    ///     })
    /// });
    /// # let _ = route;
    /// ```
    #[must_use]
    pub fn with_trailers(
        mut self,
        names: impl IntoIterator<Item = HeaderName>,
        make: impl FnOnce() -> HeaderMap + 'static,
    ) -> BodyStream {
        let names: Vec<HeaderName> = names.into_iter().filter(encode::may_trail).collect();
        self.trailers =
            (!names.is_empty()).then(|| Box::new(Announced { names, make: Box::new(make) }));
        self
    }

    /// Other pieces in the place of these, with the same trailers and a size that is not known: for
    /// middleware. `change` gets the content as it is.
    #[must_use]
    pub fn wrap<S, E>(mut self, change: impl FnOnce(BodyStream) -> S) -> BodyStream
    where
        S: Stream<Item = Result<Bytes, E>> + 'static,
        E: Into<BoxError> + 'static,
    {
        let trailers = self.trailers.take();
        BodyStream { trailers, ..BodyStream::new(change(self)) }
    }

    /// The value of `Trailer`, where there will be trailers.
    pub(crate) fn announcement(&self) -> Option<HeaderValue> {
        let names: Vec<&str> =
            self.trailers.as_ref()?.names.iter().map(HeaderName::as_str).collect();
        HeaderValue::from_str(&names.join(", ")).ok()
    }

    /// The trailers that were announced, once the content is out.
    pub(crate) fn make_trailers(&mut self) -> HeaderMap {
        let Some(announced) = self.trailers.take() else { return HeaderMap::new() };
        let Announced { names, make } = *announced;
        let made = make();
        let announced = |name: &HeaderName| names.contains(name);
        let fields = made.iter().filter(|(name, _)| announced(name));
        let mut trailers = HeaderMap::new();
        for (name, value) in fields {
            trailers.append(name, value.clone());
        }
        trailers
    }

    /// The size in bytes, where it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    pub(crate) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.pieces {
            Producer::Stream(pieces) => pieces.as_mut().poll_next(context),
            Producer::File(file) => file.poll_piece(context).map_err(BoxError::from),
        }
    }

    /// What comes next, where that is a range of a file that can be sent without reading it.
    pub(crate) fn next_range(&mut self, now: Moment) -> Option<FileRange> {
        match &mut self.pieces {
            Producer::Stream(_) => None,
            Producer::File(file) => file.next_range(now),
        }
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_piece(context)
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream").field("size", &self.size).finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// The application's stream with its errors boxed.
    struct Pieces<S> {
        #[pin]
        inner: S,
    }
}

impl<S, E> Stream for Pieces<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.project().inner.poll_next(context);
        piece.map(|piece| piece.map(|piece| piece.map_err(Into::into)))
    }
}
