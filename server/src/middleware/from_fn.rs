//! Middleware as an asynchronous function.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::Poll;

use corelane_runtime::ConfigError;
use http::HeaderMap;

use super::chain::Chain;
use super::{Inner, Middleware, Reply};
use crate::extract::{BodyUse, Exchange, FromRequest, Kept, Scope};
use crate::response::{IntoResponse, Response};

/// Makes middleware from an asynchronous function of extractors and, last, [`Next`].
///
/// ```
/// use corelane::middleware::{Next, from_fn};
/// use corelane::{App, Headers, IntoResponse, Response, StatusCode, get};
///
/// async fn with_a_key(Headers(headers): Headers, next: Next) -> Response {
///     if !headers.contains_key("x-key") {
///         return StatusCode::UNAUTHORIZED.into_response();
///     }
///     next.run().await
/// }
///
/// let app = App::new().route("/", get(async || "hello")).layer(from_fn(with_a_key));
/// # let _ = app;
/// ```
///
/// The function may wait before it calls what is inside. So the request is copied out of the
/// receive buffer for it, which [`Middleware`] avoids.
pub fn from_fn<F, A>(function: F) -> FromFn<F, A>
where
    F: FunctionOfNext<A>,
{
    // Evaluated here: a function that takes the body itself does not compile.
    const { assert!(matches!(F::BODY, BodyUse::Unused), "middleware can not take the body") };
    FromFn { function, arguments: PhantomData }
}

/// Middleware made by [`from_fn`].
pub struct FromFn<F, A> {
    function: F,
    arguments: PhantomData<fn(A)>,
}

impl<F: Clone, A> Clone for FromFn<F, A> {
    fn clone(&self) -> FromFn<F, A> {
        FromFn { function: self.function.clone(), arguments: PhantomData }
    }
}

impl<F, A> fmt::Debug for FromFn<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}

impl<F: FunctionOfNext<A>, A: 'static> Middleware for FromFn<F, A> {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        self.function.call(exchange, inner)
    }

    fn check(&self, scope: &Scope<'_>) -> Result<(), ConfigError> {
        F::check(scope)
    }
}

/// What is inside of the middleware: the next one, or the handler; and the request for it.
pub struct Next {
    chain: Rc<Chain>,
    layer_count: usize,
    kept: Kept,
}

impl Next {
    pub(super) fn new(exchange: &mut Exchange<'_>, inner: &Inner<'_>) -> Next {
        let kept = Kept::new(exchange);
        Next { chain: Rc::clone(inner.chain), layer_count: inner.layer_count, kept }
    }

    /// Attaches a value to the request: see [`Exchange::insert`].
    pub fn insert<T: 'static>(&mut self, value: Rc<T>) {
        self.kept.extensions.insert(std::any::TypeId::of::<T>(), value);
    }

    /// Answers the request from the inside.
    pub async fn run(self) -> Response {
        self.enter(|exchange, inner| inner.call(exchange)).await
    }

    /// Puts the collected body, and what followed it, in its place.
    pub(super) fn set_body(&mut self, bytes: Vec<u8>, trailers: Option<Box<HeaderMap>>) {
        self.kept.set_body(bytes, trailers);
    }

    /// Answers the request by `call`, which gets it as middleware does.
    pub(super) async fn enter(
        self,
        call: impl FnOnce(&mut Exchange<'_>, Inner<'_>) -> Reply,
    ) -> Response {
        let Next { chain, layer_count, kept } = self;
        let mut once = Some((call, kept));
        let called = poll_fn(|context| {
            let Some((call, mut kept)) = once.take() else { return Poll::Pending };
            let inner = Inner { chain: &chain, layer_count, waker: context.waker() };
            Poll::Ready(kept.with(|exchange| call(exchange, inner)))
        });
        called.await.await
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layer_count", &self.layer_count).finish_non_exhaustive()
    }
}

/// An asynchronous function of up to four extractors and [`Next`].
///
/// `Arguments` is the tuple of the argument types; it is always inferred.
pub trait FunctionOfNext<Arguments>: Clone + Send + Sync + 'static {
    /// What the extractors need of the body: nothing, or it does not compile.
    const BODY: BodyUse;

    #[doc(hidden)]
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply;

    #[doc(hidden)]
    fn check(scope: &Scope<'_>) -> Result<(), ConfigError>;
}

macro_rules! function {
    ($($argument:ident)*) => {
        impl<F, R, $($argument,)*> FunctionOfNext<($($argument,)* Next,)> for F
        where
            F: Fn($($argument,)* Next) -> R + Clone + Send + Sync + 'static,
            R: Future + 'static,
            R::Output: IntoResponse,
            $($argument: FromRequest,)*
        {
            const BODY: BodyUse = BodyUse::Unused$(.and($argument::BODY))*;

            #[allow(non_snake_case, reason = "one macro for every count")]
            fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
                $(
                    let $argument = match $argument::from_request(exchange) {
                        Ok(argument) => argument,
                        Err(rejection) => return Reply::ready(rejection),
                    };
                )*
                let response = self($($argument,)* Next::new(exchange, &inner));
                Reply::waiting(async move { response.await.into_response() })
            }

            #[allow(unused_variables, reason = "one macro for every count")]
            fn check(scope: &Scope<'_>) -> Result<(), ConfigError> {
                $($argument::check(scope)?;)*
                Ok(())
            }
        }
    };
}

function!();
function!(A);
function!(A B);
function!(A B C);
function!(A B C D);
