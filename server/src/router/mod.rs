//! From a request's method and path to the endpoint that answers it.

mod pattern;

use std::borrow::Cow;
use std::rc::Rc;

use corelane_runtime::{Activity, ConfigError, Shard};
use http::{HeaderValue, Method, StatusCode, header};

use crate::extract::Params;
use crate::handler::{Endpoint, EndpointMaker, Handler, endpoint_maker};
use crate::problem::Problem;
use crate::response::{IntoResponse, Responder};

/// The handlers of one path, by method.
///
/// `HEAD` is answered by the `GET` handler without its content, unless there is one of its own;
/// `OPTIONS` with the list of methods; any other method with 405 and that list.
#[derive(Default)]
pub struct MethodRouter {
    makers: Vec<(Method, EndpointMaker)>,
    body_bytes_max: Option<u64>,
}

impl MethodRouter {
    /// Adds a handler for a method; the last one for a method counts.
    #[must_use]
    pub fn on<A: 'static>(mut self, method: Method, handler: impl Handler<A>) -> MethodRouter {
        self.makers.retain(|(known, _)| *known != method);
        self.makers.push((method, endpoint_maker(handler)));
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

    /// Bytes of a request body on this path, instead of the server's limit. Beyond it: 413.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: u64) -> MethodRouter {
        self.body_bytes_max = Some(bytes);
        self
    }
}

impl std::fmt::Debug for MethodRouter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.makers.iter().map(|(method, _)| method)).finish()
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

/// All routes of an application: what the shards' routers are made from.
#[derive(Default)]
pub(crate) struct Routes(Vec<(String, MethodRouter)>);

impl Routes {
    pub(crate) fn add(&mut self, path: &str, methods: MethodRouter) {
        self.0.push((path.to_owned(), methods));
    }

    /// The patterns, in the order of the routes' activities.
    pub(crate) fn patterns(&self) -> Vec<String> {
        self.0.iter().map(|(path, _)| path.clone()).collect()
    }

    /// The router of one shard.
    pub(crate) fn router(&self) -> Result<Router, ConfigError> {
        let mut table = matchit::Router::new();
        for (index, (path, methods)) in self.0.iter().enumerate() {
            let route = Route::new(methods, Activity::new(index));
            let inserted = pattern::check(path).and_then(|()| {
                table.insert(path.as_str(), route).map_err(|error| pattern::explain(path, &error))
            });
            inserted.map_err(|problem| ConfigError::new("route", problem))?;
        }
        Ok(Router { table })
    }
}

/// One path's endpoints on one shard.
pub(crate) struct Route {
    pub(crate) body_bytes_max: Option<u64>,
    /// What a stall in one of its handlers is logged as.
    pub(crate) activity: Activity,
    endpoints: Vec<(Method, Rc<dyn Endpoint>)>,
    /// The value of `Allow`.
    allow: HeaderValue,
}

impl Route {
    fn new(methods: &MethodRouter, activity: Activity) -> Route {
        let endpoints: Vec<_> =
            methods.makers.iter().map(|(method, make)| (method.clone(), make())).collect();
        let mut allowed: Vec<&str> = endpoints.iter().map(|(method, _)| method.as_str()).collect();
        if allowed.contains(&"GET") && !allowed.contains(&"HEAD") {
            allowed.push("HEAD");
        }
        if !allowed.contains(&"OPTIONS") {
            allowed.push("OPTIONS");
        }
        // Methods are tokens, so the list is always a valid value.
        let allow = HeaderValue::from_str(&allowed.join(", "));
        let allow = allow.unwrap_or_else(|_| HeaderValue::from_static(""));
        Route { body_bytes_max: methods.body_bytes_max, activity, endpoints, allow }
    }

    fn endpoint(&self, method: &Method) -> Option<&Rc<dyn Endpoint>> {
        let find = |wanted: &Method| {
            self.endpoints.iter().find(|(known, _)| known == wanted).map(|(_, endpoint)| endpoint)
        };
        // RFC 9110 section 9.3.2: HEAD is GET without the content.
        find(method).or_else(|| if *method == Method::HEAD { find(&Method::GET) } else { None })
    }
}

/// Where a request goes.
pub(crate) enum Found<'r> {
    Endpoint {
        route: &'r Route,
        endpoint: &'r Rc<dyn Endpoint>,
        params: Params<'r>,
    },
    /// The path is known, the method is not.
    OtherMethod(&'r Route),
    Nothing,
}

/// The routes of one shard.
pub(crate) struct Router {
    table: matchit::Router<Route>,
}

impl Router {
    pub(crate) fn check(&self, routes: &Routes, shard: &Shard) -> Result<(), ConfigError> {
        for (path, _) in &routes.0 {
            // Each pattern matches itself, braces and all.
            let Ok(found) = self.table.at(path) else { continue };
            for (method, endpoint) in &found.value.endpoints {
                endpoint.check(shard).map_err(|error| {
                    let problem = format!("{method} {path}: {}", error.problem);
                    ConfigError::new(error.key, problem)
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn find<'r>(&'r self, method: &Method, path: &'r str) -> Found<'r> {
        let Ok(matched) = self.table.at(path) else { return Found::Nothing };
        let route = matched.value;
        match route.endpoint(method) {
            Some(endpoint) => Found::Endpoint { route, endpoint, params: matched.params },
            None => Found::OtherMethod(route),
        }
    }
}

/// The path with those escapes undone that need not be there, so that `/%70ing` finds `/ping`.
///
/// RFC 3986 section 6.2.2.2: an escaped unreserved character is equivalent to the character.
/// Others stay: `%2F` is not a separator.
pub(crate) fn normalize(path: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', path.as_bytes()).is_none() {
        return Cow::Borrowed(path);
    }
    pattern::decode_unreserved(path)
}

/// Answers what no handler of the application answers.
pub(crate) fn respond_without_route(
    found: &Found<'_>,
    method: &Method,
    responder: &mut Responder<'_>,
) {
    let allow = |route: &Route| [(header::ALLOW, route.allow.clone())];
    match found {
        Found::OtherMethod(route) if *method == Method::OPTIONS => {
            (StatusCode::NO_CONTENT, allow(route), ()).respond(responder);
        }
        // RFC 9110 section 15.5.6: a 405 must list what is allowed.
        Found::OtherMethod(route) => {
            let detail = format!("{} is allowed here", route.allow.to_str().unwrap_or_default());
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED).detail(detail);
            (allow(route), problem).respond(responder);
        }
        // RFC 9110 section 9.1: a method that the server does not know at all is 501.
        _ if !is_known(method) => {
            let detail = "this method is not implemented";
            Problem::new(StatusCode::NOT_IMPLEMENTED).detail(detail).respond(responder);
        }
        _ => Problem::new(StatusCode::NOT_FOUND).respond(responder),
    }
}

fn is_known(method: &Method) -> bool {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    KNOWN.contains(method)
}
