//! A response that may still have to be waited for.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::handler::{Call, Run};
use crate::response::{IntoResponse, Responder, Response};

/// The response of what is inside of a middleware: there already, or a future of it. Dropping it
/// cancels the handler where it stands.
pub struct Reply(Progress);

enum Progress {
    Ready(Response),
    Running(Call),
    Waiting(Pin<Box<dyn Future<Output = Response>>>),
    /// The response was handed over.
    Taken,
}

impl Reply {
    /// A response that is there.
    pub fn ready(response: impl IntoResponse) -> Reply {
        Reply(Progress::Ready(response.into_response()))
    }

    /// A response that has to be waited for. Allocates.
    pub fn waiting(response: impl Future<Output = Response> + 'static) -> Reply {
        Reply(Progress::Waiting(Box::pin(response)))
    }

    pub(crate) fn running(call: Call) -> Reply {
        Reply(Progress::Running(call))
    }

    /// Writes the response if it is there by now; else it has to be waited for.
    pub(crate) fn answer(
        mut self,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Option<Call> {
        match Future::poll(Pin::new(&mut self), context) {
            Poll::Pending => Some(Call::new(Box::pin(self))),
            Poll::Ready(response) => {
                responder.response(response);
                None
            }
        }
    }

    /// Changes the response: at once where it is there, which allocates nothing, or once it is.
    pub fn map(self, change: impl FnOnce(Response) -> Response + 'static) -> Reply {
        match self.0 {
            Progress::Ready(response) => Reply(Progress::Ready(change(response))),
            progress => Reply::waiting(async move { change(Reply(progress).await) }),
        }
    }
}

impl Reply {
    /// The reply as it is where it is there; otherwise what `wait` makes of it.
    pub fn or_wait<F>(self, wait: impl FnOnce(Reply) -> F) -> Reply
    where
        F: Future<Output = Response> + 'static,
    {
        match self.0 {
            Progress::Ready(_) => self,
            _ => Reply::waiting(wait(self)),
        }
    }
}

impl Future for Reply {
    type Output = Response;

    /// Never ready again once it was.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let response = match &mut self.0 {
            Progress::Running(call) => call.poll_response(context),
            Progress::Waiting(future) => future.as_mut().poll(context),
            Progress::Taken => Poll::Pending,
            Progress::Ready(_) => match std::mem::replace(&mut self.0, Progress::Taken) {
                Progress::Ready(response) => Poll::Ready(response),
                _ => Poll::Pending,
            },
        };
        if response.is_ready() {
            self.0 = Progress::Taken;
        }
        response
    }
}

impl Run for Reply {
    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Poll<()> {
        self.poll_response(context).map(|response| responder.response(response))
    }

    fn poll_response(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        Future::poll(self, context)
    }

    fn recycle(self: Pin<Box<Self>>) {}
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Progress::Ready(_) => "Reply(ready)",
            Progress::Running(_) | Progress::Waiting(_) => "Reply(waiting)",
            Progress::Taken => "Reply(taken)",
        })
    }
}
