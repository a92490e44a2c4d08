//! A response's stream on its way through an encoder.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::encoder::{Encoder, Encoders};
use crate::body::BodyStream;
use crate::coding::Coding;
use crate::error::BoxError;

/// Compressed bytes that are put together before they go out.
const OUT_BYTES: usize = 16 * 1024;

/// Content that is compressed before others on the shard have a turn: about a millisecond's worth.
const TURN_BYTES: usize = 64 * 1024;

/// The content of a stream, compressed as it comes.
pub(super) struct CompressedStream {
    content: BodyStream,
    coding: Coding,
    encoders: Rc<Encoders>,
    /// `None` before the first piece and after the last one.
    encoder: Option<Encoder>,
    out: Vec<u8>,
    /// Whether there is content in the encoder that the peer can not decode yet.
    is_dirty: bool,
    is_over: bool,
}

impl CompressedStream {
    pub(super) fn new(content: BodyStream, encoders: Rc<Encoders>, coding: Coding) -> Self {
        let (encoder, out) = (None, Vec::new());
        CompressedStream {
            content,
            coding,
            encoders,
            encoder,
            out,
            is_dirty: false,
            is_over: false,
        }
    }

    fn encoder(&mut self) -> Result<&mut Encoder, BoxError> {
        if self.encoder.is_none() {
            self.encoder = Some(self.encoders.take(self.coding)?);
        }
        self.encoder.as_mut().ok_or_else(|| "no encoder".into())
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), BoxError> {
        let mut out = std::mem::take(&mut self.out);
        let written = self.encoder().and_then(|encoder| Ok(encoder.write(piece, &mut out)?));
        self.out = out;
        self.is_dirty |= !piece.is_empty();
        written
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        if let Some(encoder) = &mut self.encoder
            && self.is_dirty
        {
            encoder.flush(&mut self.out)?;
        }
        self.is_dirty = false;
        Ok(())
    }

    // Nothing at all is a content as well: its coding has a beginning and an end.
    fn finish(&mut self) -> Result<(), BoxError> {
        self.is_over = true;
        self.encoder()?;
        if let Some(encoder) = self.encoder.take() {
            self.encoders.finish(encoder, &mut self.out)?;
        }
        Ok(())
    }

    fn take_out(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.out)))
    }

    /// One piece of the content. Ready with what is to go out, or with nothing to be asked again.
    fn step(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BoxError>> {
        match self.content.poll_piece(context) {
            Poll::Ready(Some(piece)) => {
                self.write(&piece?)?;
                if self.out.len() < OUT_BYTES {
                    return Poll::Ready(Ok(None));
                }
            }
            Poll::Ready(None) => self.finish()?,
            Poll::Pending => {
                self.flush()?;
                if self.out.is_empty() {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(self.take_out()))
    }
}

impl Stream for CompressedStream {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut step_count = 0;
        while !this.is_over {
            match this.step(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(done) => return Poll::Ready(done.transpose()),
            }
            // A producer that never pauses, of content that comes to nothing.
            step_count += 1;
            if step_count == STEP_COUNT_MAX {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(None)
    }
}

/// Pieces of a stream that are taken before others on the shard have a turn.
const STEP_COUNT_MAX: usize = 16;

/// Content that is there, as a stream that is never ready with more than a turn's worth.
pub(super) struct Pieces(pub(super) Bytes);

impl Stream for Pieces {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.0.len().min(TURN_BYTES);
        Poll::Ready(Some(Ok(self.0.split_to(size))))
    }
}
