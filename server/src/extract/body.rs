//! The request's body: whole, or as a stream with backpressure to the socket.
//!
//! ```text
//!   socket ──► drive: decodes ──► Channel (bounded) ──► RequestBody: the handler
//!     ▲            │                                        │
//!     └─ not read ─┘◄──────── wants more ◄──────────────────┘
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use corelane_runtime::Received;
use futures_core::Stream;
use http::{HeaderMap, StatusCode};

use super::{BodyUse, Exchange, FromRequest};
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// Bytes that may wait in a channel for the handler; the socket is not read meanwhile.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// What a waiting chunk counts beside its content: about what it takes in memory. A peer that sends
/// a byte at a time must not have more of it than one that sends as much at once.
const CHUNK_BYTES: usize = 64;

/// Where an extractor takes the body from.
pub(crate) enum Source<'a> {
    None,
    Whole(&'a mut [u8]),
    Owned { bytes: Vec<u8>, trailers: Option<Box<HeaderMap>> },
    Stream(RequestBody),
}

impl Source<'_> {
    pub(crate) fn into_owned(self) -> Source<'static> {
        match self {
            Source::None => Source::None,
            Source::Whole(bytes) => Source::Owned { bytes: bytes.to_vec(), trailers: None },
            Source::Owned { bytes, trailers } => Source::Owned { bytes, trailers },
            Source::Stream(body) => Source::Stream(body),
        }
    }
}

/// A piece of a body. Dropping it soon lets the shard receive into the same memory again.
pub struct BodyChunk(Chunk);

enum Chunk {
    /// The receive buffer itself: nothing was copied.
    Received(Received),
    Copied(Bytes),
}

impl BodyChunk {
    pub(crate) fn received(received: Received) -> BodyChunk {
        BodyChunk(Chunk::Received(received))
    }

    pub(crate) fn copied(bytes: &[u8]) -> BodyChunk {
        BodyChunk(Chunk::Copied(Bytes::copy_from_slice(bytes)))
    }

    /// The bytes as a value that may be kept: copied, unless they were already.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Chunk::Received(received) => Bytes::copy_from_slice(&received),
            Chunk::Copied(bytes) => bytes,
        }
    }
}

impl Deref for BodyChunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Chunk::Received(received) => received,
            Chunk::Copied(bytes) => bytes,
        }
    }
}

impl fmt::Debug for BodyChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BodyChunk").field(&self.len()).finish()
    }
}

impl From<Bytes> for BodyChunk {
    fn from(bytes: Bytes) -> BodyChunk {
        BodyChunk(Chunk::Copied(bytes))
    }
}

/// The request's body as a stream, up to the route's limit.
pub struct RequestBody {
    /// What comes from the socket; the trailers behind it.
    channel: Rc<Channel>,
    /// What middleware has made of it, if anything.
    changed: Option<Chunks>,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<BodyChunk, RequestBodyError>>>>;

impl RequestBody {
    /// A body of the application's own. Middleware that changes a received one takes
    /// [`wrap`](RequestBody::wrap).
    pub fn new(
        chunks: impl Stream<Item = Result<BodyChunk, RequestBodyError>> + 'static,
    ) -> RequestBody {
        RequestBody { channel: Channel::ended(None), changed: Some(Box::pin(chunks)) }
    }

    /// Other chunks in the place of these, with the same trailers behind them: for middleware that
    /// decodes or watches a body. `change` gets the body as it is.
    #[must_use]
    pub fn wrap<S>(self, change: impl FnOnce(RequestBody) -> S) -> RequestBody
    where
        S: Stream<Item = Result<BodyChunk, RequestBodyError>> + 'static,
    {
        let channel = Rc::clone(&self.channel);
        RequestBody { channel, changed: Some(Box::pin(change(self))) }
    }

    pub(crate) fn received(channel: &Rc<Channel>) -> RequestBody {
        RequestBody { channel: Rc::clone(channel), changed: None }
    }

    /// A body that is there already.
    fn whole(bytes: Bytes, trailers: Option<Box<HeaderMap>>) -> RequestBody {
        let channel = Channel::ended(trailers);
        if !bytes.is_empty() {
            channel.push(BodyChunk::from(bytes));
        }
        RequestBody { channel, changed: None }
    }

    /// The next piece; `None` at the end of the body.
    ///
    /// While nobody asks, nothing more than 64 KiB is received. A response may be made of the body:
    /// it goes on to be received for as long as the response is a stream that holds it.
    ///
    /// # Errors
    /// The peer went away or broke the framing. The handler is dropped soon after: its answer
    /// could not be sent.
    pub async fn chunk(&mut self) -> Option<Result<BodyChunk, RequestBodyError>> {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyChunk, RequestBodyError>>> {
        match &mut self.changed {
            None => self.channel.poll_chunk(context),
            Some(chunks) => chunks.as_mut().poll_next(context),
        }
    }

    /// The fields behind the body, once [`chunk`](RequestBody::chunk) has said `None`; empty
    /// before, and where there are none. As for [`Trailers`](super::Trailers), those that may not
    /// be trailers are left out.
    pub fn trailers(&mut self) -> HeaderMap {
        self.take_trailers().map(|trailers| *trailers).unwrap_or_default()
    }

    pub(crate) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.channel.0.borrow_mut().trailers.take()
    }

    /// The whole rest, if it is at most `bytes_max` bytes.
    ///
    /// # Errors
    /// As [`chunk`](RequestBody::chunk), and where there is more.
    pub async fn collect_up_to(&mut self, bytes_max: usize) -> Result<Vec<u8>, RequestBodyError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if bytes.len() + chunk.len() > bytes_max {
                return Err(RequestBodyError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

impl Stream for RequestBody {
    type Item = Result<BodyChunk, RequestBodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(context)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

/// Why a body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestBodyError {
    /// It was cut off: the peer went away, was too slow, or broke the framing.
    Incomplete,
    /// It has more bytes than the handler wants to collect, or than its route takes once decoded.
    TooLarge,
    /// It is not in the coding that `Content-Encoding` names.
    Malformed,
}

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestBodyError::Incomplete => "the body was cut off",
            RequestBodyError::TooLarge => "the body is larger than the handler takes",
            RequestBodyError::Malformed => "the body is not in the coding that it claims to be in",
        })
    }
}

impl std::error::Error for RequestBodyError {}

impl IntoResponse for RequestBodyError {
    fn into_response(self) -> Response {
        let status = match self {
            RequestBodyError::Incomplete | RequestBodyError::Malformed => StatusCode::BAD_REQUEST,
            RequestBodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Problem::new(status).detail(self.to_string()).into_response()
    }
}

/// What drive and handler share of one streamed body.
#[derive(Debug, Default)]
pub(crate) struct Channel(RefCell<ChannelState>);

#[derive(Debug, Default)]
struct ChannelState {
    chunks: VecDeque<BodyChunk>,
    waiting_bytes: usize,
    end: Option<Result<(), RequestBodyError>>,
    trailers: Option<Box<HeaderMap>>,
    reader: Option<Waker>,
    feeder: Option<Waker>,
}

impl Channel {
    /// Of a body of which nothing more comes.
    fn ended(trailers: Option<Box<HeaderMap>>) -> Rc<Channel> {
        let channel = Channel::default();
        channel.complete(trailers);
        Rc::new(channel)
    }

    /// Ready while there is room for more; the reader, in whichever task, wakes who waits for it.
    pub(crate) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.end.is_none() && state.waiting_bytes < WAITING_BYTES_MAX {
            return Poll::Ready(());
        }
        state.feeder = Some(context.waker().clone());
        Poll::Pending
    }

    pub(crate) fn push(&self, chunk: BodyChunk) {
        let mut state = self.0.borrow_mut();
        state.waiting_bytes += chunk.len() + CHUNK_BYTES;
        state.chunks.push_back(chunk);
        wake(&mut state);
    }

    /// The body is received to its end.
    pub(crate) fn complete(&self, trailers: Option<Box<HeaderMap>>) {
        self.0.borrow_mut().trailers = trailers;
        self.end(Ok(()));
    }

    pub(crate) fn end(&self, end: Result<(), RequestBodyError>) {
        let mut state = self.0.borrow_mut();
        state.end.get_or_insert(end);
        wake(&mut state);
    }

    /// Whether somebody waits for more than there is.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.borrow().reader.is_some()
    }

    /// Whether the body has been received to its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.borrow().end == Some(Ok(()))
    }

    fn poll_chunk(
        &self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<BodyChunk, RequestBodyError>>> {
        let mut state = self.0.borrow_mut();
        if let Some(chunk) = state.chunks.pop_front() {
            state.waiting_bytes -= chunk.len() + CHUNK_BYTES;
            if let Some(feeder) = state.feeder.take() {
                feeder.wake();
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        match state.end {
            Some(end) => Poll::Ready(end.err().map(Err)),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn wake(state: &mut ChannelState) {
    if let Some(reader) = state.reader.take() {
        reader.wake();
    }
}

impl FromRequest for RequestBody {
    type Rejection = Infallible;

    const BODY: BodyUse = BodyUse::Stream;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<RequestBody, Infallible> {
        Ok(match std::mem::replace(&mut exchange.body, Source::None) {
            Source::Stream(body) => body,
            // Middleware has asked for all of it.
            Source::Owned { bytes, trailers } => RequestBody::whole(Bytes::from(bytes), trailers),
            Source::Whole(bytes) => RequestBody::whole(Bytes::copy_from_slice(bytes), None),
            Source::None => RequestBody::whole(Bytes::new(), None),
        })
    }
}

impl FromRequest for Bytes {
    type Rejection = Infallible;

    const BODY: BodyUse = BodyUse::Whole;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Bytes, Infallible> {
        Ok(Bytes::copy_from_slice(exchange.body_mut()))
    }
}

impl FromRequest for Vec<u8> {
    type Rejection = Infallible;

    const BODY: BodyUse = BodyUse::Whole;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Vec<u8>, Infallible> {
        Ok(exchange.body_mut().to_vec())
    }
}

/// The whole body as text; 400 where it is not UTF-8.
impl FromRequest for String {
    type Rejection = Problem;

    const BODY: BodyUse = BodyUse::Whole;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<String, Problem> {
        let text = std::str::from_utf8(exchange.body_mut());
        text.map(str::to_owned).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST).detail(format!("the body is not UTF-8: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_with_what_it_takes_to_wait() {
        let context = Context::from_waker(Waker::noop());
        for (size, expected) in [(1, 1009), (1000, 62), (WAITING_BYTES_MAX, 1)] {
            let channel = Channel::default();
            let piece = vec![b'x'; size];
            let mut count = 0;
            while channel.poll_room(&context).is_ready() {
                channel.push(BodyChunk::copied(&piece));
                count += 1;
            }
            assert_eq!(count, expected, "{size} bytes each");
            for _ in 0..count {
                assert!(channel.poll_chunk(&context).is_ready());
            }
            assert_eq!(channel.0.borrow().waiting_bytes, 0);
        }
    }
}
