//! Stands in for a shard's end of the spans where the feature `otel` is off: there is none.

use corelane_runtime::Moment;

use super::entry::Entry;
use super::recorder::Outcome;
use super::shelf::Packed;
use crate::http1::Field;
use crate::middleware::TraceContext;

#[derive(Debug)]
pub(crate) enum SpanEnd {}

impl SpanEnd {
    pub(crate) fn begin(&self, _bytes: &[u8], _fields: &[Field]) -> TraceContext {
        match *self {}
    }

    pub(crate) fn put(&self, _asked: &Entry<'_>, _outcome: &Outcome) {
        match *self {}
    }

    pub(crate) fn draft(&self, _asked: &Entry<'_>) -> Packed {
        match *self {}
    }

    pub(crate) fn finish(&self, _span: Packed, _outcome: &Outcome) {
        match *self {}
    }

    pub(crate) fn settle(&self, _end: Moment) -> u64 {
        match *self {}
    }
}
