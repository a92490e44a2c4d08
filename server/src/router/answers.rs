//! What the server answers itself: to `OPTIONS`, to methods that a path does not have, and where
//! nothing is found.

use std::rc::Rc;
use std::task::Context;

use corelane_runtime::ConfigError;
use http::{HeaderValue, Method, StatusCode, header};

use super::path::escapes_control;
use crate::extract::{BodyUse, Exchange, Scope};
use crate::handler::{Call, Endpoint};
use crate::middleware::Reply;
use crate::problem::Problem;
use crate::response::{IntoResponse, Responder, Response};

/// The methods that the server knows.
const KNOWN: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// The value of `Allow` for a path with handlers for these methods.
pub(super) fn allow<'m>(methods: impl Iterator<Item = &'m Method>) -> HeaderValue {
    let mut allowed: Vec<&str> = methods.map(Method::as_str).collect();
    if allowed.contains(&"GET") && !allowed.contains(&"HEAD") {
        allowed.push("HEAD");
    }
    if !allowed.contains(&"OPTIONS") {
        allowed.push("OPTIONS");
    }
    // Methods are tokens, so the list is always a valid value.
    HeaderValue::from_str(&allowed.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// For a path that has handlers, but none for the method.
pub(super) fn other_method(allow: HeaderValue) -> Rc<dyn Endpoint> {
    answering(move |exchange| {
        if *exchange.method() == Method::OPTIONS {
            return Response::new(StatusCode::NO_CONTENT).with_header(header::ALLOW, allow.clone());
        }
        // RFC 9110 section 15.5.6: a 405 must list what is allowed.
        let detail = format!("allowed here: {}", allow.to_str().unwrap_or_default());
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED).detail(detail);
        problem.into_response().with_header(header::ALLOW, allow.clone())
    })
}

/// For a path that nobody has.
pub(super) fn not_found() -> Rc<dyn Endpoint> {
    answering(|exchange| {
        // No name has one: whoever asks so hopes that somebody decodes it before it is looked at.
        if escapes_control(exchange.path()) {
            let detail = "the path has an escaped control character";
            return Problem::new(StatusCode::BAD_REQUEST).detail(detail).into_response();
        }
        if KNOWN.contains(exchange.method()) {
            return Problem::new(StatusCode::NOT_FOUND).into_response();
        }
        // RFC 9110 section 9.1: a method that the server does not know at all is 501.
        let detail = "this method is not implemented";
        Problem::new(StatusCode::NOT_IMPLEMENTED).detail(detail).into_response()
    })
}

// RFC 9110 section 9.3.7: `OPTIONS *` asks for the server as a whole.
pub(super) fn whole_server() -> Rc<dyn Endpoint> {
    let allow = allow(KNOWN.iter());
    answering(move |_| {
        Response::new(StatusCode::NO_CONTENT).with_header(header::ALLOW, allow.clone())
    })
}

/// For a path that would be a route but for a slash at its end.
pub(super) fn redirect() -> Rc<dyn Endpoint> {
    answering(|exchange| {
        let path = exchange.path();
        // A target that begins with two slashes would name another host.
        if path.starts_with("//") {
            return Problem::new(StatusCode::NOT_FOUND).into_response();
        }
        let mut target = match path.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{path}/"),
        };
        if let Some(query) = exchange.query() {
            target.push('?');
            target.push_str(query);
        }
        match HeaderValue::try_from(target) {
            // RFC 9110 section 15.4.9: with 308 the method stays what it is.
            Ok(target) => {
                Response::new(StatusCode::PERMANENT_REDIRECT).with_header(header::LOCATION, target)
            }
            Err(_) => Problem::new(StatusCode::NOT_FOUND).into_response(),
        }
    })
}

fn answering(answer: impl Fn(&Exchange<'_>) -> Response + 'static) -> Rc<dyn Endpoint> {
    Rc::new(Answering(answer))
}

/// An endpoint that needs no more than the head, and no time.
struct Answering<F>(F);

impl<F: Fn(&Exchange<'_>) -> Response> Endpoint for Answering<F> {
    fn body_use(&self) -> BodyUse {
        BodyUse::Unused
    }

    fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        _: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Option<Call> {
        responder.response((self.0)(exchange));
        None
    }

    fn reply(&self, exchange: &mut Exchange<'_>, _: &mut Context<'_>) -> Reply {
        Reply::ready((self.0)(exchange))
    }

    fn check(&self, _: &Scope<'_>) -> Result<(), ConfigError> {
        Ok(())
    }
}
