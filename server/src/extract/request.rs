//! The request's head as an owned value, for handlers that need more than typed arguments.

use std::convert::Infallible;

use http::{HeaderMap, Method, Version};

use super::{Exchange, FromRequest, Headers};

/// The head of a request. The body, where it is wanted, is an argument of its own.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it was sent: still percent-encoded.
    pub path: String,
    /// The query behind the `?`, as it was sent.
    pub query: Option<String>,
    /// The host and port that the request is for.
    pub authority: Option<String>,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
}

impl FromRequest for Request {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Request, Infallible> {
        let Headers(headers) = Headers::from_request(exchange)?;
        Ok(Request {
            method: exchange.method().clone(),
            path: exchange.path().to_owned(),
            query: exchange.query().map(str::to_owned),
            authority: exchange.authority().map(str::to_owned),
            version: exchange.version(),
            headers,
        })
    }
}
