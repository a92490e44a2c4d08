//! A span for each request, as OTLP over HTTP, for those who trace (feature `otel`).
//!
//! ```no_run
//! use corelane::{App, get, otel::Spans};
//!
//! # fn main() -> corelane::Result<()> {
//! App::new()
//!     .route("/", get(async || "Hello, World!"))
//!     .spans(Spans::from_environment()?)
//!     .serve("127.0.0.1:8080")
//! # }
//! ```
//!
//! A shard copies what it knows of a request, as for the access log; a thread beside the shards
//! makes spans of that and sends them to a collector, many at a time. The shard waits for neither:
//! what the thread is too slow for is dropped and counted ([`ServerStats::spans_dropped`]).
//!
//! Every request is given a [`TraceContext`], which handlers take as `Extension<TraceContext>` and
//! send on with requests of their own. The layer [`TraceContexts`] answers with it as well.
//!
//! [`ServerStats::spans_dropped`]: crate::ServerStats::spans_dropped
//! [`TraceContext`]: crate::middleware::TraceContext
//! [`TraceContexts`]: crate::middleware::TraceContexts

mod client;
mod export;
mod shard;
mod span;

use std::env;
use std::time::Duration;

use corelane_runtime::ConfigError;

use crate::app::App;
use crate::middleware::Sampler;
use crate::server::Server;
pub(crate) use export::{Exporter, start};
pub(crate) use shard::SpanEnd;

/// Which spans are exported, and whereto: for [`App::spans`].
///
/// What is not said here is read from the variables that OpenTelemetry has for it when the server
/// starts: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`. With
/// `OTEL_SDK_DISABLED=true` nothing is exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Spans {
    endpoint: Option<String>,
    service_name: Option<String>,
    sampler: Sampler,
    timeout: Duration,
    delay: Duration,
    ring_bytes: usize,
}

impl Spans {
    /// To `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `/v1/traces` at `OTEL_EXPORTER_OTLP_ENDPOINT`
    /// (default `http://localhost:4318`); sampled as `OTEL_TRACES_SAMPLER` and
    /// `OTEL_TRACES_SAMPLER_ARG` say.
    ///
    /// # Errors
    /// A variable that can not be obeyed.
    pub fn from_environment() -> Result<Spans, ConfigError> {
        let mut spans = Spans { endpoint: None, ..Spans::to("") };
        if let Some(name) = variable("OTEL_TRACES_SAMPLER") {
            let argument = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
            spans.sampler =
                format!("{name}={argument}").parse().map_err(|error: ConfigError| {
                    ConfigError::new("OTEL_TRACES_SAMPLER", error.problem)
                })?;
        }
        let timeout = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        if let Some((key, text)) = timeout.into_iter().find_map(|key| Some((key, variable(key)?))) {
            spans.timeout = milliseconds(key, &text)?;
        }
        if let Some(text) = variable("OTEL_BSP_SCHEDULE_DELAY") {
            spans.delay = milliseconds("OTEL_BSP_SCHEDULE_DELAY", &text)?;
        }
        Ok(spans)
    }

    /// To this URL, path and all, such as `http://localhost:4318/v1/traces`. Only `http`: what goes
    /// farther than to this machine goes by a collector on it.
    pub fn to(endpoint: impl Into<String>) -> Spans {
        Spans {
            endpoint: Some(endpoint.into()),
            service_name: None,
            sampler: Sampler::default(),
            timeout: Duration::from_secs(10),
            delay: Duration::from_secs(5),
            ring_bytes: 1 << 20,
        }
    }

    /// The name of the service. Default: `OTEL_SERVICE_NAME`, or `unknown_service:` and the
    /// program's name.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Spans {
        self.service_name = Some(name.into());
        self
    }

    /// Which traces are recorded. Default: those that the caller records, and every one that begins
    /// here.
    #[must_use]
    pub fn sampler(mut self, sampler: Sampler) -> Spans {
        self.sampler = sampler;
        self
    }

    /// How long the collector may take for an answer, and how long one batch is tried again.
    /// Default 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Spans {
        self.timeout = timeout;
        self
    }

    /// How long a span waits for others to be sent with. Default 5 s.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Spans {
        self.delay = delay;
        self
    }

    /// Bytes of spans that wait for the exporter on each shard. Default 1 MiB, some 5,000; beyond
    /// it they are dropped. At least 11 KiB, so that the longest fits.
    #[must_use]
    pub fn ring_bytes(mut self, bytes: usize) -> Spans {
        self.ring_bytes = bytes;
        self
    }
}

impl App {
    /// Exports a span for each request, as far as its trace is recorded. Default: none.
    #[must_use]
    pub fn spans(mut self, spans: Spans) -> App {
        self.records.spans = Some(spans);
        self
    }
}

impl Server {
    /// Spans that the collector did not take, tried again or not. Those that were dropped before
    /// are in [`spans_dropped`](crate::ServerStats::spans_dropped) of each shard.
    pub fn spans_lost(&self) -> u64 {
        self.records.spans.as_ref().map_or(0, Exporter::lost)
    }
}

/// The specification has an empty one count as not set.
fn variable(key: &str) -> Option<String> {
    env::var(key).ok().filter(|text| !text.is_empty())
}

fn milliseconds(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let count = text
        .parse()
        .map_err(|_| ConfigError::new(key, format!("{text:?} is no count of milliseconds")))?;
    Ok(Duration::from_millis(count))
}
