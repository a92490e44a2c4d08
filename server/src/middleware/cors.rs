//! Which other origins' pages may read the answers (the Fetch standard, section 3.3).

use std::time::Duration;

use corelane_runtime::ConfigError;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::vary::add_vary;
use super::{Inner, Middleware, Reply};
use crate::extract::{Exchange, Scope};
use crate::response::Response;

/// Lets pages of other origins read the answers.
///
/// It allows nothing until told otherwise. Put it around an [`App`](crate::App) or
/// [`Router`](crate::Router), so that it answers the browser's preflight (`OPTIONS`) as well.
/// A request of an origin that is not allowed is handled and answered without these fields: the
/// browser keeps the answer from the page. It is no protection of the server.
///
/// ```
/// use corelane::middleware::Cors;
/// use corelane::{App, Method, get, header};
///
/// let cors = Cors::new()
///     .allow_origin("https://example.org")
///     .allow_methods([Method::GET, Method::PUT])
///     .allow_headers([header::CONTENT_TYPE]);
/// let app = App::new().route("/", get(async || "hello")).layer(cors);
/// # let _ = app;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<String>,
    allows_any_origin: bool,
    allows_credentials: bool,
    methods: Vec<Method>,
    headers: Vec<HeaderName>,
    exposed: Vec<HeaderName>,
    max_age: Option<Duration>,
}

impl Cors {
    /// Nothing is allowed.
    pub fn new() -> Cors {
        Cors::default()
    }

    /// Allows an origin: scheme, host and port as in `https://example.org:8443`, without a slash.
    #[must_use]
    pub fn allow_origin(mut self, origin: &str) -> Cors {
        self.origins.push(origin.to_owned());
        self
    }

    /// Allows every origin, without credentials.
    #[must_use]
    pub fn allow_any_origin(mut self) -> Cors {
        self.allows_any_origin = true;
        self
    }

    /// Allows methods beside `GET`, `HEAD` and `POST`, which need no permission.
    #[must_use]
    pub fn allow_methods(mut self, methods: impl IntoIterator<Item = Method>) -> Cors {
        self.methods.extend(methods);
        self
    }

    /// Allows request fields beside the harmless few.
    #[must_use]
    pub fn allow_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Cors {
        self.headers.extend(names);
        self
    }

    /// Lets pages read these fields of answers.
    #[must_use]
    pub fn expose_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Cors {
        self.exposed.extend(names);
        self
    }

    /// Allows cookies and authentication with the named origins.
    #[must_use]
    pub fn allow_credentials(mut self) -> Cors {
        self.allows_credentials = true;
        self
    }

    /// How long a browser may remember the answer to a preflight. It decides itself by default.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Cors {
        self.max_age = Some(age);
        self
    }

    /// The fields that allow `origin` to read an answer.
    fn permission(&self, origin: Option<&[u8]>) -> HeaderMap {
        let mut fields = HeaderMap::new();
        if self.allows_any_origin {
            let any = HeaderValue::from_static("*");
            fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
            return fields;
        }
        // The answer depends on it, whether it was allowed or not.
        fields.insert(header::VARY, HeaderValue::from_static("origin"));
        let allowed = origin
            .filter(|origin| self.origins.iter().any(|allowed| allowed.as_bytes() == *origin));
        if let Some(Ok(origin)) = allowed.map(HeaderValue::from_bytes) {
            fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if self.allows_credentials {
                let yes = HeaderValue::from_static("true");
                fields.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
        }
        fields
    }

    fn preflight(&self, permission: HeaderMap) -> Response {
        let mut response = Response::new(StatusCode::NO_CONTENT);
        response.headers = permission;
        let methods = list(self.methods.iter().map(Method::as_str));
        let names = list(self.headers.iter().map(HeaderName::as_str));
        let age = self.max_age.map(|age| HeaderValue::from(age.as_secs()));
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, names),
            (header::ACCESS_CONTROL_MAX_AGE, age),
        ] {
            value.into_iter().for_each(|value| drop(response.headers.insert(name.clone(), value)));
        }
        response
    }
}

/// Names and methods are tokens, so the list is a valid value. None where it is empty.
fn list<'t>(tokens: impl Iterator<Item = &'t str>) -> Option<HeaderValue> {
    let tokens: Vec<&str> = tokens.collect();
    HeaderValue::try_from(tokens.join(", ")).ok().filter(|value| !value.is_empty())
}

impl Middleware for Cors {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let origin = exchange.header("origin");
        let asks = exchange.header("access-control-request-method").is_some();
        let mut fields = self.permission(origin);
        let is_allowed = fields.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        // Others get what anybody gets who asks for the options, and nothing that permits more.
        if *exchange.method() == Method::OPTIONS && origin.is_some() && asks && is_allowed {
            return Reply::ready(self.preflight(fields));
        }
        if let Some(exposed) = list(self.exposed.iter().map(HeaderName::as_str)) {
            fields.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        inner.call(exchange).map(|mut response| {
            for (name, value) in fields {
                let Some(name) = name else { continue };
                if name == header::VARY {
                    add_vary(&mut response.headers, "origin");
                } else {
                    response.headers.insert(name, value);
                }
            }
            response
        })
    }

    fn check(&self, _: &Scope<'_>) -> Result<(), ConfigError> {
        if self.allows_any_origin && self.allows_credentials {
            let problem = "any origin can not be allowed with credentials; name the origins";
            return Err(ConfigError::new("cors", problem));
        }
        let is_origin = |origin: &&String| {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
        };
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            None => Ok(()),
            Some(origin) => {
                let problem = format!("\"{origin}\" is no origin; write it as https://example.org");
                Err(ConfigError::new("cors", problem))
            }
        }
    }
}
