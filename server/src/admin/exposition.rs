//! Metrics as text: Prometheus' format 0.0.4, and OpenMetrics 1.0.
//!
//! Of our own, since what is told is read at that moment from the shards' counters: the libraries
//! of the field bring counters of their own, which are shared between threads, and know one of the
//! two formats.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::stats::histogram::Durations;

/// The octaves of microseconds that are bounds of an exposed histogram: 16 us to 67 s.
const OCTAVES: std::ops::RangeInclusive<u32> = 4..=26;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// What a scraper takes: OpenMetrics where it names that, unless as the last resort.
    pub(super) fn accepted(accept: &str) -> Format {
        let names = |range: &str| range.trim_start().starts_with("application/openmetrics-text");
        let is_refused = |range: &str| {
            let quality = range.split(';').map(str::trim).find_map(|part| part.strip_prefix("q="));
            quality.and_then(|quality| quality.parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
        };
        let wants = accept.split(',').any(|range| names(range) && !is_refused(range));
        if wants { Format::OpenMetrics } else { Format::Text }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Metrics as they are written. The samples of a family follow its line at once.
pub(super) struct Exposition {
    out: String,
    format: Format,
    /// The name of the present family, as its samples have it.
    name: String,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    pub(super) fn new(format: Format) -> Exposition {
        Exposition { out: String::with_capacity(32 * 1024), format, name: String::new() }
    }

    /// Begins a family of counters; `name` ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) {
        debug_assert!(name.ends_with("_total"), "{name}");
        // OpenMetrics names the family without the suffix of its samples.
        let family = match self.format {
            Format::Text => name,
            Format::OpenMetrics => name.trim_end_matches("_total"),
        };
        self.family(family, "counter", help);
        name.clone_into(&mut self.name);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    /// Begins a family of histograms; `name` ends in `_seconds`.
    pub(super) fn histogram(&mut self, name: &str, help: &str) {
        self.family(name, "histogram", help);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample of the present family.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.sample_of("", labels, "", value);
    }

    /// The samples of one histogram of the present family.
    pub(super) fn durations(&mut self, labels: Labels<'_>, durations: &Durations) {
        for octave in OCTAVES {
            let bound = Duration::from_micros(1 << octave).as_secs_f64().to_string();
            self.sample_of("_bucket", labels, &bound, durations.count_to_octave(octave));
        }
        let count = durations.count();
        self.sample_of("_bucket", labels, "+Inf", count);
        self.sample_of("_sum", labels, "", durations.sum.as_secs_f64());
        self.sample_of("_count", labels, "", count);
    }

    fn sample_of(&mut self, suffix: &str, labels: Labels<'_>, bound: &str, value: impl Display) {
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

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::histogram::Histogram;

    fn write(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.counter("a_total", "Things.");
        out.sample(&[("route", "/\"x\"\\\n"), ("shard", "0")], 7);
        out.gauge("b", "Depth.");
        out.sample(&[], 0.25);
        out.finish()
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
        let text = out.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "d_seconds_bucket{shard=\"1\",le=\"0.000016\"} 0");
        assert_eq!(lines[1], "d_seconds_bucket{shard=\"1\",le=\"0.000032\"} 3");
        assert_eq!(lines[22], "d_seconds_bucket{shard=\"1\",le=\"67.108864\"} 3");
        assert_eq!(lines[23], "d_seconds_bucket{shard=\"1\",le=\"+Inf\"} 4");
        assert_eq!(lines[24], "d_seconds_sum{shard=\"1\"} 90.00006");
        assert_eq!(lines[25], "d_seconds_count{shard=\"1\"} 4");
        assert_eq!(lines.len(), 26);
    }

    #[test]
    fn scrapers_say_what_they_take() {
        let check = |accept, expected| assert_eq!(Format::accepted(accept), expected, "{accept}");
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/plain;version=0.0.4", Format::Text);
        check(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3",
            Format::OpenMetrics,
        );
        check("text/plain, application/openmetrics-text; version=1.0.0", Format::OpenMetrics);
        check("application/openmetrics-text;q=0,text/plain", Format::Text);
    }
}
