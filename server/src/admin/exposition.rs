//! Metrics as they are written: families of samples, in the format that the scraper takes.
//!
//! Of our own, since what is told is read at that moment from the shards' counters: the libraries
//! of the field bring counters of their own, which are shared between threads, and know one of the
//! formats.

mod format;
mod protobuf;
mod text;

use std::fmt;

pub(super) use format::Format;
use protobuf::Protobuf;
use text::Text;

use crate::stats::histogram::Durations;

/// The bounds of an exposed classic histogram, as powers of two of a second: 15 us to 64 s.
const OCTAVES: std::ops::RangeInclusive<i32> = -16..=6;

pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What a sample says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Whole(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => value.fmt(f),
            Value::Real(value) => value.fmt(f),
        }
    }
}

/// Metrics as they are written. The samples of a family follow its beginning at once.
pub(super) enum Exposition {
    Text(Text),
    Protobuf(Protobuf),
}

impl Exposition {
    pub(super) fn new(format: Format) -> Exposition {
        match format {
            Format::Text => Exposition::Text(Text::new(false)),
            Format::OpenMetrics => Exposition::Text(Text::new(true)),
            Format::Protobuf => Exposition::Protobuf(Protobuf::default()),
        }
    }

    /// Begins a family of counters; `name` ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, Kind::Counter, help);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, Kind::Gauge, help);
    }

    /// Begins a family of histograms; `name` ends in `_seconds`.
    pub(super) fn histogram(&mut self, name: &str, help: &str) {
        self.family(name, Kind::Histogram, help);
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        match self {
            Exposition::Text(text) => text.family(name, kind, help),
            Exposition::Protobuf(protobuf) => protobuf.family(name, kind, help),
        }
    }

    /// One sample of the present family.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Into<Value>) {
        match self {
            Exposition::Text(text) => text.sample(labels, value.into()),
            Exposition::Protobuf(protobuf) => protobuf.sample(labels, value.into()),
        }
    }

    /// One histogram of the present family.
    pub(super) fn durations(&mut self, labels: Labels<'_>, durations: &Durations) {
        match self {
            Exposition::Text(text) => text.durations(labels, durations),
            Exposition::Protobuf(protobuf) => protobuf.durations(labels, durations),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Exposition::Text(text) => text.finish(),
            Exposition::Protobuf(protobuf) => protobuf.finish(),
        }
    }
}

/// The upper bounds of a classic histogram in seconds, and how many took at most so long.
fn classic(durations: &Durations) -> impl Iterator<Item = (f64, u64)> {
    OCTAVES.map(|octave| (f64::from(octave).exp2(), durations.count_to_octave(octave)))
}
