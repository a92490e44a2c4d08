//! The admin address: what it tells, to whom, and that nobody can hold it up.

mod browser;
mod page;
mod prometheus;
#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use corelane::runtime::sleep;
use corelane::{
    Address, Admin, App, BodyStream, Concurrency, Json, Path, Server, ServerConfig, get, post,
};
use futures_util::stream;
use support::{Client, PATIENCE, Response, TestServer, eventually};

fn app() -> App {
    App::new()
        .route("/", get(async || "ok"))
        .route("/hello/{name}", get(async |Path(name): Path<String>| name))
        .route("/wait/{millis}", get(wait))
        .route("/text", post(async |text: String| text))
        .route("/broken", get(async || -> String { panic!("as asked") }))
        .route("/stream", get(async || pieces()))
}

async fn wait(Path(millis): Path<u64>) -> &'static str {
    sleep(Duration::from_millis(millis)).await;
    "waited"
}

/// Content that takes its time after the head of its answer.
fn pieces() -> BodyStream {
    BodyStream::new(stream::unfold(0, async |count| {
        sleep(Duration::from_millis(10)).await;
        (count < 3).then(|| (Ok::<_, std::io::Error>("piece".into()), count + 1))
    }))
}

fn anywhere() -> Admin {
    Admin::new(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn start() -> TestServer {
    TestServer::start(app().admin(anywhere()))
}

fn admin_address(server: &Server) -> SocketAddr {
    match server.admin_address() {
        Some(Address::Tcp(address)) => *address,
        other => panic!("{other:?}"),
    }
}

fn admin(server: &TestServer) -> Client {
    Client::connect(admin_address(&server.server))
}

fn ask(server: &TestServer, path: &str) -> Response {
    admin(server)
        .exchange(support::request("GET", path, "").replace("Host: test", "Host: localhost"))
}

/// The sample of this name and these labels, as the text has them.
fn metric(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().expect("a number")
}

/// Waits until a sample has this value: the end of a turn is noted before its answers leave, but
/// the end of a connection after.
fn expect_metric(server: &TestServer, sample: &str, expected: f64) {
    let mut seen = f64::NAN;
    eventually(&format!("{sample} is {expected}"), || {
        seen = metric(ask(server, "/metrics").text(), sample);
        seen == expected
    });
}

#[test]
fn what_happened_is_counted_by_route() {
    let server = start();
    for name in ["a", "b", "c"] {
        assert_eq!(server.get(&format!("/hello/{name}")).text(), name);
    }
    assert_eq!(server.get("/wait/3").text(), "waited");
    assert_eq!(server.get("/nowhere").status, 404);
    assert_eq!(server.request(support::request("DELETE", "/", "")).status, 405);
    assert_eq!(server.request(support::post("/text", "text/plain", "x")).text(), "x");
    assert_eq!(server.get("/broken").status, 500);
    assert_eq!(server.get("/stream").text(), "piecepiecepiece");
    assert_eq!(server.request("GET / HTTP/1.1\r\n\r\n").status, 400);
    let text = ask(&server, "/metrics");
    let text = text.text();
    let requests = |labels: &str| metric(text, &format!("corelane_requests_total{{{labels}}}"));
    assert_eq!(requests(r#"shard="0",route="/hello/{name}",code="2xx""#), 3.0);
    assert_eq!(requests(r#"shard="0",route="/wait/{millis}",code="2xx""#), 1.0);
    assert_eq!(requests(r#"shard="0",route="(not found)",code="4xx""#), 1.0);
    assert_eq!(requests(r#"shard="0",route="/",code="4xx""#), 1.0);
    assert_eq!(requests(r#"shard="0",route="/",code="2xx""#), 0.0);
    assert_eq!(requests(r#"shard="0",route="/text",code="2xx""#), 1.0);
    assert_eq!(requests(r#"shard="0",route="/broken",code="5xx""#), 1.0);
    assert_eq!(requests(r#"shard="0",route="/stream",code="2xx""#), 1.0);
    assert_eq!(metric(text, r#"corelane_parse_errors_total{kind="host_missing"}"#), 1.0);
    assert_eq!(metric(text, r#"corelane_heads_total{shard="0"}"#), 9.0);
    assert_eq!(metric(text, r#"corelane_responses_total{shard="0",code="4xx"}"#), 3.0);
    assert_eq!(metric(text, r#"corelane_handler_panics_total{shard="0"}"#), 1.0);
    assert_eq!(metric(text, r#"corelane_connections_accepted_total{shard="0"}"#), 10.0);
    assert_eq!(metric(text, "corelane_ready"), 1.0);
    server.stop();
}

#[test]
fn durations_are_those_of_their_route() {
    let server = start();
    (0..5).for_each(|_| assert_eq!(server.get("/").text(), "ok"));
    assert_eq!(server.get("/wait/40").text(), "waited");
    let text = ask(&server, "/metrics");
    let text = text.text();
    let durations = |part: &str, labels: &str| {
        metric(text, &format!("corelane_request_duration_seconds_{part}{{{labels}}}"))
    };
    assert_eq!(durations("count", r#"route="/""#), 5.0);
    let waited = r#"route="/wait/{millis}""#;
    assert_eq!(durations("count", waited), 1.0);
    // Timers are never early.
    assert!(durations("sum", waited) >= 0.04, "{text}");
    assert_eq!(durations("bucket", &format!(r#"{waited},le="0.03125""#)), 0.0);
    assert_eq!(durations("bucket", &format!(r#"{waited},le="+Inf""#)), 1.0);
    let shard = r#"corelane_shard_request_duration_seconds_count{shard="0"}"#;
    assert_eq!(metric(text, shard), 6.0);
    server.stop();
}

#[test]
fn what_is_under_way_is_in_flight_until_it_ends() {
    let server = start();
    let in_flight = r#"corelane_requests_in_flight{shard="0"}"#;
    let open = r#"corelane_connections_open{shard="0"}"#;
    let closed = |reason: &str| {
        format!(r#"corelane_connections_closed_total{{shard="0",reason="{reason}"}}"#)
    };
    let (mut waits, mut half) = (server.connect(), server.connect());
    waits.send(support::get("/wait/3600000"));
    half.send("POST /text HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf");
    expect_metric(&server, in_flight, 2.0);
    expect_metric(&server, open, 2.0);
    // A client that goes away, and one that cuts its body short: neither is answered.
    waits.reset();
    half.half_close();
    expect_metric(&server, in_flight, 0.0);
    expect_metric(&server, open, 0.0);
    expect_metric(&server, r#"corelane_exchanges_abandoned_total{shard="0"}"#, 2.0);
    expect_metric(&server, &closed("peer_gone"), 1.0);
    expect_metric(&server, &closed("peer_done"), 1.0);
    server.request(support::request("GET", "/", "Connection: close\r\n"));
    expect_metric(&server, &closed("answered"), 1.0);
    server.stop();
}

#[test]
fn limits_and_deadlines_are_counted_by_name() {
    let soon = Duration::from_millis(20);
    let config = ServerConfig { head_timeout: soon, body_bytes_max: 10, ..Default::default() };
    let server = TestServer::start(app().config(config).admin(anywhere()));
    let mut slow = server.connect();
    slow.send("GET / HT");
    assert_eq!(slow.response().status, 408);
    let large = support::post("/text", "text/plain", "more than ten bytes");
    assert_eq!(server.request(large).status, 413);
    expect_metric(&server, r#"corelane_timeouts_total{shard="0",deadline="head"}"#, 1.0);
    expect_metric(&server, r#"corelane_limit_hits_total{limit="body_bytes_max"}"#, 1.0);
    expect_metric(&server, r#"corelane_parse_errors_total{kind="content_too_large"}"#, 1.0);
    expect_metric(&server, r#"corelane_requests_in_flight{shard="0"}"#, 0.0);
    server.stop();
}

#[test]
fn what_was_too_much_is_counted() {
    let app = app().concurrency_max(Concurrency::Max(1)).admin(anywhere());
    let server = TestServer::start(app);
    let mut waits = server.connect();
    waits.send(support::get("/wait/3600000"));
    expect_metric(&server, r#"corelane_requests_in_flight{shard="0"}"#, 1.0);
    assert_eq!(server.get("/").status, 503);
    expect_metric(&server, r#"corelane_requests_shed_total{shard="0"}"#, 1.0);
    expect_metric(&server, r#"corelane_limit_hits_total{limit="concurrency_max"}"#, 1.0);
    expect_metric(&server, r#"corelane_peers_gone_total{shard="0"}"#, 0.0);
    waits.reset();
    expect_metric(&server, r#"corelane_peers_gone_total{shard="0"}"#, 1.0);
    server.stop();
}

/// One request over a Unix socket; the whole answer.
fn ask_unix(path: &std::path::Path, target: &str) -> String {
    let mut socket = UnixStream::connect(path).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    write!(socket, "GET {target} HTTP/1.0\r\n\r\n").expect("send");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("answer");
    answer
}

#[test]
fn it_is_ready_from_the_first_listener_to_the_drain() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("admin");
    let (begin, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(Some(waits));
    let app = app().admin(Admin::new(Address::Unix(path.clone()))).state(move |_shard| {
        // Each shard takes a while to start; here the first one does, until the test says so.
        let waits = waits.lock().expect("one at a time").take();
        async move { waits.map(|waits| waits.recv_timeout(PATIENCE)) }
    });
    let starting = std::thread::spawn(move || TestServer::start(app));
    eventually("the admin address is there", || UnixStream::connect(&path).is_ok());
    let not_ready = ask_unix(&path, "/readyz");
    assert!(not_ready.starts_with("HTTP/1.1 503 "), "{not_ready}");
    assert!(not_ready.ends_with("not ready: starting\n"), "{not_ready}");
    assert!(ask_unix(&path, "/healthz").ends_with("\r\n\r\nok\n"));
    assert_eq!(metric(&ask_unix(&path, "/metrics"), "corelane_ready"), 0.0);
    begin.send(()).expect("it waits");
    let server = starting.join().expect("it starts");
    assert!(ask_unix(&path, "/readyz").ends_with("\r\n\r\nready\n"));
    let mut client = server.connect();
    client.send(support::get("/wait/3600000"));
    eventually("the request is there", || server.stats().in_flight() == 1);
    server.server.drain();
    // The drain waits for the request, and the admin address with it.
    assert!(ask_unix(&path, "/readyz").ends_with("not ready: draining\n"));
    assert!(ask_unix(&path, "/healthz").ends_with("ok\n"));
    server.server.stopper().stop();
    server.server.join().expect("join");
    assert!(!path.exists(), "the socket's file is left behind");
}

#[test]
fn settings_are_told_and_secrets_are_not() {
    let admin = anywhere().show("dataset", "items.json").show("API_KEY", "s3cret");
    let app = app().admin(admin.show("database", "postgres://u:s3cret@db/x"));
    let server = TestServer::start_with(app, |config| config.pipelined_max = 7);
    let response = ask(&server, "/config");
    assert!(!response.text().contains("s3cret"), "{}", response.text());
    let config: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(config["server"]["pipelined_max"], 7);
    assert!(config["server"]["connections_max"].as_u64() > Some(0));
    assert_eq!(config["listen"][0], server.address.to_string());
    assert_eq!(config["program"]["dataset"], "items.json");
    assert_eq!(config["program"]["database"], "postgres://(hidden)@db/x");
    let build: serde_json::Value =
        serde_json::from_slice(&ask(&server, "/build").body).expect("JSON");
    assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));
    server.stop();
}

#[test]
fn requests_that_it_does_not_answer() {
    let server = start();
    let address = admin_address(&server.server);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nx\r\n\r\n", 400),
        ("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    ] {
        let response = Client::connect(address).exchange(request);
        assert_eq!(response.status, status, "{request}");
    }
    // Two on one connection, of which the first came with a half of the second.
    let (first, second) = (support::get("/healthz"), support::get("/readyz"));
    let both = (first + &second).replace("Host: test", "Host: [::1]:9090");
    let mut client = Client::connect(address);
    client.send_pieces(both.as_bytes().chunks(both.len() * 2 / 3));
    assert_eq!((client.response().text(), client.response().text()), ("ok\n", "ready\n"));
    server.stop();
}

#[test]
fn one_connection_too_many_is_turned_away() {
    let idle_timeout = Duration::from_secs(3600);
    let settings = Admin { connections_max: 2, idle_timeout, ..anywhere() };
    let server = TestServer::start(app().admin(settings));
    let idle = [admin(&server), admin(&server)];
    // Accepted in order: by the time the third is answered, the others have their places.
    let mut third = admin(&server);
    assert_eq!(third.response().status, 503);
    drop(idle);
    eventually("a place is free", || {
        let mut slow = admin(&server);
        let request = support::get("/healthz").replace("Host: test", "Host: localhost");
        slow.try_send(request.as_bytes()).is_ok()
            && slow.try_response_to("GET").is_ok_and(|response| response.status == 200)
    });
    server.stop();
}

#[test]
fn a_request_that_never_ends_is_not_waited_for() {
    let patience = Duration::from_millis(30);
    let idle_timeout = Duration::from_millis(60);
    let server = TestServer::start(app().admin(Admin { patience, idle_timeout, ..anywhere() }));
    let mut slow = [admin(&server), admin(&server), admin(&server)];
    slow[0].send("GET /healthz HT");
    let request = support::get("/healthz").replace("Host: test", "Host: localhost");
    assert_eq!(slow[1].exchange(&request).text(), "ok\n");
    slow[1].send("G");
    slow.iter_mut().for_each(Client::expect_ended);
    server.stop();
}

/// The events of a page, one after the other.
struct Events(Client, String);

impl Events {
    fn open(server: &TestServer) -> Events {
        let mut client = admin(server);
        client.send("GET /events HTTP/1.0\r\n\r\n");
        let mut events = Events(client, String::new());
        let head = events.until("\r\n\r\n").expect("a head");
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        events
    }

    fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.1.find(end) {
                let rest = self.1.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.1, rest));
            }
            let mut bytes = [0; 4096];
            match self.0.receive_raw(&mut bytes) {
                0 => return None,
                size => self.1.push_str(std::str::from_utf8(&bytes[..size]).expect("ASCII")),
            }
        }
    }

    /// The next event's kind and data.
    fn next(&mut self) -> Option<(String, serde_json::Value)> {
        let event = self.until("\n\n")?;
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let data = field("data: ").expect("data");
        let kind = field("event: ").expect("a kind").to_owned();
        Some((kind, serde_json::from_str(data).expect("JSON")))
    }
}

#[test]
fn events_tell_what_each_second_brought() {
    let config = ServerConfig { slow_threshold: Duration::from_millis(20), ..Default::default() };
    let server = TestServer::start(app().config(config).admin(anywhere()));
    let mut events = Events::open(&server);
    let (kind, hello) = events.next().expect("an event");
    assert_eq!(kind, "hello");
    let routes = hello["routes"].as_array().expect("routes").clone();
    assert_eq!(hello["cpus"].as_array().map(Vec::len), Some(1));
    // The first sample says from when on the next one counts.
    assert_eq!(events.next().expect("an event").0, "sample");
    assert_eq!(server.get("/wait/30").text(), "waited");
    assert_eq!(server.get("/stream").text(), "piecepiecepiece");
    let (mut answered, mut slow) = (0, Vec::new());
    while answered < 2 || slow.len() < 2 {
        let (kind, sample) = events.next().expect("an event");
        assert_eq!(kind, "sample");
        let heat = sample["heat"].as_array().expect("heat");
        answered += heat.iter().map(|pair| pair[1].as_u64().expect("a count")).sum::<u64>();
        slow = sample["slow"].as_array().expect("slow").clone();
    }
    assert_eq!(answered, 2);
    // The newest first: the stream was answered at once and sent for long.
    let name =
        |slow: &serde_json::Value| routes[slow["route"].as_u64().expect("index") as usize].clone();
    assert_eq!((name(&slow[0]), name(&slow[1])), ("/stream".into(), "/wait/{millis}".into()));
    assert!(slow[0]["send"].as_f64() >= Some(30.0), "{slow:?}");
    assert!(slow[1]["handle"].as_f64() >= Some(30.0), "{slow:?}");
    assert_eq!(slow[1]["send"], 0.0);
    // Its end is the stream's.
    server.stop();
    while events.next().is_some() {}
}

#[test]
fn an_address_in_use_is_an_error_at_start() {
    let server = start();
    let taken = Address::Tcp(admin_address(&server.server));
    let error = app().admin(taken.clone()).start("127.0.0.1:0").expect_err("it is taken");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    server.stop();
}

/// Not asked for, it is not there.
#[test]
fn without_it_there_is_none() {
    let server = TestServer::start(App::new().route("/", get(async || Json(1))));
    assert_eq!(server.server.admin_address(), None);
    server.stop();
}
