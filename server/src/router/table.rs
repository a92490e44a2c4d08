//! The routes of one shard, and how they are made from what the application asked for.

use std::rc::Rc;
use std::sync::Arc;

use corelane_runtime::{Activity, ConfigError, Shard};
use hashbrown::{Equivalent, HashMap};
use http::Method;

use super::{
    EndpointPlan, FallbackPlan, Group, Layers, RoutePlan, Router, TrailingSlash, answers, pattern,
};
use crate::error::BoxError;
use crate::extract::{Params, Scope, States};
use crate::handler::Endpoint;
use crate::middleware::{Layer, Middleware, layered};
use crate::same::is_same;
use crate::state::{MadeState, Reach};

/// One path's endpoints on one shard.
pub(crate) struct Route {
    pub(crate) body_bytes_max: Option<u64>,
    /// What a stall in one of its handlers is logged as.
    pub(crate) activity: Activity,
    pub(crate) states: Rc<States>,
    endpoints: Endpoints,
    /// For every other method.
    fallback: Rc<dyn Endpoint>,
}

impl Route {
    #[inline]
    fn endpoint(&self, method: &Method) -> &Rc<dyn Endpoint> {
        self.endpoints.of(method).unwrap_or(&self.fallback)
    }
}

/// What answers each method of a path.
#[derive(Default)]
struct Endpoints {
    /// Most requests are for this one, and need not look at the methods of the others.
    get: Option<Rc<dyn Endpoint>>,
    others: Vec<(Method, Rc<dyn Endpoint>)>,
}

impl Endpoints {
    fn insert(&mut self, method: Method, endpoint: Rc<dyn Endpoint>) {
        match method {
            Method::GET => self.get = Some(endpoint),
            _ => self.others.push((method, endpoint)),
        }
    }

    #[inline]
    fn of(&self, method: &Method) -> Option<&Rc<dyn Endpoint>> {
        if *method == Method::GET {
            return self.get.as_ref();
        }
        let other = self.others.iter().find(|(known, _)| known == method);
        // RFC 9110 section 9.3.2: HEAD is GET without the content.
        let head = || self.get.as_ref().filter(|_| *method == Method::HEAD);
        other.map(|(_, endpoint)| endpoint).or_else(head)
    }
}

/// Where a request goes. There is always somebody to answer it.
#[derive(Clone, Copy)]
pub(crate) struct Found<'r> {
    pub(crate) route: &'r Route,
    pub(crate) endpoint: &'r Rc<dyn Endpoint>,
    pub(crate) params: &'r Params<'r>,
    /// Where the path behind the prefix of a nested router's fallback starts.
    pub(crate) path_rest: usize,
}

/// The routes of one shard.
pub(crate) struct Table {
    /// Those without parameters, by their path: most requests are for one of them, and need no
    /// more than one look.
    exact: Exact<Rc<Route>>,
    routes: matchit::Router<Rc<Route>>,
    /// Fallbacks of nested routers, by their prefix.
    fallbacks: matchit::Router<Rc<Route>>,
    not_found: Route,
    whole_server: Route,
    /// The routes' names, by the index of their activity.
    pub(crate) names: Vec<String>,
}

impl Table {
    /// The route whose path this is, octet by octet, without parameters.
    #[inline]
    pub(crate) fn find_exact(&self, method: &Method, path: &[u8]) -> Option<Found<'_>> {
        let route = self.exact.get(&Octets(path))?;
        let endpoint = route.endpoint(method);
        Some(Found { route, endpoint, params: &Params::NONE, path_rest: 0 })
    }

    /// For a [normalized](super::normalize) path. `params` keeps the values of its parameters,
    /// where the path of the route has any.
    pub(crate) fn find<'r>(
        &'r self,
        method: &Method,
        path: &'r str,
        params: &'r mut Option<Params<'r>>,
    ) -> Found<'r> {
        if let Ok(matched) = self.routes.at(path) {
            let endpoint = matched.value.endpoint(method);
            let params = params.insert(Params::Matched(matched.params));
            return Found { route: matched.value, endpoint, params, path_rest: 0 };
        }
        let (route, path_rest) = match self.fallbacks.at(path) {
            Ok(matched) => {
                let rest = matched.params.get(pattern::REST).map_or(0, str::len);
                // The slash before the rest belongs to it, as at the root.
                let end = path[..path.len() - rest].trim_end_matches('/').len();
                (&**matched.value, end)
            }
            Err(_) => (&self.not_found, 0),
        };
        Found { route, endpoint: &route.fallback, params: &Params::NONE, path_rest }
    }

    /// What the server's own answers are counted as.
    pub(crate) fn own_activity(&self) -> Activity {
        self.whole_server.activity
    }

    /// For `OPTIONS *`.
    pub(crate) fn whole_server(&self) -> Found<'_> {
        let route = &self.whole_server;
        Found { route, endpoint: &route.fallback, params: &Params::NONE, path_rest: 0 }
    }

    /// Makes the states of the routers, then the endpoints, and checks that each has what it needs.
    pub(crate) async fn build(
        router: &Router,
        slash: TrailingSlash,
        shard: &Rc<Shard>,
    ) -> Result<Table, BoxError> {
        let mut builder = Builder::new(shard);
        let groups = router.routes.iter().flat_map(|route| &route.groups);
        for group in groups.chain(router.fallbacks.iter().flat_map(|fallback| &fallback.groups)) {
            builder.make_group(group).await?;
        }
        let mut table = builder.table(router, slash)?;
        table.names = builder.activities;
        shard.name_activities(table.names.clone());
        Ok(table)
    }
}

impl Router {
    /// Finds routes that can not be made, or that conflict, before any shard starts.
    pub(crate) fn check(&self, slash: TrailingSlash) -> Result<(), ConfigError> {
        let error = |problem: &str| ConfigError::new("route", problem);
        self.problems.first().map_or(Ok(()), |problem| Err(error(problem)))?;
        let routes = self.routes.iter().map(|route| (route.path.as_str(), ()));
        patterns(routes, slash, || ()).map_err(|problem| error(&problem))?;
        let fallbacks = self.fallbacks.iter().map(|fallback| (fallback.prefix.as_str(), ()));
        prefixes(fallbacks).map_err(|problem| error(&problem))?;
        Ok(())
    }
}

/// Routes by their patterns, and those of them by their path that have no parameters.
type Patterns<T> = (matchit::Router<T>, Exact<T>);

/// Values by the octets of a path.
type Exact<T> = HashMap<Box<[u8]>, T>;

/// The octets of a path that is looked for.
#[derive(Hash)]
struct Octets<'a>(&'a [u8]);

impl Equivalent<Box<[u8]>> for Octets<'_> {
    #[inline]
    fn equivalent(&self, known: &Box<[u8]>) -> bool {
        is_same(self.0, known)
    }
}

/// The table of routes by their patterns, with those that the policy about slashes adds.
fn patterns<'p, T: Clone>(
    routes: impl Iterator<Item = (&'p str, T)>,
    slash: TrailingSlash,
    mut redirect: impl FnMut() -> T,
) -> Result<Patterns<T>, String> {
    let (mut table, mut exact) = (matchit::Router::new(), Exact::new());
    let mut others = Vec::new();
    for (path, route) in routes {
        pattern::check(path)?;
        let inserted = table.insert(path, route.clone());
        inserted.map_err(|error| pattern::explain(path, &error))?;
        others.extend(pattern::with_other_slash(path).map(|other| (other, route.clone())));
        insert_exact(&mut exact, path, route);
    }
    for (other, route) in others {
        let route = match slash {
            TrailingSlash::Strict => break,
            TrailingSlash::Redirect => redirect(),
            TrailingSlash::Ignore => route,
        };
        // What the application routes itself wins.
        if table.insert(&other, route.clone()).is_ok() {
            insert_exact(&mut exact, &other, route);
        }
    }
    Ok((table, exact))
}

/// A path with an escape is left to the other table: it is looked up normalized there.
fn insert_exact<T>(exact: &mut Exact<T>, path: &str, route: T) {
    if !path.contains(['{', '}', '%']) {
        exact.insert(path.as_bytes().into(), route);
    }
}

/// The table of fallbacks below prefixes. The one of the whole application is not in it.
fn prefixes<'p, T: Clone>(
    fallbacks: impl Iterator<Item = (&'p str, T)>,
) -> Result<(matchit::Router<T>, Option<T>), String> {
    let (mut table, mut whole) = (matchit::Router::new(), None);
    for (prefix, fallback) in fallbacks {
        if prefix.is_empty() {
            if whole.replace(fallback).is_some() {
                return Err("the application has two fallbacks; leave one of them out".to_owned());
            }
            continue;
        }
        for path in pattern::below(prefix) {
            let inserted = table.insert(path, fallback.clone());
            inserted
                .map_err(|_| format!("\"{prefix}\" has two fallbacks; leave one of them out"))?;
        }
    }
    Ok((table, whole))
}

/// What the routes of one shard share while they are made.
struct Builder<'a> {
    shard: &'a Rc<Shard>,
    groups: Vec<(Group, Vec<MadeState>)>,
    /// One of each layer, however many routes it is around.
    middleware: Vec<(Arc<dyn Layer>, Rc<dyn Middleware>)>,
    /// The names of the routes' activities.
    activities: Vec<String>,
}

impl<'a> Builder<'a> {
    fn new(shard: &'a Rc<Shard>) -> Builder<'a> {
        let (groups, middleware, activities) = (Vec::new(), Vec::new(), Vec::new());
        Builder { shard, groups, middleware, activities }
    }

    /// The activity of this name: the same one for all who share it.
    fn activity(&mut self, name: String) -> Activity {
        let known = self.activities.iter().position(|known| *known == name);
        Activity::new(known.unwrap_or_else(|| {
            self.activities.push(name);
            self.activities.len() - 1
        }))
    }

    async fn make_group(&mut self, group: &Group) -> Result<(), BoxError> {
        if self.groups.iter().any(|(known, _)| Arc::ptr_eq(known, group)) {
            return Ok(());
        }
        let mut states = Vec::new();
        for make in group.iter() {
            states.push(make(Rc::clone(self.shard), Reach::Router).await?);
        }
        self.groups.push((Arc::clone(group), states));
        Ok(())
    }

    fn table(&mut self, router: &Router, slash: TrailingSlash) -> Result<Table, ConfigError> {
        let error = |problem: String| ConfigError::new("route", problem);
        let mut routes = Vec::new();
        for plan in &router.routes {
            routes.push((plan.path.as_str(), Rc::new(self.route(plan)?)));
        }
        let redirect = || Rc::new(self.automatic("(redirect)", answers::redirect()));
        let routes = patterns(routes.into_iter(), slash, redirect).map_err(error)?;
        let (routes, exact) = routes;
        let mut fallbacks = Vec::new();
        for plan in &router.fallbacks {
            fallbacks.push((plan.prefix.as_str(), Rc::new(self.fallback(plan)?)));
        }
        let (fallbacks, whole) = prefixes(fallbacks.into_iter()).map_err(error)?;
        let not_found = self.layered(answers::not_found(), &router.not_found_layers);
        let whole_server = self.layered(answers::whole_server(), &router.not_found_layers);
        let not_found = match whole.and_then(Rc::into_inner) {
            Some(fallback) => fallback,
            None => self.automatic("(not found)", not_found),
        };
        let whole_server = self.automatic("(OPTIONS *)", whole_server);
        let names = Vec::new();
        Ok(Table { exact, routes, fallbacks, not_found, whole_server, names })
    }

    fn route(&mut self, plan: &RoutePlan) -> Result<Route, ConfigError> {
        let RoutePlan { path, methods, groups } = plan;
        let states = Rc::new(self.states(groups));
        let mut endpoints = Endpoints::default();
        for (method, plan) in &methods.endpoints {
            let place = format!("{method} {path}");
            endpoints.insert(method.clone(), self.endpoint(plan, &states, &place)?);
        }
        let fallback = match &methods.fallback {
            Some(make) => make(),
            None => answers::other_method(answers::allow(methods.endpoints.iter().map(|e| &e.0))),
        };
        let fallback = self.layered(fallback, &methods.fallback_layers);
        self.check(&*fallback, &states, path)?;
        let activity = self.activity(path.clone());
        let body_bytes_max = methods.body_bytes_max;
        Ok(Route { body_bytes_max, activity, states, endpoints, fallback })
    }

    fn fallback(&mut self, plan: &FallbackPlan) -> Result<Route, ConfigError> {
        let FallbackPlan { prefix, endpoint, body_bytes_max, groups } = plan;
        let states = Rc::new(self.states(groups));
        let place = format!("the fallback of \"{prefix}\"");
        let fallback = self.endpoint(endpoint, &states, &place)?;
        let (activity, endpoints) = (self.activity(place), Endpoints::default());
        Ok(Route { body_bytes_max: *body_bytes_max, activity, states, endpoints, fallback })
    }

    /// A route that the server answers itself.
    fn automatic(&mut self, name: &str, fallback: Rc<dyn Endpoint>) -> Route {
        let activity = self.activity(name.to_owned());
        let (states, endpoints) = (Rc::default(), Endpoints::default());
        Route { body_bytes_max: None, activity, states, endpoints, fallback }
    }

    fn states(&self, groups: &[Group]) -> States {
        let made = groups
            .iter()
            .filter_map(|group| self.groups.iter().find(|(known, _)| Arc::ptr_eq(known, group)));
        States(made.flat_map(|(_, states)| states.iter().cloned()).collect())
    }

    fn endpoint(
        &mut self,
        plan: &EndpointPlan,
        states: &Rc<States>,
        place: &str,
    ) -> Result<Rc<dyn Endpoint>, ConfigError> {
        let endpoint = self.layered((plan.make)(), &plan.layers);
        self.check(&*endpoint, states, place)?;
        Ok(endpoint)
    }

    fn check(
        &self,
        endpoint: &dyn Endpoint,
        states: &Rc<States>,
        place: &str,
    ) -> Result<(), ConfigError> {
        let scope = Scope { shard: self.shard, states };
        endpoint
            .check(&scope)
            .map_err(|error| ConfigError::new(error.key, format!("{place}: {}", error.problem)))
    }

    fn layered(&mut self, endpoint: Rc<dyn Endpoint>, layers: &Layers) -> Rc<dyn Endpoint> {
        layered(endpoint, layers.iter().map(|layer| self.middleware(layer)).collect())
    }

    fn middleware(&mut self, layer: &Arc<dyn Layer>) -> Rc<dyn Middleware> {
        let known = self.middleware.iter().find(|(known, _)| Arc::ptr_eq(known, layer));
        if let Some((_, middleware)) = known {
            return Rc::clone(middleware);
        }
        let middleware = layer.on_shard(self.shard);
        self.middleware.push((Arc::clone(layer), Rc::clone(&middleware)));
        middleware
    }
}
