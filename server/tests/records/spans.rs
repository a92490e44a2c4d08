//! Spans as a collector gets them: sent by HTTP, read by the messages that OpenTelemetry defines.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use corelane::extract::Headers;
use corelane::middleware::{Next, Sampler, TraceContext, TraceContexts, from_fn};
use corelane::otel::Spans;
use corelane::{App, Concurrency, Extension, Path, StatusCode, get, header, post, sleep};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;

use crate::support::{self, TestServer, get as ask, request};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What stands in for a collector: it answers the first exports with these statuses, then takes
/// what comes.
struct Collector {
    server: TestServer,
    exports: Receiver<ExportTraceServiceRequest>,
}

impl Collector {
    fn start(refusals: &'static [u16]) -> Collector {
        let (taken, exports) = channel();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let handler = move |Headers(headers): Headers, body: Bytes| {
            let index = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
            let refusal = refusals.get(index);
            let refusal = refusal.map(|code| StatusCode::from_u16(*code).expect("a status"));
            if refusal.is_none() {
                let export = ExportTraceServiceRequest::decode(body).expect("an export");
                let _ = taken.send(export);
            }
            async move {
                let answer = ExportTraceServiceResponse::default().encode_to_vec();
                let fields = [(header::CONTENT_TYPE, "application/x-protobuf")];
                (refusal.unwrap_or(StatusCode::OK), fields, answer)
            }
        };
        let server = TestServer::start(App::new().route("/v1/traces", post(handler)));
        Collector { server, exports }
    }

    fn url(&self) -> String {
        format!("http://{}/v1/traces", self.server.address)
    }

    /// Ends, and gives back all that came: the resource of the last export, and every span.
    fn end(self) -> (Vec<KeyValue>, Vec<Span>) {
        self.server.stop();
        let (mut resource, mut spans) = (Vec::new(), Vec::new());
        for export in self.exports.try_iter() {
            for of_resource in export.resource_spans {
                resource = of_resource.resource.expect("a resource").attributes;
                for of_scope in of_resource.scope_spans {
                    assert_eq!(of_scope.scope.expect("a scope").name, "corelane");
                    spans.extend(of_scope.spans);
                }
            }
        }
        (resource, spans)
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    match &found.value {
        Some(AnyValue { value: Some(value), .. }) => Some(value),
        _ => None,
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match attribute(attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request of a caller, who records the trace or does not.
fn called(path: &str, flags: &str) -> String {
    request("GET", path, &format!("traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n"))
}

#[test]
fn a_span_for_each_request_reaches_the_collector() {
    let collector = Collector::start(&[]);
    let mine = async |context: Extension<TraceContext>| {
        sleep(Duration::from_millis(3)).await;
        context.to_string()
    };
    let app = App::new()
        .route("/items/{id}", get(async |Path(_): Path<u32>| "item"))
        // Behind middleware that keeps the request: the place in the trace is kept with it.
        .route("/mine", get(mine).layer(from_fn(async |next: Next| next.run().await)))
        .route("/failing", get(async || StatusCode::BAD_GATEWAY))
        .layer(TraceContexts::new())
        .spans(Spans::to(collector.url()).service_name("shop"));
    let before = std::time::SystemTime::now();
    let server = TestServer::start(app);
    server.request(called("/items/7?full", "01"));
    server.request(called("/items/8", "00"));
    let mine = server.get("/mine");
    server.get("/failing");
    server.get("/nowhere");
    server.stop();
    let (resource, spans) = collector.end();
    assert_eq!(text(&resource, "service.name"), "shop");
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    // The caller of the second one does not record its trace.
    assert_eq!(names, ["GET /items/{id}", "GET /mine", "GET /failing", "GET"]);

    let first = &spans[0];
    assert_eq!((hex(&first.trace_id), hex(&first.parent_span_id)), (TRACE.into(), CALLER.into()));
    assert_eq!(first.kind, SpanKind::Server as i32);
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("http.route", "/items/{id}"),
        ("url.path", "/items/7"),
        ("url.query", "full"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(text(&first.attributes, key), expected, "{key}");
    }
    let status = attribute(&first.attributes, "http.response.status_code");
    assert_eq!(status, Some(&Value::IntValue(200)));
    let nanos = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos() as u64
    };
    let (began, ended) = (first.start_time_unix_nano, first.end_time_unix_nano);
    assert!(began <= ended && ended <= nanos(std::time::SystemTime::now()), "{began} {ended}");
    // The machine's clock may be set back a little meanwhile.
    assert!(began + 1_000_000_000 > nanos(before), "{began}");

    // What the handler was given, what was answered, and what was exported are the same.
    let (second, context) = (&spans[1], mine.text());
    assert_eq!(mine.field("traceparent"), Some(context));
    let own = format!("00-{}-{}-01", hex(&second.trace_id), hex(&second.span_id));
    assert_eq!((context, second.parent_span_id.is_empty()), (own.as_str(), true));
    assert!(second.end_time_unix_nano - second.start_time_unix_nano >= 3_000_000, "{second:?}");
    let status = |span: &Span| span.status.as_ref().map_or(0, |status| status.code);
    assert_eq!(status(&spans[2]), SpanStatus::Error as i32);
    assert_eq!((status(&spans[3]), status(first)), (0, 0));
    assert_eq!(attribute(&spans[3].attributes, "http.route"), None);
}

#[test]
fn what_is_shed_has_no_span() {
    let collector = Collector::start(&[]);
    let (called_out, is_called) = channel();
    let waiting = move || {
        let called_out = called_out.clone();
        async move {
            let _ = called_out.send(());
            std::future::pending::<&'static str>().await
        }
    };
    let app = App::new()
        .route("/", get(waiting))
        .concurrency_max(Concurrency::Max(1))
        .spans(Spans::to(collector.url()));
    let server = TestServer::start(app);
    let mut first = server.connect();
    first.send(called("/", "01"));
    is_called.recv().expect("the handler is called");
    assert_eq!(server.request(called("/?shed", "01")).status, 503);
    assert_eq!(server.stats().requests_shed.value(), 1);
    first.reset();
    // Whose client goes away has one.
    server.wait_until_quiet();
    server.stop();
    let (_, spans) = collector.end();
    assert!(spans.iter().all(|span| attribute(&span.attributes, "url.query").is_none()));
    assert_eq!(spans.len(), 1, "{spans:?}");
}

#[test]
fn a_collector_that_asks_for_it_gets_a_batch_again() {
    let collector = Collector::start(&[503, 429]);
    let app = App::new().route("/", get(async || "ok")).spans(Spans::to(collector.url()));
    let server = TestServer::start(app);
    server.get("/");
    server.stop();
    assert_eq!(collector.end().1.len(), 1);
}

#[test]
fn what_the_collector_does_not_take_is_counted() {
    let collector = Collector::start(&[400]);
    let spans = Spans::to(collector.url()).delay(Duration::ZERO);
    let server = TestServer::start(App::new().route("/", get(async || "ok")).spans(spans));
    server.get("/?first");
    support::eventually("the first is lost", || server.server.spans_lost() == 1);
    // The failure is over, and nothing of it sticks.
    server.get("/?second");
    // Awaited before the end: then what fails is not tried for long.
    let export = collector.exports.recv().expect("an export");
    server.stop();
    let span = &export.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(text(&span.attributes, "url.query"), "second");
    assert_eq!(collector.end().1, []);
}

#[test]
fn a_collector_that_is_stuck_costs_spans_and_never_a_request() {
    // It takes connections into its queue and never answers.
    let stuck = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/v1/traces", stuck.local_addr().expect("an address"));
    let spans = Spans::to(url).ring_bytes(0).delay(Duration::ZERO);
    let spans = spans.timeout(Duration::from_secs(2));
    let server = TestServer::start(App::new().route("/", get(async || "ok")).spans(spans));
    let mut client = server.connect();
    // The ring takes some hundred; not one answer waits for it.
    let mut count = 0;
    while server.stats().spans_dropped.value() == 0 {
        client.send(ask("/"));
        assert_eq!(client.response().status, 200);
        count += 1;
        assert!(count < 10_000, "nothing is dropped");
    }
    drop(client);
    // Ends although what is left can not be sent any more.
    server.stop();
}

#[test]
fn the_sampler_decides_where_nobody_has() {
    let collector = Collector::start(&[]);
    let app = App::new()
        .route("/", get(async || "ok"))
        .layer(TraceContexts::new())
        .spans(Spans::to(collector.url()).sampler(Sampler::never().parent_based()));
    let server = TestServer::start(app);
    let begun = server.get("/");
    assert!(begun.field("traceparent").expect("a field").ends_with("-00"));
    server.request(called("/", "01"));
    server.stop();
    let (_, spans) = collector.end();
    assert_eq!(spans.len(), 1);
    assert_eq!(hex(&spans[0].trace_id), TRACE);
}

#[test]
fn the_command_exports_as_the_environment_says() {
    use std::io::{BufRead, BufReader};
    let collector = Collector::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let serve = |sampler: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
        command.arg("serve").arg(folder.path());
        command.args(["--listen", "127.0.0.1:0", "--cores", "1", "--spans"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.server.address));
        command.env("OTEL_SERVICE_NAME", "files").env("OTEL_TRACES_SAMPLER", sampler);
        command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        command
    };
    let refused = serve("sometimes").output().expect("start");
    let error = String::from_utf8(refused.stderr).expect("text");
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(error.contains("OTEL_TRACES_SAMPLER: \"sometimes\" is not known"), "{error}");

    let mut child = serve("always_on").stdout(Stdio::piped()).spawn().expect("start");
    let mut ready = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("standard output"));
    output.read_line(&mut ready).expect("a line");
    let address = ready.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
    let address = address.expect("an address").parse().expect("an address");
    let mut client = support::Client::connect(address);
    // Its caller does not record it; `always_on` does not ask.
    client.send(called("/", "00"));
    assert_eq!(client.response().status, 404);
    let process = child.id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &process]).status();
    assert!(sent.expect("kill").success());
    assert_eq!(child.wait().expect("wait").code(), Some(0));
    let (resource, spans) = collector.end();
    assert_eq!(text(&resource, "service.name"), "files");
    assert_eq!(text(&resource, "deployment.environment.name"), "test");
    assert_eq!(spans.len(), 1);
    assert_eq!(hex(&spans[0].trace_id), TRACE);
}

#[test]
fn what_can_not_be_exported_to_is_said_at_start() {
    for (endpoint, reason) in [
        ("https://collector/v1/traces", "asks for TLS, which the exporter leaves to others"),
        ("localhost:4317", "is not http://"),
        ("", "is not http://"),
    ] {
        let error = App::new().spans(Spans::to(endpoint)).start("127.0.0.1:0");
        let text = error.expect_err("no server").to_string();
        let said = format!("spans: \"{endpoint}\" {reason}; send to a collector on this machine, ");
        assert!(text.starts_with(&said), "{text}");
    }
}
