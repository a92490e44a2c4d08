//! The chain of a route: its middleware from the outside in, and its endpoint.

use std::rc::Rc;
use std::task::{Context, Waker};

use corelane_runtime::{ConfigError, Shard};

use super::{Next, Reply};
use crate::extract::{BodyUse, Exchange, Scope};
use crate::handler::{Call, Endpoint};
use crate::response::{IntoResponse, Responder};

/// One layer around a handler, on one shard.
///
/// ```
/// use corelane::middleware::{Inner, Middleware, Reply};
/// use corelane::{App, Exchange, HeaderValue, StatusCode, get, header};
///
/// #[derive(Clone)]
/// struct OnlyFromTheOffice;
///
/// impl Middleware for OnlyFromTheOffice {
///     fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
///         if exchange.header("x-office").is_none() {
///             return Reply::ready(StatusCode::FORBIDDEN); // the handler is not called
///         }
///         inner.call(exchange).map(|mut response| {
///             response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
///             response
///         })
///     }
/// }
///
/// let app = App::new().route("/", get(async || "hello")).layer(OnlyFromTheOffice);
/// # let _ = app;
/// ```
pub trait Middleware: 'static {
    /// Answers the request, most often by what [`Inner::call`] answers.
    ///
    /// It is called as soon as the head is there. What has not been received of the body by then
    /// is received when somebody asks for it: the handler, or middleware by
    /// [`Inner::with_body`]. So a request that middleware refuses is answered before its body
    /// comes, and one with `Expect: 100-continue` is not told to send it.
    ///
    /// The response may be changed freely; its body may be put into another one that is a stream.
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply;

    /// Checks once, when a shard starts, what every request will need.
    ///
    /// # Errors
    /// What is missing: the server does not start then.
    fn check(&self, scope: &Scope<'_>) -> Result<(), ConfigError> {
        let _ = scope;
        Ok(())
    }
}

/// What `layer` takes: makes the middleware of each shard.
///
/// Whatever is `Clone + Send + Sync` is cloned for each shard; [`per_shard`] makes what is not.
pub trait Layer: Send + Sync + 'static {
    /// The middleware of one shard, shared by all routes of the layer.
    fn on_shard(&self, shard: &Rc<Shard>) -> Rc<dyn Middleware>;
}

impl<M: Middleware + Clone + Send + Sync> Layer for M {
    fn on_shard(&self, _: &Rc<Shard>) -> Rc<dyn Middleware> {
        Rc::new(self.clone())
    }
}

/// A layer that is made anew on every shard: for middleware with `Cell`s, such as a rate limit.
pub fn per_shard<M: Middleware>(
    make: impl Fn(&Rc<Shard>) -> M + Send + Sync + 'static,
) -> impl Layer {
    PerShard(move |shard: &Rc<Shard>| Rc::new(make(shard)) as Rc<dyn Middleware>)
}

struct PerShard<F>(F);

impl<F> Layer for PerShard<F>
where
    F: Fn(&Rc<Shard>) -> Rc<dyn Middleware> + Send + Sync + 'static,
{
    fn on_shard(&self, shard: &Rc<Shard>) -> Rc<dyn Middleware> {
        (self.0)(shard)
    }
}

/// Middleware around an endpoint; the endpoint itself where there is none.
pub(crate) fn layered(
    endpoint: Rc<dyn Endpoint>,
    outermost_last: Vec<Rc<dyn Middleware>>,
) -> Rc<dyn Endpoint> {
    if outermost_last.is_empty() {
        return endpoint;
    }
    Rc::new(Layered(Rc::new(Chain { layers: outermost_last, endpoint })))
}

pub(super) struct Chain {
    /// The outermost layer is the last one.
    layers: Vec<Rc<dyn Middleware>>,
    endpoint: Rc<dyn Endpoint>,
}

/// What is inside of a middleware: the next one, or the handler.
pub struct Inner<'a> {
    pub(super) chain: &'a Rc<Chain>,
    /// How many layers are still to be called.
    pub(super) layer_count: usize,
    pub(super) waker: &'a Waker,
}

impl Inner<'_> {
    /// Answers the request from the inside. The reply is there at once unless somebody has to wait.
    pub fn call(self, exchange: &mut Exchange<'_>) -> Reply {
        self.chain.call(self.layer_count, exchange, self.waker)
    }

    /// What the handler does with the body, however it is there by now.
    pub fn body_use(&self) -> BodyUse {
        self.chain.endpoint.body_use()
    }

    /// Goes on with `then` once the body is there as a whole: at once where it is already, or
    /// where the handler wants none, for which there is none here either.
    ///
    /// A body that can not be received whole is answered in the place of `then`: with 413 beyond
    /// [`Exchange::body_bytes_max`]. To wait, the request is copied out of the receive buffer.
    ///
    /// ```
    /// use corelane::middleware::{Inner, Middleware, Reply};
    /// use corelane::{Exchange, StatusCode};
    ///
    /// #[derive(Clone)]
    /// struct Summed;
    ///
    /// impl Middleware for Summed {
    ///     fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
    ///         inner.with_body(exchange, |exchange, inner| {
    ///             let sum = exchange.body_mut().iter().fold(0u8, |sum, byte| sum ^ byte);
    ///             match exchange.header("x-sum") == Some(sum.to_string().as_bytes()) {
    ///                 true => inner.call(exchange),
    ///                 false => Reply::ready(StatusCode::BAD_REQUEST),
    ///             }
    ///         })
    ///     }
    /// }
    /// ```
    pub fn with_body(
        self,
        exchange: &mut Exchange<'_>,
        then: impl FnOnce(&mut Exchange<'_>, Inner<'_>) -> Reply + 'static,
    ) -> Reply {
        let Some(mut body) = exchange.take_stream() else { return then(exchange, self) };
        let bytes_max = usize::try_from(exchange.body_bytes_max()).unwrap_or(usize::MAX);
        let mut next = Next::new(exchange, &self);
        Reply::waiting(async move {
            match body.collect_up_to(bytes_max).await {
                Ok(bytes) => next.set_body(bytes, body.take_trailers()),
                Err(error) => return error.into_response(),
            }
            next.enter(then).await
        })
    }
}

impl std::fmt::Debug for Inner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("layer_count", &self.layer_count).finish_non_exhaustive()
    }
}

impl Chain {
    pub(super) fn call(
        self: &Rc<Chain>,
        layer_count: usize,
        exchange: &mut Exchange<'_>,
        waker: &Waker,
    ) -> Reply {
        let inner = |layer_count| Inner { chain: self, layer_count, waker };
        match layer_count.checked_sub(1) {
            Some(index) => self.layers[index].call(exchange, inner(index)),
            // All layers have let it in: now the body is asked for.
            None if self.awaits_body(exchange) => {
                inner(0).with_body(exchange, |exchange, inner| inner.call(exchange))
            }
            None => self.endpoint.reply(exchange, &mut Context::from_waker(waker)),
        }
    }

    /// Whether the handler takes the body whole, and it is not.
    fn awaits_body(&self, exchange: &Exchange<'_>) -> bool {
        exchange.body_use() == BodyUse::Stream && self.endpoint.body_use() == BodyUse::Whole
    }
}

/// An endpoint with a chain around it.
struct Layered(Rc<Chain>);

impl Endpoint for Layered {
    fn body_use(&self) -> BodyUse {
        self.0.endpoint.body_use()
    }

    fn is_layered(&self) -> bool {
        true
    }

    fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Option<Call> {
        self.reply(exchange, context).answer(context, responder)
    }

    fn reply(&self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Reply {
        self.0.call(self.0.layers.len(), exchange, context.waker())
    }

    fn check(&self, scope: &Scope<'_>) -> Result<(), ConfigError> {
        self.0.layers.iter().try_for_each(|layer| layer.check(scope))?;
        self.0.endpoint.check(scope)
    }
}
