//! What one shard's server counts: written by the shard alone, read by anyone.

pub(crate) mod histogram;
mod route;
mod slow;

use std::sync::{Arc, OnceLock};

use corelane_runtime::Counter;
use http::StatusCode;

use crate::http1::ProtocolError;
pub use route::RouteStats;
pub(crate) use route::class_of;
pub(crate) use slow::{Slow, SlowRequests};

/// The counters of one shard's server. Beside them, the runtime keeps [`corelane_runtime::Stats`].
#[derive(Debug)]
#[repr(align(128))]
pub struct ServerStats {
    /// Requests whose head was accepted.
    pub requests: Counter,
    /// Responses by class of status: index 0 is 1xx, index 4 is 5xx. Refusals are among them.
    pub responses: [Counter; 5],
    /// Requests that broke a rule of the protocol, by [`ProtocolError::index`].
    pub refused: [Counter; ProtocolError::ALL.len()],
    /// Connections that were closed because a deadline passed, by [`Deadline`].
    pub timeouts: [Counter; Deadline::ALL.len()],
    /// Requests that were refused because there were too many.
    pub requests_shed: Counter,
    /// Connections that were closed because they did not begin with a PROXY protocol head of
    /// somebody who is trusted.
    pub not_proxied: Counter,
    /// Handlers, middleware and streams that panicked, caught by
    /// [`CatchPanic`](crate::middleware::CatchPanic) or not.
    pub handler_panics: Counter,
    /// Exchanges whose peer went away before its answer was complete.
    pub peers_gone: Counter,
    /// Times that accepting paused because the shard had its most connections.
    pub connections_full: Counter,
    /// Lines of the access log that were dropped because its writer is slower than the requests.
    pub access_log_dropped: Counter,
    /// Spans that were dropped because their exporter is slower than the requests (feature `otel`).
    pub spans_dropped: Counter,
    /// Connections that were accepted to be served.
    pub connections: Counter,
    /// Connections that have ended, by [`Closed`].
    pub closed: [Counter; Closed::ALL.len()],
    /// Exchanges that ended without an answer of their route, or before it was whole.
    pub abandoned: Counter,
    pub(crate) slow: SlowRequests,
    routes: OnceLock<Box<[RouteStats]>>,
}

impl Default for ServerStats {
    fn default() -> ServerStats {
        ServerStats {
            requests: Counter::default(),
            responses: Default::default(),
            refused: std::array::from_fn(|_| Counter::default()),
            timeouts: Default::default(),
            requests_shed: Counter::default(),
            not_proxied: Counter::default(),
            handler_panics: Counter::default(),
            peers_gone: Counter::default(),
            connections_full: Counter::default(),
            access_log_dropped: Counter::default(),
            spans_dropped: Counter::default(),
            connections: Counter::default(),
            closed: Default::default(),
            abandoned: Counter::default(),
            slow: SlowRequests::default(),
            routes: OnceLock::new(),
        }
    }
}

/// The counters as what a shard keeps, for those who are called without them.
pub(crate) struct ShardStats(pub(crate) Arc<ServerStats>);

impl ServerStats {
    /// What is counted for each route: empty before the shard has its routes.
    pub fn routes(&self) -> &[RouteStats] {
        self.routes.get().map_or(&[], |routes| routes)
    }

    /// Connections that are open now.
    pub fn connections_open(&self) -> u64 {
        // What ends is read first: a sum that is read later can only be larger.
        let closed: u64 = self.closed.iter().map(Counter::value).sum();
        self.connections.value().saturating_sub(closed)
    }

    /// Exchanges that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        let exchanges = self.routes().iter().flat_map(|route| &route.exchanges);
        let ended = exchanges.map(Counter::value).sum::<u64>() + self.abandoned.value();
        self.requests.value().saturating_sub(ended)
    }

    /// Begins to count for routes with these names. Called once, before anything is served.
    pub(crate) fn set_routes(&self, names: &[String]) {
        let is_new = self.routes.set(RouteStats::all(names)).is_ok();
        debug_assert!(is_new, "a shard has one table of routes");
    }

    pub(crate) fn count_response(&self, status: StatusCode) {
        self.responses[class_of(status)].add(1);
    }
}

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The first byte of a new connection.
    FirstByte,
    /// The end of a head, from its first byte.
    Head,
    /// The next request.
    Idle,
    /// The rest of a body, at its least rate.
    Body,
    /// The peer's taking of its answers, at their least rate.
    Send,
}

impl Deadline {
    /// Every deadline, in the order of its counter.
    pub const ALL: [Deadline; 5] =
        [Deadline::FirstByte, Deadline::Head, Deadline::Idle, Deadline::Body, Deadline::Send];

    /// A short name for logs and metrics, in snake case.
    pub const fn label(self) -> &'static str {
        match self {
            Deadline::FirstByte => "first_byte",
            Deadline::Head => "head",
            Deadline::Idle => "idle",
            Deadline::Body => "body",
            Deadline::Send => "send",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The last answer said so: the client or the handler asked for it, or a refusal was it.
    Answered,
    /// The client sent its last byte and has got its answers.
    PeerDone,
    /// The client went away: a reset, or an end in the midst of an answer.
    PeerGone,
    /// A deadline passed, by [`ServerStats::timeouts`].
    TimedOut,
    /// It did not begin with a PROXY head where it has to, or not by whom it may.
    NotProxied,
    /// It was idle when the shard drained.
    Drained,
    /// An answer could not be completed.
    Broken,
    /// Its task panicked, or the shard ended first.
    Aborted,
}

impl Closed {
    /// Every reason, in the order of its counter.
    pub const ALL: [Closed; 8] = [
        Closed::Answered,
        Closed::PeerDone,
        Closed::PeerGone,
        Closed::TimedOut,
        Closed::NotProxied,
        Closed::Drained,
        Closed::Broken,
        Closed::Aborted,
    ];

    /// A short name for logs and metrics, in snake case.
    pub const fn label(self) -> &'static str {
        match self {
            Closed::Answered => "answered",
            Closed::PeerDone => "peer_done",
            Closed::PeerGone => "peer_gone",
            Closed::TimedOut => "timed_out",
            Closed::NotProxied => "not_proxied",
            Closed::Drained => "drained",
            Closed::Broken => "broken",
            Closed::Aborted => "aborted",
        }
    }
}
