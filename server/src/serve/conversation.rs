//! One connection's exchanges, as far as they need no waiting: bytes in, calls and answers out.
//!
//! [`Conversation::process`] takes what has arrived as far as it goes: each complete request is
//! routed, its handler called and polled once, its answer appended to the send buffer. A handler
//! that must wait, an answer that is a stream, too many unsent bytes: those end the pass with what
//! [`drive`](super::drive) has to wait for.

use std::borrow::Cow;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelane_runtime::{Activity, Moment, SendBuffer, Shard, Stream, Timer};
use http::Method;

use super::Site;
use super::collect::Collect;
use super::finished::Finished;
use super::pace::Pace;
use super::unread::awaits_continue;
use crate::extract::{BodyUse, Channel, Exchange, Extensions, Peer, Scope, Source};
use crate::handler::Call;
use crate::http1::{Connection, Field, Framing, Head, ProtocolError, Step, TargetForm, encode};
use crate::log::Draft;
use crate::response::{RequestFacts, Responder, Rest, guard};
use crate::router::{Found, Table, normalize};

/// A connection and where its exchanges stand.
pub(super) struct Conversation {
    pub(super) shard: Rc<Shard>,
    pub(super) site: Rc<Site>,
    pub(super) stream: Stream,
    pub(super) timer: Timer,
    pub(super) protocol: Connection,
    pub(super) phase: Phase,
    /// Received bytes that outlived their turn: the start of a request, or pipelined ones.
    pub(super) input: Vec<u8>,
    /// Answers that are not handed to the stream yet.
    pub(super) out: Vec<u8>,
    /// When the current head began, while one is under way.
    pub(super) head_since: Option<Moment>,
    /// When the last exchange ended, or the connection began.
    pub(super) quiet_since: Moment,
    pub(super) has_served: bool,
    pub(super) is_peer_done: bool,
    /// Whether the head of an answer is written whose content is not: nothing else may be written.
    pub(super) is_answering: bool,
    /// Whether the body that is being received came with a HEAD.
    is_body_of_head: bool,
    /// How much time the peer has left to take its answers, over the whole connection.
    pub(super) send_pace: Pace,
    /// When the head of the present exchange was there, or of the last one.
    pub(super) began: Moment,
    /// Whether a head was accepted whose answer is not whole.
    pub(super) is_in_exchange: bool,
    /// What the access log is to have of the present exchange.
    pub(super) draft: Option<Draft>,
    /// The exchange whose answer's content is being made and sent.
    pub(super) streamed: Option<Box<Finished>>,
}

/// What the bytes of a body are for.
pub(super) enum Phase {
    /// Between bodies.
    Heads,
    /// Collected for a handler that takes it whole.
    Collect(Box<Collect>),
    /// Handed to a running handler.
    Stream,
    /// For nobody: the answer is written. Thrown away as far as that is worth it.
    Discard(Unwanted),
}

/// What is left of a body that nobody wants.
pub(super) struct Unwanted {
    /// Bytes that may still be thrown away; with none left the connection ends instead.
    pub(super) bytes_left: u64,
    pub(super) pace: Pace,
}

/// Why a pass ended.
pub(super) enum Next {
    /// More bytes are needed.
    Read,
    /// Enough was answered for one pass; there may be more.
    Flush,
    /// A handler is running.
    Call(Pending),
    /// An answer's head is written, its content is not. It may be made of a body that is still
    /// being received.
    Rest(Rest, Option<Rc<Channel>>),
    /// The last answer is written.
    Close,
}

/// A call that did not end at once.
pub(super) struct Pending {
    pub(super) call: Call,
    pub(super) facts: RequestFacts,
    pub(super) activity: Activity,
    /// When the handler was called.
    pub(super) called: Moment,
    pub(super) channel: Option<Rc<Channel>>,
    /// Whether the peer waits for `100 Continue`, which it gets when the handler wants the body.
    pub(super) awaits_continue: bool,
}

/// How one exchange went.
pub(super) enum Answer {
    Done(Rest),
    Pending(Call, RequestFacts, Activity),
}

impl Conversation {
    pub(super) fn new(shard: &Rc<Shard>, site: &Rc<Site>, stream: Stream) -> Conversation {
        Conversation {
            shard: Rc::clone(shard),
            site: Rc::clone(site),
            stream,
            timer: Timer::new(shard),
            protocol: Connection::new(),
            phase: Phase::Heads,
            input: Vec::new(),
            out: Vec::new(),
            head_since: None,
            quiet_since: shard.now(),
            has_served: false,
            is_peer_done: false,
            is_answering: false,
            is_body_of_head: false,
            send_pace: Pace::new(site.config.send_timeout, site.config.send_bytes_per_second_min),
            began: shard.now(),
            is_in_exchange: false,
            draft: None,
            streamed: None,
        }
    }

    /// Takes `bytes` as far as they go; says how many are used up, and why it ended there.
    pub(super) fn process(&mut self, bytes: &mut [u8], context: &mut Context<'_>) -> (usize, Next) {
        let mut at = 0;
        for _ in 0..self.site.config.pipelined_max {
            if self.out.len() > self.site.config.unsent_bytes_max {
                break;
            }
            if let Some(next) = self.advance(bytes, &mut at, context) {
                return (at, next);
            }
        }
        (at, Next::Flush)
    }

    /// One request, or as much of one as is there. `None`: the next one can be looked at.
    fn advance(
        &mut self,
        bytes: &mut [u8],
        at: &mut usize,
        context: &mut Context<'_>,
    ) -> Option<Next> {
        loop {
            let step = {
                let fields = &mut self.site.fields.borrow_mut();
                self.protocol.step(&bytes[*at..], &self.site.config.limits, fields)
            };
            match step {
                Step::NeedMore { consumed } => {
                    *at += consumed;
                    return Some(if self.is_body_given_up() { Next::Close } else { Next::Read });
                }
                Step::Head(head) => return self.on_head(head, bytes, at, context),
                Step::Data { skip, size } => {
                    let content = &bytes[*at + skip..*at + skip + size];
                    *at += skip + size;
                    if !self.on_data(content) {
                        return Some(Next::Close);
                    }
                }
                Step::End { consumed } => {
                    *at += consumed;
                    if let Some(next) = self.on_end(context) {
                        return next;
                    }
                }
                Step::Refused(error) => {
                    self.refuse(error, &bytes[*at..]);
                    return Some(Next::Close);
                }
                Step::Closed => return Some(Next::Close),
            }
        }
    }

    fn on_head(
        &mut self,
        head: Head,
        bytes: &mut [u8],
        at: &mut usize,
        context: &mut Context<'_>,
    ) -> Option<Next> {
        self.note_exchange();
        self.head_since = None;
        let (before, rest) = bytes[*at..].split_at_mut(head.size);
        *at += head.size;
        if !head.framing.has_body() {
            let site = Rc::clone(&self.site);
            let fields = site.fields.borrow();
            let answer = self.answer(&head, before, fields.spans(), Source::None, context);
            return self.after(answer);
        }
        self.is_body_of_head = head.method == Method::HEAD;
        match self.body_use(&head, before) {
            Err(error) => {
                self.refuse(error, before);
                Some(Next::Close)
            }
            Ok(BodyUse::Unused) => self.answer_without_body(&head, before, rest, context),
            Ok(BodyUse::Whole) => match head.framing {
                Framing::Length(size) if size <= rest.len() as u64 => {
                    let body = &mut rest[..size as usize];
                    *at += body.len();
                    self.take_body(body);
                    let site = Rc::clone(&self.site);
                    let fields = site.fields.borrow();
                    let source = Source::Whole(body);
                    let answer = self.answer(&head, before, fields.spans(), source, context);
                    self.after(answer)
                }
                _ => {
                    self.ask_for_body(&head, rest);
                    let pace = self.body_pace();
                    let collect = Collect::new(head, before, &self.site.fields.borrow(), pace);
                    self.phase = Phase::Collect(collect);
                    None
                }
            },
            Ok(BodyUse::Stream) => self.answer_with_stream(&head, before, rest, context),
        }
    }

    /// What the route wants of the body, once its limit is checked.
    fn body_use(&mut self, head: &Head, bytes: &[u8]) -> Result<BodyUse, ProtocolError> {
        let mut path = None;
        let config = &self.site.config;
        let Found { route, endpoint, .. } = find(&self.site.table, head, bytes, &mut path);
        self.protocol.limit_body(route.body_bytes_max.unwrap_or(config.body_bytes_max))?;
        Ok(endpoint.body_use())
    }

    /// The body is there, whole, and is used up.
    fn take_body(&mut self, body: &[u8]) {
        let mut fields = self.site.fields.borrow_mut();
        let limits = &self.site.config.limits;
        let data = self.protocol.step(body, limits, &mut fields);
        debug_assert_eq!(data, Step::Data { skip: 0, size: body.len() });
        let end = self.protocol.step(b"", limits, &mut fields);
        debug_assert_eq!(end, Step::End { consumed: 0 });
    }

    pub(super) fn discard(&self, bytes_max: u64) -> Phase {
        Phase::Discard(Unwanted { bytes_left: bytes_max, pace: self.body_pace() })
    }

    /// Whether the answer has said that the connection ends and no more of the body is waited for.
    fn is_body_given_up(&self) -> bool {
        let Phase::Discard(Unwanted { bytes_left: 0, .. }) = self.phase else { return false };
        self.protocol.is_closing() && self.protocol.is_in_body()
    }

    fn ask_for_body(&mut self, head: &Head, rest: &[u8]) {
        if awaits_continue(head, rest) {
            self.ask();
        }
    }

    pub(super) fn ask(&mut self) {
        self.ready_out();
        self.out.extend_from_slice(encode::CONTINUE);
    }

    pub(super) fn body_pace(&self) -> Pace {
        let config = &self.site.config;
        Pace::new(config.body_timeout, config.body_bytes_per_second_min)
    }

    /// Content of a body. `false`: too much of it would be thrown away.
    fn on_data(&mut self, content: &[u8]) -> bool {
        match &mut self.phase {
            Phase::Collect(collect) => collect.body.extend_from_slice(content),
            Phase::Discard(Unwanted { bytes_left, .. }) => {
                match bytes_left.checked_sub(content.len() as u64) {
                    Some(rest) => *bytes_left = rest,
                    None => return false,
                }
            }
            // `drive` hands streamed bodies over itself.
            Phase::Stream | Phase::Heads => {}
        }
        true
    }

    /// The body is complete. `None`: its bytes were for nobody, go on.
    fn on_end(&mut self, context: &mut Context<'_>) -> Option<Option<Next>> {
        let Phase::Collect(collect) = mem::replace(&mut self.phase, Phase::Heads) else {
            return None;
        };
        let Collect { head, bytes, fields, mut body, .. } = *collect;
        let answer = self.answer(&head, &bytes, &fields, Source::Whole(&mut body), context);
        Some(self.after(answer))
    }

    /// For an exchange whose body is not streamed.
    pub(super) fn after(&mut self, answer: Answer) -> Option<Next> {
        match answer {
            Answer::Pending(call, facts, activity) => {
                let (called, channel, awaits_continue) = (self.shard.now(), None, false);
                Some(Next::Call(Pending {
                    call,
                    facts,
                    activity,
                    called,
                    channel,
                    awaits_continue,
                }))
            }
            Answer::Done(Rest::Nothing) => None,
            Answer::Done(rest) => Some(Next::Rest(rest, None)),
        }
    }

    #[inline]
    pub(super) fn answer(
        &mut self,
        head: &Head,
        bytes: &[u8],
        fields: &[Field],
        body: Source<'_>,
        context: &mut Context<'_>,
    ) -> Answer {
        self.answer_unread(head, bytes, fields, body, false, context)
    }

    /// Routes a request, takes the handler's arguments, calls it, polls it once.
    pub(super) fn answer_unread(
        &mut self,
        head: &Head,
        bytes: &[u8],
        fields: &[Field],
        body: Source<'_>,
        closes_unread: bool,
        context: &mut Context<'_>,
    ) -> Answer {
        self.ready_out();
        let start = self.out.len();
        let site = Rc::clone(&self.site);
        let keeps_alive = head.keeps_alive && !self.shard.is_draining();
        let (method, version) = (head.method.clone(), head.version);
        let facts = RequestFacts { method, version, keeps_alive, closes_unread };
        let mut common = site.common.borrow_mut();
        let common = common.lines(&self.shard);
        let mut responder = Responder::new(&mut self.out, facts.clone(), common);
        let mut path = None;
        let found = find(&site.table, head, bytes, &mut path);
        let Found { route, endpoint, params, path_rest } = found;
        let mut exchange = Exchange {
            head,
            bytes,
            fields: Cow::Borrowed(fields),
            params,
            path_rest,
            body,
            body_bytes_max: route.body_bytes_max.unwrap_or(site.config.body_bytes_max),
            peer: Peer::Stream(&self.stream),
            scope: Scope { shard: &self.shard, states: &route.states },
            extensions: Extensions::default(),
        };
        let mut running = None;
        self.shard.begin_activity(route.activity);
        let ended = guard(&mut responder, |responder| {
            running = endpoint.answer(&mut exchange, context, responder);
        });
        if !ended {
            site.stats.handler_panics.add(1);
        }
        match running {
            Some(call) if ended => {
                self.draft = site.draft(None, &exchange, route.activity);
                Answer::Pending(call, facts, route.activity)
            }
            _ => {
                let (status, keeps_alive, rest) = responder.finish();
                self.draft = site.draft(Some(status), &exchange, route.activity);
                self.end_exchange(keeps_alive);
                self.note_answer(route.activity, status, self.shard.now(), start, &rest);
                Answer::Done(rest)
            }
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
        let common = common.lines(&self.shard);
        let mut facts = pending.facts.clone();
        // A drain that began meanwhile.
        facts.keeps_alive &= !self.shard.is_draining();
        facts.closes_unread = self.closes_unread(pending);
        let mut responder = Responder::new(&mut self.out, facts, common);
        let mut is_pending = false;
        self.shard.begin_activity(pending.activity);
        let ended = guard(&mut responder, |responder| {
            is_pending = pending.call.poll(context, responder).is_pending();
        });
        if ended && is_pending {
            return Poll::Pending;
        }
        if !ended {
            site.stats.handler_panics.add(1);
        }
        let (status, keeps_alive, rest) = responder.finish();
        self.end_exchange(keeps_alive);
        self.note_answer(pending.activity, status, pending.called, start, &rest);
        Poll::Ready(rest)
    }

    fn end_exchange(&mut self, keeps_alive: bool) {
        self.has_served = true;
        self.quiet_since = self.shard.now();
        if !keeps_alive {
            self.protocol.close();
        }
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
        encode::refusal(&mut self.out, error, common.lines(&self.shard), b"", is_to_head);
        drop(common);
        self.log_refusal(error.status(), (self.out.len() - start) as u64);
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

/// Where a request goes; `path` keeps its path where it had to be normalized for that.
fn find<'r, 'b: 'r>(
    table: &'r Table,
    head: &Head,
    bytes: &'b [u8],
    path: &'r mut Option<Cow<'b, str>>,
) -> Found<'r> {
    if let Some(found) = table.find_exact(&head.method, head.path(bytes)) {
        return found;
    }
    match head.form {
        TargetForm::Asterisk => table.whole_server(),
        _ => table.find(&head.method, path.insert(normalize(path_of(head, bytes)))),
    }
}

/// Targets are ASCII: the protocol core has refused everything else.
fn path_of<'a>(head: &Head, bytes: &'a [u8]) -> &'a str {
    std::str::from_utf8(head.path(bytes)).unwrap_or("/")
}
