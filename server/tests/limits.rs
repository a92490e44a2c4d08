//! Every limit and deadline, hit on the wire: the status that answers it, and what becomes of the
//! connection.

mod support;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use corelane::{App, Deadline, RequestBody, ServerConfig, get, post};
use support::{Client, End, TestServer, chunked, eventually, request};

/// Short enough for a test, long enough that no honest exchange over loopback hits it.
const SHORT: Duration = Duration::from_millis(60);

fn app() -> App {
    App::new()
        .route("/", get(async || "ok"))
        .route("/body", post(async |body: Bytes| body.len().to_string()))
        .route("/stream", post(count_bytes))
        .route("/small", post(async |body: Bytes| body.len().to_string()).body_bytes_max(10))
        .route("/wide", post(async |body: Bytes| body.len().to_string()).body_bytes_max(4000))
        .route("/unread", post(async || "unread"))
        .route("/large", get(async || Bytes::from(vec![b'x'; 32 << 20])))
}

async fn count_bytes(mut body: RequestBody) -> String {
    let mut size = 0;
    while let Some(Ok(chunk)) = body.chunk().await {
        size += chunk.len();
    }
    size.to_string()
}

fn narrow(config: &mut ServerConfig) {
    config.body_bytes_max = 1000;
    let limits = &mut config.limits;
    limits.head_bytes_max = 1000;
    limits.field_count_max = 10;
    limits.field_line_bytes_max = 200;
    limits.target_bytes_max = 100;
    limits.method_bytes_max = 8;
    limits.chunk_line_bytes_max = 20;
    limits.chunk_extension_bytes_max = 50;
    limits.trailer_bytes_max = 100;
    limits.trailer_count_max = 3;
}

fn sized(path: &str, size: usize) -> Vec<u8> {
    support::post(path, "x/y", vec![b'x'; size])
}

fn in_chunks(path: &str, size: usize) -> Vec<u8> {
    with_chunks(path, chunked(&vec![b'x'; size], 300))
}

fn with_chunks(path: &str, chunks: impl AsRef<[u8]>) -> Vec<u8> {
    let head = request("POST", path, "Transfer-Encoding: chunked\r\n");
    [head.as_bytes(), chunks.as_ref()].concat()
}

fn with_fields(fields: &str) -> Vec<u8> {
    request("GET", "/", fields).into_bytes()
}

fn target(size: usize) -> Vec<u8> {
    support::get(&format!("/?{}", "a".repeat(size - 2))).into_bytes()
}

/// At each limit a request is served and the connection stays; beyond it, it is refused and closed.
#[test]
fn bounds_of_requests() {
    let server = TestServer::start_with(app(), narrow);
    let line = |size: usize| format!("A: {}\r\n", "b".repeat(size - 3));
    let trailers = |count: usize| "0\r\n".to_owned() + &"t: x\r\n".repeat(count) + "\r\n";
    for (what, request, expected) in [
        ("target", target(100), 200),
        ("target", target(101), 414),
        ("fields", with_fields(&"a: b\r\n".repeat(9)), 200),
        ("fields", with_fields(&"a: b\r\n".repeat(10)), 431),
        ("line", with_fields(&line(200)), 200),
        ("line", with_fields(&line(201)), 431),
        ("head", with_fields(&line(190).repeat(5)), 200),
        ("head", with_fields(&line(198).repeat(5)), 431),
        ("method", request("EIGHTEEN", "/", "").into_bytes(), 405),
        ("method", request("NINETEEN9", "/", "").into_bytes(), 501),
        ("connect", b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n".to_vec(), 501),
        ("version", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_vec(), 505),
        ("expect", with_fields("Expect: x\r\n"), 417),
        ("coding", with_fields("Transfer-Encoding: gzip, chunked\r\n"), 501),
        ("host", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        ("body", sized("/body", 1000), 200),
        ("body", sized("/body", 1001), 413),
        ("chunked body", in_chunks("/body", 1000), 200),
        ("chunked body", in_chunks("/body", 1001), 413),
        ("streamed body", sized("/stream", 1000), 200),
        ("streamed body", sized("/stream", 1001), 413),
        ("streamed chunks", in_chunks("/stream", 1000), 200),
        ("streamed chunks", in_chunks("/stream", 1001), 413),
        ("small route", sized("/small", 10), 200),
        ("small route", sized("/small", 11), 413),
        ("small route", in_chunks("/small", 11), 413),
        ("wide route", sized("/wide", 4000), 200),
        ("wide route", sized("/wide", 4001), 413),
        ("wide route", in_chunks("/wide", 4000), 200),
        ("no route", sized("/none", 1000), 404),
        ("no route", sized("/none", 1001), 413),
        (
            "chunk line",
            with_chunks("/body", format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(18))),
            200,
        ),
        (
            "chunk line",
            with_chunks("/body", format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(19))),
            400,
        ),
        ("extensions", with_chunks("/body", "1;aaaaaaaaaa\r\nx\r\n".repeat(9)), 400),
        ("trailers", with_chunks("/body", trailers(3)), 200),
        ("trailers", with_chunks("/body", trailers(4)), 431),
        ("trailer", with_chunks("/body", format!("0\r\nt: {}\r\n\r\n", "x".repeat(100))), 431),
    ] {
        let is_refused = !matches!(expected, 200 | 404 | 405);
        for piece in [usize::MAX, 100, 1] {
            let mut client = server.connect();
            client.send_pieces(request.chunks(piece.min(request.len())));
            let response = client.response();
            assert_eq!(response.status, expected, "{what}: {}", response.text());
            assert_eq!(response.says_close(), is_refused, "{what}");
            assert!(!is_refused || !response.detail().is_empty(), "{what}: no reason");
            if is_refused {
                client.expect_ended();
            } else {
                assert_eq!(client.exchange(support::get("/")).text(), "ok", "{what}: the next");
            }
        }
    }
    server.wait_until_quiet();
    server.stop();
}

/// Refused by its announcement: nothing is received, nothing is kept for it.
#[test]
fn a_length_beyond_all_bounds_is_refused_at_once() {
    let server = TestServer::start(app());
    for size in ["1048577", "9223372036854775808", "18446744073709551615"] {
        let mut client = server.connect();
        client.send(request("POST", "/body", &format!("Content-Length: {size}\r\n")));
        assert_eq!(client.response().status, 413, "{size}");
        client.expect_closed();
    }
    server.stop();
}

#[test]
fn an_unread_body_is_thrown_away_up_to_a_bound() {
    let server = TestServer::start(app());
    let bound = ServerConfig::default().discard_bytes_max as usize;
    let mut client = server.connect();
    for _ in 0..3 {
        client.send(sized("/unread", bound));
        let response = client.response();
        assert_eq!((response.text(), response.says_close()), ("unread", false));
    }
    drop(client);
    // How much is to come of chunks nobody knows: the answer says close, and all of it is taken.
    let mut client = server.connect();
    client.send(in_chunks("/unread", bound));
    let response = client.response();
    assert_eq!((response.text(), response.says_close()), ("unread", true));
    client.expect_closed();
    // Beyond it the answer is still read, whatever the end of the connection looks like.
    let mut client = server.connect();
    client.send_pieces([sized("/unread", bound + 1).as_slice()]);
    assert!(client.response().says_close());
    client.expect_ended();
    let mut client = server.connect();
    client.send_pieces([in_chunks("/unread", bound + 1).as_slice()]);
    assert!(client.response().says_close());
    client.expect_ended();
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn one_connection_too_many_waits_until_another_ends() {
    let server = TestServer::start_with(app(), |config| config.connections_max = Some(2));
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.exchange(support::get("/")).text(), "ok");
    assert_eq!(second.exchange(support::get("/")).text(), "ok");
    let mut third = server.connect();
    third.send(support::get("/"));
    eventually("the shard is full", || server.stats().connections_full.value() > 0);
    for _ in 0..100 {
        assert_eq!(first.exchange(support::get("/")).text(), "ok");
    }
    assert_eq!(server.stats().requests.value(), 102, "the third is not served yet");
    drop(second);
    assert_eq!(third.response().text(), "ok");
    assert_eq!(first.exchange(support::get("/")).text(), "ok");
    server.stop();
}

fn timeouts(server: &TestServer, deadline: Deadline) -> u64 {
    server.stats().timeouts[deadline as usize].value()
}

/// Sends a byte now and then until the server has closed.
fn drip(client: &mut Client, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if client.socket.write_all(&[*byte]).is_err() || is_answered(client) {
            return;
        }
        std::thread::sleep(SHORT / 12);
    }
}

/// Whether there is something to read, an end of file included.
fn is_answered(client: &Client) -> bool {
    client.socket.set_nonblocking(true).expect("nonblocking");
    let is_there = client.socket.peek(&mut [0]).is_ok();
    client.socket.set_nonblocking(false).expect("nonblocking");
    is_there
}

#[test]
fn a_connection_that_sends_nothing_is_closed_without_a_word() {
    let server = TestServer::start_with(app(), |config| config.first_byte_timeout = SHORT);
    let mut client = server.connect();
    client.expect_closed();
    assert_eq!(timeouts(&server, Deadline::FirstByte), 1);
    server.stop();
}

#[test]
fn a_head_that_drips_is_answered_with_408() {
    let server = TestServer::start_with(app(), |config| config.head_timeout = SHORT);
    for (first, drops) in [("", b"GET".as_slice()), ("GET / HTTP/1.1\r\n", b"AA:bb\r\n")] {
        let mut client = server.connect();
        client.send(first);
        drip(&mut client, drops);
        let response = client.response();
        assert_eq!((response.status, response.says_close()), (408, true));
        client.expect_ended();
    }
    assert_eq!(timeouts(&server, Deadline::Head), 2);
    server.stop();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = TestServer::start_with(app(), |config| config.idle_timeout = SHORT);
    let mut client = server.connect();
    for _ in 0..2 {
        assert!(!client.exchange(support::get("/")).says_close());
    }
    client.expect_closed();
    assert_eq!(timeouts(&server, Deadline::Idle), 1);
    server.stop();
}

#[test]
fn a_body_that_drips_is_answered_with_408() {
    let server = TestServer::start_with(app(), |config| {
        config.body_timeout = SHORT;
        config.body_bytes_per_second_min = 100_000;
    });
    for (count, path) in ["/body", "/stream"].into_iter().enumerate() {
        let mut client = server.connect();
        client.send(request("POST", path, "Content-Length: 1000000\r\n"));
        drip(&mut client, b"x");
        let response = client.response();
        assert_eq!((response.status, response.says_close()), (408, true), "{path}");
        client.expect_ended();
        assert_eq!(timeouts(&server, Deadline::Body), count as u64 + 1);
    }
    server.stop();
}

/// Its request is answered already, so nothing more is said.
#[test]
fn an_unread_body_that_drips_ends_the_connection() {
    let server = TestServer::start_with(app(), |config| {
        config.body_timeout = SHORT;
        config.body_bytes_per_second_min = 100_000;
        config.linger_timeout = SHORT;
    });
    let mut client = server.connect();
    client.send(request("POST", "/unread", "Content-Length: 1000\r\n"));
    assert_eq!(client.response().text(), "unread");
    drip(&mut client, b"x");
    client.expect_ended();
    assert_eq!(timeouts(&server, Deadline::Body), 1);
    server.stop();
}

/// A peer that keeps the least rate has all the time that its body takes.
#[test]
fn a_slow_but_steady_body_is_received() {
    let server = TestServer::start_with(app(), |config| {
        config.body_timeout = SHORT;
        config.body_bytes_per_second_min = 1;
    });
    let mut client = server.connect();
    client.send(request("POST", "/body", "Content-Length: 50\r\n"));
    for _ in 0..50 {
        client.send("x");
        std::thread::sleep(SHORT / 12);
    }
    assert_eq!(client.response().text(), "50");
    server.stop();
}

#[test]
fn a_peer_that_does_not_take_its_answer_is_cut_off() {
    let server = TestServer::start_with(app(), |config| {
        config.send_timeout = SHORT;
        config.send_bytes_per_second_min = 1 << 30;
    });
    let mut client = server.connect();
    client.send(support::get("/large"));
    eventually("the deadline passes", || timeouts(&server, Deadline::Send) == 1);
    server.wait_until_quiet();
    assert!(matches!(client.try_response_to("GET"), Err(End::Within | End::Reset)));
    server.stop();
}
