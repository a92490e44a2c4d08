//! Sending an answer whose content is produced while it is sent.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use corelane_runtime::SendBuffer;
use corelane_runtime::fs::FileRange;

use super::conversation::Conversation;
use super::drive::Ended;
use super::pace::Pace;
use crate::body::BodyStream;
use crate::error::BoxError;
use crate::extract::Channel;
use crate::faults::{catch, route};
use crate::http1::encode;
use crate::response::StreamCoding;

/// Pieces that are at least this large are sent as they are, smaller ones are put together.
const SHARED_BYTES_MIN: usize = 16 * 1024;

impl Conversation {
    /// Sends the stream's pieces as they come, no faster than the peer takes them. Where it is made
    /// of the request's body, that comes through `channel`.
    pub(super) async fn stream_out(
        &mut self,
        stream: BodyStream,
        coding: StreamCoding,
        channel: Option<Rc<Channel>>,
    ) -> Result<(), Ended> {
        self.is_answering = true;
        self.is_open_ended = coding == StreamCoding::Close;
        let sent = self.send_stream(stream, coding, channel.as_ref()).await;
        self.is_answering = false;
        if sent.is_ok() {
            self.note_last_piece();
        }
        if let Some(channel) = channel {
            self.stop_feeding(&channel, self.site.config.discard_bytes_max);
        }
        match sent {
            // Nothing but a close can follow content that is not whole.
            Err(Ended::TimedOut(deadline)) => {
                self.note_timeout(deadline);
                Err(Ended::Broken)
            }
            sent => sent,
        }
    }

    async fn send_stream(
        &mut self,
        mut stream: BodyStream,
        mut coding: StreamCoding,
        channel: Option<&Rc<Channel>>,
    ) -> Result<(), Ended> {
        let mut pace = self.body_pace();
        loop {
            if coding != StreamCoding::Chunked
                && let Some(range) = stream.next_range(self.shard.now())
            {
                self.send_range(range, &mut coding).await?;
                continue;
            }
            let Some(piece) = self.next_piece(&mut stream, channel, &mut pace).await? else {
                break;
            };
            let piece = piece.map_err(|error| {
                tracing::error!(%error, route = route(), "a response's stream failed");
                Ended::Broken
            })?;
            self.send_piece(piece, &mut coding)?;
            if self.out.len() >= SHARED_BYTES_MIN || self.stream.unsent_bytes() > 0 {
                self.flush();
                self.sent(self.site.config.unsent_bytes_max).await?;
            }
        }
        self.end_content(coding, &mut stream)
    }

    async fn send_range(
        &mut self,
        range: FileRange,
        coding: &mut StreamCoding,
    ) -> Result<(), Ended> {
        count_off(coding, range.size)?;
        self.note_piece(range.size);
        self.flush();
        self.stream.send(SendBuffer::File(range));
        self.sent(self.site.config.unsent_bytes_max).await
    }

    /// The next piece. While the producer pauses, what is there goes out, and the peer is watched.
    async fn next_piece(
        &mut self,
        stream: &mut BodyStream,
        channel: Option<&Rc<Channel>>,
        pace: &mut Pace,
    ) -> Result<Option<Result<Bytes, BoxError>>, Ended> {
        poll_fn(|context| {
            loop {
                self.shard.begin_activity(self.activity);
                match catch(|| stream.poll_piece(context)) {
                    Some(Poll::Ready(piece)) => return Poll::Ready(Ok(piece)),
                    Some(Poll::Pending) => {}
                    None => return Poll::Ready(Err(Ended::Broken)),
                }
                self.flush();
                let is_fed = |channel: &&Rc<Channel>| !channel.is_complete();
                let polled = match channel.filter(is_fed) {
                    Some(channel) => self.poll_feed(channel, pace, context),
                    None => self.poll_watch(context),
                };
                match polled {
                    // The stream has something new to look at.
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn send_piece(&mut self, piece: Bytes, coding: &mut StreamCoding) -> Result<(), Ended> {
        self.note_piece(piece.len());
        self.ready_out();
        if *coding == StreamCoding::Chunked {
            encode::chunk(&mut self.out, &piece);
            return Ok(());
        }
        count_off(coding, piece.len())?;
        if piece.len() < SHARED_BYTES_MIN {
            self.out.extend_from_slice(&piece);
        } else {
            self.flush();
            self.stream.send(SendBuffer::Shared(piece));
        }
        Ok(())
    }

    fn end_content(&mut self, coding: StreamCoding, stream: &mut BodyStream) -> Result<(), Ended> {
        match coding {
            StreamCoding::Chunked => {
                let trailers = catch(|| stream.make_trailers()).ok_or(Ended::Broken)?;
                self.ready_out();
                encode::last_chunk(&mut self.out, &trailers);
            }
            StreamCoding::Length(0) => {}
            StreamCoding::Length(_) => {
                tracing::error!(route = route(), "a response's stream is shorter than its size");
                return Err(Ended::Broken);
            }
            // The end of the connection is the end of the content.
            StreamCoding::Close => self.protocol.close(),
        }
        Ok(())
    }
}

// RFC 9112 section 8: content that does not match its length must not look complete.
fn count_off(coding: &mut StreamCoding, size: usize) -> Result<(), Ended> {
    let StreamCoding::Length(left) = coding else { return Ok(()) };
    let Some(rest) = left.checked_sub(size as u64) else {
        tracing::error!(route = route(), "a response's stream is longer than its size");
        return Err(Ended::Broken);
    };
    *left = rest;
    Ok(())
}
