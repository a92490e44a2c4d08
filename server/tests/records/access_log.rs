//! The access log of a running server: which lines it has, and what can not get into them.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use corelane::log::{AccessFormat, AccessLog};
use corelane::middleware::TraceContexts;
use corelane::{App, BodyStream, Concurrency, ProxyConfig, StatusCode, get, post, sleep};
use serde_json::Value;

use crate::support::{self, TestServer, get as ask, post as send, request};

/// Keeps what is written.
struct Kept(Sender<Vec<u8>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that logs as `settings` say, and where its lines come out.
fn start(app: App, settings: fn(AccessLog) -> AccessLog) -> (TestServer, Receiver<Vec<u8>>) {
    let (lines, kept) = channel();
    (TestServer::start(app.access_log(settings(AccessLog::writer(Kept(lines))))), kept)
}

/// Ends the server, which writes what is left: every line as JSON.
fn lines_of(server: TestServer, kept: &Receiver<Vec<u8>>) -> Vec<Value> {
    assert_eq!(server.stats().access_log_dropped.value(), 0);
    server.wait_until_quiet();
    server.stop();
    let text: Vec<u8> = kept.iter().flatten().collect();
    let text = String::from_utf8(text).expect("ASCII");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

fn json(log: AccessLog) -> AccessLog {
    log.format(AccessFormat::Json)
}

fn pieces() -> BodyStream {
    let pieces = ["first ", "second"].map(|piece| Ok::<_, io::Error>(Bytes::from(piece)));
    BodyStream::new(futures_util::stream::iter(pieces))
}

#[test]
fn each_request_has_its_line() {
    let waiting = async || {
        sleep(Duration::from_millis(3)).await;
        "waited"
    };
    let app = App::new()
        .route("/plain/{id}", get(async || "plain"))
        .route("/waiting", get(waiting))
        .route("/stream", get(async || pieces()))
        .route("/body", post(async |body: Bytes| body))
        .route("/large", get(async || Bytes::from(vec![b'x'; 100_000])))
        .route("/failing", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/panicking", get(async || -> &'static str { panic!("on purpose") }));
    let (server, kept) = start(app, json);
    let mut sizes = Vec::new();
    let mut exchange = |request: &[u8]| {
        let mut client = server.connect();
        client.send(request);
        client.half_close();
        sizes.push(client.rest().len());
    };
    exchange(ask("/plain/7?a=b").as_bytes());
    exchange(ask("/waiting").as_bytes());
    exchange(&send("/body", "text/plain", "content"));
    exchange(ask("/large").as_bytes());
    exchange(request("HEAD", "/large", "").as_bytes());
    exchange(ask("/none").as_bytes());
    exchange(ask("/failing").as_bytes());
    exchange(ask("/panicking").as_bytes());
    exchange(b"GET / HTTP/1.1\r\n\r\n");
    // The framing of chunks is not counted.
    let stream = server.get("/stream");
    assert_eq!(stream.text(), "first second");
    let lines = lines_of(server, &kept);
    let expected = [
        ("GET", "/plain/7?a=b", 200, "/plain/{id}"),
        ("GET", "/waiting", 200, "/waiting"),
        ("POST", "/body", 200, "/body"),
        ("GET", "/large", 200, "/large"),
        ("HEAD", "/large", 200, "/large"),
        ("GET", "/none", 404, ""),
        ("GET", "/failing", 500, "/failing"),
        ("GET", "/panicking", 500, "/panicking"),
        ("", "", 400, ""),
        ("GET", "/stream", 200, "/stream"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (method, target, status, route)) in lines.iter().zip(expected) {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        assert_eq!((text("method"), text("target")), (method, target), "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(route.is_empty() || text("route").contains(route), "{line}");
        assert_eq!((text("client"), &line["shard"]), ("127.0.0.1", &Value::from(0)), "{line}");
        let time = text("time");
        assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{line}");
    }
    for (line, size) in lines.iter().zip(sizes) {
        assert_eq!(line["bytes"], size, "{line}");
    }
    assert!(lines[1]["duration_us"].as_u64() >= Some(3000), "{}", lines[1]);
}

#[test]
fn a_client_that_goes_away_is_not_forgotten() {
    let (called, is_called) = channel();
    let handler = move || {
        let called = called.clone();
        async move {
            let _ = called.send(());
            std::future::pending::<&'static str>().await
        }
    };
    let (server, kept) = start(App::new().route("/", get(handler)), json);
    let mut client = server.connect();
    client.send(ask("/"));
    is_called.recv().expect("the handler is called");
    client.reset();
    let lines = lines_of(server, &kept);
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["status"], &lines[0]["target"]), (&Value::from(499), &Value::from("/")));
}

#[test]
fn what_is_shed_is_written_too() {
    let (called, is_called) = channel();
    let waiting = move || {
        let called = called.clone();
        async move {
            let _ = called.send(());
            std::future::pending::<&'static str>().await
        }
    };
    let app = App::new().route("/waiting", get(waiting)).route("/", get(async || "ok"));
    let (server, kept) = start(app.concurrency_max(Concurrency::Max(1)), json);
    let mut first = server.connect();
    first.send(ask("/waiting"));
    is_called.recv().expect("the handler is called");
    assert_eq!(server.get("/?shed").status, 503);
    first.reset();
    let lines = lines_of(server, &kept);
    assert_eq!((&lines[0]["status"], &lines[0]["target"]), (&503.into(), &"/?shed".into()));
    assert_eq!(lines.len(), 2);
}

#[test]
fn lines_name_the_client_behind_a_trusted_proxy() {
    let (lines, kept) = channel();
    let app =
        App::new().route("/", get(async || "ok")).access_log(json(AccessLog::writer(Kept(lines))));
    let trusted = vec!["127.0.0.0/8".parse().expect("a network")];
    let proxy = ProxyConfig { trusted, ..ProxyConfig::default() };
    let server = TestServer::start_with(app, |config| config.proxy = proxy);
    // One connection of the proxy's, for several clients and for itself.
    let mut connection = server.connect();
    let client = |field: &str| request("GET", "/", field);
    connection.exchange(client("X-Forwarded-For: 192.0.2.7\r\n"));
    connection.exchange(client("X-Forwarded-For: 2001:db8::1\r\n"));
    connection.exchange(client(""));
    connection.exchange(client("X-Forwarded-For: 192.0.2.8\r\n"));
    drop(connection);
    server.request("GET / HTTP/1.1\r\n\r\n");
    let lines = lines_of(server, &kept);
    let clients: Vec<_> = lines.iter().filter_map(|line| line["client"].as_str()).collect();
    assert_eq!(clients, ["192.0.2.7", "2001:db8::1", "127.0.0.1", "192.0.2.8", "127.0.0.1"]);
}

#[test]
fn nothing_that_a_client_sends_can_forge_a_line() {
    let app = || App::new().route("/{*rest}", get(async || "ok"));
    let agent = b"curl\" 200 1\t\x80\xff\\ \"status\":500 status=500";
    let mut request = b"GET /%0d%0a127.0.0.1?\"<x>\" HTTP/1.1\r\nHost: x\r\nUser-Agent: ".to_vec();
    request.extend_from_slice(agent);
    request.extend_from_slice(b"\r\nReferer: http://x/\"\r\n\r\n");
    let (server, kept) = start(app(), json);
    server.request(&request);
    let lines = lines_of(server, &kept);
    let agent = String::from_utf8_lossy(agent).into_owned();
    assert_eq!(lines[0]["user_agent"], agent);
    assert_eq!((lines.len(), &lines[0]["status"]), (1, &Value::from(200)));
    for format in [AccessFormat::Common, AccessFormat::Combined, AccessFormat::Logfmt] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = AccessLog::file(file.path()).format(format);
        let server = TestServer::start(app().access_log(log));
        server.request(&request);
        server.stop();
        let line = std::fs::read_to_string(file.path()).expect("ASCII");
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let visible = |byte: u8| matches!(byte, b' '..=b'~');
        assert!(line.trim_end_matches('\n').bytes().all(visible), "{line:?}");
    }
}

#[test]
fn slow_requests_are_written_whatever_the_sampling_says() {
    let slow = async || {
        sleep(Duration::from_millis(20)).await;
        "slow"
    };
    let app = App::new().route("/slow", get(slow)).route("/fast", get(async || "fast"));
    let sampled = |log: AccessLog| json(log).sample_one_in(4).slow_after(Duration::from_millis(20));
    let (server, kept) = start(app, sampled);
    for path in ["/fast?1", "/fast?2", "/slow", "/fast?4", "/fast?5", "/none"] {
        server.get(path);
    }
    let lines = lines_of(server, &kept);
    let targets: Vec<_> = lines.iter().filter_map(|line| line["target"].as_str()).collect();
    // On a busy machine others may have been slow as well.
    for target in ["/fast?1", "/slow", "/fast?5"] {
        assert!(targets.contains(&target), "{targets:?}");
    }
}

#[test]
fn lines_have_the_trace_of_their_request() {
    let app = App::new().route("/", get(async || "ok")).layer(TraceContexts::new());
    let (server, kept) = start(app, json);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let field = format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
    server.request(request("GET", "/", &field));
    let begun = server.get("/").field("traceparent").expect("a field")[3..35].to_owned();
    let lines = lines_of(server, &kept);
    assert_eq!(lines[0]["trace_id"], trace);
    assert_eq!(lines[1]["trace_id"], begun);
}

#[test]
fn a_log_that_can_not_be_opened_is_said_at_start() {
    let log = AccessLog::file("/there/is/no/such/folder/access.log");
    let error = App::new().access_log(log).start("127.0.0.1:0").expect_err("no server");
    let text = error.to_string();
    assert!(text.starts_with("access_log: /there/is/no/such/folder/access.log"), "{text}");
}

#[test]
fn the_file_is_opened_anew_when_the_program_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let app = App::new().route("/", get(async || "ok")).access_log(AccessLog::file(&path));
    let server = TestServer::start(app);
    let has = |text: &str| std::fs::read_to_string(&path).is_ok_and(|log| log.contains(text));
    server.get("/?first");
    support::eventually("the first line", || has("first"));
    std::fs::rename(&path, folder.path().join("access.log.1")).expect("rename");
    server.server.reopen_access_log();
    server.get("/?second");
    support::eventually("the second line", || has("second"));
    assert!(!has("first"));
    assert_eq!(server.server.access_log_lost(), 0);
    server.stop();
}
