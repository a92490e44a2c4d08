//! The HTTP client that spans are sent with: it blocks, since it has a thread of its own.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

/// Bytes of an answer that are read; more are an error. It says how many spans were rejected.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Client(ureq::Agent);

impl Client {
    pub(super) fn new(timeout: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            // What a status means is for the exporter to say: some are to be tried again.
            .http_status_as_error(false)
            .max_redirects(0)
            // The collector is near; a proxy for the rest of the world would not find it.
            .proxy(None)
            .user_agent(concat!("corelane/", env!("CARGO_PKG_VERSION")))
            .build();
        Client(config.into())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, content) = request.into_parts();
        let response = self.0.run(Request::from_parts(parts, &content[..]))?;
        let (parts, mut body) = response.into_parts();
        let content = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(parts, content.into()))
    }
}
