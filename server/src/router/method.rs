//! The handlers of one path, by method.

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::{EndpointPlan, Layers};
use crate::handler::{EndpointMaker, Handler, endpoint_maker};
use crate::middleware::Layer;

/// The handlers of one path, by method.
///
/// `HEAD` is answered by the `GET` handler without its content, unless there is one of its own;
/// `OPTIONS` with the list of methods; any other method with 405 and that list.
#[derive(Default)]
pub struct MethodRouter {
    pub(super) endpoints: Vec<(Method, EndpointPlan)>,
    /// What answers other methods; the automatic answers where there is none.
    pub(super) fallback: Option<EndpointMaker>,
    pub(super) fallback_layers: Layers,
    pub(super) body_bytes_max: Option<u64>,
}

impl MethodRouter {
    /// Adds a handler for a method; the last one for a method counts.
    #[must_use]
    pub fn on<A: 'static>(mut self, method: Method, handler: impl Handler<A>) -> MethodRouter {
        self.endpoints.retain(|(known, _)| *known != method);
        let plan = EndpointPlan { make: endpoint_maker(handler), layers: Layers::new() };
        self.endpoints.push((method, plan));
        self
    }

    /// Adds a handler for every other method, in the place of 405 and of the answer to `OPTIONS`.
    #[must_use]
    pub fn any<A: 'static>(mut self, handler: impl Handler<A>) -> MethodRouter {
        self.fallback = Some(endpoint_maker(handler));
        self
    }

    /// Adds a handler for `GET`.
    #[must_use]
    pub fn get<A: 'static>(self, handler: impl Handler<A>) -> MethodRouter {
        self.on(Method::GET, handler)
    }

    /// Adds a handler for `POST`.
    #[must_use]
    pub fn post<A: 'static>(self, handler: impl Handler<A>) -> MethodRouter {
        self.on(Method::POST, handler)
    }

    /// Adds a handler for `PUT`.
    #[must_use]
    pub fn put<A: 'static>(self, handler: impl Handler<A>) -> MethodRouter {
        self.on(Method::PUT, handler)
    }

    /// Adds a handler for `PATCH`.
    #[must_use]
    pub fn patch<A: 'static>(self, handler: impl Handler<A>) -> MethodRouter {
        self.on(Method::PATCH, handler)
    }

    /// Adds a handler for `DELETE`.
    #[must_use]
    pub fn delete<A: 'static>(self, handler: impl Handler<A>) -> MethodRouter {
        self.on(Method::DELETE, handler)
    }

    /// Adds a handler for `HEAD`, which otherwise the one for `GET` answers.
    #[must_use]
    pub fn head<A: 'static>(self, handler: impl Handler<A>) -> MethodRouter {
        self.on(Method::HEAD, handler)
    }

    /// Adds a handler for `OPTIONS`, which otherwise is answered with the list of methods.
    #[must_use]
    pub fn options<A: 'static>(self, handler: impl Handler<A>) -> MethodRouter {
        self.on(Method::OPTIONS, handler)
    }

    /// Adds an endpoint that is not made of a handler.
    pub(crate) fn on_endpoint(mut self, method: Method, make: EndpointMaker) -> MethodRouter {
        self.endpoints.push((method, EndpointPlan { make, layers: Layers::new() }));
        self
    }

    /// Puts middleware around the handlers that were added before, and around the automatic
    /// answers. What was put around them before is inside of it.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> MethodRouter {
        self.add_layer(&(Arc::new(layer) as Arc<dyn Layer>));
        self
    }

    pub(super) fn add_layer(&mut self, layer: &Arc<dyn Layer>) {
        self.add_route_layer(layer);
        self.fallback_layers.push(Arc::clone(layer));
    }

    pub(super) fn add_route_layer(&mut self, layer: &Arc<dyn Layer>) {
        for (_, plan) in &mut self.endpoints {
            plan.layers.push(Arc::clone(layer));
        }
    }

    /// Bytes of a request body on this path, instead of the server's limit. Beyond it: 413.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: u64) -> MethodRouter {
        self.body_bytes_max = Some(bytes);
        self
    }
}

impl fmt::Debug for MethodRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.endpoints.iter().map(|(method, _)| method)).finish()
    }
}

/// A handler for `GET`, to which others can be added.
pub fn get<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().get(handler)
}

/// A handler for `POST`, to which others can be added.
pub fn post<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().post(handler)
}

/// A handler for `PUT`, to which others can be added.
pub fn put<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().put(handler)
}

/// A handler for `PATCH`, to which others can be added.
pub fn patch<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().patch(handler)
}

/// A handler for `DELETE`, to which others can be added.
pub fn delete<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().delete(handler)
}

/// A handler for `HEAD`, to which others can be added.
pub fn head<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().head(handler)
}

/// A handler for `OPTIONS`, to which others can be added.
pub fn options<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().options(handler)
}

/// A handler for every method.
pub fn any<A: 'static>(handler: impl Handler<A>) -> MethodRouter {
    MethodRouter::default().any(handler)
}
