//! The one loop that waits: for bytes, for handlers, for the peer to take its answers.
//!
//! ```text
//!             ┌───────────────────────────────────────────────┐
//!             ▼                                               │ Read, Flush
//!   receive ─────► process ───────────────────────────────────┤
//!      │             │ Call: wait for the handler             │
//!      │             │ Rest: send shared bytes or a stream ───┘
//!      │             │ Close
//!      │ end of file, deadline, drain
//!      ▼             ▼
//!   send what is left ──► FIN ──► linger ──► close
//! ```

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use corelane_runtime::{Moment, Received, SendBuffer};

use super::conversation::{Conversation, Next, Phase};
use crate::http1::{EndOfInput, ProtocolError};
use crate::response::Rest;
use crate::stats::{Closed, Deadline};

/// While draining, how long a connection must have been quiet to count as idle: the peer's next
/// request may be on its way already, and closing then would look like a lost one.
const DRAIN_QUIET: Duration = Duration::from_millis(250);

/// Why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The last answer is written: send it, then close.
    Closing,
    /// The peer sends no more; it still gets its answers.
    PeerDone,
    /// The connection is of no use any more.
    PeerGone,
    /// A deadline passed.
    TimedOut(Deadline),
    /// The shard drains and the connection was idle.
    Drained,
    /// An answer can not be completed, which its framing tells the peer.
    Broken,
    /// As `Broken`, where the end of the connection would be the end of the content: a reset tells.
    Cut,
}

impl Ended {
    /// What a connection that ended so is counted as.
    fn reason(self) -> Closed {
        match self {
            Ended::Closing => Closed::Answered,
            Ended::PeerDone => Closed::PeerDone,
            Ended::PeerGone => Closed::PeerGone,
            Ended::TimedOut(_) => Closed::TimedOut,
            Ended::Drained => Closed::Drained,
            Ended::Broken | Ended::Cut => Closed::Broken,
        }
    }
}

impl Conversation {
    /// Serves the connection to its end; says why it ended.
    pub(super) async fn drive(&mut self) -> Closed {
        let Err(ended) = self.run().await;
        self.note_end();
        self.end(ended).await;
        self.log_end();
        ended.reason()
    }

    /// Sends what can still be sent, and waits for that.
    async fn end(&mut self, ended: Ended) {
        if let Ended::TimedOut(deadline) = ended {
            self.site.stats.timeouts[deadline as usize].add(1);
        }
        match ended {
            Ended::Closing => {}
            Ended::PeerDone => {
                self.flush();
                let _ = self.sent(0).await;
                return;
            }
            Ended::TimedOut(Deadline::Head) => {
                let input = mem::take(&mut self.input);
                self.refuse(ProtocolError::HeadTooSlow, &input);
            }
            Ended::TimedOut(Deadline::Body) => self.refuse(ProtocolError::BodyTooSlow, b""),
            Ended::Cut => return self.stream.abort(),
            Ended::PeerGone => return self.site.stats.peers_gone.add(1),
            // What was answered before it is whole; what is missing of this one is noticed. While
            // a drain waits for the next request, the peer may still be taking its last answer.
            Ended::Broken | Ended::Drained => {
                let _ = self.sent(0).await;
                return;
            }
            Ended::TimedOut(_) => return,
        }
        self.flush();
        if self.sent(0).await.is_ok() {
            self.linger().await;
        }
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut next = Next::Read;
        loop {
            self.flush();
            next = match next {
                Next::Read => {
                    if self.stream.unsent_bytes() > self.site.config.unsent_bytes_max {
                        self.sent(self.site.config.unsent_bytes_max).await?;
                    }
                    self.read().await?
                }
                Next::Flush => {
                    self.sent(self.site.config.unsent_bytes_max).await?;
                    self.shard.yield_now().await;
                    self.go_on().await
                }
                Next::Call(pending) => match self.wait_for(pending).await? {
                    (Rest::Nothing, _) => self.go_on().await,
                    (rest, channel) => Next::Rest(rest, channel),
                },
                Next::Rest(Rest::Stream { stream, coding }, channel) => {
                    // Boxed, so that a connection without a stream has no room for one.
                    Box::pin(self.stream_out(stream, coding, channel)).await?;
                    self.go_on().await
                }
                Next::Rest(Rest::Shared(bytes), _) => {
                    self.stream.send(SendBuffer::Shared(bytes));
                    self.sent(self.site.config.unsent_bytes_max).await?;
                    self.go_on().await
                }
                Next::Rest(Rest::Nothing, _) => self.go_on().await,
                Next::Close => return Err(Ended::Closing),
            };
        }
    }

    /// Waits for the next bytes, as long as the state of the conversation allows, and processes
    /// them in the same poll, where they lie.
    fn read(&mut self) -> impl Future<Output = Result<Next, Ended>> {
        let (deadline, kind) = self.next_deadline();
        self.timer.arm(deadline);
        poll_fn(move |context| {
            let received = match self.poll_receive(kind, context) {
                Poll::Ready(Ok(received)) => received,
                Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                Poll::Pending => return Poll::Pending,
            };
            self.note_progress(received.len() as u64);
            Poll::Ready(Ok(self.take_in(received, context)))
        })
    }

    /// Processes what was copied out before.
    fn go_on(&mut self) -> impl Future<Output = Next> {
        poll_fn(move |context| Poll::Ready(self.process_input(context)))
    }

    /// Processes received bytes in their buffer where nothing waits before them; what is left of
    /// them is copied out.
    fn take_in(&mut self, mut received: Received, context: &mut Context<'_>) -> Next {
        if !self.input.is_empty() {
            self.input.extend_from_slice(&received);
            drop(received);
            return self.process_input(context);
        }
        let (used, next) = self.process(&mut received, context);
        self.keep(&received[used..]);
        next
    }

    fn process_input(&mut self, context: &mut Context<'_>) -> Next {
        let mut input = mem::take(&mut self.input);
        let (used, next) = self.process(&mut input, context);
        input.drain(..used);
        if input.is_empty() {
            self.shard.recycle(input);
        } else {
            self.input = input;
        }
        self.note_head();
        next
    }

    /// Copies out what must outlive the turn.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.input.capacity() == 0 {
            self.input = self.shard.send_buffer();
        }
        self.input.extend_from_slice(bytes);
        self.note_head();
    }

    /// The head's deadline runs from its first byte.
    fn note_head(&mut self) {
        let is_in_head = !self.input.is_empty() && matches!(self.phase, Phase::Heads);
        match self.head_since {
            None if is_in_head => self.head_since = Some(self.shard.now()),
            Some(_) if !is_in_head => self.head_since = None,
            _ => {}
        }
    }

    fn note_progress(&mut self, size: u64) {
        let now = self.shard.now();
        match &mut self.phase {
            Phase::Collect(collect) => collect.pace.progress(now, size),
            Phase::Discard(unwanted) => unwanted.pace.progress(now, size),
            Phase::Heads | Phase::Stream => {}
        }
    }

    fn poll_receive(
        &mut self,
        kind: Deadline,
        context: &mut Context<'_>,
    ) -> Poll<Result<Received, Ended>> {
        match self.stream.poll_recv(context) {
            Poll::Ready(Ok(received)) if received.is_empty() => {
                return Poll::Ready(Err(self.on_end_of_input()));
            }
            Poll::Ready(Ok(received)) => return Poll::Ready(Ok(received)),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended::PeerGone)),
            Poll::Pending => {}
        }
        let is_expired = self.timer.poll_expired(context).is_ready();
        if self.shard.is_draining() && matches!(kind, Deadline::Idle | Deadline::FirstByte) {
            let idle_from = self.quiet_since + DRAIN_QUIET;
            if is_expired || self.shard.now() >= idle_from {
                return Poll::Ready(Err(Ended::Drained));
            }
            self.timer.arm(idle_from);
            return Poll::Pending;
        }
        if !is_expired {
            return Poll::Pending;
        }
        Poll::Ready(Err(Ended::TimedOut(kind)))
    }

    /// By when the peer must have sent something, and what it is late with otherwise.
    fn next_deadline(&mut self) -> (Moment, Deadline) {
        let now = self.shard.now();
        let config = &self.site.config;
        match &mut self.phase {
            Phase::Collect(collect) => return (collect.pace.deadline(now), Deadline::Body),
            Phase::Discard(unwanted) => return (unwanted.pace.deadline(now), Deadline::Body),
            Phase::Heads | Phase::Stream => {}
        }
        if let Some(since) = self.head_since {
            return (since + config.head_timeout, Deadline::Head);
        }
        if self.stream.unsent_bytes() > 0 {
            return (now + config.send_timeout.min(config.idle_timeout), Deadline::Idle);
        }
        if self.has_served {
            (now + config.idle_timeout, Deadline::Idle)
        } else {
            (self.quiet_since + config.first_byte_timeout, Deadline::FirstByte)
        }
    }

    fn on_end_of_input(&mut self) -> Ended {
        self.is_peer_done = true;
        match self.protocol.end_of_input(&self.input) {
            EndOfInput::Clean => Ended::PeerDone,
            // RFC 9112 section 8: what was cut short is no request. Answers to earlier ones go out.
            EndOfInput::TruncatedHead | EndOfInput::TruncatedBody => Ended::PeerDone,
        }
    }

    /// Waits until at most `unsent_bytes_max` bytes are unsent; the peer must take them at the
    /// least rate.
    pub(super) async fn sent(&mut self, unsent_bytes_max: usize) -> Result<(), Ended> {
        if self.stream.unsent_bytes() <= unsent_bytes_max {
            return Ok(());
        }
        let mut sent_bytes = self.stream.sent_bytes();
        poll_fn(|context| {
            let polled = self.stream.poll_sent(unsent_bytes_max, context);
            let (now, progress) = (self.shard.now(), self.stream.sent_bytes() - sent_bytes);
            if progress > 0 || polled.is_ready() {
                // Not begun anew with each wait: the rate holds for the connection as a whole.
                self.send_pace.progress(now, progress);
                sent_bytes += progress;
            }
            if let Poll::Ready(sent) = polled {
                return Poll::Ready(sent.map_err(|_| Ended::PeerGone));
            }
            let deadline = self.send_pace.deadline(now);
            if deadline <= now {
                return Poll::Ready(Err(Ended::TimedOut(Deadline::Send)));
            }
            self.timer.arm(deadline);
            self.timer.poll_expired(context).map(|()| Err(Ended::TimedOut(Deadline::Send)))
        })
        .await
    }

    /// Receives and throws away what the peer still sends, bounded in time and bytes: closing with
    /// unread bytes would reset the connection, and the reset may overtake the last answer
    /// (RFC 9112 section 9.6).
    async fn linger(&mut self) {
        if self.is_peer_done || self.stream.shutdown_write().is_err() {
            return;
        }
        let config = &self.site.config;
        self.timer.arm(self.shard.now() + config.linger_timeout);
        let mut left = config.linger_bytes_max;
        poll_fn(|context| {
            while let Poll::Ready(received) = self.stream.poll_recv(context) {
                let size = received.map_or(0, |received| received.len());
                if size == 0 || size > left {
                    return Poll::Ready(());
                }
                left -= size;
            }
            self.timer.poll_expired(context)
        })
        .await;
    }
}
