//! Sending an answer whose content is produced while it is sent.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use corelane_runtime::SendBuffer;
use http::HeaderMap;

use super::conversation::Conversation;
use super::drive::Ended;
use crate::body::BodyStream;
use crate::error::BoxError;
use crate::http1::encode;
use crate::response::{StreamCoding, catch};

/// Pieces that are at least this large are sent as they are, smaller ones are put together.
const SHARED_BYTES_MIN: usize = 16 * 1024;

impl Conversation {
    /// Sends the stream's pieces as they come, no faster than the peer takes them.
    pub(super) async fn stream_out(
        &mut self,
        mut stream: BodyStream,
        mut coding: StreamCoding,
    ) -> Result<(), Ended> {
        while let Some(piece) = self.next_piece(&mut stream).await? {
            let piece = piece.map_err(|error| {
                tracing::error!(%error, "a response's stream failed");
                Ended::Broken
            })?;
            self.send_piece(piece, &mut coding)?;
            if self.out.len() >= SHARED_BYTES_MIN || self.stream.unsent_bytes() > 0 {
                self.flush();
                self.sent(self.site.config.unsent_bytes_max).await?;
            }
        }
        self.end_content(coding)
    }

    /// The next piece. While the producer pauses, what is there goes out, and the peer is watched.
    async fn next_piece(
        &mut self,
        stream: &mut BodyStream,
    ) -> Result<Option<Result<Bytes, BoxError>>, Ended> {
        poll_fn(|context| {
            match catch(|| stream.poll_piece(context)) {
                Some(Poll::Ready(piece)) => return Poll::Ready(Ok(piece)),
                Some(Poll::Pending) => {}
                None => {
                    self.site.stats.handler_panics.add(1);
                    return Poll::Ready(Err(Ended::Broken));
                }
            }
            self.flush();
            self.poll_watch(context).map(|watched| watched.map(|()| None))
        })
        .await
    }

    fn send_piece(&mut self, piece: Bytes, coding: &mut StreamCoding) -> Result<(), Ended> {
        self.ready_out();
        match coding {
            StreamCoding::Chunked => {
                encode::chunk(&mut self.out, &piece);
                return Ok(());
            }
            // RFC 9112 section 8: content that does not match its length must not look complete.
            StreamCoding::Length(left) => match left.checked_sub(piece.len() as u64) {
                Some(rest) => *left = rest,
                None => {
                    tracing::error!("a response's stream is longer than its size");
                    return Err(Ended::Broken);
                }
            },
            StreamCoding::Close => {}
        }
        if piece.len() < SHARED_BYTES_MIN {
            self.out.extend_from_slice(&piece);
        } else {
            self.flush();
            self.stream.send(SendBuffer::Shared(piece));
        }
        Ok(())
    }

    fn end_content(&mut self, coding: StreamCoding) -> Result<(), Ended> {
        match coding {
            StreamCoding::Chunked => {
                self.ready_out();
                encode::last_chunk(&mut self.out, &HeaderMap::new());
            }
            StreamCoding::Length(0) => {}
            StreamCoding::Length(_) => {
                tracing::error!("a response's stream is shorter than its size");
                return Err(Ended::Broken);
            }
            // The end of the connection is the end of the content.
            StreamCoding::Close => self.protocol.close(),
        }
        Ok(())
    }
}
