//! Fields that tell browsers to be careful.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Inner, Middleware, Reply};
use crate::extract::Exchange;

/// Adds fields that close doors in browsers; what a handler set itself stays as it is.
///
/// By default `X-Content-Type-Options: nosniff`, `X-Frame-Options: DENY`,
/// `Referrer-Policy: strict-origin-when-cross-origin` and
/// `Cross-Origin-Opener-Policy: same-origin`: what breaks no page that does not ask for it.
/// `Content-Security-Policy` and `Strict-Transport-Security` depend on the site: add them with
/// [`with`](SecurityHeaders::with).
#[derive(Clone, Debug)]
pub struct SecurityHeaders(HeaderMap);

impl Default for SecurityHeaders {
    fn default() -> SecurityHeaders {
        SecurityHeaders(HeaderMap::new())
            .with(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
            .with(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"))
            .with(
                header::REFERRER_POLICY,
                HeaderValue::from_static("strict-origin-when-cross-origin"),
            )
            .with(
                HeaderName::from_static("cross-origin-opener-policy"),
                HeaderValue::from_static("same-origin"),
            )
    }
}

impl SecurityHeaders {
    /// Another value for a field, or one more field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> SecurityHeaders {
        self.0.insert(name, value);
        self
    }

    /// Leaves a field out.
    #[must_use]
    pub fn without(mut self, name: &HeaderName) -> SecurityHeaders {
        self.0.remove(name);
        self
    }
}

impl Middleware for SecurityHeaders {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let reply = inner.call(exchange);
        let fields = self.0.clone();
        reply.map(move |mut response| {
            for (name, value) in &fields {
                response.headers.entry(name).or_insert_with(|| value.clone());
            }
            response
        })
    }
}
