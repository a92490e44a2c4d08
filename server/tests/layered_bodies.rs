//! Middleware and the bodies of requests: who is asked before what is received; trailers.

mod support;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelane::middleware::{
    BearerToken, Inner, Middleware, Next, Reply, TimeLimit, authenticate, compression, from_fn,
};
use corelane::{
    App, BodyStream, Exchange, HeaderMap, HeaderName, HeaderValue, Headers, IntoResponse,
    RequestBody, Response, Router, StatusCode, Trailers, get, post,
};
use futures_util::stream;
use support::{Client, TestServer, chunked, request};

/// Lets in who has a key.
#[derive(Clone)]
struct Gate;

impl Middleware for Gate {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        match exchange.header("x-key") {
            Some(_) => inner.call(exchange),
            None => Reply::ready(StatusCode::FORBIDDEN),
        }
    }
}

/// As `Gate`, and waits.
async fn gate(Headers(fields): Headers, next: Next) -> Response {
    corelane::runtime::sleep(Duration::from_millis(1)).await;
    match fields.contains_key("x-key") {
        true => next.run().await,
        false => StatusCode::FORBIDDEN.into_response(),
    }
}

async fn whole(body: Bytes, Trailers(trailers): Trailers) -> String {
    format!("{} {}", body.len(), listed(&trailers))
}

async fn streamed(mut body: RequestBody) -> Result<String, corelane::RequestBodyError> {
    let bytes = body.collect_up_to(1 << 20).await?;
    Ok(format!("{} {}", bytes.len(), listed(&body.trailers())))
}

fn listed(fields: &HeaderMap) -> String {
    let pairs =
        fields.iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("text")));
    pairs.collect::<Vec<_>>().join(",")
}

const BODY_BYTES_MAX: u64 = 2 << 30;

fn start() -> TestServer {
    let routes = || {
        [("whole", post(whole)), ("streamed", post(streamed)), ("unused", post(async || "unused"))]
    };
    let mut app = App::new().route("/get", get(async || "got"));
    for (name, route) in routes() {
        app = app.route(&format!("/open/{name}"), route.body_bytes_max(BODY_BYTES_MAX));
    }
    for (name, route) in routes() {
        let route = route.layer(Gate).body_bytes_max(BODY_BYTES_MAX);
        app = app.route(&format!("/gate/{name}"), route);
    }
    for (name, route) in routes() {
        let route = route.layer(from_fn(gate)).layer(Gate).body_bytes_max(BODY_BYTES_MAX);
        app = app.route(&format!("/slow/{name}"), route);
    }
    TestServer::start(app)
}

const LAYERED: [&str; 6] = [
    "/gate/whole",
    "/gate/streamed",
    "/gate/unused",
    "/slow/whole",
    "/slow/streamed",
    "/slow/unused",
];

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let server = start();
    for path in LAYERED {
        for (fields, begun) in [
            ("Content-Length: 1073741824\r\n", ""),
            ("Content-Length: 1073741824\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
            ("Content-Length: 5\r\nExpect: 100-continue\r\n", ""),
            ("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", ""),
        ] {
            let mut client = server.connect();
            client.send(request("POST", path, fields) + begun);
            let response = client.any_response_to("POST").expect("final");
            assert_eq!(response.status, 403, "{path} {fields:?}");
            assert!(response.says_close(), "{path} {fields:?}: the rest is not waited for");
            client.half_close();
            client.expect_closed();
        }
    }
    server.stop();
}

#[test]
fn a_small_body_that_was_refused_is_thrown_away() {
    let server = start();
    for path in LAYERED {
        let mut client = server.connect();
        client.send(request("POST", path, "Content-Length: 5\r\n"));
        let response = client.any_response_to("POST").expect("final");
        assert_eq!((response.status, response.says_close()), (403, false), "{path}");
        client.send("hello".to_owned() + &support::get("/get"));
        assert_eq!(client.response().text(), "got", "{path}");
    }
    server.stop();
}

#[test]
fn who_waits_to_be_asked_is_asked_when_all_have_let_the_request_in() {
    let server = start();
    for path in ["/gate/whole", "/gate/streamed", "/slow/whole", "/slow/streamed"] {
        let mut client = server.connect();
        let fields = "X-Key: 1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n";
        client.send(request("POST", path, fields));
        assert_eq!(client.any_response_to("POST").expect("interim").status, 100, "{path}");
        client.send("hello");
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, "5 "), "{path}");
        assert_eq!(client.exchange(support::get("/get")).text(), "got");
    }
    server.stop();
}

/// A chunked body of five bytes with trailers, two of which no trailer may be.
const TRAILED: &str = "2\r\nhe\r\n3\r\nllo\r\n0\r\n\
    X-Sum: 7\r\nContent-Length: 9\r\nx-more: a\r\nHost: b\r\n\r\n";

#[test]
fn bodies_and_trailers_are_the_same_however_they_come() {
    let server = start();
    for place in ["open", "gate", "slow"] {
        for name in ["whole", "streamed"] {
            let path = format!("/{place}/{name}");
            let coded = "X-Key: 1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n";
            let coded = request("POST", &path, coded) + TRAILED;
            check_cuts(&server, &coded, "5 x-sum=7,x-more=a");
            let counted = "X-Key: 1\r\nContent-Length: 5\r\n";
            check_cuts(&server, &(request("POST", &path, counted) + "hello"), "5 ");
        }
    }
    server.stop();
}

/// Sends a request whole, byte by byte, and split at every offset, always with another behind it.
fn check_cuts(server: &TestServer, sent: &str, expected: &str) {
    let all = sent.to_owned() + &support::get("/get");
    let check = |client: &mut Client, cut: &str| {
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, expected), "{sent:?} {cut}");
        assert_eq!(client.response().text(), "got", "{sent:?} {cut}");
    };
    let mut client = server.connect();
    client.send(&all);
    check(&mut client, "whole");
    client.send_bytewise(all.as_bytes());
    check(&mut client, "byte by byte");
    for at in 1..sent.len() {
        let (first, second) = all.as_bytes().split_at(at);
        client.send_pieces([first, second]);
        check(&mut client, "split");
    }
}

#[test]
fn limits_and_broken_framing_hold_behind_middleware() {
    let app = App::new()
        .route("/whole", post(whole).body_bytes_max(10))
        .route("/streamed", post(streamed).body_bytes_max(10))
        .layer(from_fn(gate));
    let server = TestServer::start(app);
    let coded = "X-Key: 1\r\nTransfer-Encoding: chunked\r\n";
    for path in ["/whole", "/streamed"] {
        for (fields, body, status) in [
            ("X-Key: 1\r\nContent-Length: 11\r\n", "", 413),
            (coded, "5\r\nhello\r\n6\r\n", 413),
            (coded, "5\r\nhello\r\nx", 400),
            (coded, "5\r\nhello\r\n0\r\nno field\r\n\r\n", 400),
        ] {
            let mut client = server.connect();
            client.send(request("POST", path, fields) + body);
            let response = client.response();
            assert_eq!(response.status, status, "{path} {body:?}");
            assert!(response.says_close(), "{path} {body:?}");
            client.half_close();
            client.expect_closed();
        }
    }
    server.stop();
}

/// The order that `docs/bodies.md` promises: the announced length against the route's limit, then
/// middleware, from outside to inside, then what is received against the limit.
#[test]
fn what_is_too_large_is_refused_before_who_asks_is_known() {
    async fn known(token: BearerToken) -> Option<()> {
        (token.0 == "known").then_some(())
    }
    let body = || async |body: Bytes| body.len().to_string();
    let limited = Router::new()
        .route("/lower", post(body()))
        .route("/own", post(body()).body_bytes_max(30))
        .fallback(body())
        .body_bytes_max(10);
    let app = App::new()
        .route("/default", post(body()))
        .route("/higher", post(body()).body_bytes_max(40))
        .nest("/in", limited)
        .layer(authenticate("all", known));
    let server = TestServer::start_with(app, |config| config.body_bytes_max = 20);
    let ask = |path: &str, token: &str, fields: &str, body: &str| {
        let fields = format!("Authorization: Bearer {token}\r\n{fields}");
        let mut client = server.connect();
        client.send(request("POST", path, &fields) + body);
        let response = client.any_response_to("POST").expect("final");
        (response.status, response.says_close())
    };
    for (path, limit, found) in [
        ("/default", 20, 200),
        ("/higher", 40, 200),
        ("/in/lower", 10, 200),
        ("/in/own", 30, 200),
        ("/in/none", 10, 200),
        ("/none", 20, 404),
    ] {
        for (token, answer) in [("known", found), ("none", 401)] {
            let announced = |size: usize| format!("Content-Length: {size}\r\n");
            let fits = ask(path, token, &announced(limit), &"x".repeat(limit));
            assert_eq!(fits, (answer, false), "{path} {token}");
            // Nothing of it has to be there, and nobody is asked for it.
            let larger = announced(limit + 1);
            for fields in [larger.clone(), larger + "Expect: 100-continue\r\n"] {
                assert_eq!(ask(path, token, &fields, ""), (413, true), "{path} {token}");
            }
            // How large chunks become shows while they are received: who asks is known before.
            let coded = "Transfer-Encoding: chunked\r\n";
            let chunks = |size| String::from_utf8(chunked(&vec![b'x'; size], 7)).expect("text");
            assert_eq!(ask(path, token, coded, &chunks(limit)).0, answer, "{path} {token}");
            let larger = if answer == 200 { 413 } else { answer };
            let refused = ask(path, token, coded, &chunks(limit + 1));
            assert_eq!(refused, (larger, true), "{path} {token}");
        }
    }
    server.stop();
}

#[test]
fn who_goes_away_or_is_too_slow_ends_what_waits_for_the_body() {
    let app = App::new()
        .route("/", post(whole).layer(Gate))
        .route("/limited", post(whole).layer(TimeLimit::new(Duration::from_millis(5))));
    let server = TestServer::start_with(app, |config| {
        config.body_timeout = Duration::from_millis(100);
    });
    let begun = |path| request("POST", path, "X-Key: 1\r\nContent-Length: 10\r\n") + "hello";
    let mut client = server.connect();
    client.send(begun("/"));
    support::eventually("it is begun", || server.stats().requests.value() == 1);
    client.reset();
    support::eventually("it is given up", || server.stats().peers_gone.value() == 1);
    for (path, status) in [("/", 408), ("/limited", 503)] {
        let mut client = server.connect();
        client.send(begun(path));
        assert_eq!(client.response().status, status, "{path}");
    }
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn a_client_that_waits_to_be_asked_has_its_time_from_then_on() {
    let app = App::new().route("/", post(whole)).layer(from_fn(async |next: Next| {
        corelane::runtime::sleep(Duration::from_millis(300)).await;
        next.run().await
    }));
    let server = TestServer::start_with(app, |config| {
        config.body_timeout = Duration::from_millis(100);
    });
    let mut client = server.connect();
    client.send(request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!(client.any_response_to("POST").expect("interim").status, 100);
    client.send("hello");
    assert_eq!(client.response().text(), "5 ");
    // What one sends that does not wait for long is kept until it is wanted.
    client.send(request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    support::eventually("it is called", || server.stats().requests.value() == 2);
    client.send("hello");
    assert_eq!(client.response().text(), "5 ");
    server.stop();
}

/// Looks at the whole body before anybody else does.
#[derive(Clone)]
struct Measure;

impl Middleware for Measure {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        inner.with_body(exchange, |exchange, inner| {
            let size = exchange.body_mut().len();
            exchange.insert(Rc::new(size));
            inner.call(exchange).map(move |response| {
                response.with_header(HeaderName::from_static("x-size"), HeaderValue::from(size))
            })
        })
    }
}

#[test]
fn middleware_may_ask_for_the_body_itself() {
    let app = App::new()
        .route("/whole", post(whole))
        .route("/streamed", post(streamed))
        .route("/unused", post(async || "unused"))
        .layer(from_fn(gate))
        .layer(Measure);
    let server = TestServer::start(app);
    let coded = "X-Key: 1\r\nTransfer-Encoding: chunked\r\n";
    let counted = "X-Key: 1\r\nContent-Length: 5\r\n";
    for path in ["/whole", "/streamed", "/unused"] {
        for (fields, body, trailers) in
            [(coded, TRAILED, "x-sum=7,x-more=a"), (counted, "hello", "")]
        {
            let mut client = server.connect();
            client.send(request("POST", path, fields));
            client.send(body);
            let response = client.response();
            let (text, size) = match path {
                "/unused" => ("unused".to_owned(), "0"),
                _ => (format!("5 {trailers}"), "5"),
            };
            assert_eq!((response.status, response.text()), (200, &*text), "{path} {fields:?}");
            assert_eq!(response.field("x-size"), Some(size), "{path} {fields:?}");
        }
    }
    server.stop();
}

fn pieces() -> BodyStream {
    let pieces = ["one ", "two ", "three"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
    BodyStream::new(stream::iter(pieces))
}

/// A field that was announced, twice; one that was not; one that no trailer may be.
fn trailed(content: BodyStream) -> BodyStream {
    let names = ["x-sum", "content-length"].map(HeaderName::from_static);
    content.with_trailers(names, || {
        let fields = [("x-sum", "7"), ("x-sum", "8"), ("x-other", "9"), ("content-length", "1")];
        let field =
            |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        HeaderMap::from_iter(fields.map(field))
    })
}

#[test]
fn a_stream_may_have_fields_behind_it() {
    let app = App::new()
        .route("/trailed", get(async || trailed(pieces())))
        .route("/sized", get(async || trailed(pieces().with_size(13))))
        .route(
            "/untrue",
            get(async || {
                ([(corelane::header::TRAILER, "x-sum"), (corelane::header::VIA, "me")], "text")
            }),
        )
        .route(
            "/compressed",
            get(async || ([(corelane::header::CONTENT_TYPE, "text/plain")], trailed(pieces())))
                .layer(compression()),
        )
        .route(
            "/panics",
            get(async || {
                pieces().with_trailers([HeaderName::from_static("x-sum")], || panic!("no sum"))
            }),
        );
    let server = TestServer::start(app);
    let mut client = server.connect();
    for fields in ["", "TE: trailers\r\n", "Accept-Encoding: gzip\r\n"] {
        for path in ["/trailed", "/compressed"] {
            let response = client.exchange(request("GET", path, fields));
            assert_eq!(response.field("trailer"), Some("x-sum"), "{path}");
            assert_eq!(client.trailers, ["x-sum: 7", "x-sum: 8"], "{path}");
            let is_plain = response.field("content-encoding").is_none();
            assert_eq!(is_plain, path == "/trailed" || !fields.starts_with("Accept"), "{path}");
            assert!(!is_plain || response.text() == "one two three", "{path}");
        }
    }
    assert_eq!(client.exchange(request("HEAD", "/trailed", "")).field("trailer"), Some("x-sum"));
    for path in ["/sized", "/untrue"] {
        assert_eq!(client.exchange(support::get(path)).field("trailer"), None, "{path}");
    }
    let mut old = server.connect();
    old.send("GET /trailed HTTP/1.0\r\n\r\n");
    let response = old.response();
    assert_eq!((response.field("trailer"), response.text()), (None, "one two three"));
    let mut broken = server.connect();
    broken.send(support::get("/panics"));
    assert_eq!(broken.try_response_to("GET"), Err(support::End::Within));
    assert_eq!(server.stats().handler_panics.value(), 1);
    server.stop();
}

#[test]
fn small_chunks_of_a_large_body_arrive_behind_middleware() {
    let app = App::new().route("/", post(whole).layer(Gate));
    let server = TestServer::start(app);
    let body = vec![b'x'; 200_000];
    let head = request("POST", "/", "X-Key: 1\r\nTransfer-Encoding: chunked\r\n");
    let mut client = server.connect();
    for size in [1000, 7, 70_000] {
        client.send([head.as_bytes(), &chunked(&body, size)].concat());
        assert_eq!(client.response().text(), "200000 ", "{size}");
    }
    server.stop();
}
