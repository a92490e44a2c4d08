//! The thread that sends the spans: in batches, tried again for a bounded time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_runtime::{CheckedConfig, ConfigError, Counter, RuntimeError};
use futures_executor::block_on;
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

use super::client::Client;
use super::shard::SpanEnd;
use super::span::span;
use super::{Spans, variable};
use crate::error::Result;
use crate::records::{Clerk, Desk, Metric, TURN_OF_ONE_BYTES_MAX, exchanges};

/// Spans that are sent at once, as OpenTelemetry has it for `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
const BATCH_COUNT: usize = 512;

/// The running exporter. Dropping it sends what is left, and ends it.
#[derive(Debug)]
pub(crate) struct Exporter {
    _desk: Desk,
    counts: Counts,
}

/// What became of the spans.
#[derive(Clone, Debug, Default)]
struct Counts {
    exported: Arc<Counter>,
    lost: Arc<Counter>,
}

/// Prepares the export, where there is to be one, and starts its thread; with each shard's end.
///
/// # Errors
/// A setting or variable that can not be obeyed, or no thread can be started.
pub(crate) fn start(
    spans: Option<Spans>,
    config: &CheckedConfig,
) -> Result<Option<(Exporter, Vec<SpanEnd>)>> {
    let is_disabled =
        variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let Some(spans) = spans.filter(|_| !is_disabled) else { return Ok(None) };
    let counts = Counts::default();
    let clerk = Sender {
        exporter: exporter(&spans)?,
        scope: InstrumentationScope::builder("corelane")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
        batch: Vec::with_capacity(BATCH_COUNT),
        delay: spans.delay,
        due: Instant::now(),
        is_ending: false,
        is_failing: false,
        counts: counts.clone(),
    };
    let ring_bytes = spans.ring_bytes.max(2 * TURN_OF_ONE_BYTES_MAX);
    let (desk, outlets) =
        Desk::start("spans", config, ring_bytes, clerk).map_err(RuntimeError::Thread)?;
    let ends = outlets.into_iter().map(|outlet| SpanEnd::new(spans.sampler, outlet));
    Ok(Some((Exporter { _desk: desk, counts }, ends.collect())))
}

/// OpenTelemetry's own: it reads the variables, writes protobuf, and knows which answers mean that
/// a batch is to be tried again.
fn exporter(spans: &Spans) -> Result<SpanExporter, ConfigError> {
    let builder = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(spans.timeout))
        .with_timeout(spans.timeout);
    let builder = match &spans.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    };
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let endpoint = spans.endpoint.clone().or_else(|| endpoints.into_iter().find_map(variable));
    if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.starts_with("http://")) {
        return Err(not_http(&endpoint));
    }
    let refused = |error: opentelemetry_otlp::ExporterBuildError| {
        ConfigError::new("spans", error.to_string())
    };
    let mut exporter = builder.build().map_err(refused)?;
    let resource = match &spans.service_name {
        Some(name) => Resource::builder().with_service_name(name.clone()),
        None => Resource::builder(),
    };
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

fn not_http(endpoint: &str) -> ConfigError {
    let reason = if endpoint.starts_with("https://") {
        "asks for TLS, which the exporter leaves to others"
    } else {
        "is not http://"
    };
    let problem = format!(
        "\"{endpoint}\" {reason}; send to a collector on this machine, such as \
         http://localhost:4318/v1/traces, and let that go on with TLS"
    );
    ConfigError::new("spans", problem)
}

/// What makes the spans and sends them.
struct Sender {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    batch: Vec<SpanData>,
    delay: Duration,
    /// When the batch is sent, however small it is.
    due: Instant,
    /// A collector that fails now is not waited for any more.
    is_ending: bool,
    /// Whether the last batch was lost: said once, not with each.
    is_failing: bool,
    counts: Counts,
}

impl Clerk for Sender {
    fn take(&mut self, _shard: usize, turn: &[u8]) {
        for ended in exchanges(turn) {
            if self.batch.is_empty() {
                self.due = Instant::now() + self.delay;
            }
            self.batch.push(span(&ended, &self.scope));
            if self.batch.len() == BATCH_COUNT {
                self.send();
            }
        }
    }

    fn settle(&mut self) {
        if Instant::now() >= self.due {
            self.send();
        }
    }

    fn hurry(&mut self) {
        self.is_ending = true;
    }

    fn end(&mut self) {
        self.send();
    }
}

impl Sender {
    fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_COUNT));
        let count = batch.len() as u64;
        let is_hopeless = self.is_ending && self.is_failing;
        let sent = match is_hopeless {
            true => Err(OTelSdkError::Timeout(Duration::ZERO)),
            false => block_on(self.exporter.export(batch)),
        };
        match &sent {
            Err(error) if !self.is_failing => {
                tracing::error!(%error, "spans can not be exported; they are lost");
            }
            Ok(()) if self.is_failing => tracing::info!("spans are exported again"),
            _ => {}
        }
        self.is_failing = sent.is_err();
        let counter = if sent.is_ok() { &self.counts.exported } else { &self.counts.lost };
        counter.add(count);
    }
}

impl Exporter {
    pub(super) fn lost(&self) -> u64 {
        self.counts.lost.value()
    }

    pub(crate) fn metrics(&self) -> [Metric; 2] {
        let Counts { exported, lost } = &self.counts;
        [
            (
                "corelane_spans_exported_total",
                "Spans that the collector has taken.",
                Arc::clone(exported),
            ),
            (
                "corelane_spans_lost_total",
                "Spans that the collector did not take, tried again or not.",
                Arc::clone(lost),
            ),
        ]
    }
}
