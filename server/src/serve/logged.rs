//! What the records hear of a conversation: the request when its handler was called, the answer
//! when it is written.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use corelane_runtime::{Activity, Moment, Shard, Stream};
use http::{StatusCode, Version};

use super::Site;
use super::conversation::Conversation;
use crate::extract::Exchange;
use crate::http1::{Field, Head};
use crate::middleware::{TraceContext, trace_of};
use crate::records::{Draft, Entry, Outcome, Recorder};
use crate::response::Rest;

/// What nginx made usual for a client that went away before it was answered.
const CLIENT_GONE: u16 = 499;

/// What a conversation keeps for the records.
#[derive(Default)]
pub(super) struct Logged {
    /// Asked for once, and only where anything is recorded: it takes a system call. It lies in the
    /// conversation, whose memory a request touches anyway.
    peer: Option<IpAddr>,
    /// What is to be recorded of the present exchange. Boxed: nearly all are over when they are
    /// noted.
    draft: Option<Box<Draft>>,
}

/// A request as the records see it.
pub(super) struct Asked<'a> {
    pub(super) head: &'a Head,
    /// The bytes of the head, to which the spans refer.
    pub(super) bytes: &'a [u8],
    pub(super) fields: &'a [Field],
    /// For whom a proxy has connected.
    pub(super) proxied: Option<&'a SocketAddr>,
    /// Its place in a trace, where the recorder or middleware has seen to that.
    pub(super) trace: Option<TraceContext>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(exchange: &'a Exchange<'_>) -> Asked<'a> {
        Asked {
            head: exchange.head,
            bytes: exchange.bytes,
            fields: &exchange.fields,
            proxied: exchange.peer.proxied,
            trace: exchange.trace(),
        }
    }

    fn is_sampled(&self) -> bool {
        self.trace.is_some_and(|trace| trace.is_sampled)
    }
}

impl Logged {
    pub(super) fn new(site: &Site, stream: &Stream) -> Logged {
        if site.tally.recorder.is_none() {
            return Logged::default();
        }
        let peer = stream.peer_address().ok().flatten();
        Logged { peer: peer.map(|peer| peer.ip()), draft: None }
    }

    /// Copies what is known of a request whose answer is still to come, where it may be recorded:
    /// `status` is that of the answer where its head is there already.
    pub(super) fn note(
        &mut self,
        recorder: &Recorder,
        site: &Site,
        status: Option<StatusCode>,
        asked: &Asked<'_>,
        route: Activity,
    ) {
        let Some(chosen) = recorder.choose(status, asked.is_sampled()) else { return };
        let entry = self.entry(site, asked, route);
        self.draft = Some(Box::new(recorder.draft(chosen, &entry)));
    }

    /// The answer is written, but for content that is still to be made: where it is whole, the
    /// exchange is recorded at once, and nothing need be kept of it.
    pub(super) fn note_answer(
        &mut self,
        recorder: &Recorder,
        site: &Site,
        asked: &Asked<'_>,
        route: Activity,
        rest: &Rest,
        outcome: &Outcome,
    ) {
        if matches!(rest, Rest::Stream { .. }) {
            return self.note(recorder, site, Some(outcome.status), asked, route);
        }
        let status = Some(outcome.status);
        let Some(chosen) = recorder.choose(status, asked.is_sampled()) else { return };
        let entry = self.entry(site, asked, route);
        recorder.put(chosen, &entry, outcome);
    }

    fn entry<'a>(&self, site: &'a Site, asked: &Asked<'a>, route: Activity) -> Entry<'a> {
        let peer = asked.proxied.map(SocketAddr::ip).or(self.peer);
        let client = client(site, peer, asked);
        match site.table.names.get(route.index()) {
            Some(name) => entry(asked, client, name),
            None => entry(asked, client, ""),
        }
    }
}

/// The place of a request in a trace, where spans are exported.
pub(super) fn begin_trace(site: &Site, bytes: &[u8], fields: &[Field]) -> Option<TraceContext> {
    site.tally.recorder.as_ref()?.begin_trace(bytes, fields)
}

/// The client's address: see [`ClientAddress`](crate::ClientAddress).
fn client(site: &Site, peer: Option<IpAddr>, asked: &Asked<'_>) -> Option<IpAddr> {
    let fields = asked.fields.iter().map(|field| {
        let name = std::str::from_utf8(field.name.of(asked.bytes)).unwrap_or_default();
        (name, field.value.of(asked.bytes))
    });
    site.proxy.client(peer, fields)
}

fn entry<'a>(asked: &Asked<'a>, client: Option<IpAddr>, route: &'a str) -> Entry<'a> {
    let (mut referer, mut user_agent, mut traceparent) = (&b""[..], &b""[..], None);
    for field in asked.fields {
        let (name, value) = (field.name.of(asked.bytes), field.value.of(asked.bytes));
        if name.eq_ignore_ascii_case(b"referer") {
            referer = value;
        } else if name.eq_ignore_ascii_case(b"user-agent") {
            user_agent = value;
        } else if name.eq_ignore_ascii_case(b"traceparent") {
            // W3C Trace Context, section 3.2.2: a field that comes twice counts as none.
            traceparent = Some(if traceparent.is_none() { value } else { b"" });
        }
    }
    let (trace_id, span_id, parent_id) = match asked.trace {
        Some(trace) => (Some(trace.trace_id), trace.span_id, trace.parent_id),
        None => (traceparent.and_then(trace_of), 0, None),
    };
    Entry {
        client,
        minor_version: u8::from(asked.head.version != Version::HTTP_10),
        method: asked.head.method.as_str().as_bytes(),
        target: asked.head.target.of(asked.bytes),
        route: route.as_bytes(),
        referer,
        user_agent,
        trace_id: trace_id.unwrap_or_default(),
        span_id,
        parent_id: parent_id.unwrap_or_default(),
    }
}

impl Conversation {
    /// The answer to the request is whole, which may be drafted.
    #[inline]
    pub(super) fn log_answer(&mut self, status: StatusCode, bytes: u64) {
        if let Some(draft) = self.logged.draft.take() {
            self.log_drafted(*draft, status, bytes);
        }
    }

    #[inline(never)]
    fn log_drafted(&self, draft: Draft, status: StatusCode, bytes: u64) {
        let site = Rc::clone(&self.site);
        if let Some(recorder) = &site.tally.recorder {
            self.record(recorder, draft, status, bytes);
        }
    }

    /// The connection ends: what is drafted was not answered, or not wholly.
    pub(super) fn log_end(&mut self) {
        let answered = self.streamed.as_ref().map(|finished| (finished.status, finished.bytes));
        let gone = || StatusCode::from_u16(CLIENT_GONE).ok().map(|status| (status, 0));
        if let Some((status, bytes)) = answered.or_else(gone) {
            self.log_answer(status, bytes);
        }
    }

    /// A request was refused: where nothing is drafted of it, all that is known is who sent it.
    pub(super) fn log_refusal(&mut self, status: StatusCode, bytes: u64) {
        if self.logged.draft.is_some() {
            return self.log_answer(status, bytes);
        }
        let site = Rc::clone(&self.site);
        let Some(recorder) = &site.tally.recorder else { return };
        let Some(chosen) = recorder.choose(Some(status), false) else { return };
        let peer = self.proxied.as_deref().map(SocketAddr::ip).or(self.logged.peer);
        let client = peer.map(|address| address.to_canonical());
        let entry = Entry { client, ..Entry::default() };
        let draft = recorder.draft(chosen, &entry);
        self.began = self.shard.now();
        self.record(recorder, draft, status, bytes);
    }

    fn record(&self, recorder: &Recorder, draft: Draft, status: StatusCode, bytes: u64) {
        self.shard.ask_turn_end();
        recorder.finish(draft, &outcome(&self.shard, self.began, status, bytes));
    }
}

/// How an exchange has ended that began with the turn `began`.
pub(super) fn outcome(shard: &Shard, began: Moment, status: StatusCode, bytes: u64) -> Outcome {
    Outcome { ended_seconds: shard.wall_seconds(), began, status, bytes }
}
