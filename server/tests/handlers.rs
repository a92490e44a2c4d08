//! What handlers take and return, over the wire: extractors, rejections, responses, and failures.

mod support;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use corelane::runtime::mutation::{self, Mutation};
use corelane::runtime::{Shard, sleep};
use corelane::{
    App, Body, BodyStream, BoxError, HeaderName, HeaderValue, Headers, IntoResponse, Json, Method,
    Path, PeerAddress, Problem, Query, Request, RequestBody, RequestBodyError, Response,
    ServerConfig, State, StatusCode, get, header, post, put,
};
use futures_channel::oneshot;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use support::{Client, End, TestServer, chunked, eventually, request};

#[derive(Debug, Deserialize, Serialize)]
struct Item {
    name: String,
    price: i32,
}

#[derive(Deserialize)]
struct Range {
    from: u32,
    to: Option<u32>,
}

fn extractors() -> App {
    App::new()
        .state(async |_shard| Cell::new(0))
        .route("/text/{text}", get(async |Path(text): Path<String>| text))
        .route("/number/{n}", get(async |Path(n): Path<u8>| n.to_string()))
        .route("/pair/{a}/{b}", get(async |Path((a, b)): Path<(u8, u8)>| (a + b).to_string()))
        .route("/rest/{*rest}", get(async |Path(rest): Path<String>| rest))
        .route("/range", get(async |Query(q): Query<Range>| format!("{}-{:?}", q.from, q.to)))
        .route("/json", post(async |Json(item): Json<Item>| format!("{item:?}")))
        .route("/string", post(async |text: String| text))
        .route("/bytes", post(async |bytes: Bytes| bytes.len().to_string()))
        .route("/vec", post(async |bytes: Vec<u8>| bytes.len().to_string()))
        .route("/stream", post(count_bytes))
        .route("/collect", post(collect_five))
        .route(
            "/count",
            get(async |count: State<Cell<i32>>| {
                count.set(count.get() + 1);
                count.get().to_string()
            }),
        )
        .route("/peer", get(async |PeerAddress(peer)| format!("{peer:?}")))
        .route("/headers", get(async |Headers(headers)| format!("{:?}", headers.get("x-a"))))
        .route(
            "/request/{x}",
            put(async |request: Request| {
                let Request { method, path, query, authority, version, headers } = request;
                let count = headers.len();
                format!("{method} {path} {query:?} {authority:?} {version:?} {count}")
            }),
        )
        .route("/option", get(async |query: Option<Query<Range>>| query.is_some().to_string()))
        .route(
            "/result",
            post(async |json: Result<Json<Item>, Problem>| match json {
                Ok(Json(item)) => item.name,
                Err(problem) => problem.status().to_string(),
            }),
        )
        .route(
            "/method",
            get(async |method: Method, shard: Rc<Shard>, ()| format!("{method} {}", shard.id().0)),
        )
}

async fn count_bytes(mut body: RequestBody) -> Result<String, RequestBodyError> {
    let mut size = 0;
    while let Some(chunk) = body.chunk().await {
        size += chunk?.len();
    }
    Ok(size.to_string())
}

async fn collect_five(mut body: RequestBody) -> Result<Vec<u8>, RequestBodyError> {
    body.collect_up_to(5).await
}

#[test]
fn arguments_come_from_the_request() {
    let server = TestServer::start(extractors());
    let mut client = server.connect();
    let local = format!("Some({})", client.socket.local_addr().unwrap());
    for (request, expected) in [
        (support::get("/text/a%20b%2Fc%C3%A9"), "a b/cé"),
        (support::get("/text/%2e"), "."),
        (support::get("/t%65xt/x"), "x"),
        (support::get("/number/255"), "255"),
        (support::get("/pair/1/2"), "3"),
        (support::get("/rest/a/b//c?d"), "a/b//c"),
        (support::get("/range?from=1&to=2"), "1-Some(2)"),
        (support::get("/range?to=%32&from=%31"), "1-Some(2)"),
        (support::get("/range?from=1&x=y"), "1-None"),
        (support::get("/count"), "1"),
        (support::get("/count"), "2"),
        (support::get("/peer"), &local),
        (request("GET", "/headers", "X-A:  b c\t\r\n"), "Some(\"b c\")"),
        (
            request("PUT", "/request/%41?b=%20", "A: b\r\n"),
            "PUT /request/%41 Some(\"b=%20\") Some(\"test\") HTTP/1.1 2",
        ),
        (
            "PUT http://other:81/request/y HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
            "PUT /request/y None Some(\"other:81\") HTTP/1.1 1",
        ),
        (support::get("/option?from=1"), "true"),
        (support::get("/option?from=x"), "false"),
        (support::get("/method"), "GET 0"),
    ] {
        let response = client.exchange(&request);
        assert_eq!((response.status, response.text()), (200, expected), "{request}");
        assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"));
    }
    server.stop();
}

#[test]
fn bodies_arrive_whole_however_they_are_framed_and_cut() {
    let server = TestServer::start(extractors());
    let mut client = server.connect();
    let item = br#"{"name":"a\u00e9","price":-7}"#;
    let json = "application/json";
    for (path, kind, body, expected) in [
        ("/json", json, &item[..], "Item { name: \"aé\", price: -7 }"),
        ("/json", "application/x+json; charset=utf-8", item, "Item { name: \"aé\", price: -7 }"),
        ("/string", "text/plain", "é".as_bytes(), "é"),
        ("/bytes", "x/y", &[0xff; 100_000], "100000"),
        ("/vec", "x/y", &[0xff; 3], "3"),
        ("/stream", "x/y", &[0xff; 300_000], "300000"),
        ("/stream", "x/y", b"", "0"),
        ("/collect", "x/y", b"12345", "12345"),
        ("/result", json, item, "aé"),
        ("/result", json, b"{", "400 Bad Request"),
        ("/result", "text/plain", item, "415 Unsupported Media Type"),
    ] {
        let whole = support::post(path, kind, body);
        let head = request(
            "POST",
            path,
            &format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"),
        );
        let in_chunks = [head.as_bytes(), &chunked(body, 1000)].concat();
        for request in [whole, in_chunks] {
            assert_eq!(client.exchange(&request).text(), expected, "{path}");
            for size in [1, 7, 4096] {
                if request.len() / size > 10_000 {
                    continue;
                }
                client.send_pieces(request.chunks(size));
                assert_eq!(client.response().text(), expected, "{path} in pieces of {size}");
            }
        }
    }
    server.stop();
}

#[test]
fn what_does_not_fit_is_rejected_with_the_reason() {
    let server = TestServer::start(extractors());
    let mut client = server.connect();
    let json = |body: &str| support::post("/json", "application/json", body);
    let deep = "[".repeat(1000);
    for (request, status, reason) in [
        (
            support::get("/number/256").into_bytes(),
            400,
            "n is not an integer from 0 to 255: \"256\"",
        ),
        (support::get("/number/x").into_bytes(), 400, "n is not an integer"),
        (support::get("/pair/1/x").into_bytes(), 400, "b is not an integer"),
        (support::get("/text/%ff").into_bytes(), 400, "text is not UTF-8"),
        (support::get("/range").into_bytes(), 400, "missing field `from`"),
        (support::get("/range?from=-1").into_bytes(), 400, "the query is wrong"),
        (support::get("/range?from=1&from=2").into_bytes(), 400, "duplicate field"),
        (json(""), 400, "not valid JSON"),
        (json("{"), 400, "not valid JSON"),
        (json("{\"name\":\"a\",\"price\":1} x"), 400, "not valid JSON"),
        (json(&deep), 400, "nested deeper than 128"),
        (json("{}"), 422, "missing field `name`"),
        (json("{\"name\":1,\"price\":1}"), 422, "a value must be a string"),
        (json("{\"name\":\"a\",\"price\":3000000000}"), 422, ""),
        (support::post("/json", "text/plain", "{}"), 415, "must be JSON"),
        (support::request("POST", "/json", "").into_bytes(), 415, "must be JSON"),
        (support::post("/string", "text/plain", [0xff]), 400, "the body is not UTF-8"),
        (support::post("/collect", "x/y", "123456"), 413, "larger than the handler takes"),
    ] {
        let response = client.exchange(&request);
        let text = String::from_utf8_lossy(&request);
        assert_eq!(response.status, status, "{text}: {}", response.text());
        assert!(response.detail().contains(reason), "{text}: {}", response.detail());
        assert!(!response.says_close(), "a rejection keeps the connection");
    }
    server.stop();
}

/// Each field twice that is no list.
async fn repeated() -> Response {
    let mut response = Response::new(StatusCode::OK);
    for name in ["age", "content-disposition", "content-location", "etag", "expires", "location"] {
        for value in ["first", "last"] {
            let name = HeaderName::from_static(name);
            response.headers.append(name, HeaderValue::from_static(value));
        }
    }
    response
}

fn responses() -> App {
    App::new()
        .route("/text", get(async || "text"))
        .route("/string", get(async || String::from("string")))
        .route("/bytes", get(async || Bytes::from_static(b"bytes")))
        .route("/slice", get(async || &b"slice"[..]))
        .route("/vec", get(async || vec![1u8, 2]))
        .route("/typed-bytes", get(async || (OWN_TYPE, Bytes::from_static(b"bytes"))))
        .route("/typed-json", get(async || (OWN_TYPE, Json(1))))
        .route(
            "/typed-twice",
            get(async || (OWN_TYPE, ([(header::CONTENT_TYPE, "inner/type")], &b"bytes"[..]))),
        )
        .route("/large", get(async || Bytes::from(vec![b'x'; 1 << 20])))
        .route("/json", get(async || Json(Item { name: "\"é".to_owned(), price: 1 })))
        .route("/unit", get(async || ()))
        .route("/status", get(async || StatusCode::ACCEPTED))
        .route("/teapot", get(async || (StatusCode::IM_A_TEAPOT, "short and stout")))
        .route("/fields", get(async || ([(header::ETAG, "\"1\"")], "tagged")))
        .route("/created", get(async || (StatusCode::CREATED, [(header::LOCATION, "/1")], Json(1))))
        .route("/empty", get(async || (StatusCode::NO_CONTENT, "not sent")))
        .route("/reset", get(async || (StatusCode::RESET_CONTENT, "not sent")))
        .route("/cached", get(async || (StatusCode::NOT_MODIFIED, "not sent")))
        .route("/interim", get(async || StatusCode::SWITCHING_PROTOCOLS))
        .route("/last-of-all", get(async || StatusCode::from_u16(599).expect("a status")))
        .route("/beyond", get(async || StatusCode::from_u16(600).expect("a status")))
        .route("/ok", get(async || Ok::<_, Problem>("fine")))
        .route(
            "/err",
            get(async || Err::<(), _>(Problem::new(StatusCode::CONFLICT).detail("taken"))),
        )
        .route(
            "/value",
            get(async || {
                let mut response = Response::new(StatusCode::OK);
                response.body = Body::from("value");
                for (name, value) in OWN_FIELDS {
                    response.headers.append(name, HeaderValue::from_static(value));
                }
                response
            }),
        )
        .route("/repeated", get(repeated))
        .route(
            "/upgrade",
            get(async || (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], "no")),
        )
        .route("/offer", get(async || ([(header::UPGRADE, "h2c")], "or newer")))
        .route("/close", get(async || ([(header::CONNECTION, "x, Close")], "last")))
        .route("/stream", get(async || BodyStream::new(pieces())))
        .route("/sized", get(async || BodyStream::new(pieces()).with_size(11)))
        .route(
            "/nothing",
            get(async || BodyStream::new(stream::empty::<Result<Bytes, BoxError>>())),
        )
        .route("/no-content", get(async || (StatusCode::NO_CONTENT, BodyStream::new(pieces()))))
        .route(
            "/reset-stream",
            get(async || (StatusCode::RESET_CONTENT, BodyStream::new(pieces()))),
        )
        .route(
            "/slow",
            get(async || {
                BodyStream::new(stream::unfold(0, |count| async move {
                    sleep(Duration::from_millis(1)).await;
                    (count < 5).then(|| (Ok::<_, BoxError>(Bytes::from_static(b"ab")), count + 1))
                }))
            }),
        )
        .route("/short", get(async || BodyStream::new(pieces()).with_size(12)))
        .route("/long", get(async || BodyStream::new(pieces()).with_size(10)))
        .route(
            "/failing",
            get(async || {
                let pieces = [Ok(Bytes::from_static(b"begun")), Err(BoxError::from("it broke"))];
                BodyStream::new(stream::iter(pieces))
            }),
        )
}

const OWN_TYPE: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "a/b")];

const OWN_FIELDS: [(HeaderName, &str); 9] = [
    (header::CONTENT_LENGTH, "99"),
    (header::TRANSFER_ENCODING, "chunked"),
    (header::DATE, "never"),
    (header::SERVER, "other"),
    (header::SET_COOKIE, "a=1"),
    (header::SET_COOKIE, "b=2"),
    (header::CONTENT_TYPE, "a/b"),
    (HeaderName::from_static("keep-alive"), "timeout=5"),
    (HeaderName::from_static("proxy-connection"), "keep-alive"),
];

/// Eleven bytes.
fn pieces() -> impl futures_util::Stream<Item = Result<Bytes, BoxError>> {
    stream::iter(["hello", "", " ", "world"]).map_ok()
}

trait MapOk: futures_util::Stream<Item = &'static str> + Sized {
    fn map_ok(self) -> impl futures_util::Stream<Item = Result<Bytes, BoxError>> {
        futures_util::StreamExt::map(self, |text| Ok(Bytes::from_static(text.as_bytes())))
    }
}

impl<S: futures_util::Stream<Item = &'static str>> MapOk for S {}

const TEXT: Option<&str> = Some("text/plain; charset=utf-8");
const BINARY: Option<&str> = Some("application/octet-stream");
const JSON: Option<&str> = Some("application/json");

/// Path, status, content type, length, body.
type Expected = (&'static str, u16, Option<&'static str>, Option<&'static str>, &'static [u8]);

const RESPONSES: [Expected; 25] = [
    ("/text", 200, TEXT, Some("4"), b"text"),
    ("/string", 200, TEXT, Some("6"), b"string"),
    ("/bytes", 200, BINARY, Some("5"), b"bytes"),
    ("/slice", 200, BINARY, Some("5"), b"slice"),
    ("/vec", 200, BINARY, Some("2"), &[1, 2]),
    ("/typed-bytes", 200, Some("a/b"), Some("5"), b"bytes"),
    ("/typed-json", 200, Some("a/b"), Some("1"), b"1"),
    ("/typed-twice", 200, Some("a/b"), Some("5"), b"bytes"),
    ("/large", 200, BINARY, Some("1048576"), &[b'x'; 1 << 20]),
    ("/json", 200, JSON, Some("25"), "{\"name\":\"\\\"é\",\"price\":1}".as_bytes()),
    ("/unit", 200, None, Some("0"), b""),
    ("/status", 202, None, Some("0"), b""),
    ("/teapot", 418, TEXT, Some("15"), b"short and stout"),
    ("/fields", 200, TEXT, Some("6"), b"tagged"),
    ("/created", 201, JSON, Some("1"), b"1"),
    ("/empty", 204, None, None, b""),
    ("/reset", 205, TEXT, Some("0"), b""),
    ("/cached", 304, None, None, b""),
    ("/ok", 200, TEXT, Some("4"), b"fine"),
    ("/value", 200, Some("a/b"), Some("5"), b"value"),
    ("/stream", 200, None, None, b"hello world"),
    ("/sized", 200, None, Some("11"), b"hello world"),
    ("/nothing", 200, None, None, b""),
    ("/slow", 200, None, None, b"ababababab"),
    ("/no-content", 204, None, None, b""),
];

#[test]
fn whatever_a_handler_returns_is_framed_right() {
    let server = TestServer::start(responses());
    let mut client = server.connect();
    for (path, status, content_type, length, body) in RESPONSES {
        let got = client.exchange(support::get(path));
        assert_eq!(got.status, status, "{path}");
        assert_eq!(got.field("content-type"), content_type, "{path}");
        assert_eq!(got.field("content-length"), length, "{path}");
        assert!(got.body == body, "{path}: {:?}", String::from_utf8_lossy(&got.body));
        let head = client.exchange(request("HEAD", path, ""));
        assert_eq!((head.status, head.fields), (got.status, got.fields), "{path}: HEAD");
    }
    server.stop();
}

#[test]
fn an_old_client_gets_no_chunks_and_is_told_when_the_connection_stays() {
    let server = TestServer::start(responses());
    for (path, status, _, length, body) in RESPONSES {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        let got = client.response();
        assert_eq!(got.status, status, "{path}");
        assert_eq!(got.field("transfer-encoding"), None, "{path}");
        assert!(got.body == body, "{path}: {:?}", String::from_utf8_lossy(&got.body));
        // Without a length the end of the connection is the end of the content.
        let stays = length.is_some() || matches!(status, 204 | 304);
        assert_eq!(
            got.field("connection"),
            Some(if stays { "keep-alive" } else { "close" }),
            "{path}"
        );
        if stays {
            client.send(format!("HEAD {path} HTTP/1.0\r\n\r\n"));
            assert_eq!(client.response_to("HEAD").field("connection"), Some("close"), "{path}");
        }
        client.expect_closed();
    }
    server.stop();
}

#[test]
fn fields_of_the_application_do_not_touch_the_framing() {
    let server = TestServer::start(responses());
    let mut client = server.connect();
    let response = client.exchange(support::get("/value"));
    assert_eq!(response.field("content-length"), Some("5"));
    for name in ["transfer-encoding", "keep-alive", "proxy-connection"] {
        assert_eq!(response.field(name), None);
    }
    assert_eq!(response.field("server"), Some("corelane"));
    assert_ne!(response.field("date"), Some("never"));
    assert_eq!(response.fields.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
    assert_eq!(client.exchange(support::get("/fields")).field("etag"), Some("\"1\""));
    assert_eq!(client.exchange(support::get("/created")).field("location"), Some("/1"));
    let problem = client.exchange(support::get("/err"));
    assert_eq!((problem.status, problem.detail().as_str()), (409, "taken"));
    let reset = client.exchange(support::get("/reset-stream"));
    assert_eq!((reset.status, reset.field("content-length")), (205, Some("0")));
    let repeated = client.exchange(support::get("/repeated"));
    let last: Vec<_> = repeated.fields.iter().filter(|(_, value)| value == b"last").collect();
    assert_eq!((last.len(), repeated.field("age")), (6, Some("last")));
    // RFC 9110 section 7.8: an intermediary must not pass Upgrade on.
    let upgrade = client.exchange(support::get("/upgrade"));
    assert_eq!(upgrade.field("connection"), Some("upgrade"));
    assert_eq!((upgrade.status, upgrade.field("upgrade")), (426, Some("websocket")));
    let offer = client.exchange(support::get("/offer"));
    assert_eq!((offer.status, offer.field("connection")), (200, Some("upgrade")));
    let last = client.exchange(support::get("/close"));
    assert!(last.says_close());
    client.expect_closed();
    server.stop();
}

/// An interim status as an answer would leave the peer waiting for the real one.
#[test]
fn an_interim_status_is_no_answer_nor_is_one_that_there_is_not() {
    let server = TestServer::start(responses());
    assert_eq!(server.get("/interim").status, 500);
    assert_eq!(server.get("/last-of-all").status, 599);
    assert_eq!(server.get("/beyond").status, 500);
    server.stop();
}

#[test]
fn content_that_fails_or_does_not_match_its_size_never_looks_complete() {
    let server = TestServer::start(responses());
    for path in ["/short", "/long", "/failing"] {
        let mut client = server.connect();
        client.send(support::get("/text") + &support::get(path));
        assert_eq!(client.response().text(), "text", "what was before it is answered");
        assert_eq!(client.try_response_to("GET"), Err(End::Within), "{path}");
    }
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn the_date_is_a_date_and_the_server_field_can_be_left_out() {
    let server = TestServer::start_with(responses(), |config| config.server_name = None);
    let response = server.get("/text");
    assert_eq!(response.field("server"), None);
    let date = httpdate::parse_http_date(response.field("date").unwrap()).unwrap();
    let distance = SystemTime::now().duration_since(date).unwrap_or_else(|error| error.duration());
    assert!(distance < Duration::from_secs(600), "{date:?}");
    assert_eq!(server.request("X Y\r\n\r\n").field("server"), None, "not in a refusal either");
    server.stop();
}

#[test]
fn what_no_handler_answers() {
    let app = App::new()
        .route("/get", get(async || "got"))
        .route("/both", get(async || "").post(async || "").on(Method::HEAD, async || "own"))
        .route("/options", get(async || "").on(Method::OPTIONS, async || "own"));
    let server = TestServer::start(app);
    let mut client = server.connect();
    for (method, path, status, allow) in [
        ("GET", "/get/", 404, None),
        ("GET", "/", 404, None),
        ("POST", "/get", 405, Some("GET, HEAD, OPTIONS")),
        ("BREW", "/get", 405, Some("GET, HEAD, OPTIONS")),
        ("PUT", "/both", 405, Some("GET, POST, HEAD, OPTIONS")),
        ("BREW", "/none", 501, None),
        ("GET", "/none%00.html", 400, None),
        ("GET", "/none%0d%0aX-Injected:%20true", 400, None),
        ("BREW", "/none%7F", 400, None),
        ("GET", "/none%20", 404, None),
        ("OPTIONS", "/get", 204, Some("GET, HEAD, OPTIONS")),
        ("OPTIONS", "/options", 200, None),
        ("OPTIONS", "/none", 404, None),
        ("HEAD", "/get", 200, None),
        ("HEAD", "/both", 200, None),
        ("HEAD", "/none", 404, None),
    ] {
        let response = client.exchange(request(method, path, ""));
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.field("allow"), allow, "{method} {path}");
    }
    let response = client.exchange(request("POST", "/get", ""));
    assert_eq!(response.detail(), "allowed here: GET, HEAD, OPTIONS");
    assert_eq!(client.exchange(request("HEAD", "/both", "")).field("content-length"), Some("3"));
    server.stop();
}

fn expecting() -> App {
    App::new()
        .route("/whole", post(async |body: String| body))
        .route("/stream", post(count_bytes))
        .route("/unread", post(async || "unread"))
}

const EXPECT: &str = "Expect: 100-Continue\r\nContent-Length: 5\r\n";

#[test]
fn a_client_that_waits_is_asked_for_the_body() {
    let server = TestServer::start(expecting());
    let mut client = server.connect();
    for (path, expected) in [("/whole", "hello"), ("/stream", "5")] {
        client.send(request("POST", path, EXPECT));
        assert_eq!(client.any_response_to("POST").unwrap().status, 100, "{path}");
        client.send("hello");
        assert_eq!(client.response().text(), expected);
        // RFC 9110 section 10.1.1: once the body has begun to arrive nobody needs to be asked.
        client.send(request("POST", path, EXPECT) + "hel");
        client.send("lo");
        assert_eq!(client.response().text(), expected);
        client.send(request("POST", path, EXPECT) + "hello" + &request("POST", "/unread", ""));
        assert_eq!(client.any_response_to("POST").unwrap().text(), expected);
        assert_eq!(client.response().text(), "unread");
    }
    server.stop();
}

#[test]
fn an_old_client_and_one_without_a_body_are_not_asked() {
    let server = TestServer::start(expecting());
    let mut client = server.connect();
    client.send(request("POST", "/whole", "Expect: 100-continue\r\nContent-Length: 0\r\n"));
    assert_eq!(client.any_response_to("POST").unwrap().status, 200);
    client.send(format!("POST /whole HTTP/1.0\r\n{EXPECT}\r\n"));
    client.send("hello");
    assert_eq!(client.any_response_to("POST").unwrap().text(), "hello");
    client.expect_closed();
    server.stop();
}

/// The client may never send what it has announced, so the connection can not be kept.
#[test]
fn a_body_that_nobody_wants_is_answered_at_once_and_the_connection_closed() {
    let server = TestServer::start(expecting());
    let too_large = "Expect: 100-continue\r\nContent-Length: 1048577\r\n";
    for (path, fields, status) in
        [("/unread", EXPECT, 200), ("/none", EXPECT, 404), ("/whole", too_large, 413)]
    {
        let mut client = server.connect();
        client.send(request("POST", path, fields));
        let response = client.any_response_to("POST").unwrap();
        assert_eq!((response.status, response.says_close()), (status, true), "{path}");
        client.expect_closed();
    }
    assert!(server.stats().timeouts.iter().all(|deadline| deadline.value() == 0));
    server.stop();
}

/// One request has one answer, however its body goes on after it.
#[test]
fn a_body_that_breaks_after_its_answer_is_not_answered_again() {
    let server = TestServer::start(expecting());
    for path in ["/unread", "/none"] {
        let mut client = server.connect();
        client.send(request("POST", path, "Transfer-Encoding: chunked\r\n") + "x\r\n");
        assert!(matches!(client.response().status, 200 | 404));
        client.expect_closed();
    }
    server.stop();
}

fn panicking() -> App {
    App::new()
        .route("/before", get(async || -> &'static str { panic!("before the first await") }))
        .route(
            "/after",
            get(async || -> &'static str {
                sleep(Duration::from_millis(1)).await;
                panic!("after the first await")
            }),
        )
        .route("/extract", get(async |_: Panics| "unreached"))
        .route("/respond", get(async || Panics))
        .route(
            "/stream",
            get(async || {
                BodyStream::new(stream::unfold(0, |count| async move {
                    assert_eq!(count, 0, "in the stream");
                    Some((Ok::<_, BoxError>(Bytes::from_static(b"begun")), count + 1))
                }))
            }),
        )
        .route(
            "/dropped-stream",
            get(async || {
                let bomb = Bomb;
                BodyStream::new(stream::iter(["whole"]).map(move |piece| {
                    let _ = &bomb;
                    Ok::<_, BoxError>(Bytes::from_static(piece.as_bytes()))
                }))
            }),
        )
        .route(
            "/dropped",
            get(async || {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            }),
        )
        .route("/fine", get(async || "fine"))
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor")
    }
}

/// Panics wherever the server calls it.
struct Panics;

impl corelane::FromRequest for Panics {
    type Rejection = ();

    fn from_request(_: &mut corelane::Exchange<'_>) -> Result<Panics, ()> {
        panic!("in an extractor")
    }
}

impl IntoResponse for Panics {
    fn into_response(self) -> Response {
        panic!("in a response")
    }
}

#[test]
fn a_panic_is_answered_counted_and_harms_nobody_else() {
    let server = TestServer::start(panicking());
    let mut other = server.connect();
    for (count, path) in ["/before", "/after", "/extract", "/respond"].into_iter().enumerate() {
        let mut client = server.connect();
        client.send(support::get("/fine") + &support::get(path) + &support::get("/fine"));
        assert_eq!(client.response().text(), "fine", "{path}");
        let response = client.response();
        assert_eq!((response.status, response.says_close()), (500, true), "{path}");
        client.expect_closed();
        assert_eq!(server.stats().handler_panics.value(), count as u64 + 1, "{path}");
        assert_eq!(other.exchange(support::get("/fine")).text(), "fine");
    }
    server.stop();
}

#[test]
fn a_panic_in_a_stream_cuts_the_answer_off_and_is_counted() {
    let server = TestServer::start(panicking());
    let mut other = server.connect();
    let mut client = server.connect();
    client.send(support::get("/fine") + &support::get("/stream"));
    assert_eq!(client.response().text(), "fine");
    assert_eq!(client.try_response_to("GET"), Err(End::Within));
    assert_eq!(server.stats().handler_panics.value(), 1);
    assert_eq!(other.exchange(support::get("/fine")).text(), "fine");
    server.stop();
}

/// Destructors run where no handler is called any more: within the server's own task.
#[test]
fn a_panic_of_a_destructor_ends_its_connection_and_no_other() {
    let server = TestServer::start(panicking());
    let mut other = server.connect();
    let panics = || server.stats().handler_panics.value() + server.runtime_stats().panics.value();
    let begun = |path| {
        let mut client = server.connect();
        client.send(support::get("/fine") + &support::get(path));
        assert_eq!(client.response().text(), "fine");
        client
    };
    let mut client = begun("/dropped-stream");
    // The content may be complete, or cut off; the connection ends either way.
    let _ = client.try_response_to("GET");
    client.expect_closed();
    eventually("the first panic", || panics() == 1);
    let client = begun("/dropped");
    eventually("its handler runs", || server.stats().in_flight() == 1);
    client.reset();
    eventually("the second panic", || panics() == 2);
    eventually("only the other is left", || server.stats().connections_open() == 1);
    assert_eq!(server.stats().in_flight(), 0);
    assert_eq!(other.exchange(support::get("/fine")).text(), "fine");
    assert_eq!(server.get("/fine").text(), "fine");
    drop(other);
    server.wait_until_quiet();
}

/// The protocol core panics with the fields of the shard in its hand, which others need as well.
#[test]
fn a_panic_of_the_protocol_core_ends_its_connection_and_no_other() {
    let app = App::new()
        .route("/fine", get(async || "fine"))
        .route("/arm", get(async || mutation::make(Some(Mutation::ParserPanics))));
    let server = TestServer::start(app);
    let mut other = server.connect();
    assert_eq!(other.exchange(support::get("/fine")).text(), "fine");
    for count in 1..=3 {
        let mut client = server.connect();
        client.send(support::get("/fine") + &support::get("/arm") + &support::get("/fine"));
        client.expect_closed();
        eventually("the panic is counted", || server.runtime_stats().panics.value() == count);
        assert_eq!(server.stats().in_flight(), 0);
        assert_eq!(other.exchange(support::get("/fine")).text(), "fine");
    }
    drop(other);
    server.wait_until_quiet();
}

fn start_error(app: App) -> String {
    app.start("127.0.0.1:0").map(|_| ()).expect_err("an error").to_string()
}

#[test]
fn what_can_not_work_is_an_error_at_start() {
    let error = start_error(App::new().route("/x/{y}", get(async |_: State<Cell<u8>>| "")));
    assert!(error.contains("GET /x/{y}"), "{error}");
    assert!(error.contains("State<core::cell::Cell<u8>>"), "{error}");

    let twice = App::new().route("/a/{b}", get(async || "")).route("/a/{c}", get(async || ""));
    let error = start_error(twice);
    assert!(error.contains("\"/a/{c}\" and \"/a/{b}\""), "{error}");

    let failing = App::new().try_state(async |_shard| Err::<u8, _>("no database"));
    assert!(start_error(failing).contains("no database"));

    let config = ServerConfig { pipelined_max: 0, ..ServerConfig::default() };
    assert!(start_error(App::new().config(config)).contains("pipelined_max: 0"));

    let server = TestServer::start(App::new());
    let second = App::new().start(server.address);
    let error = second.map(|_| ()).expect_err("an error").to_string();
    assert!(error.contains(&server.address.to_string()), "{error}");
    server.stop();
}

/// What a peer sends reaches a response's field only as a value that was checked.
#[test]
fn a_response_can_not_be_split() {
    let app = App::new()
        .route(
            "/to/{*target}",
            get(async |Path(target): Path<String>| {
                let value = HeaderValue::try_from(target);
                value
                    .map(|value| {
                        Response::new(StatusCode::FOUND).with_header(header::LOCATION, value)
                    })
                    .map_err(|_| StatusCode::BAD_REQUEST)
            }),
        )
        .route(
            "/named/{name}",
            get(async |Path(name): Path<String>| {
                let name = HeaderName::try_from(name).map_err(|_| StatusCode::BAD_REQUEST)?;
                Ok::<_, StatusCode>(([(name, HeaderValue::from_static("1"))], "named"))
            }),
        );
    let server = TestServer::start(app);
    let mut client = server.connect();
    for path in
        ["/to/a%0d%0aSet-Cookie:%20b=c", "/to/a%0ab", "/to/%00", "/named/a%3a%20b", "/named/%0d"]
    {
        let response = client.exchange(support::get(path));
        assert_eq!((response.status, response.field("set-cookie")), (400, None), "{path}");
    }
    assert_eq!(client.exchange(support::get("/to/a%C3%A9")).status, 302);
    assert_eq!(client.exchange(support::get("/named/x-y")).field("x-y"), Some("1"));
    server.stop();
}

/// A handler that waits until it is let go, and tells when it began and when it was dropped.
#[derive(Clone, Default)]
struct Waiting {
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    is_released: Arc<AtomicBool>,
}

impl Waiting {
    fn app(&self) -> App {
        let (held, forever) = (self.clone(), self.clone());
        App::new()
            .route("/held", get(move || held.clone().wait()))
            .route(
                "/forever",
                get(move || {
                    let guard = forever.begin();
                    async move {
                        let _guard = guard;
                        pending::<()>().await;
                    }
                })
                .post({
                    let waiting = self.clone();
                    move |_body: RequestBody| waiting.clone().wait()
                }),
            )
            .route("/fine", get(async || "fine"))
    }

    fn begin(&self) -> Dropped {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Dropped(Arc::clone(&self.dropped))
    }

    async fn wait(self) -> &'static str {
        let _guard = self.begin();
        while !self.is_released.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(1)).await;
        }
        "released"
    }

    fn until_begun(&self, count: usize) {
        eventually("a handler begins", || self.begun.load(Ordering::SeqCst) >= count);
    }

    fn release(&self) {
        self.is_released.store(true, Ordering::SeqCst);
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_peer_that_resets_ends_its_handler() {
    let waiting = Waiting::default();
    let server = TestServer::start(waiting.app());
    for count in 1..=3 {
        let mut client = server.connect();
        client.send(support::get("/forever"));
        waiting.until_begun(count);
        assert_eq!(waiting.dropped.load(Ordering::SeqCst), count - 1);
        client.reset();
        eventually("the handler is dropped", || waiting.dropped.load(Ordering::SeqCst) == count);
    }
    server.wait_until_quiet();
    assert_eq!(server.stats().peers_gone.value(), 3);
    server.stop();
}

#[test]
fn a_peer_that_half_closes_still_gets_the_answer() {
    let waiting = Waiting::default();
    let server = TestServer::start(waiting.app());
    let mut client = server.connect();
    client.send(support::get("/held") + &support::get("/fine"));
    waiting.until_begun(1);
    client.half_close();
    assert_eq!(server.get("/fine").text(), "fine");
    waiting.release();
    assert_eq!(client.response().text(), "released");
    assert_eq!(client.response().text(), "fine");
    client.expect_closed();
    server.stop();
}

#[test]
fn what_is_pipelined_behind_a_handler_that_waits_is_answered_in_order() {
    let waiting = Waiting::default();
    let server = TestServer::start(waiting.app());
    let mut client = server.connect();
    client.send(support::get("/held"));
    waiting.until_begun(1);
    for _ in 0..100 {
        client.send(support::get("/fine"));
    }
    waiting.release();
    assert_eq!(client.response().text(), "released");
    for _ in 0..100 {
        assert_eq!(client.response().text(), "fine");
    }
    server.stop();
}

/// The peer ends the body too early, so its handler can not go on.
#[test]
fn a_body_that_is_cut_off_ends_its_handler() {
    let waiting = Waiting::default();
    let server = TestServer::start(waiting.app());
    let mut client = server.connect();
    client.send(request("POST", "/forever", "Content-Length: 5\r\n") + "abc");
    waiting.until_begun(1);
    client.half_close();
    client.expect_closed();
    eventually("the handler is dropped", || waiting.dropped.load(Ordering::SeqCst) == 1);
    server.stop();
}

#[test]
fn a_stopped_server_drops_its_handlers() {
    let waiting = Waiting::default();
    let server = TestServer::start(waiting.app());
    let mut client = server.connect();
    client.send(support::get("/forever"));
    waiting.until_begun(1);
    server.stop();
    assert_eq!(waiting.dropped.load(Ordering::SeqCst), 1);
    client.expect_ended();
}

/// A body may be read by a task of its own: it is fed there as well.
#[test]
fn a_body_can_be_read_by_another_task() {
    let app = App::new().route(
        "/",
        post(async |mut body: RequestBody, shard: Rc<Shard>| {
            let (done, size) = oneshot::channel();
            shard.spawn(async move {
                let mut size = 0;
                while let Some(Ok(chunk)) = body.chunk().await {
                    size += chunk.len();
                    // Slower than it arrives, so that the body has to wait for its reader.
                    sleep(Duration::from_millis(1)).await;
                }
                let _ = done.send(size);
            });
            size.await.unwrap_or_default().to_string()
        })
        .body_bytes_max(8 << 20),
    );
    let server = TestServer::start(app);
    let mut client = server.connect();
    let response = client.exchange(support::post("/", "x/y", vec![b'x'; 4 << 20]));
    assert_eq!(response.text(), (4 << 20).to_string());
    server.stop();
}

#[test]
fn a_handler_may_ask_the_other_shards() {
    let app = App::new().route(
        "/",
        get(async |shard: Rc<Shard>| {
            let ids = shard.gather(|shard| shard.id().0).await;
            ids.map(|ids| format!("{ids:?}")).map_err(|_| StatusCode::BAD_GATEWAY)
        }),
    );
    let server = app.start("127.0.0.1:0").unwrap();
    let expected: Vec<usize> = (0..server.shard_count()).collect();
    let mut client = Client::connect(support::tcp_address(&server));
    for _ in 0..100 {
        assert_eq!(client.exchange(support::get("/")).text(), format!("{expected:?}"));
    }
    server.drain();
    server.join().unwrap();
}
