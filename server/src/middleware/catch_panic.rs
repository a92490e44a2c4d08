//! A panic becomes an answer of the application's own.

use std::future::poll_fn;
use std::pin::Pin;

use http::StatusCode;

use super::{Inner, Middleware, Reply};
use crate::extract::Exchange;
use crate::faults::catch;
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// Answers a panic inside of it, and keeps the connection.
///
/// Without it a panic is answered with 500 by the server itself, outside of all middleware, and
/// ends the connection. With it other layers see the answer: put it inside of those that must.
/// The panic is logged either way. With `panic = "abort"` there is nothing to catch.
#[derive(Clone, Copy, Debug)]
pub struct CatchPanic {
    answer: fn() -> Response,
}

impl Default for CatchPanic {
    /// Answers with 500 and a problem that says no more.
    fn default() -> CatchPanic {
        CatchPanic::new(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR).into_response())
    }
}

impl CatchPanic {
    /// Answers with what `answer` makes.
    pub fn new(answer: fn() -> Response) -> CatchPanic {
        CatchPanic { answer }
    }
}

impl Middleware for CatchPanic {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let answer = self.answer;
        let Some(reply) = catch(|| inner.call(exchange)) else { return Reply::ready(answer()) };
        reply.or_wait(|mut reply| {
            poll_fn(move |context| {
                let polled = catch(|| Pin::new(&mut reply).poll(context));
                polled.unwrap_or_else(|| std::task::Poll::Ready(answer()))
            })
        })
    }
}
