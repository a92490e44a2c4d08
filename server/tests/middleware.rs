//! The chain: what middleware can do to a request, its body, its response and its content.

mod support;

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use corelane::middleware::{Inner, Middleware, Next, Reply, from_fn, per_shard};
use corelane::runtime::sleep;
use corelane::{
    App, Body, BodyChunk, BodyStream, BodyUse, Exchange, Extension, HeaderValue, Headers,
    IntoResponse, Json, Path, PeerAddress, RequestBody, RequestBodyError, Response, State,
    StatusCode, get, post,
};
use futures_util::{Stream, StreamExt, stream};
use support::{TestServer, chunked, request};

/// Turns content upside down, the request's and the response's: to the chain, what compression is.
#[derive(Clone)]
struct Inverted;

fn inverted(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

impl Middleware for Inverted {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        if exchange.header("content-encoding") == Some(b"inverted") {
            exchange.remove_header("Content-Encoding");
            match exchange.body_use() {
                BodyUse::Unused => {}
                BodyUse::Whole => {
                    let decoded = inverted(exchange.body_mut());
                    exchange.set_body([decoded.as_slice(), b"!"].concat());
                }
                BodyUse::Stream => {
                    let body = exchange.take_stream().expect("a stream");
                    let more = stream::iter([Ok(BodyChunk::from(Bytes::from("!")))]);
                    let change = |chunk: BodyChunk| BodyChunk::from(Bytes::from(inverted(&chunk)));
                    exchange.set_stream(
                        body.wrap(move |body| body.map(move |chunk| chunk.map(change)).chain(more)),
                    );
                }
            }
        }
        inner.call(exchange).map(|response| {
            let body = match response.body {
                Body::Empty => Body::Empty,
                Body::Bytes(bytes) => Body::from(inverted(&bytes)),
                Body::Stream(stream) => Body::Stream(BodyStream::new(
                    stream.map(|piece| piece.map(|piece| Bytes::from(inverted(&piece)))),
                )),
            };
            let mut response = Response { body, ..response };
            response.headers.insert("content-encoding", HeaderValue::from_static("inverted"));
            response
        })
    }
}

#[test]
fn bodies_and_content_can_be_put_into_others() {
    let app = App::new()
        .route("/text", get(async || "text"))
        .route("/pieces", get(async || pieces(["one ", "two"])))
        .route(
            "/whole",
            post(async |Headers(fields): Headers, body: String| {
                format!("{body} {}", fields.contains_key("content-encoding"))
            }),
        )
        .route("/streamed", post(async |mut body: RequestBody| body.collect_up_to(100).await))
        .layer(Inverted);
    let server = TestServer::start(app);
    for path in ["/text", "/pieces"] {
        let response = server.get(path);
        assert_eq!(response.field("content-encoding"), Some("inverted"), "{path}");
        let text = String::from_utf8(inverted(&response.body)).expect("text");
        assert_eq!(text, if path == "/text" { "text" } else { "one two" });
    }
    let body = inverted(b"hello");
    let fields = "Content-Encoding: inverted\r\nTransfer-Encoding: chunked\r\n";
    for (path, text) in [("/whole", "hello! false"), ("/streamed", "hello!")] {
        let head = request("POST", path, fields);
        let response = server.request([head.as_bytes(), &chunked(&body, 2)].concat());
        assert_eq!(String::from_utf8(inverted(&response.body)).expect("text"), text);
        let fields = "Content-Encoding: inverted\r\nContent-Length: 5\r\n";
        let head = request("POST", path, fields);
        let response = server.request([head.as_bytes(), &body].concat());
        assert_eq!(String::from_utf8(inverted(&response.body)).expect("text"), text);
    }
    server.stop();
}

fn pieces<const N: usize>(pieces: [&'static str; N]) -> BodyStream {
    BodyStream::new(stream::iter(pieces.map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)))))
}

/// A function that waits before and after, and hands a value in.
async fn outer(Headers(fields): Headers, number: State<u32>, mut next: Next) -> Response {
    sleep(Duration::from_millis(1)).await;
    if fields.contains_key("x-early") {
        return (StatusCode::IM_A_TEAPOT, "early").into_response();
    }
    next.insert(Rc::new(format!("state {}", *number)));
    let mut response = next.run().await;
    sleep(Duration::from_millis(1)).await;
    response.status = StatusCode::ACCEPTED;
    response
}

#[test]
fn a_function_may_wait_answer_early_and_hand_values_in() {
    let app = App::new()
        .state(async |_| 7u32)
        .route(
            "/{name}",
            post(async |Path(name): Path<String>, said: Extension<String>, body: String| {
                format!("{name}, {}, {body}", *said)
            }),
        )
        .route("/json", post(async |Json(number): Json<u8>| Json(number)))
        .route(
            "/peer",
            get(async |PeerAddress(peer): PeerAddress| {
                peer.map(|peer| peer.ip().to_string()).unwrap_or_default()
            }),
        )
        .route(
            "/stream",
            post(async |mut body: RequestBody| {
                body.collect_up_to(1 << 20).await.map(|body| body.len().to_string())
            }),
        )
        .layer(from_fn(outer));
    let server = TestServer::start(app);
    let response = server.request(support::post("/a%20b", "text/plain", "body"));
    assert_eq!((response.status, response.text()), (202, "a b, state 7, body"));
    let early = server.request(request("POST", "/x", "X-Early: 1\r\n"));
    assert_eq!((early.status, early.text()), (418, "early"));
    assert_eq!(server.request(support::post("/json", "application/json", "8")).text(), "8");
    // The status is the middleware's own: what it does with a rejection is its business.
    let rejected = server.request(support::post("/json", "application/json", "x"));
    assert!(rejected.text().contains("not valid JSON"), "{rejected:?}");
    assert_eq!(server.get("/peer").text(), "127.0.0.1");
    let streamed = server.request(support::post("/stream", "text/plain", vec![b'x'; 300_000]));
    assert_eq!((streamed.status, streamed.text()), (202, "300000"));
    assert_eq!(server.get("/nothing/here").status, 202);
    server.stop();
}

#[test]
fn each_shard_has_one_of_each_layer() {
    struct Counting(Rc<Cell<u32>>);
    impl Middleware for Counting {
        fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
            self.0.set(self.0.get() + 1);
            let count = HeaderValue::from(self.0.get());
            inner.call(exchange).map(|mut response| {
                response.headers.insert("x-count", count);
                response
            })
        }
    }
    let app = App::new()
        .route("/a", get(async || ""))
        .route("/b", get(async || ""))
        .layer(per_shard(|_| Counting(Rc::default())));
    let server = TestServer::start(app);
    for (path, count) in [("/a", "1"), ("/b", "2"), ("/none", "3")] {
        assert_eq!(server.get(path).field("x-count"), Some(count));
    }
    server.stop();
}

/// Tells when it is dropped.
struct Flag(Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Never ends.
struct Endless {
    _flag: Flag,
}

impl Stream for Endless {
    type Item = Result<Bytes, RequestBodyError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

#[test]
fn a_peer_that_goes_away_cancels_the_whole_chain() {
    let app = App::new()
        .state(async |_| Rc::new(Cell::new(false)))
        .route(
            "/handler",
            get(async |dropped: State<Rc<Cell<bool>>>| {
                let _flag = Flag(Rc::clone(&dropped));
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/stream",
            get(async |dropped: State<Rc<Cell<bool>>>| {
                BodyStream::new(Endless { _flag: Flag(Rc::clone(&dropped)) })
            }),
        )
        .layer(from_fn(async |next: Next| next.run().await))
        .layer(Inverted)
        .route("/dropped", get(async |dropped: State<Rc<Cell<bool>>>| dropped.take().to_string()));
    let server = TestServer::start(app);
    for path in ["/handler", "/stream"] {
        let mut client = server.connect();
        client.send(support::get(path));
        support::eventually("it is called", || server.stats().requests.value() % 2 == 1);
        socket2::SockRef::from(&client.socket).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(client);
        server.wait_until_quiet();
        assert_eq!(server.get("/dropped").text(), "true", "{path}");
    }
    server.stop();
}

#[test]
fn a_panic_in_middleware_is_a_500() {
    #[derive(Clone)]
    struct Broken;
    impl Middleware for Broken {
        fn call(&self, exchange: &mut Exchange<'_>, _: Inner<'_>) -> Reply {
            panic!("broken at {}", exchange.path());
        }
    }
    let app = App::new().route("/sync", get(async || "").layer(Broken)).route(
        "/late",
        get(async || "").layer(from_fn(async |next: Next| -> Response {
            let response = next.run().await;
            assert_eq!(response.status, StatusCode::CREATED);
            response
        })),
    );
    let server = TestServer::start(app);
    for path in ["/sync", "/late"] {
        let response = server.get(path);
        assert_eq!(response.status, 500);
        assert!(response.says_close());
    }
    assert_eq!(server.stats().handler_panics.value(), 2);
    server.stop();
}

#[test]
fn head_has_the_length_that_get_has() {
    let app = App::new().route("/", get(async || "hello")).layer(Inverted);
    let server = TestServer::start(app);
    let mut client = server.connect();
    let response = client.exchange(request("HEAD", "/", ""));
    assert_eq!(response.field("content-length"), Some("5"));
    assert_eq!(client.exchange(support::get("/")).body, inverted(b"hello"));
    server.stop();
}
