//! What is written to `--json`: everything that a later reader needs, nothing to be computed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::Failures;
use crate::format::per_second;
use crate::plan::{Pace, Plan};
use crate::run::Outcome;

/// Points of a latency curve in each halving of the distance to 100 %.
const CURVE_TICKS: u32 = 4;

/// A whole invocation.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Name and version.
    pub(crate) tool: &'static str,
    /// The command line.
    pub(crate) command: Vec<String>,
    /// RFC 3339, UTC.
    pub(crate) started: String,
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    /// Of each shard.
    pub(crate) cpus: Vec<usize>,
    pub(crate) warmup_seconds: f64,
    /// One, or those of a sweep in their order.
    pub(crate) runs: Vec<Run>,
    /// Requests a second: the highest offered rate of a sweep up to which the server kept up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) knee: Option<f64>,
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    #[serde(flatten)]
    pub(crate) pace: Pace,
    /// Expected answers within the window, a second.
    pub(crate) answers_per_second: f64,
    pub(crate) measured_seconds: f64,
    pub(crate) is_interrupted: bool,
    pub(crate) answers: u64,
    pub(crate) responses: u64,
    pub(crate) sent: u64,
    /// Sent over a millisecond late although a connection was idle.
    pub(crate) late: u64,
    pub(crate) unsent: u64,
    pub(crate) connections_made: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// Responses of each class.
    pub(crate) statuses: BTreeMap<&'static str, u64>,
    pub(crate) errors: Failures,
    pub(crate) latency_ns: Latencies,
}

/// The two ways to look at latency.
#[derive(Debug, Serialize)]
pub(crate) struct Latencies {
    /// From the moment the request was due.
    pub(crate) corrected: Percentiles,
    /// From the moment it was sent; the same as above in a closed loop, and left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uncorrected: Option<Percentiles>,
}

/// A distribution, in nanoseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: u64,
    #[serde(rename = "p99.99")]
    pub(crate) p9999: u64,
    pub(crate) max: u64,
    /// Quantile and value, for drawing.
    pub(crate) curve: Vec<(f64, u64)>,
}

impl Report {
    /// A report without its runs.
    pub(crate) fn new(target: &str, plan: &Plan, cpus: &[usize]) -> Report {
        Report {
            tool: concat!("corelane-bench ", env!("CARGO_PKG_VERSION")),
            command: std::env::args().collect(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            target: target.to_owned(),
            connections: plan.connection_count,
            pipeline: plan.pipeline,
            cpus: cpus.to_vec(),
            warmup_seconds: plan.warmup.as_secs_f64(),
            runs: Vec::new(),
            knee: None,
        }
    }
}

impl Run {
    pub(crate) fn new(pace: Pace, outcome: &Outcome) -> Run {
        let tally = &outcome.tally;
        let is_open = matches!(pace, Pace::Open { .. });
        Run {
            pace,
            answers_per_second: per_second(tally.answers, outcome.measured),
            measured_seconds: outcome.measured.as_secs_f64(),
            is_interrupted: outcome.is_interrupted,
            answers: tally.answers,
            responses: tally.responses,
            sent: tally.sent,
            late: tally.late,
            unsent: tally.unsent,
            connections_made: tally.connections,
            bytes_received: tally.bytes_received,
            bytes_sent: tally.bytes_sent,
            statuses: ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(tally.classes).collect(),
            errors: tally.failures,
            latency_ns: Latencies {
                corrected: Percentiles::new(&tally.corrected),
                uncorrected: is_open.then(|| Percentiles::new(&tally.uncorrected)),
            },
        }
    }
}

impl Percentiles {
    pub(crate) fn new(histogram: &Histogram<u64>) -> Percentiles {
        // A bucket's highest value may lie above everything that was recorded.
        let max = histogram.max();
        let value = |quantile| histogram.value_at_quantile(quantile).min(max);
        Percentiles {
            count: histogram.len(),
            mean: histogram.mean(),
            min: histogram.min(),
            p50: value(0.5),
            p90: value(0.9),
            p99: value(0.99),
            p999: value(0.999),
            p9999: value(0.9999),
            max,
            curve: histogram
                .iter_quantiles(CURVE_TICKS)
                .map(|step| (step.quantile_iterated_to(), step.value_iterated_to()))
                .collect(),
        }
    }
}
