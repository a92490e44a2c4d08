//! Metrics as Prometheus' messages, each behind its length: the format that has native histograms.
//!
//! The messages are those of `io/prometheus/client/metrics.proto` of Prometheus' client model, as
//! far as something is said with them; the numbers of their fields are the format.

use prost::Message;

use super::{Kind, Labels, Value, classic};
use crate::stats::histogram::{Durations, OCTAVE_MIN, SCHEMA};

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `Counter` and `Gauge`, which are alike.
#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    /// The classic ones, for scrapers that keep those.
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    /// What is at most so long is in no bucket but counted apart.
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    spans: Vec<BucketSpan>,
    /// The first bucket's count, then what each has more than the one before.
    #[prost(sint64, repeated, tag = "13")]
    deltas: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

/// Buckets without an empty one between them.
#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    /// Of the first span, the number of its first bucket; of the others, the empty ones before.
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Default)]
pub(in crate::admin) struct Protobuf {
    out: Vec<u8>,
    /// The present one, until the next one begins.
    family: Option<MetricFamily>,
}

impl Protobuf {
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let (name, help, kind) = (name.to_owned(), help.to_owned(), kind.into());
        self.end_family();
        self.family = Some(MetricFamily { name, help, kind, metrics: Vec::new() });
    }

    pub(super) fn sample(&mut self, labels: Labels<'_>, value: Value) {
        let number = Some(Number {
            value: match value {
                Value::Whole(value) => value as f64,
                Value::Real(value) => value,
            },
        });
        let Some(family) = &mut self.family else { return };
        let (mut gauge, mut counter) = (None, None);
        match family.kind() {
            MetricType::Counter => counter = number,
            _ => gauge = number,
        }
        family.metrics.push(Metric { labels: pairs(labels), gauge, counter, histogram: None });
    }

    pub(super) fn durations(&mut self, labels: Labels<'_>, durations: &Durations) {
        let Some(family) = &mut self.family else { return };
        let histogram = Some(Histogram::of(durations));
        family.metrics.push(Metric { labels: pairs(labels), histogram, ..Metric::default() });
    }

    fn end_family(&mut self) {
        // Without a sample it would be an error to some scrapers.
        if let Some(family) = self.family.take().filter(|family| !family.metrics.is_empty()) {
            self.out.extend(family.encode_length_delimited_to_vec());
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_family();
        self.out
    }
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| LabelPair {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    labels.iter().map(pair).collect()
}

impl Histogram {
    fn of(durations: &Durations) -> Histogram {
        let bucket = |(upper_bound, cumulative_count)| Bucket { cumulative_count, upper_bound };
        // The first bucket has everything that is shorter than its bound.
        let (zero_count, counts) = match durations.counts() {
            [zero, counts @ ..] => (*zero, counts),
            [] => (0, &[][..]),
        };
        let (spans, deltas) = spans(counts, 1 + (OCTAVE_MIN << SCHEMA));
        Histogram {
            count: durations.count(),
            sum: durations.sum.as_secs_f64(),
            buckets: classic(durations).map(bucket).collect(),
            schema: SCHEMA as i32,
            zero_threshold: f64::from(OCTAVE_MIN).exp2(),
            zero_count,
            spans,
            deltas,
        }
    }
}

/// The buckets that are not empty. The number of the first one of `counts` is `first`; bucket `n`
/// ends at two to the power of `n / 4` seconds. So the very last one, which has no end, is told as
/// if it had one.
fn spans(counts: &[u64], first: i32) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let (mut before, mut next) = (0, 0);
    for (number, count) in (first..).zip(counts).filter(|(_, count)| **count > 0) {
        match spans.last_mut().filter(|_| number == next) {
            Some(span) => span.length += 1,
            None => spans.push(BucketSpan { offset: number - next, length: 1 }),
        }
        deltas.push(*count as i64 - before);
        (before, next) = (*count as i64, number + 1);
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Exposition, Format};
    use super::*;
    use crate::stats::histogram;

    #[test]
    fn spans_name_what_is_not_empty() {
        let check = |counts: &[u64], expected: &[(i32, u32)], deltas: &[i64]| {
            let (spans, found) = spans(counts, -3);
            let spans: Vec<_> = spans.iter().map(|span| (span.offset, span.length)).collect();
            assert_eq!((&spans[..], &found[..]), (expected, deltas), "{counts:?}");
        };
        check(&[], &[], &[]);
        check(&[0, 0], &[], &[]);
        check(&[5, 2], &[(-3, 2)], &[5, -3]);
        check(&[0, 5, 0, 0, 7, 7, 0], &[(-2, 1), (2, 2)], &[5, 2, 0]);
        // From number 0 on.
        check(&[0, 0, 0, 1], &[(0, 1)], &[1]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let histogram = histogram::Histogram::default();
        histogram.record(Duration::from_nanos(500), 2);
        histogram.record(Duration::from_millis(250), 3);
        histogram.record(Duration::from_secs(1), 4);
        let mut durations = Durations::default();
        durations.add(&histogram);
        let mut out = Exposition::new(Format::Protobuf);
        out.counter("a_total", "Things.");
        out.sample(&[("route", "/\"x\"")], 7u64);
        out.counter("empty_total", "Nothing.");
        out.gauge("b", "Depth.");
        out.sample(&[], 0.25);
        out.histogram("d_seconds", "Time.");
        out.durations(&[("shard", "1")], &durations);
        let bytes = out.finish();
        let mut input = &bytes[..];
        let mut families = Vec::new();
        while !input.is_empty() {
            families.push(MetricFamily::decode_length_delimited(&mut input).expect("a message"));
        }
        let names: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
        assert_eq!(names, ["a_total", "b", "d_seconds"]);
        assert_eq!(families[0].kind(), MetricType::Counter);
        assert_eq!(families[0].metrics[0].labels, pairs(&[("route", "/\"x\"")]));
        assert_eq!(families[0].metrics[0].counter, Some(Number { value: 7.0 }));
        assert_eq!(families[1].metrics[0].gauge, Some(Number { value: 0.25 }));
        let read = families[2].metrics[0].histogram.as_ref().expect("a histogram");
        assert_eq!((read.count, read.zero_count, read.schema), (9, 2, 2));
        // A quarter of a second is 2^(-8/4), a second 2^(0/4): what is a bound is below it.
        let spans: Vec<_> = read.spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!((&spans[..], &read.deltas[..]), (&[(-8, 1), (7, 1)][..], &[3, 1][..]));
        let one = read.buckets.iter().find(|bucket| bucket.upper_bound == 1.0).expect("a bound");
        assert_eq!(one.cumulative_count, 9);
    }
}
