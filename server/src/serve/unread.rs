//! Answers that come before their request's body: what becomes of the rest of it.
//!
//! ```text
//!   not wanted ──► answer ──► thrown away, or the answer says close
//!   streamed ────► handler reads ──► answer ──► as above
//!                                      └─ made of the body: fed until its stream ends
//! ```

use std::rc::Rc;
use std::task::Context;

use super::answer::{Answer, Request};
use super::conversation::{Conversation, Next, Pending, Phase};
use crate::extract::{Channel, RequestBody, RequestBodyError, Source};
use crate::http1::{Fields, Framing, Head, Step, encode};
use crate::response::Rest;

impl Conversation {
    /// Answers at once; the body is thrown away afterwards, if it is small enough to be worth it.
    pub(super) fn answer_without_body(
        &mut self,
        head: &Head,
        bytes: &[u8],
        rest: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Next> {
        let discard_max = self.site.config.discard_bytes_max;
        let is_long = matches!(head.framing, Framing::Length(size) if size > discard_max);
        // A client that waits for "100 Continue" may never send the body that was announced.
        let is_given_up = is_long || awaits_continue(head, rest);
        // Where the end is not known the answer says that the connection ends: said afterwards, a
        // pipelined request would be lost without a word.
        let ends = is_given_up || (head.framing == Framing::Chunked && !self.has_whole_body(rest));
        let head = Head { keeps_alive: head.keeps_alive && !ends, ..head.clone() };
        let site = Rc::clone(&self.site);
        let fields = site.fields.borrow();
        let request = Request::new(&site, &head, bytes, fields.spans());
        let answer = self.answer(&request, Source::None, context);
        self.phase = self.discard(if is_given_up { 0 } else { discard_max });
        self.after(answer)
    }

    /// Calls a handler that reads the body while it runs, or middleware that lets it in or not,
    /// before any of it is read.
    pub(super) fn answer_with_stream(
        &mut self,
        head: &Head,
        bytes: &[u8],
        rest: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Next> {
        let channel = Rc::default();
        let awaits_continue = awaits_continue(head, rest);
        let closes_unread = match head.framing {
            Framing::Length(size) => size > self.site.config.discard_bytes_max,
            _ => !self.has_whole_body(rest),
        };
        self.phase = Phase::Stream;
        let answer_start = self.out.len();
        let answer = {
            let site = Rc::clone(&self.site);
            let fields = site.fields.borrow();
            let source = Source::Stream(RequestBody::received(&channel));
            let request = Request::new(&site, head, bytes, fields.spans());
            let closes_unread = closes_unread || awaits_continue;
            self.answer(&Request { closes_unread, ..request }, source, context)
        };
        match answer {
            Answer::Pending(call, facts) => {
                let (called, channel) = (self.shard.now(), Some(channel));
                Some(Next::Call(Pending { call, facts, called, channel, awaits_continue }))
            }
            Answer::Done(rest) => {
                let channel = self.keep_feeding(&rest, channel, awaits_continue);
                if awaits_continue && channel.is_some() {
                    // The stream that answers is made of the body: it must be asked for first.
                    let start = answer_start..answer_start;
                    self.out.splice(start, encode::CONTINUE.iter().copied());
                }
                match rest {
                    Rest::Nothing => None,
                    rest => Some(Next::Rest(rest, channel)),
                }
            }
        }
    }

    /// The channel, where an answer is made of the body that comes through it. Otherwise what is
    /// left of the body is for nobody.
    pub(super) fn keep_feeding(
        &mut self,
        rest: &Rest,
        channel: Rc<Channel>,
        awaits_continue: bool,
    ) -> Option<Rc<Channel>> {
        let is_wanted = matches!(rest, Rest::Stream { .. }) && Rc::strong_count(&channel) > 1;
        if is_wanted && matches!(self.phase, Phase::Stream) {
            return Some(channel);
        }
        // What was not asked for is not waited for.
        let bytes_max = if awaits_continue { 0 } else { self.site.config.discard_bytes_max };
        self.stop_feeding(&channel, bytes_max);
        None
    }

    /// Whoever still reads the body gets no more of it. At most `bytes_max` of it are thrown away.
    pub(super) fn stop_feeding(&mut self, channel: &Channel, bytes_max: u64) {
        channel.end(Err(RequestBodyError::Incomplete));
        if matches!(self.phase, Phase::Stream) {
            self.phase = match self.protocol.is_in_body() {
                true => self.discard(bytes_max),
                false => Phase::Heads,
            };
        }
    }

    /// Whether the chunked body that begins with `rest` ends in it.
    #[cold]
    fn has_whole_body(&self, mut rest: &[u8]) -> bool {
        let (mut trial, mut scratch) = (self.protocol, Fields::new());
        loop {
            match trial.step(rest, &self.site.config.limits, &mut scratch) {
                Step::Data { skip, size } => rest = &rest[skip + size..],
                Step::End { .. } => return true,
                _ => return false,
            }
        }
    }

    /// Whether an answer that leaves the rest of the body unread ends the connection.
    pub(super) fn closes_unread(&self, pending: &Pending) -> bool {
        if !matches!(self.phase, Phase::Stream) || !self.protocol.is_in_body() {
            return false;
        }
        let left = self.protocol.body_bytes_left();
        pending.awaits_continue || left.is_none_or(|left| left > self.site.config.discard_bytes_max)
    }
}

/// RFC 9110 section 10.1.1: a client that has begun to send the body waits for nothing.
pub(super) fn awaits_continue(head: &Head, rest: &[u8]) -> bool {
    head.expects_continue && rest.is_empty()
}
