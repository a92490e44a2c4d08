//! The end of an exchange: its bytes on their way, whether the connection goes on, refusals.

use std::mem;
use std::rc::Rc;

use corelane_runtime::SendBuffer;

use super::answer::{Answer, Request};
use super::conversation::{Conversation, Phase};
use super::finished::answer_bytes;
use super::logged::{Asked, outcome};
use crate::http1::{ProtocolError, encode};
use crate::response::{RequestFacts, Responder};

impl Conversation {
    pub(super) fn end_exchange(&mut self, keeps_alive: bool) {
        self.has_served = true;
        if !keeps_alive {
            self.protocol.close();
        } else if self.shard.is_draining() {
            self.drain_answers_left = self.drain_answers_left.saturating_sub(1);
        }
    }

    /// Whether a drain makes the present answer the connection's last one. Requests that had come
    /// with it are answered as well, as far as that has an end.
    pub(super) fn is_last(&self) -> bool {
        self.shard.is_draining() && !(self.is_followed && self.drain_answers_left > 0)
    }

    /// Answers a request that broke a rule; nothing may follow. `input` is what there is of its
    /// head, where it broke there.
    #[cold]
    pub(super) fn refuse(&mut self, error: ProtocolError, input: &[u8]) {
        self.site.stats.refused[error.index()].add(1);
        if self.is_answering || matches!(self.phase, Phase::Discard(_)) {
            // Its request is answered already: the peer would take this for an answer to the next.
            return;
        }
        let is_to_head = match self.phase {
            Phase::Heads => input.trim_ascii_start().starts_with(b"HEAD "),
            _ => self.is_body_of_head,
        };
        self.ready_out();
        self.site.stats.count_response(error.status());
        let start = self.out.len();
        let mut common = self.site.common.borrow_mut();
        encode::refusal(
            &mut self.out,
            error,
            common.start_now(&self.shard).fields(),
            b"",
            is_to_head,
        );
        drop(common);
        self.log_refusal(error.status(), (self.out.len() - start) as u64);
    }

    /// Answers a request that is one too many for the shard.
    #[cold]
    pub(super) fn shed(&mut self, request: &Request<'_>, facts: RequestFacts) -> Answer {
        let start = self.out.len();
        let site = Rc::clone(&self.site);
        let mut common = site.common.borrow_mut();
        let mut responder = Responder::new(&mut self.out, facts, common.start_now(&self.shard));
        site.shed(&mut responder);
        let (status, keeps_alive, rest) = responder.finish();
        let route = site.table.own_activity();
        if let Some(recorder) = &site.tally.recorder {
            let Request { head, bytes, fields, .. } = *request;
            let proxied = self.proxied.as_deref();
            let asked = Asked { head, bytes, fields, proxied, trace: None };
            let bytes = answer_bytes(&self.out, start, &rest);
            let outcome = outcome(&self.shard, self.began, status, bytes);
            self.logged.note_answer(recorder, &site, &asked, route, &rest, &outcome);
        }
        self.end_exchange(keeps_alive);
        self.note_answer(route, status, self.shard.now(), start, &rest);
        Answer::Done(rest)
    }

    /// A send buffer to append to: an idle connection has none.
    pub(super) fn ready_out(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.shard.send_buffer();
        }
    }

    /// Hands what was answered to the stream.
    pub(super) fn flush(&mut self) {
        let out = mem::take(&mut self.out);
        if out.is_empty() {
            self.shard.recycle(out);
        } else {
            self.stream.send(SendBuffer::Owned(out));
        }
    }
}
