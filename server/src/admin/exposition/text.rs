//! Metrics as text: Prometheus' format 0.0.4, and OpenMetrics 1.0.

use std::fmt::Write;

use super::{Kind, Labels, Value, classic};
use crate::stats::histogram::Durations;

pub(in crate::admin) struct Text {
    out: String,
    is_open_metrics: bool,
    /// The name of the present family, as its samples have it.
    name: String,
}

impl Text {
    pub(super) fn new(is_open_metrics: bool) -> Text {
        Text { out: String::with_capacity(32 * 1024), is_open_metrics, name: String::new() }
    }

    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.name);
        // OpenMetrics names the family without the suffix of its samples.
        let is_short = self.is_open_metrics && kind == Kind::Counter;
        let family = if is_short { name.trim_end_matches("_total") } else { name };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {family} {help}"));
        self.line(format_args!("# TYPE {family} {kind}"));
    }

    pub(super) fn sample(&mut self, labels: Labels<'_>, value: Value) {
        self.sample_of("", labels, "", value);
    }

    pub(super) fn durations(&mut self, labels: Labels<'_>, durations: &Durations) {
        for (bound, count) in classic(durations) {
            self.sample_of("_bucket", labels, &bound.to_string(), count.into());
        }
        let count = durations.count();
        self.sample_of("_bucket", labels, "+Inf", count.into());
        self.sample_of("_sum", labels, "", durations.sum.as_secs_f64().into());
        self.sample_of("_count", labels, "", count.into());
    }

    fn sample_of(&mut self, suffix: &str, labels: Labels<'_>, bound: &str, value: Value) {
        self.out.push_str(&self.name);
        self.out.push_str(suffix);
        let bound = (!bound.is_empty()).then_some(("le", bound));
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            self.out.push(separator);
            separator = ',';
            self.out.push_str(name);
            self.out.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' | '"' => self.out.extend(['\\', character]),
                    '\n' => self.out.push_str("\\n"),
                    _ => self.out.push(character),
                }
            }
            self.out.push('"');
        }
        if separator == ',' {
            self.out.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything that is written to it.
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.is_open_metrics {
            self.out.push_str("# EOF\n");
        }
        self.out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Exposition, Format};
    use super::*;
    use crate::stats::histogram::Histogram;

    fn text(out: Exposition) -> String {
        String::from_utf8(out.finish()).expect("text")
    }

    fn write(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.counter("a_total", "Things.");
        out.sample(&[("route", "/\"x\"\\\n"), ("shard", "0")], 7u64);
        out.gauge("b", "Depth.");
        out.sample(&[], 0.25);
        text(out)
    }

    #[test]
    fn both_formats_name_counters_their_way() {
        let sample = "a_total{route=\"/\\\"x\\\"\\\\\\n\",shard=\"0\"} 7\n";
        let rest = "# HELP b Depth.\n# TYPE b gauge\nb 0.25\n";
        let text = format!("# HELP a_total Things.\n# TYPE a_total counter\n{sample}{rest}");
        assert_eq!(write(Format::Text), text);
        let open = format!("# HELP a Things.\n# TYPE a counter\n{sample}{rest}# EOF\n");
        assert_eq!(write(Format::OpenMetrics), open);
    }

    #[test]
    fn a_histogram_adds_up() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(20), 3);
        histogram.record(Duration::from_secs(90), 1);
        let mut durations = Durations::default();
        durations.add(&histogram);
        let mut out = Exposition::new(Format::Text);
        out.histogram("d_seconds", "Time.");
        out.durations(&[("shard", "1")], &durations);
        let text = text(out);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "d_seconds_bucket{shard=\"1\",le=\"0.0000152587890625\"} 0");
        assert_eq!(lines[1], "d_seconds_bucket{shard=\"1\",le=\"0.000030517578125\"} 3");
        assert_eq!(lines[16], "d_seconds_bucket{shard=\"1\",le=\"1\"} 3");
        assert_eq!(lines[22], "d_seconds_bucket{shard=\"1\",le=\"64\"} 3");
        assert_eq!(lines[23], "d_seconds_bucket{shard=\"1\",le=\"+Inf\"} 4");
        assert_eq!(lines[24], "d_seconds_sum{shard=\"1\"} 90.00006");
        assert_eq!(lines[25], "d_seconds_count{shard=\"1\"} 4");
        assert_eq!(lines.len(), 26);
    }
}
