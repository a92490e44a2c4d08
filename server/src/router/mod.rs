//! From a request's method and path to what answers it.
//!
//! [`Router`] collects routes; each shard makes a `Table` of them when it starts.

mod answers;
mod link;
mod method;
mod path;
mod pattern;
mod table;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use corelane_runtime::Shard;

use crate::error::BoxError;
use crate::files::Files;
use crate::handler::{EndpointMaker, Handler, endpoint_maker};
use crate::middleware::Layer;
use crate::state::{StateMaker, state_maker};
pub use link::{LinkError, RoutePath};
pub use method::{MethodRouter, any, delete, get, head, options, patch, post, put};
pub(crate) use path::normalize;
pub(crate) use table::{Found, Table};

/// What becomes of a path that would be a route but for a slash at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrailingSlash {
    /// `/a` and `/a/` are two paths; what is not routed is not found. The default, since they are
    /// two to caches and to relative links as well.
    #[default]
    Strict,
    /// 308 to the path that is routed, with the query.
    Redirect,
    /// Both are answered by the route.
    Ignore,
}

/// Routes with their own middleware and state, to be nested or merged into an
/// [`App`](crate::App) or another router.
///
/// ```
/// use corelane::middleware::{Next, from_fn};
/// use corelane::{App, Path, Router, State, get};
///
/// let items = Router::new()
///     .state(async |_shard| vec!["nut", "bolt"])
///     .route("/", get(async |items: State<Vec<&'static str>>| items.join(", ")))
///     .route("/{id}", get(async |Path(id): Path<usize>| format!("item {id}")))
///     .layer(from_fn(async |next: Next| next.run().await));
/// let app = App::new().nest("/items", items); // answers /items and /items/7
/// # let _ = app;
/// ```
#[derive(Default)]
pub struct Router {
    pub(crate) routes: Vec<RoutePlan>,
    pub(crate) fallbacks: Vec<FallbackPlan>,
    /// Layers of the answer to what nothing was found for, while there is no fallback.
    pub(crate) not_found_layers: Layers,
    states: Vec<StateMaker>,
    /// What is wrong with the calls that made it, for the start to report.
    pub(crate) problems: Vec<String>,
}

/// Layers around an endpoint; the outermost is the last one.
pub(crate) type Layers = Vec<Arc<dyn Layer>>;

/// States that the routes of one router share.
pub(crate) type Group = Arc<Vec<StateMaker>>;

/// One path, as it was asked for.
pub(crate) struct RoutePlan {
    pub(crate) path: String,
    pub(crate) methods: MethodRouter,
    /// The innermost group is the first one.
    pub(crate) groups: Vec<Group>,
}

/// What answers below a prefix where no route does.
pub(crate) struct FallbackPlan {
    /// Empty for the whole application.
    pub(crate) prefix: String,
    pub(crate) endpoint: EndpointPlan,
    pub(crate) body_bytes_max: Option<u64>,
    pub(crate) groups: Vec<Group>,
}

/// A handler and the layers around it.
pub(crate) struct EndpointPlan {
    pub(crate) make: EndpointMaker,
    pub(crate) layers: Layers,
}

impl Router {
    /// A router without routes.
    pub fn new() -> Router {
        Router::default()
    }

    /// Routes a path to its handlers: see [`App::route`](crate::App::route).
    #[must_use]
    pub fn route(mut self, path: &str, methods: MethodRouter) -> Router {
        self.routes.push(RoutePlan { path: path.to_owned(), methods, groups: Vec::new() });
        self
    }

    /// Serves a directory below a prefix: see [`App::files`](crate::App::files).
    ///
    /// In a router that is to be nested, the prefix is at least one segment of its own.
    #[must_use]
    pub fn files(self, prefix: &str, files: impl Into<Files>) -> Router {
        let routes = files.into().routes(prefix);
        routes.into_iter().fold(self, |router, (path, methods)| router.route(&path, methods))
    }

    /// Puts the routes of another router below a prefix, which may have parameters.
    ///
    /// Its path `/` becomes the prefix itself. Its fallback answers what it does not route below
    /// the prefix; without one, the outer fallback does.
    #[must_use]
    pub fn nest(mut self, prefix: &str, mut inner: Router) -> Router {
        if let Err(problem) = pattern::check_prefix(prefix) {
            self.problems.push(problem);
        }
        for route in &mut inner.routes {
            if let Err(problem) = pattern::check(&route.path) {
                self.problems.push(format!("{problem}, below \"{prefix}\""));
            }
            route.path = pattern::join(prefix, &route.path);
        }
        for fallback in &mut inner.fallbacks {
            fallback.prefix = pattern::join(prefix, &fallback.prefix);
        }
        self.merge(inner)
    }

    /// Adds the routes of another router; they keep its middleware and state.
    ///
    /// Two routers that both have a fallback are an error at start.
    #[must_use]
    pub fn merge(mut self, inner: Router) -> Router {
        let Router { mut routes, mut fallbacks, states, problems, .. } = inner;
        if !states.is_empty() {
            let group = Arc::new(states);
            routes.iter_mut().for_each(|route| route.groups.push(Arc::clone(&group)));
            fallbacks.iter_mut().for_each(|fallback| fallback.groups.push(Arc::clone(&group)));
        }
        self.routes.extend(routes);
        self.fallbacks.extend(fallbacks);
        self.problems.extend(problems);
        self
    }

    /// Answers whatever no route answers, in the place of 404. Its handler may look at
    /// [`Exchange::path_rest`](crate::Exchange::path_rest); there are no path parameters.
    #[must_use]
    pub fn fallback<A: 'static>(mut self, handler: impl Handler<A>) -> Router {
        let layers = Layers::new();
        self.fallbacks.push(FallbackPlan {
            prefix: String::new(),
            endpoint: EndpointPlan { make: endpoint_maker(handler), layers },
            body_bytes_max: None,
            groups: Vec::new(),
        });
        self
    }

    /// Puts middleware around everything that was added before: routes, their automatic answers to
    /// `OPTIONS` and to methods that they do not have, and the fallback. What was put around them
    /// before is inside of it.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Router {
        let layer: Arc<dyn Layer> = Arc::new(layer);
        self.routes.iter_mut().for_each(|route| route.methods.add_layer(&layer));
        for fallback in &mut self.fallbacks {
            fallback.endpoint.layers.push(Arc::clone(&layer));
        }
        self.not_found_layers.push(layer);
        self
    }

    /// As [`layer`](Router::layer), around the handlers of routes alone: a request that none of
    /// them would answer does not come by.
    #[must_use]
    pub fn route_layer(mut self, layer: impl Layer) -> Router {
        let layer: Arc<dyn Layer> = Arc::new(layer);
        self.routes.iter_mut().for_each(|route| route.methods.add_route_layer(&layer));
        self
    }

    /// Bytes of a request body on every route and fallback that was added before and has no limit
    /// of its own, instead of the server's limit. Beyond it: 413.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: u64) -> Router {
        let routes = self.routes.iter_mut().map(|route| &mut route.methods.body_bytes_max);
        let fallbacks = self.fallbacks.iter_mut().map(|fallback| &mut fallback.body_bytes_max);
        routes.chain(fallbacks).for_each(|max| *max = max.or(Some(bytes)));
        self
    }

    /// A state for the routes of this router, and those nested in it, made on every shard: see
    /// [`App::state`](crate::App::state). It wins over one of the same type from outside.
    #[must_use]
    pub fn state<T, F>(self, make: impl Fn(Rc<Shard>) -> F + Send + Sync + 'static) -> Router
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        self.try_state(move |shard| {
            let made = make(shard);
            async move { Ok::<T, BoxError>(made.await) }
        })
    }

    /// As [`state`](Router::state), for what can fail: the first failure is the error of the start.
    #[must_use]
    pub fn try_state<T, E, F>(
        mut self,
        make: impl Fn(Rc<Shard>) -> F + Send + Sync + 'static,
    ) -> Router
    where
        T: 'static,
        E: Into<BoxError>,
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.states.push(state_maker(move |shard| {
            let made = make(shard);
            async move { made.await.map_err(Into::into) }
        }));
        self
    }

    pub(crate) fn take_states(&mut self) -> Vec<StateMaker> {
        std::mem::take(&mut self.states)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.routes.iter().map(|route| (&route.path, &route.methods));
        f.debug_map().entries(routes).finish()
    }
}
