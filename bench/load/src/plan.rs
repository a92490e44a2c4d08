//! What a run is to do: the arguments, checked and made ready.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::expectation::Expectation;
use crate::request::Request;
use crate::schedule::Arrivals;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    /// Sent in rotation; at least one.
    pub(crate) requests: Vec<Request>,
    pub(crate) pace: Pace,
    /// Of all shards together; at least one a shard.
    pub(crate) connection_count: usize,
    /// Requests of one connection that may be unanswered at a time; at least one.
    pub(crate) pipeline: usize,
    /// After which a connection is closed and made anew.
    pub(crate) requests_per_connection: u64,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    /// For a connect, for an answer, and for the answers that are missing at the end.
    pub(crate) timeout: Duration,
    pub(crate) expectation: Expectation,
}

/// What decides when a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "loop", rename_all = "lowercase")]
pub(crate) enum Pace {
    /// The answer to an earlier one: as fast as the server lets it.
    Closed,
    /// A schedule, whatever the server does.
    Open {
        /// Requests a second, of all shards together.
        rate: f64,
        /// How they are spread.
        arrivals: Arrivals,
    },
}

impl Plan {
    /// How many of the connections are this shard's.
    pub(crate) fn shard_connection_count(&self, shard: usize, shard_count: usize) -> usize {
        let rest = self.connection_count % shard_count;
        self.connection_count / shard_count + usize::from(shard < rest)
    }
}
