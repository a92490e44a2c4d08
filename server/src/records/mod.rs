//! What is recorded of each exchange, and how it leaves the shards: for access log and spans.
//!
//! ```text
//!   shard 0 ── bytes ──► ring ─┐
//!   shard 1 ── bytes ──► ring ─┼──► one thread, the desk ──► what its clerk makes of them
//!   ...                        │
//!   a full ring drops and counts
//! ```
//!
//! The access log and the spans have rings and a desk each: one that is behind holds up neither the
//! other nor a shard. A shard copies a few fields, and goes on; the desks never look at a shard.

mod desk;
mod entry;
#[cfg(not(feature = "otel"))]
mod no_spans;
mod outlet;
mod packed;
mod recorder;
mod shelf;

use std::sync::Arc;

use corelane_runtime::{CheckedConfig, Counter};

use crate::error::Result;
use crate::log::{self, AccessLog};
#[cfg(feature = "otel")]
use crate::otel::{self, SpanEnd};

pub(crate) use desk::{Clerk, Desk};
pub(crate) use entry::Entry;
#[cfg(not(feature = "otel"))]
use no_spans::SpanEnd;
pub(crate) use outlet::Outlet;
#[cfg(test)]
pub(crate) use packed::tests::sample;
pub(crate) use packed::{Ended, TURN_OF_ONE_BYTES_MAX, exchanges};
pub(crate) use recorder::{Draft, Dropped, Outcome, Recorder, Recorders};
pub(crate) use shelf::{Packed, Shelf};

/// What an application wants to have recorded.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) access_log: Option<AccessLog>,
    #[cfg(feature = "otel")]
    pub(crate) spans: Option<otel::Spans>,
}

/// What takes the records while a server runs. Dropping it takes what is left, and ends.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) access_log: Option<log::Writer>,
    #[cfg(feature = "otel")]
    pub(crate) spans: Option<otel::Exporter>,
}

/// A metric of the whole process: its name, what it says, and where it is counted.
pub(crate) type Metric = (&'static str, &'static str, Arc<Counter>);

/// Opens what the records go to, with a recorder for each shard.
///
/// # Errors
/// The log's file can not be opened, spans can not be exported as they are to be, or no thread can
/// be started.
pub(crate) fn start(wanted: Wanted, config: &CheckedConfig) -> Result<(Records, Recorders)> {
    let (access_log, lines) = log::start(wanted.access_log, config)?.unzip();
    #[cfg(feature = "otel")]
    let (exporter, spans) = otel::start(wanted.spans, config)?.unzip();
    #[cfg(not(feature = "otel"))]
    let spans: Option<Vec<SpanEnd>> = None;
    let records = Records {
        access_log,
        #[cfg(feature = "otel")]
        spans: exporter,
    };
    if lines.is_none() && spans.is_none() {
        return Ok((records, Recorders::default()));
    }
    let (mut lines, mut spans) = (lines.into_iter().flatten(), spans.into_iter().flatten());
    let recorders = config.cpus().iter().map(|_| Recorder::new(lines.next(), spans.next()));
    Ok((records, Recorders::new(recorders.collect())))
}

impl Records {
    /// What became of the records behind the shards.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        metrics.extend(self.access_log.iter().map(log::Writer::metric));
        #[cfg(feature = "otel")]
        metrics.extend(self.spans.iter().flat_map(otel::Exporter::metrics));
        metrics
    }
}
