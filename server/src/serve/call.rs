//! Waiting for a handler that did not answer at once, while its body and its peer are looked after.

use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use corelane_runtime::Received;

use super::conversation::{Conversation, Pending, Phase};
use super::drive::Ended;
use super::pace::{Allowance, Pace};
use crate::extract::{BodyChunk, Channel, trailing};
use crate::faults::guard;
use crate::http1::Step;
use crate::response::{Responder, Rest};
use crate::stats::Deadline;

/// Shorter content is copied to its handler: a receive buffer of several times its size would wait
/// with it, and a peer that sends byte by byte could hold many.
const HANDED_OVER_BYTES_MIN: usize = 16 * 1024;

impl Conversation {
    /// Waits for a running handler. Its body is fed to it as it asks for more; pipelined bytes are
    /// kept, up to a bound; a peer that goes away cancels it: the call is dropped.
    pub(super) fn wait_for(
        &mut self,
        mut pending: Pending,
    ) -> impl Future<Output = Result<(Rest, Option<Rc<Channel>>), Ended>> {
        let mut pace = self.body_pace();
        // Not an async function: its future would hold the call twice.
        async move {
            let rest = poll_fn(|context| {
                loop {
                    if let Poll::Ready(rest) = self.poll_call(&mut pending, context) {
                        return Poll::Ready(Ok(rest));
                    }
                    match self.poll_request(&mut pending, &mut pace, context) {
                        // The handler has something new to look at.
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await?;
            let (channel, awaits_continue) = (pending.channel.take(), pending.awaits_continue);
            // The handler, and what it holds of the body, is gone before it is asked who still
            // reads.
            drop(pending);
            let channel =
                channel.and_then(|channel| self.keep_feeding(&rest, channel, awaits_continue));
            Ok((rest, channel))
        }
    }

    /// Polls a running handler; its answer's rest once it is done.
    pub(super) fn poll_call(
        &mut self,
        pending: &mut Pending,
        context: &mut Context<'_>,
    ) -> Poll<Rest> {
        self.ready_out();
        let start = self.out.len();
        let site = Rc::clone(&self.site);
        let mut common = site.common.borrow_mut();
        let common = common.start_now(&self.shard);
        let mut facts = pending.facts;
        // A drain that began meanwhile.
        facts.keeps_alive &= !self.is_last();
        facts.closes_unread = self.closes_unread(pending);
        let mut responder = Responder::new(&mut self.out, facts, common);
        let mut is_pending = false;
        self.shard.begin_activity(self.activity);
        let ended = guard(&mut responder, |responder| {
            is_pending = pending.call.poll(context, responder).is_pending();
        });
        if ended && is_pending {
            return Poll::Pending;
        }
        let (status, keeps_alive, rest) = responder.finish();
        self.end_exchange(keeps_alive);
        self.note_answer(self.activity, status, pending.called, start, &rest);
        Poll::Ready(rest)
    }

    /// Moves what the running handler waits for of its request.
    fn poll_request(
        &mut self,
        pending: &mut Pending,
        pace: &mut Pace,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        let Some(channel) = pending.channel.as_ref().filter(|channel| !channel.is_complete())
        else {
            return self.poll_watch(context);
        };
        if pending.awaits_continue {
            // The peer waits for us: its time for the body has not begun.
            if !channel.is_wanted() && self.input.is_empty() {
                return self.poll_watch(context);
            }
            // RFC 9110 section 10.1.1: asked for once the body is wanted, and not begun already.
            pending.awaits_continue = false;
            if self.input.is_empty() {
                self.ask();
                self.flush();
            }
        }
        self.poll_feed(&Rc::clone(channel), pace, context)
    }

    /// Moves body bytes to the handler, from what is kept and then from the socket: as many as are
    /// there and have room, so that the handler is asked once for all of them.
    pub(super) fn poll_feed(
        &mut self,
        channel: &Channel,
        pace: &mut Pace,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        if channel.poll_room(context).is_pending() {
            return Poll::Pending;
        }
        if !self.input.is_empty() {
            let mut input = mem::take(&mut self.input);
            let fed = self.feed(channel, &input);
            let used = *fed.as_ref().unwrap_or(&0);
            input.drain(..used);
            self.input = input;
            match fed {
                Ok(0) => {}
                fed => return Poll::Ready(fed.map(drop)),
            }
        }
        let mut has_fed = false;
        while let Poll::Ready(received) = self.stream.poll_recv(context) {
            let received = match received {
                Ok(received) if !received.is_empty() => received,
                // The handler sees first what came before; the end is told again.
                _ if has_fed => break,
                end => {
                    self.is_peer_done |= end.is_ok();
                    return Poll::Ready(Err(Ended::PeerGone));
                }
            };
            let allowance = Allowance::of_bodies(&self.site.config);
            pace.progress(self.shard.now(), received.len() as u64, allowance);
            self.feed_received(channel, received)?;
            has_fed = true;
            if channel.is_complete() || channel.poll_room(context).is_pending() {
                break;
            }
        }
        if has_fed {
            return Poll::Ready(Ok(()));
        }
        let deadline = pace.deadline(self.shard.now());
        // Looked at before the timer is armed again, which makes it forget that it fired.
        if deadline <= self.shard.now() {
            return Poll::Ready(Err(Ended::TimedOut(Deadline::Body)));
        }
        self.timer.arm(deadline);
        self.timer.poll_expired(context).map(|()| Err(Ended::TimedOut(Deadline::Body)))
    }

    /// Hands a receive buffer over whole where it is all content, and much of it: no copy.
    pub(super) fn feed_received(
        &mut self,
        channel: &Channel,
        received: Received,
    ) -> Result<(), Ended> {
        if !self.input.is_empty() {
            self.keep_body(&received);
            return Ok(());
        }
        let is_large = received.len() >= HANDED_OVER_BYTES_MIN;
        let is_worth_it = is_large && self.shard.has_spare_buffers();
        let used = match is_worth_it.then(|| self.step(&received)) {
            Some(Step::Data { skip: 0, size }) if size == received.len() => {
                channel.push(BodyChunk::received(received));
                return self.feed(channel, b"").map(drop);
            }
            Some(step) => self.apply(step, channel, &received)?,
            None => 0,
        };
        let more = self.feed(channel, &received[used..])?;
        self.keep_body(&received[used + more..]);
        Ok(())
    }

    fn keep_body(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && self.input.capacity() == 0 {
            self.input = self.shard.send_buffer();
        }
        self.input.extend_from_slice(bytes);
    }

    /// Decodes as much as there is; says how many bytes are used up. What came in many small chunks
    /// is put together, so that it takes no more memory than it has bytes.
    fn feed(&mut self, channel: &Channel, bytes: &[u8]) -> Result<usize, Ended> {
        let (mut content, mut at) = (Vec::new(), 0);
        while !channel.is_complete() {
            let rest = &bytes[at..];
            let step = self.step(rest);
            if let Step::Data { skip, size } = step {
                content.extend_from_slice(&rest[skip..skip + size]);
                at += skip + size;
                continue;
            }
            if !content.is_empty() {
                channel.push(BodyChunk::from(Bytes::from(mem::take(&mut content))));
            }
            let is_over = matches!(step, Step::NeedMore { .. });
            at += self.apply(step, channel, rest)?;
            if is_over {
                break;
            }
        }
        Ok(at)
    }

    fn apply(&mut self, step: Step, channel: &Channel, bytes: &[u8]) -> Result<usize, Ended> {
        match step {
            Step::NeedMore { consumed } => Ok(consumed),
            Step::Data { skip, size } => {
                channel.push(BodyChunk::copied(&bytes[skip..skip + size]));
                Ok(skip + size)
            }
            Step::End { consumed } => {
                channel.complete(trailing(&self.site.fields.borrow(), bytes));
                self.phase = Phase::Heads;
                Ok(consumed)
            }
            Step::Refused(error) => {
                self.refuse(error, b"");
                Err(if self.is_answering { Ended::Broken } else { Ended::Closing })
            }
            // No head can be next while a body is under way.
            Step::Head(_) | Step::Closed => Err(Ended::Closing),
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        let mut fields = self.site.fields.borrow_mut();
        self.protocol.step(bytes, &self.site.config.limits, &mut fields)
    }

    /// Notices a peer that goes away; keeps what it sends meanwhile. Never ready with `Ok`: there
    /// is nothing in it for the handler.
    pub(super) fn poll_watch(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if self.stream.poll_broken(context).is_ready() {
            return Poll::Ready(Err(Ended::PeerGone));
        }
        while !self.is_peer_done && self.input.len() < self.site.config.unsent_bytes_max {
            match self.stream.poll_recv(context) {
                // A half-closed peer still waits for its answer.
                Poll::Ready(Ok(received)) if received.is_empty() => self.is_peer_done = true,
                Poll::Ready(Ok(received)) => self.keep(&received),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended::PeerGone)),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}
