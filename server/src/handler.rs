//! Handlers: asynchronous functions over extractors, called without an allocation per request.
//!
//! A handler's future has a type of its own and must not move once it was polled, so it can not
//! live on the stack of a loop that may have to suspend it. Each route keeps the boxes of finished
//! calls and puts the next call's future into one of them: after warm-up nothing is allocated.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use corelane_runtime::ConfigError;

use crate::extract::{BodyUse, Exchange, FromRequest, Scope};
use crate::middleware::Reply;
use crate::response::{IntoResponse, Responder, Response};

/// An asynchronous function of up to eight extractors.
///
/// `Arguments` is the tuple of the argument types; it is always inferred.
pub trait Handler<Arguments>: Clone + Send + Sync + 'static {
    /// What the handler returns a future of.
    type Future: Future<Output = Self::Response> + 'static;
    /// What becomes the response.
    type Response: IntoResponse;

    /// What the arguments need of the request's body.
    const BODY: BodyUse;

    /// Takes the arguments from the request and calls the function. The answer instead where one
    /// of them was rejected.
    #[doc(hidden)]
    fn call(&self, exchange: &mut Exchange<'_>) -> Result<Self::Future, Box<Response>>;

    /// Checks what the arguments will need of every request.
    #[doc(hidden)]
    fn check(scope: &Scope<'_>) -> Result<(), ConfigError>;
}

macro_rules! handler {
    ($($argument:ident)*) => {
        impl<F, R, $($argument,)*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Clone + Send + Sync + 'static,
            R: Future + 'static,
            R::Output: IntoResponse,
            $($argument: FromRequest,)*
        {
            type Future = R;
            type Response = R::Output;

            const BODY: BodyUse = BodyUse::Unused$(.and($argument::BODY))*;

            #[allow(non_snake_case, unused_variables, reason = "one macro for every count")]
            fn call(&self, exchange: &mut Exchange<'_>) -> Result<R, Box<Response>> {
                $(
                    let $argument = $argument::from_request(exchange)
                        .map_err(|rejection| Box::new(rejection.into_response()))?;
                )*
                Ok(self($($argument),*))
            }

            #[allow(unused_variables, reason = "one macro for every count")]
            fn check(scope: &Scope<'_>) -> Result<(), ConfigError> {
                $($argument::check(scope)?;)*
                Ok(())
            }
        }
    };
}

handler!();
handler!(A);
handler!(A B);
handler!(A B C);
handler!(A B C D);
handler!(A B C D E);
handler!(A B C D E G);
handler!(A B C D E G H);
handler!(A B C D E G H I);

/// What answers the requests of a route, on one shard, whatever its types.
pub(crate) trait Endpoint {
    fn body_use(&self) -> BodyUse;

    /// Whether there is middleware, which is called before the body is received.
    fn is_layered(&self) -> bool {
        false
    }

    /// Answers at once, straight into the send buffer, or says what has to be waited for.
    fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Option<Call>;

    /// As [`answer`](Endpoint::answer), for middleware: the response as a value.
    fn reply(&self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Reply;

    fn check(&self, scope: &Scope<'_>) -> Result<(), ConfigError>;
}

/// Makes a handler's endpoint on each shard.
pub(crate) type EndpointMaker = Box<dyn Fn() -> Rc<dyn Endpoint> + Send + Sync>;

pub(crate) fn endpoint_maker<H: Handler<A>, A: 'static>(handler: H) -> EndpointMaker {
    // Evaluated here, so that two arguments that take the body do not compile.
    let _ = H::BODY;
    Box::new(move || {
        let handler = handler.clone();
        Rc::new(Pooled { handler, spare: Spare::default(), arguments: PhantomData::<fn(A)> })
    })
}

/// A handler with the boxes of its finished calls.
struct Pooled<H: Handler<A>, A> {
    handler: H,
    spare: Spare<H::Future>,
    arguments: PhantomData<fn(A)>,
}

/// Boxes without a call in them. There are never more than were in use at once.
type Spare<F> = Rc<RefCell<Vec<Pin<Box<Running<F>>>>>>;

impl<H: Handler<A>, A> Endpoint for Pooled<H, A> {
    fn body_use(&self) -> BodyUse {
        H::BODY
    }

    fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Option<Call> {
        let mut running = match self.handler.call(exchange) {
            Ok(future) => self.hold(future),
            Err(rejection) => {
                responder.response(*rejection);
                return None;
            }
        };
        if running.as_mut().poll(context, responder).is_pending() {
            return Some(Call(Some(self.lend(running))));
        }
        self.keep(running);
        None
    }

    fn reply(&self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Reply {
        let mut running = match self.handler.call(exchange) {
            Ok(future) => self.hold(future),
            Err(rejection) => return Reply::ready(*rejection),
        };
        match running.as_mut().poll_response(context) {
            Poll::Pending => Reply::running(Call(Some(self.lend(running)))),
            Poll::Ready(response) => {
                self.keep(running);
                Reply::ready(response)
            }
        }
    }

    fn check(&self, scope: &Scope<'_>) -> Result<(), ConfigError> {
        H::check(scope)
    }
}

impl<H: Handler<A>, A> Pooled<H, A> {
    /// Puts a call into a box, an old one where there is one.
    fn hold(&self, future: H::Future) -> Pin<Box<Running<H::Future>>> {
        let spare = self.spare.borrow_mut().pop();
        let mut running = spare.unwrap_or_else(|| Box::pin(Running { future: None, spare: None }));
        running.as_mut().project().future.set(Some(future));
        running
    }

    /// A box whose call goes on: it comes back by itself.
    fn lend(&self, mut running: Pin<Box<Running<H::Future>>>) -> Pin<Box<Running<H::Future>>> {
        *running.as_mut().project().spare = Some(Rc::clone(&self.spare));
        running
    }

    /// Drops a call that has ended, and keeps its box.
    fn keep(&self, mut running: Pin<Box<Running<H::Future>>>) {
        running.as_mut().project().future.set(None);
        self.spare.borrow_mut().push(running);
    }
}

pin_project_lite::pin_project! {
    struct Running<F> {
        #[pin]
        future: Option<F>,
        // Where the box goes after its call; `None` once it is there: nothing may own itself.
        spare: Option<Spare<F>>,
    }
}

/// A running handler, without its types. Not polled any more once it was ready.
pub(crate) trait Run {
    /// Ready once the response is written.
    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Poll<()>;

    /// Ready with the response as a value.
    fn poll_response(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response>;

    /// Drops the call and keeps its box for another one.
    fn recycle(self: Pin<Box<Self>>);
}

impl<F> Run for Running<F>
where
    F: Future + 'static,
    F::Output: IntoResponse,
{
    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Poll<()> {
        // Polled after its end, it stays at its end.
        let Some(future) = self.project().future.as_pin_mut() else { return Poll::Ready(()) };
        match future.poll(context) {
            Poll::Ready(response) => {
                response.respond(responder);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_response(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let Some(future) = self.project().future.as_pin_mut() else { return Poll::Pending };
        future.poll(context).map(IntoResponse::into_response)
    }

    fn recycle(mut self: Pin<Box<Self>>) {
        let mut parts = self.as_mut().project();
        parts.future.set(None);
        if let Some(spare) = parts.spare.take() {
            spare.borrow_mut().push(self);
        }
    }
}

/// One call of a handler. Dropping it cancels the handler where it stands.
pub(crate) struct Call(Option<Pin<Box<dyn Run>>>);

impl Call {
    pub(crate) fn new(running: Pin<Box<dyn Run>>) -> Call {
        Call(Some(running))
    }

    /// Ready with the response as a value.
    pub(crate) fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Response> {
        match &mut self.0 {
            Some(running) => running.as_mut().poll_response(context),
            None => Poll::Pending,
        }
    }

    /// Ready once the response is written.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Poll<()> {
        match &mut self.0 {
            Some(running) => running.as_mut().poll(context, responder),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.recycle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Ready, ready};

    #[test]
    fn spare_boxes_end_with_their_endpoint() {
        let spare = Spare::<Ready<&str>>::default();
        let running = Running { future: Some(ready("")), spare: Some(Rc::clone(&spare)) };
        Box::pin(running).recycle();
        assert_eq!(spare.borrow().len(), 1);
        assert_eq!(Rc::strong_count(&spare), 1);
    }
}
