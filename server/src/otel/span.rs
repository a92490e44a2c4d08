//! A recorded exchange as a span: OpenTelemetry's semantic conventions for HTTP servers, 1.23 on.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::records::Ended;

/// The methods that may be attributes; what else a client makes up would be without bound.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

pub(super) fn span(ended: &Ended<'_>, scope: &InstrumentationScope) -> SpanData {
    let end_time = UNIX_EPOCH + Duration::from_nanos(ended.ended_nanos);
    let start_time = end_time.checked_sub(ended.duration);
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(ended.asked.trace_id),
            SpanId::from(ended.asked.span_id),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: SpanId::from(ended.asked.parent_id),
        parent_span_is_remote: ended.asked.parent_id > 0,
        span_kind: SpanKind::Server,
        name: name(ended),
        start_time: start_time.unwrap_or(SystemTime::UNIX_EPOCH),
        end_time,
        attributes: attributes(ended),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if is_failed(ended) { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope.clone(),
    }
}

/// The method and the route: few, whatever clients ask for.
fn name(ended: &Ended<'_>) -> Cow<'static, str> {
    let method = known_method(ended).unwrap_or("HTTP");
    match route(ended) {
        Some(route) => Cow::Owned(format!("{method} {route}")),
        None => Cow::Borrowed(method),
    }
}

fn known_method(ended: &Ended<'_>) -> Option<&'static str> {
    METHODS.into_iter().find(|known| known.as_bytes() == ended.asked.method)
}

/// `None` where no route of the application answered: those names are in parentheses.
fn route(ended: &Ended<'_>) -> Option<String> {
    ended.asked.route.starts_with(b"/").then(|| text(ended.asked.route))
}

/// A client that went away is an error as well: it has no whole answer.
fn is_failed(ended: &Ended<'_>) -> bool {
    ended.status >= 499
}

fn attributes(ended: &Ended<'_>) -> Vec<KeyValue> {
    let target = text(ended.asked.target);
    let (path, query) = path_and_query(&target);
    let mut attributes = vec![
        KeyValue::new("http.request.method", known_method(ended).unwrap_or("_OTHER")),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("url.path", path.to_owned()),
        KeyValue::new(
            "network.protocol.version",
            if ended.asked.minor_version == 0 { "1.0" } else { "1.1" },
        ),
    ];
    let mut add = |key: &'static str, value: Option<String>| {
        attributes.extend(value.map(|value| KeyValue::new(key, value)));
    };
    let is_known = known_method(ended).is_some();
    add("http.request.method_original", (!is_known).then(|| text(ended.asked.method)));
    add("http.route", route(ended));
    add("url.query", query.map(str::to_owned));
    add("client.address", ended.asked.client.map(|client| client.to_string()));
    add("user_agent.original", some_text(ended.asked.user_agent));
    match ended.status {
        // Nothing was answered.
        499 => add("error.type", Some("client_gone".to_owned())),
        status => {
            add("error.type", is_failed(ended).then(|| status.to_string()));
            attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
        }
    }
    attributes
}

/// RFC 9112 section 3.2: a target may be absolute, which is what proxies send.
fn path_and_query(target: &str) -> (&str, Option<&str>) {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find(['/', '?']).map_or("/", |start| &rest[start..])
        }
        _ => target,
    };
    match origin.split_once('?') {
        Some((path, query)) => (if path.is_empty() { "/" } else { path }, Some(query)),
        None => (origin, None),
    }
}

fn some_text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| text(bytes))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Entry, sample};

    fn check(ended: &Ended<'_>, name: &str, status: Status, attributes: &[(&str, &str)]) {
        let span = span(ended, &InstrumentationScope::default());
        let mut found: Vec<_> = span.attributes.iter().collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        let found = found.iter().map(|pair| format!("{}={}", pair.key, pair.value));
        let expected = attributes.iter().map(|(key, value)| format!("{key}={value}"));
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!((&*span.name, span.status), (name, status));
    }

    #[test]
    fn a_request_in_the_terms_of_the_conventions() {
        let ended = sample();
        let common = [
            ("client.address", "192.0.2.7"),
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.route", "/items/{id}"),
            ("network.protocol.version", "1.1"),
            ("url.path", "/items/7"),
            ("url.query", "full"),
            ("url.scheme", "http"),
            ("user_agent.original", "curl/8"),
        ];
        check(&ended, "GET /items/{id}", Status::Unset, &common);
        let span = span(&ended, &InstrumentationScope::default());
        assert_eq!(span.span_context.trace_id(), TraceId::from(ended.asked.trace_id));
        assert_eq!(span.parent_span_id, SpanId::from(7));
        let since = span.end_time.duration_since(span.start_time);
        assert_eq!(since.expect("forwards"), ended.duration);
    }

    #[test]
    fn what_failed_and_what_is_unknown() {
        let asked = Entry {
            method: b"BREW",
            target: b"http://pot/?\xff",
            route: b"(not found)",
            ..Entry::default()
        };
        let odd = Ended { asked, status: 503, ..Ended::default() };
        let attributes = [
            ("error.type", "503"),
            ("http.request.method", "_OTHER"),
            ("http.request.method_original", "BREW"),
            ("http.response.status_code", "503"),
            ("network.protocol.version", "1.0"),
            ("url.path", "/"),
            ("url.query", "\u{fffd}"),
            ("url.scheme", "http"),
        ];
        check(&odd, "HTTP", Status::error(""), &attributes);
        let asked = Entry { method: b"GET", target: b"/", ..Entry::default() };
        let gone = Ended { asked, status: 499, ..Ended::default() };
        let attributes = [
            ("error.type", "client_gone"),
            ("http.request.method", "GET"),
            ("network.protocol.version", "1.0"),
            ("url.path", "/"),
            ("url.scheme", "http"),
        ];
        check(&gone, "GET", Status::error(""), &attributes);
    }

    #[test]
    fn targets_of_each_form() {
        for (target, expected) in [
            ("/a/b?c=d?e", ("/a/b", Some("c=d?e"))),
            ("/", ("/", None)),
            ("/?", ("/", Some(""))),
            ("*", ("*", None)),
            ("http://host", ("/", None)),
            ("http://host/a", ("/a", None)),
            ("http://host?a", ("/", Some("a"))),
            ("/a?b=http://host/", ("/a", Some("b=http://host/"))),
        ] {
            assert_eq!(path_and_query(target), expected, "{target}");
        }
    }
}
