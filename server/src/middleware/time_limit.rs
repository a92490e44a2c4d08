//! A bound on how long a handler may take.

use std::time::Duration;

use corelane_runtime::timeout;
use http::StatusCode;

use super::{Inner, Middleware, Reply};
use crate::extract::Exchange;
use crate::problem::Problem;
use crate::response::IntoResponse;

/// Answers 503 in the place of a handler that takes too long, and drops the handler.
///
/// The time runs from the head of the request to the answer: what is received of the body after its
/// head is in it, the sending of the content is not. Only waiting can be cut short: code that
/// computes without an `.await` holds up its shard, and this as well.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit(Duration);

impl TimeLimit {
    /// A limit. Resolution: a millisecond, never early.
    pub fn new(limit: Duration) -> TimeLimit {
        TimeLimit(limit)
    }
}

impl Middleware for TimeLimit {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let limit = self.0;
        // What is ready at once needs no timer.
        inner.call(exchange).or_wait(|reply| async move {
            timeout(limit, reply).await.unwrap_or_else(|_| {
                // RFC 9110 section 15.6.4: the server can not handle the request just now.
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE);
                problem.detail("the answer took too long to make").into_response()
            })
        })
    }
}
