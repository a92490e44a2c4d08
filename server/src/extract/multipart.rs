//! The parts of a form with files (`multipart/form-data`, RFC 7578), as they arrive.
//!
//! ```text
//!   RequestBody ──► poll_feed: one chunk ──► multer: takes it apart ──► Part::chunk: the handler
//!        ▲                                        │
//!        └────────── only when it is used up ◄────┘
//! ```
//!
//! The taking apart is multer's. It wants a stream that is `Send`, which a body on its shard is
//! not, and reads it for as long as there is something. So it gets a channel, and a chunk in it
//! only when it has nothing left: that bounds what it keeps while it looks for the end of a head.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_core::Stream;
use http::{HeaderMap, StatusCode};

use super::{BodyUse, Exchange, FromRequest, RequestBody, RequestBodyError};
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// RFC 2046 section 5.1.1: a boundary has no more.
const BOUNDARY_BYTES_MAX: usize = 70;

/// Bytes of a part's head, and of what is before the first part or behind the last one. They are
/// kept together in memory, and no client sends a tenth of it.
const PART_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Parts of a form. A form that people fill in has fewer; each costs a head to be parsed.
const PARTS_MAX: usize = 256;

/// The parts of a form that was sent as `multipart/form-data`, one after another as they arrive:
/// nothing of a file is kept that the handler does not keep. 415 for another type of body.
///
/// ```
/// use corelane::{Multipart, MultipartError, post};
///
/// async fn upload(mut form: Multipart) -> Result<String, MultipartError> {
///     let (mut title, mut size) = (String::new(), 0);
///     while let Some(mut part) = form.next_part().await? {
///         match part.name() {
///             "title" => title = part.text().await?,
///             "file" => {
///                 while let Some(chunk) = part.chunk().await? {
///                     size += chunk.len();
///                 }
///             }
///             _ => {} // skipped, and never in memory
///         }
///     }
///     Ok(format!("{title}: {size} bytes"))
/// }
///
/// let route = post(upload).body_bytes_max(1 << 30);
/// # let _ = route;
/// ```
///
/// Three limits hold: the route's body limit for all parts together, at most 256 parts, and what
/// the handler sets for a single one. Beyond them a [`MultipartError`] says so, which as a response
/// is 413, and 400 where the form is malformed.
#[derive(Debug)]
pub struct Multipart {
    form: multer::Multipart<'static>,
    body: RequestBody,
    /// `None` once all of the body is handed over.
    feed: Option<UnboundedSender<Result<Bytes, RequestBodyError>>>,
    /// The part that is being read, or was read last.
    part: Option<multer::Field<'static>>,
    /// Bytes that were handed over since the last part's content ended.
    head_bytes: usize,
    /// Bytes of the current part so far.
    part_bytes: u64,
    part_count: usize,
    part_bytes_max: u64,
    parts_max: usize,
    /// What every further call says.
    end: Option<Result<(), MultipartError>>,
}

impl Multipart {
    /// Parts that the form may have. Default 256.
    #[must_use]
    pub fn parts_max(mut self, count: usize) -> Multipart {
        self.parts_max = count;
        self
    }

    /// Bytes that each part may have. Default: as many as the route takes in all.
    #[must_use]
    pub fn part_bytes_max(mut self, bytes: u64) -> Multipart {
        self.part_bytes_max = bytes;
        self
    }

    /// The next part; `None` behind the last one. What was not read of the part before is skipped.
    ///
    /// # Errors
    /// The form is malformed, goes beyond a limit, or could not be received.
    pub async fn next_part(&mut self) -> Result<Option<Part<'_>>, MultipartError> {
        let has_part = poll_fn(|context| self.poll_part(context)).await;
        if let Err(error) = &has_part {
            self.end.get_or_insert(Err(error.clone()));
        }
        Ok(has_part?.then_some(Part { form: self }))
    }

    /// Whether there is another part, which is the current one then.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, MultipartError>> {
        if let Some(end) = &self.end {
            return Poll::Ready(end.clone().map(|()| false));
        }
        if self.part.is_some() {
            while ready!(self.poll_chunk(context))?.is_some() {}
            (self.part, self.head_bytes) = (None, 0);
        }
        loop {
            match self.form.poll_next_field(context) {
                Poll::Ready(Ok(Some(part))) => return Poll::Ready(self.begin(part).map(|()| true)),
                Poll::Ready(Ok(None)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(malformed(&error))),
                Poll::Pending if self.head_bytes > PART_HEAD_BYTES_MAX => {
                    return Poll::Ready(Err(MultipartError::HeadTooLarge));
                }
                Poll::Pending => self.head_bytes += ready!(self.poll_feed(context))?,
            }
        }
        // So that the connection can go on: behind the last part there is a line's end at most.
        while self.feed.is_some() && self.head_bytes <= PART_HEAD_BYTES_MAX {
            self.head_bytes += ready!(self.poll_feed(context))?;
        }
        self.end = Some(Ok(()));
        Poll::Ready(Ok(false))
    }

    fn begin(&mut self, part: multer::Field<'static>) -> Result<(), MultipartError> {
        self.part_count += 1;
        if self.part_count > self.parts_max {
            return Err(MultipartError::TooManyParts { parts_max: self.parts_max });
        }
        // RFC 7578 section 4.2: each part must have a name.
        if part.name().is_none() {
            return Err(MultipartError::Malformed("a part has no name".to_owned()));
        }
        (self.part, self.part_bytes) = (Some(part), 0);
        Ok(())
    }

    /// The next piece of the current part; `None` at its end.
    fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, MultipartError>> {
        loop {
            let Some(part) = &mut self.part else { return Poll::Ready(Ok(None)) };
            match Pin::new(part).poll_next(context) {
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(Ok(piece))) => return Poll::Ready(self.count(piece).map(Some)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(malformed(&error))),
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => drop(ready!(self.poll_feed(context))?),
            }
        }
    }

    fn count(&mut self, piece: Bytes) -> Result<Bytes, MultipartError> {
        self.part_bytes += piece.len() as u64;
        if self.part_bytes > self.part_bytes_max {
            return Err(MultipartError::PartTooLarge { bytes_max: self.part_bytes_max });
        }
        Ok(piece)
    }

    /// Hands one more chunk over to be taken apart; says how many bytes.
    fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, MultipartError>> {
        let Some(feed) = &self.feed else {
            return Poll::Ready(Err(MultipartError::Malformed("it is cut off".to_owned())));
        };
        match ready!(Pin::new(&mut self.body).poll_next(context)) {
            Some(Ok(chunk)) => {
                let size = chunk.len();
                // The other end is in `form`, which is here as well.
                let _ = feed.unbounded_send(Ok(chunk.into_bytes()));
                Poll::Ready(Ok(size))
            }
            Some(Err(error)) => Poll::Ready(Err(MultipartError::Body(error))),
            None => {
                self.feed = None;
                Poll::Ready(Ok(0))
            }
        }
    }
}

impl FromRequest for Multipart {
    type Rejection = Problem;

    const BODY: BodyUse = BodyUse::Stream;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Multipart, Problem> {
        let media =
            exchange.header("content-type").and_then(|media| std::str::from_utf8(media).ok());
        let boundary = multer::parse_boundary(media.unwrap_or_default()).map_err(|error| {
            let status = match error {
                multer::Error::NoBoundary => StatusCode::BAD_REQUEST,
                _ => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            };
            let detail = "the body must be a form; send it with \
                          Content-Type: multipart/form-data; boundary=...";
            Problem::new(status).detail(detail)
        })?;
        if !(1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()) {
            let detail = format!("a boundary has 1 to {BOUNDARY_BYTES_MAX} characters");
            return Err(Problem::new(StatusCode::BAD_REQUEST).detail(detail));
        }
        let Ok(body) = RequestBody::from_request(exchange);
        let (feed, fed) = unbounded();
        Ok(Multipart {
            form: multer::Multipart::new(fed, boundary),
            body,
            feed: Some(feed),
            part: None,
            head_bytes: 0,
            part_bytes: 0,
            part_count: 0,
            part_bytes_max: u64::MAX,
            parts_max: PARTS_MAX,
            end: None,
        })
    }
}

/// One part of a form: a field's value, or a file.
#[derive(Debug)]
pub struct Part<'f> {
    form: &'f mut Multipart,
}

impl Part<'_> {
    /// The name of the form's field. Several parts may have the same.
    pub fn name(&self) -> &str {
        self.field().name().unwrap_or_default()
    }

    /// The name of the file, as the client says it. It may be anything: never a path to write to.
    pub fn file_name(&self) -> Option<&str> {
        self.field().file_name()
    }

    /// The media type, as the client says it.
    pub fn content_type(&self) -> Option<&str> {
        self.field().content_type().map(AsRef::as_ref)
    }

    /// The fields of the part's head.
    pub fn headers(&self) -> &HeaderMap {
        self.field().headers()
    }

    /// The next piece of the content; `None` at its end.
    ///
    /// # Errors
    /// As [`Multipart::next_part`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        if let Some(Err(error)) = &self.form.end {
            return Err(error.clone());
        }
        let piece = poll_fn(|context| self.form.poll_chunk(context)).await;
        if let Err(error) = &piece {
            self.form.end.get_or_insert(Err(error.clone()));
        }
        piece
    }

    /// All of the content that was not read yet, in memory.
    ///
    /// # Errors
    /// As [`Multipart::next_part`].
    pub async fn bytes(mut self) -> Result<Vec<u8>, MultipartError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.chunk().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// All of the content that was not read yet, as text.
    ///
    /// # Errors
    /// As [`Multipart::next_part`], and where it is not UTF-8.
    pub async fn text(self) -> Result<String, MultipartError> {
        String::from_utf8(self.bytes().await?).map_err(|_| MultipartError::NotText)
    }

    fn field(&self) -> &multer::Field<'static> {
        self.form.part.as_ref().expect("a part is borrowed from the form that has it")
    }
}

/// Why a form could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultipartError {
    /// The body could not be received.
    Body(RequestBodyError),
    /// It is not what RFC 7578 says.
    Malformed(String),
    /// The head of a part, or what is around the parts, is longer than 16 KiB.
    HeadTooLarge,
    /// There are more parts than the handler takes.
    TooManyParts {
        /// How many it takes.
        parts_max: usize,
    },
    /// A part is larger than the handler takes.
    PartTooLarge {
        /// How many bytes it takes.
        bytes_max: u64,
    },
    /// A part that is to be text is not UTF-8.
    NotText,
}

fn malformed(error: &multer::Error) -> MultipartError {
    MultipartError::Malformed(error.to_string())
}

impl fmt::Display for MultipartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MultipartError::Body(error) => error.fmt(f),
            MultipartError::Malformed(what) => write!(f, "the form is malformed: {what}"),
            MultipartError::HeadTooLarge => {
                write!(f, "the head of a part is longer than {PART_HEAD_BYTES_MAX} bytes")
            }
            MultipartError::TooManyParts { parts_max } => {
                write!(f, "the form has more than {parts_max} parts")
            }
            MultipartError::PartTooLarge { bytes_max } => {
                write!(f, "a part is larger than {bytes_max} bytes")
            }
            MultipartError::NotText => f.write_str("a part that must be text is not UTF-8"),
        }
    }
}

impl std::error::Error for MultipartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MultipartError::Body(error) => Some(error),
            _ => None,
        }
    }
}

impl IntoResponse for MultipartError {
    fn into_response(self) -> Response {
        let status = match self {
            MultipartError::Body(error) => return error.into_response(),
            MultipartError::TooManyParts { .. } | MultipartError::PartTooLarge { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            _ => StatusCode::BAD_REQUEST,
        };
        Problem::new(status).detail(self.to_string()).into_response()
    }
}
