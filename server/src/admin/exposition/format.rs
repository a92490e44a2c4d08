//! Which formats there are, and which of them a scraper takes.

/// A format of metrics, the poorest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::admin) enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' messages: the only one with native histograms.
    Protobuf,
}

impl Format {
    /// The one that is named with the highest quality, of equals the richest; text where none is.
    pub(in crate::admin) fn accepted(accept: &str) -> Format {
        let named = accept.split(',').filter_map(Format::named);
        let taken = named.filter(|(quality, _)| *quality > 0.0);
        let best = taken
            .max_by(|(one, first), (other, second)| one.total_cmp(other).then(first.cmp(second)));
        best.map_or(Format::Text, |(_, format)| format)
    }

    /// The format that a range of media types names, with its quality (RFC 9110 section 12.4.2).
    fn named(range: &str) -> Option<(f32, Format)> {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?;
        let parameters = parts.filter_map(|part| part.split_once('='));
        let of = |name| parameters.clone().find(|(key, _)| *key == name).map(|(_, value)| value);
        let format = match media {
            "text/plain" => Format::Text,
            "application/openmetrics-text" => Format::OpenMetrics,
            "application/vnd.google.protobuf"
                if of("proto") == Some("io.prometheus.client.MetricFamily")
                    && of("encoding") == Some("delimited") =>
            {
                Format::Protobuf
            }
            _ => return None,
        };
        Some((of("q").and_then(|text| text.parse().ok()).unwrap_or(1.0), format))
    }

    pub(in crate::admin) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_say_what_they_take() {
        let check =
            |accept: &str, expected| assert_eq!(Format::accepted(accept), expected, "{accept}");
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/plain;version=0.0.4", Format::Text);
        let open = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        check(open, Format::OpenMetrics);
        check("text/plain, application/openmetrics-text; version=1.0.0", Format::OpenMetrics);
        check("application/openmetrics-text;q=0,text/plain", Format::Text);
        check("application/openmetrics-text;q=0.1,text/plain;q=0.9", Format::Text);
        // As Prometheus asks where its feature native-histograms is on.
        let native = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily;\
                      encoding=delimited";
        check(&format!("{native},{open},*/*;q=0.1"), Format::Protobuf);
        check(&format!("{native};q=0.4,{open}"), Format::OpenMetrics);
        check("application/vnd.google.protobuf;proto=another;encoding=delimited", Format::Text);
    }
}
