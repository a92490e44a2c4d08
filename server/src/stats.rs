//! What one shard's server counts: written by the shard alone, read by anyone.

use std::sync::Arc;

use corelane_runtime::Counter;
use http::StatusCode;

use crate::http1::ProtocolError;

/// The counters of one shard's server. Beside them, the runtime keeps [`corelane_runtime::Stats`].
#[derive(Debug)]
#[repr(align(128))]
pub struct ServerStats {
    /// Requests whose head was accepted.
    pub requests: Counter,
    /// Responses by class of status: index 0 is 1xx, index 4 is 5xx.
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
        }
    }
}

/// The counters as what a shard keeps, for those who are called without them.
pub(crate) struct ShardStats(pub(crate) Arc<ServerStats>);

impl ServerStats {
    pub(crate) fn count_response(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.responses[class - 1].add(1);
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
}
