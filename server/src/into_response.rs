//! What turns into a response, of the types that every program has.

use std::convert::Infallible;

use bytes::Bytes;
use corelane_runtime::MeshError;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::body::{Body, BodyStream};
use crate::content_type::ContentType;
use crate::problem::Problem;
use crate::response::{IntoResponse, Responder, Response};

fn typed(content_type: ContentType, body: Bytes) -> Response {
    let response = Response { body: Body::Bytes(body), ..Response::default() };
    response.with_header(header::CONTENT_TYPE, content_type.value())
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

/// 503: the other shard may be there again. 500 where the application asked for what is not.
impl IntoResponse for MeshError {
    fn into_response(self) -> Response {
        let status = match self {
            MeshError::NoReply => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status).detail(self.to_string()).into_response()
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::default()
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        typed(ContentType::TEXT, Bytes::from_static(self.as_bytes()))
    }

    fn respond(self, responder: &mut Responder<'_>) {
        responder.content(StatusCode::OK, ContentType::TEXT, self.as_bytes());
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        typed(ContentType::TEXT, Bytes::from(self))
    }

    fn respond(self, responder: &mut Responder<'_>) {
        responder.content(StatusCode::OK, ContentType::TEXT, self.as_bytes());
    }
}

impl IntoResponse for &'static [u8] {
    fn into_response(self) -> Response {
        typed(ContentType::BINARY, Bytes::from_static(self))
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        typed(ContentType::BINARY, Bytes::from(self))
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        typed(ContentType::BINARY, self)
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response { body: self, ..Response::default() }
    }
}

impl IntoResponse for BodyStream {
    fn into_response(self) -> Response {
        Body::Stream(self).into_response()
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(response) => response.into_response(),
            Err(error) => error.into_response(),
        }
    }

    fn respond(self, responder: &mut Responder<'_>) {
        match self {
            Ok(response) => response.respond(responder),
            Err(error) => error.respond(responder),
        }
    }
}

impl<R: IntoResponse> IntoResponse for (StatusCode, R) {
    fn into_response(self) -> Response {
        Response { status: self.0, ..self.1.into_response() }
    }

    fn respond(self, responder: &mut Responder<'_>) {
        responder.set_status(self.0);
        self.1.respond(responder);
    }
}

/// Fields that go with a response: a map, or an array of names and values.
pub trait IntoHeaders {
    /// The fields.
    fn into_headers(self) -> HeaderMap;
}

impl IntoHeaders for HeaderMap {
    fn into_headers(self) -> HeaderMap {
        self
    }
}

impl<const N: usize> IntoHeaders for [(HeaderName, HeaderValue); N] {
    fn into_headers(self) -> HeaderMap {
        self.into_iter().collect()
    }
}

impl<const N: usize> IntoHeaders for [(HeaderName, &'static str); N] {
    /// # Panics
    /// Where a value has characters that no field may have: the text is the program's own.
    fn into_headers(self) -> HeaderMap {
        let field = |(name, value)| (name, HeaderValue::from_static(value));
        self.into_iter().map(field).collect()
    }
}

impl<H: IntoHeaders, R: IntoResponse> IntoResponse for (H, R) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        // The first value of a name replaces what there is, further ones are added.
        response.headers.extend(self.0.into_headers());
        response
    }

    fn respond(self, responder: &mut Responder<'_>) {
        responder.add_headers(self.0.into_headers());
        self.1.respond(responder);
    }
}

impl<H: IntoHeaders, R: IntoResponse> IntoResponse for (StatusCode, H, R) {
    fn into_response(self) -> Response {
        (self.0, (self.1, self.2)).into_response()
    }

    fn respond(self, responder: &mut Responder<'_>) {
        (self.0, (self.1, self.2)).respond(responder);
    }
}
