//! One connection's exchanges, as far as they need no waiting: bytes in, calls and answers out.
//!
//! [`Conversation::process`] takes what has arrived as far as it goes: each complete request is
//! routed, its handler called and polled once, its answer appended to the send buffer. A handler
//! that must wait, an answer that is a stream, too many unsent bytes: those end the pass with what
//! [`drive`](super::drive) has to wait for.

use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Context;

use corelane_runtime::{Activity, Moment, Shard, Stream, Timer};
use http::Method;

use super::Site;
use super::answer::Request;
use super::collect::Collect;
use super::finished::Finished;
use super::logged::Logged;
use super::lookup::path_of;
use super::pace::{Allowance, Pace};
use super::unread::awaits_continue;
use crate::extract::{BodyUse, Channel, Source, trailing};
use crate::handler::Call;
use crate::http1::{Connection, Framing, Head, ProtocolError, Step, encode};
use crate::overload::InFlight;
use crate::response::{RequestFacts, Rest};
use crate::router::Found;

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
    /// When the connection began, without what a proxy says first.
    pub(super) fresh_since: Moment,
    pub(super) has_served: bool,
    pub(super) is_peer_done: bool,
    /// Whether the head of an answer is written whose content is not: nothing else may be written.
    pub(super) is_answering: bool,
    /// Whether the end of the connection would be the end of an answer that is not whole.
    pub(super) is_open_ended: bool,
    /// Whether the body that is being received came with a HEAD.
    pub(super) is_body_of_head: bool,
    /// Whether bytes of a next request were there when the present one began.
    pub(super) is_followed: bool,
    /// How many requests are still answered in a drain because others have come behind them.
    pub(super) drain_answers_left: u32,
    /// Whether the present request is one too many for the shard.
    pub(super) is_refused: bool,
    /// The place of a request that does not end at once, where those are counted.
    pub(super) in_flight: Option<InFlight>,
    /// For whom a proxy has connected. Boxed: few listeners have one.
    pub(super) proxied: Option<Box<SocketAddr>>,
    /// The route of the current exchange, as the shard's watch and the log know it.
    pub(super) activity: Activity,
    /// How much time the peer has left to take its answers, over the whole connection.
    pub(super) send_pace: Pace,
    /// When the head of the present exchange was there, or of the last one.
    pub(super) began: Moment,
    /// Whether a head was accepted whose answer is not whole.
    pub(super) is_in_exchange: bool,
    /// What is kept for the records, where there are any.
    pub(super) logged: Logged,
    /// The exchange whose answer's content is being made and sent.
    pub(super) streamed: Option<Box<Finished>>,
}

/// How far one look at what has arrived has come.
struct Pass {
    /// Bytes that are used up.
    at: usize,
    /// How many more requests it may answer.
    requests_left: usize,
}

/// What the bytes of a body are for.
pub(super) enum Phase {
    /// Between bodies.
    Heads,
    /// Collected for a handler that takes it whole.
    Collect(Box<Collect>),
    /// Handed to a running handler.
    Stream,
    /// For nobody: the answer is written. Thrown away as far as that is worth it. Boxed: seldom.
    Discard(Box<Unwanted>),
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
    /// When the handler was called.
    pub(super) called: Moment,
    pub(super) channel: Option<Rc<Channel>>,
    /// Whether the peer waits for `100 Continue`, which it gets when the handler wants the body.
    pub(super) awaits_continue: bool,
}

/// However it came to its end, be it that a drain's deadline passed, or that a destructor of the
/// application's panicked: what only an end delimits must not look whole (RFC 9112 section 8).
impl Drop for Conversation {
    fn drop(&mut self) {
        self.note_end();
        if self.is_open_ended {
            self.stream.abort();
        }
    }
}

impl Conversation {
    pub(super) fn new(shard: &Rc<Shard>, site: &Rc<Site>, stream: Stream) -> Conversation {
        let logged = Logged::new(site, &stream);
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
            fresh_since: shard.now(),
            has_served: false,
            is_peer_done: false,
            is_answering: false,
            is_open_ended: false,
            is_body_of_head: false,
            is_followed: false,
            drain_answers_left: site.config.pipelined_max as u32,
            is_refused: false,
            in_flight: None,
            proxied: None,
            activity: Activity::default(),
            send_pace: Pace::new(Allowance::of_sending(&site.config)),
            began: shard.now(),
            is_in_exchange: false,
            logged,
            streamed: None,
        }
    }

    /// Takes `bytes` as far as they go; says how many are used up, and why it ended there.
    pub(super) fn process(&mut self, bytes: &mut [u8], context: &mut Context<'_>) -> (usize, Next) {
        let mut pass = Pass { at: 0, requests_left: self.site.config.pipelined_max };
        while self.has_room(&pass) {
            if let Some(next) = self.advance(bytes, &mut pass, context) {
                return (pass.at, next);
            }
        }
        (pass.at, Next::Flush)
    }

    /// Whether one more request may be answered in this pass.
    fn has_room(&self, pass: &Pass) -> bool {
        pass.requests_left > 0 && self.out.len() <= self.site.config.unsent_bytes_max
    }

    /// One request, or as much of one as is there. `None`: the next one can be looked at.
    fn advance(
        &mut self,
        bytes: &mut [u8],
        pass: &mut Pass,
        context: &mut Context<'_>,
    ) -> Option<Next> {
        loop {
            let step = {
                let fields = &mut self.site.fields.borrow_mut();
                #[cfg(feature = "mutations")]
                corelane_runtime::mutation::panic_once();
                self.protocol.step(&bytes[pass.at..], &self.site.config.limits, fields)
            };
            match step {
                // Not moved from where it was made: that would wait for the CPU's stores.
                Step::Head(ref head) => return self.on_head(head, bytes, pass, context),
                Step::NeedMore { consumed } => {
                    pass.at += consumed;
                    return Some(if self.is_body_given_up() { Next::Close } else { Next::Read });
                }
                Step::Data { skip, size } => {
                    let content = &bytes[pass.at + skip..pass.at + skip + size];
                    pass.at += skip + size;
                    if !self.on_data(content) {
                        return Some(Next::Close);
                    }
                }
                Step::End { consumed } => {
                    let end = &bytes[pass.at..];
                    pass.at += consumed;
                    if let Some(next) = self.on_end(end, context) {
                        return next;
                    }
                }
                Step::Refused(error) => {
                    self.refuse(error, &bytes[pass.at..]);
                    return Some(Next::Close);
                }
                Step::Closed => return Some(Next::Close),
            }
        }
    }

    fn on_head(
        &mut self,
        head: &Head,
        bytes: &mut [u8],
        pass: &mut Pass,
        context: &mut Context<'_>,
    ) -> Option<Next> {
        if !head.framing.has_body() {
            return self.answer_alike(head, bytes, pass, context);
        }
        let (before, rest) = self.begin(head, bytes, pass);
        self.is_body_of_head = head.method == Method::HEAD;
        let (body_use, is_layered) = match self.body_use(head, before) {
            Ok(wanted) => wanted,
            Err(error) => {
                self.refuse(error, before);
                return Some(Next::Close);
            }
        };
        match (body_use, head.framing) {
            (BodyUse::Unused, _) => self.answer_without_body(head, before, rest, context),
            (BodyUse::Whole, Framing::Length(size)) if size <= rest.len() as u64 => {
                let body = &mut rest[..size as usize];
                pass.at += body.len();
                self.take_body(body);
                let site = Rc::clone(&self.site);
                let fields = site.fields.borrow();
                let request = Request::new(&site, head, before, fields.spans());
                let answer = self.answer(&request, Source::Whole(body), context);
                self.after(answer)
            }
            // Nobody is to be asked before the rest of the body is received.
            (BodyUse::Whole, _) if !is_layered => {
                self.ask_for_body(head, rest);
                let pace = self.body_pace();
                let collect = Collect::new(head.clone(), before, &self.site.fields.borrow(), pace);
                self.phase = Phase::Collect(collect);
                None
            }
            // Middleware sees the head first; the chain collects the body once all have let it in.
            (BodyUse::Whole | BodyUse::Stream, _) => {
                self.answer_with_stream(head, before, rest, context)
            }
        }
    }

    /// Answers a request without a body, and those behind it that are the same, octet by octet, as
    /// they are of a client that pipelines one request: nothing of those is read or found again.
    fn answer_alike(
        &mut self,
        head: &Head,
        bytes: &mut [u8],
        pass: &mut Pass,
        context: &mut Context<'_>,
    ) -> Option<Next> {
        let site = Rc::clone(&self.site);
        let fields = site.fields.borrow();
        let exact = site.table.find_exact(&head.method, head.path(&bytes[pass.at..]));
        loop {
            let (before, rest) = self.begin(head, bytes, pass);
            let fields = fields.spans();
            let request = Request { head, bytes: before, fields, exact, closes_unread: false };
            let answer = self.answer(&request, Source::None, context);
            if let Some(next) = self.after(answer) {
                return Some(next);
            }
            let goes_on = self.protocol.is_between_requests() && self.has_room(pass);
            if !(goes_on && rest.starts_with(before)) {
                return None;
            }
        }
    }

    /// A request begins whose head was accepted. Its bytes, and those behind it.
    fn begin<'b>(
        &mut self,
        head: &Head,
        bytes: &'b mut [u8],
        pass: &mut Pass,
    ) -> (&'b [u8], &'b mut [u8]) {
        self.note_exchange();
        self.head_since = None;
        let (before, rest) = bytes[pass.at..].split_at_mut(head.size);
        pass.at += head.size;
        pass.requests_left -= 1;
        self.is_refused = self.site.overload.refuses(&self.shard, || path_of(head, before));
        self.is_followed = !head.framing.has_body() && !rest.is_empty();
        (before, rest)
    }

    /// What the route wants of the body, once its limit is checked, and whether it has middleware.
    fn body_use(&mut self, head: &Head, bytes: &[u8]) -> Result<(BodyUse, bool), ProtocolError> {
        if self.is_refused {
            return Ok((BodyUse::Unused, false));
        }
        let (mut path, mut params) = (None, None);
        let (config, request) = (&self.site.config, Request::new(&self.site, head, bytes, &[]));
        let Found { route, endpoint, .. } = request.find(&self.site, &mut path, &mut params);
        self.protocol.limit_body(route.body_bytes_max.unwrap_or(config.body_bytes_max))?;
        Ok((endpoint.body_use(), endpoint.is_layered()))
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
        let unwanted = Unwanted { bytes_left: bytes_max, pace: self.body_pace() };
        Phase::Discard(Box::new(unwanted))
    }

    /// Whether the answer has said that the connection ends and no more of the body is waited for.
    fn is_body_given_up(&self) -> bool {
        let is_given_up =
            matches!(&self.phase, Phase::Discard(unwanted) if unwanted.bytes_left == 0);
        is_given_up && self.protocol.is_closing() && self.protocol.is_in_body()
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
        Pace::new(Allowance::of_bodies(&self.site.config))
    }

    /// Content of a body. `false`: too much of it would be thrown away.
    fn on_data(&mut self, content: &[u8]) -> bool {
        match &mut self.phase {
            Phase::Collect(collect) => collect.body.extend_from_slice(content),
            Phase::Discard(unwanted) => {
                match unwanted.bytes_left.checked_sub(content.len() as u64) {
                    Some(rest) => unwanted.bytes_left = rest,
                    None => return false,
                }
            }
            // `drive` hands streamed bodies over itself.
            Phase::Stream | Phase::Heads => {}
        }
        true
    }

    /// The body is complete; `end` holds its trailers. `None`: its bytes were for nobody, go on.
    fn on_end(&mut self, end: &[u8], context: &mut Context<'_>) -> Option<Option<Next>> {
        let Phase::Collect(collect) = mem::replace(&mut self.phase, Phase::Heads) else {
            return None;
        };
        let Collect { head, bytes, fields, body, .. } = *collect;
        let trailers = trailing(&self.site.fields.borrow(), end);
        let source = Source::Owned { bytes: body, trailers };
        let site = Rc::clone(&self.site);
        let request = Request::new(&site, &head, &bytes, &fields);
        let answer = self.answer(&request, source, context);
        Some(self.after(answer))
    }
}
