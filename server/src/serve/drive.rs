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

use super::conversation::{Conversation, Next, Pending, Phase};
use super::pace::Allowance;
use crate::http1::{EndOfInput, ProtocolError};
use crate::response::Rest;
use crate::stats::{Closed, Deadline};

/// While draining, how long a connection must have been quiet to count as idle: the peer's next
/// request may be on its way already, and closing then would look like a lost one.
const DRAIN_QUIET: Duration = Duration::from_millis(250);

/// As `DRAIN_QUIET`, for a connection without a request so far: who connects is about to send one,
/// and a client repeats by itself only what it sent on a connection that had been used before.
const DRAIN_QUIET_FRESH: Duration = Duration::from_secs(2);

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
    /// It did not begin with the head that it has to begin with, or not by whom it may.
    NotProxied,
    /// The shard drains and the connection was idle.
    Drained,
    /// An answer can not be completed, which its framing tells the peer, or else a reset.
    Broken,
}

impl Ended {
    /// What a connection that ended so is counted as.
    fn reason(self) -> Closed {
        match self {
            Ended::Closing => Closed::Answered,
            Ended::PeerDone => Closed::PeerDone,
            Ended::PeerGone => Closed::PeerGone,
            Ended::TimedOut(_) => Closed::TimedOut,
            Ended::NotProxied => Closed::NotProxied,
            Ended::Drained => Closed::Drained,
            Ended::Broken => Closed::Broken,
        }
    }
}

/// What a connection waits for while it reads.
pub(super) struct Wait {
    pub(super) deadline: Moment,
    kind: Deadline,
    /// When the wait began: what was before it, be it the end of a body, is no quiet. While answers
    /// are being taken, when that was last looked at; without a request so far, when the connection
    /// began.
    since: Moment,
    /// What was unsent then.
    unsent_bytes: usize,
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
            self.note_timeout(deadline);
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
            Ended::PeerGone => return self.site.stats.peers_gone.add(1),
            // What was answered before it is whole; what is missing of this one is noticed. While
            // a drain waits for the next request, the peer may still be taking its last answer.
            Ended::Broken | Ended::Drained => {
                let _ = self.sent(0).await;
                return;
            }
            Ended::TimedOut(_) => return,
            Ended::NotProxied => return self.site.stats.not_proxied.add(1),
        }
        self.flush();
        if self.sent(0).await.is_ok() {
            self.is_open_ended = false;
            self.linger().await;
        }
    }

    pub(super) fn note_timeout(&self, deadline: Deadline) {
        self.site.stats.timeouts[deadline as usize].add(1);
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut next = Next::Read;
        if self.site.config.proxy.has_protocol_head {
            // Boxed, so that a connection without such a head has no room for one.
            Box::pin(self.take_proxy_head()).await?;
            next = self.go_on().await;
        }
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
                Next::Call(pending) => {
                    let (rest, channel) = self.wait_for(pending).await?;
                    Next::Rest(rest, channel)
                }
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
    /// them in the same poll, where they lie; over again until there is something else to do.
    fn read(&mut self) -> impl Future<Output = Result<Next, Ended>> {
        let mut wait = self.begin_wait();
        poll_fn(move |context| {
            loop {
                let received = match self.poll_receive(&mut wait, context) {
                    Poll::Ready(Ok(received)) => received,
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                    Poll::Pending => return Poll::Pending,
                };
                // It is armed again as soon as the bytes are processed.
                self.timer.prefetch();
                self.note_progress(received.len() as u64);
                match self.take_in(received, context) {
                    Ok(Next::Read) => self.flush(),
                    next => return Poll::Ready(next),
                }
                if self.stream.unsent_bytes() > self.site.config.unsent_bytes_max {
                    return Poll::Ready(Ok(Next::Read));
                }
                wait = self.begin_wait();
            }
        })
    }

    fn begin_wait(&mut self) -> Wait {
        let wait = self.next_wait();
        self.timer.arm(wait.deadline);
        wait
    }

    /// Processes what was copied out before.
    fn go_on(&mut self) -> impl Future<Output = Next> {
        self.in_flight = None;
        poll_fn(move |context| Poll::Ready(self.process_input(context)))
    }

    /// Processes received bytes in their buffer where nothing waits before them; what is left of
    /// them goes to the handler that has begun to read them, or is copied out.
    fn take_in(
        &mut self,
        mut received: Received,
        context: &mut Context<'_>,
    ) -> Result<Next, Ended> {
        if !self.input.is_empty() {
            self.input.extend_from_slice(&received);
            drop(received);
            return Ok(self.process_input(context));
        }
        let processed = self.process(&mut received, context);
        let used = processed.0;
        match &processed.1 {
            // Nearly always. Said anew and not moved, which would wait for the CPU's stores.
            Next::Read => {
                self.keep(&received[used..]);
                return Ok(Next::Read);
            }
            Next::Call(Pending { channel: Some(channel), .. }) if used < received.len() => {
                received.skip(used);
                self.feed_received(channel, received)?;
            }
            _ => self.keep(&received[used..]),
        }
        Ok(processed.1)
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

    /// The peer has taken so many bytes, or a wait for that has ended.
    fn note_taken(&mut self, size: u64) {
        let allowance = Allowance::of_sending(&self.site.config);
        self.send_pace.progress(self.shard.now(), size, allowance);
    }

    /// So many bytes of a body have come.
    fn note_progress(&mut self, size: u64) {
        let (now, allowance) = (self.shard.now(), Allowance::of_bodies(&self.site.config));
        match &mut self.phase {
            Phase::Collect(collect) => collect.pace.progress(now, size, allowance),
            Phase::Discard(unwanted) => unwanted.pace.progress(now, size, allowance),
            Phase::Heads | Phase::Stream => {}
        }
    }

    pub(super) fn poll_receive(
        &mut self,
        wait: &mut Wait,
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
        if wait.kind == Deadline::Send {
            if self.is_being_taken(wait, is_expired)? {
                // Registers with the timer where it was armed again.
                return self.timer.poll_expired(context).map(|()| Err(Ended::TimedOut(wait.kind)));
            }
            return self.poll_receive(wait, context);
        }
        if self.shard.is_draining() && matches!(wait.kind, Deadline::Idle | Deadline::FirstByte) {
            let quiet = if self.has_served { DRAIN_QUIET } else { DRAIN_QUIET_FRESH };
            let idle_from = wait.since + quiet;
            if is_expired || self.shard.now() >= idle_from {
                return Poll::Ready(Err(Ended::Drained));
            }
            self.timer.arm(idle_from);
            return Poll::Pending;
        }
        if !is_expired {
            return Poll::Pending;
        }
        Poll::Ready(Err(Ended::TimedOut(wait.kind)))
    }

    /// Whether the peer still takes answers, at the least rate. `false`: it has taken all, and the
    /// connection is idle since the last look.
    fn is_being_taken(&mut self, wait: &mut Wait, is_expired: bool) -> Result<bool, Ended> {
        let (now, unsent_bytes) = (self.shard.now(), self.stream.unsent_bytes());
        let taken = wait.unsent_bytes.saturating_sub(unsent_bytes) as u64;
        if unsent_bytes == 0 {
            self.note_taken(taken);
            wait.kind = Deadline::Idle;
            self.timer.arm(wait.since + self.site.config.idle_timeout);
            return Ok(false);
        }
        if is_expired {
            self.note_taken(taken);
            *wait = self.wait_for_taking(now, unsent_bytes);
            if wait.deadline <= now {
                return Err(Ended::TimedOut(Deadline::Send));
            }
            self.timer.arm(wait.deadline);
        }
        // Nobody tells when all is taken; a drain wants to know soon.
        if self.shard.is_draining() {
            self.timer.arm(wait.deadline.min(now + DRAIN_QUIET));
        }
        Ok(true)
    }

    /// What the peer must do by when, and what it is late with otherwise.
    pub(super) fn next_wait(&mut self) -> Wait {
        let now = self.shard.now();
        let wait = |deadline, kind| Wait { deadline, kind, since: now, unsent_bytes: 0 };
        let config = &self.site.config;
        match &mut self.phase {
            Phase::Collect(collect) => return wait(collect.pace.deadline(now), Deadline::Body),
            Phase::Discard(unwanted) => return wait(unwanted.pace.deadline(now), Deadline::Body),
            Phase::Heads | Phase::Stream => {}
        }
        if let Some(since) = self.head_since {
            return wait(since + config.head_timeout, Deadline::Head);
        }
        // Nearly always: what was just answered goes out with the shard's next ring call.
        let unsent_bytes = self.stream.unsent_bytes();
        if unsent_bytes > 0 {
            return self.wait_for_taking(now, unsent_bytes);
        }
        if self.has_served {
            wait(now + config.idle_timeout, Deadline::Idle)
        } else {
            let (since, unsent_bytes) = (self.fresh_since, 0);
            let deadline = since + config.first_byte_timeout;
            Wait { deadline, kind: Deadline::FirstByte, since, unsent_bytes }
        }
    }

    /// The peer must take its answers before it can be idle.
    fn wait_for_taking(&mut self, now: Moment, unsent_bytes: usize) -> Wait {
        self.send_pace.begin(now);
        let idle = now + self.site.config.idle_timeout;
        let deadline = self.send_pace.deadline(now).min(idle);
        Wait { deadline, kind: Deadline::Send, since: now, unsent_bytes }
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
        self.send_pace.begin(self.shard.now());
        poll_fn(|context| {
            let polled = self.stream.poll_sent(unsent_bytes_max, context);
            let (now, progress) = (self.shard.now(), self.stream.sent_bytes() - sent_bytes);
            if progress > 0 || polled.is_ready() {
                // Not begun anew with each wait: the rate holds for the connection as a whole.
                self.note_taken(progress);
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
