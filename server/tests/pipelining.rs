//! Many requests on one connection: in order, sent together, and never more than the peer takes.

mod support;

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corelane::{App, Body, HeaderValue, Headers, Path, Response, ServerConfig, get, post};
use http::header::CONNECTION;
use support::{Client, TestServer, eventually, request};

/// The size of the answers of a peer that reads none of them.
const LARGE_BYTES: usize = 16 * 1024 - 1;

fn app() -> App {
    App::new()
        .route("/{n}", get(async |Path(n): Path<u32>| n.to_string()))
        .route("/large", get(async || "x".repeat(LARGE_BYTES)))
        .route(
            "/shared/{n}",
            get(async |Path(n): Path<u8>| Response {
                body: Body::from(vec![n; 40_000]),
                ..Response::default()
            }),
        )
        .route("/echo", post(async |body: Bytes| body))
        .route("/unread", post(async || "unread"))
}

fn numbers(count: usize) -> String {
    (0..count).map(|n| support::get(&format!("/{n}"))).collect()
}

fn expect_numbers(client: &mut Client, count: usize) {
    for n in 0..count {
        assert_eq!(client.response().text(), n.to_string());
    }
}

#[test]
fn answers_come_in_order_and_in_one_send() {
    let server = TestServer::start(app());
    let mut client = server.connect();
    for count in [1, 2, 50, 64] {
        let completions = server.runtime_stats().completions.value();
        client.send(numbers(count));
        expect_numbers(&mut client, count);
        // One receive, one send; two more for what the shard's own clockwork may need.
        let completions = server.runtime_stats().completions.value() - completions;
        assert!(completions <= 4, "{completions} completions for {count} requests");
    }
    assert_eq!(server.stats().requests.value(), 117);
    server.stop();
}

#[test]
fn more_than_are_looked_at_together_are_answered_as_well() {
    let server = TestServer::start_with(app(), |config| config.pipelined_max = 3);
    let mut client = server.connect();
    client.send(numbers(1000));
    expect_numbers(&mut client, 1000);
    server.stop();
}

#[test]
fn requests_and_answers_of_every_kind_keep_their_order() {
    let server = TestServer::start(app());
    let mut client = server.connect();
    let mut requests = Vec::new();
    for n in 0..20 {
        requests.extend_from_slice(support::get(&format!("/{n}")).as_bytes());
        requests.extend_from_slice(request("HEAD", "/large", "").as_bytes());
        requests.extend_from_slice(&support::post("/echo", "x/y", format!("body {n}")));
        requests.extend_from_slice(support::get(&format!("/shared/{n}")).as_bytes());
        requests.extend_from_slice(&support::post("/unread", "x/y", support::get("/evil")));
        requests.extend_from_slice(support::get("/none/at/all").as_bytes());
    }
    for pieces in [requests.len(), 1000, 17] {
        client.send_pieces(requests.chunks(pieces));
        for n in 0..20 {
            assert_eq!(client.response().text(), n.to_string());
            let head = client.response_to("HEAD");
            assert_eq!(head.field("content-length"), Some("16383"));
            assert_eq!(client.response().text(), format!("body {n}"));
            assert_eq!(client.response().body, vec![n; 40_000]);
            assert_eq!(client.response().text(), "unread");
            assert_eq!(client.response().status, 404);
        }
    }
    server.stop();
}

/// How often a handler that says so in its answers was called, and on which of them it closes.
fn counting(closes_on: usize) -> App {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = move |Headers(headers): Headers| {
        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let tag = headers.get("tag").map_or("", |tag| tag.to_str().expect("text"));
            let mut response =
                Response { body: format!("{call} {tag}").into(), ..Response::default() };
            if call == closes_on {
                response = response.with_header(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    app().route("/count", get(count))
}

/// A request that is the same as the one before it is not read again, but is answered like others;
/// and one that only looks the same for long is not taken for it.
#[test]
fn requests_that_repeat_themselves_are_answered_one_by_one() {
    for pipelined_max in [1, 3, 64] {
        let set = |config: &mut ServerConfig| config.pipelined_max = pipelined_max;
        let server = TestServer::start_with(counting(usize::MAX), set);
        let mut client = server.connect();
        let tags = [" a", " a", " a", "bb", " a", " a", "bb", "bb", " c", " c", " c", " c", " a"];
        let tagged = |tag: &&str| request("GET", "/count", &format!("Tag:{tag}\r\n"));
        let mut requests: Vec<_> = tags.iter().map(tagged).collect();
        for n in [1, 1, 2, 2, 1] {
            requests.push(support::get(&format!("/{n}")));
        }
        let mut calls = 0;
        for pieces in [requests.concat().len(), 100, 17, 1] {
            client.send_pieces(requests.concat().as_bytes().chunks(pieces));
            for tag in tags.map(str::trim) {
                calls += 1;
                assert_eq!(client.response().text(), format!("{calls} {tag}"));
            }
            for n in [1, 1, 2, 2, 1] {
                assert_eq!(client.response().text(), n.to_string());
            }
        }
        assert_eq!(server.stats().requests.value(), 4 * requests.len() as u64);
        server.stop();
    }
}

#[test]
fn a_request_that_repeats_itself_is_not_answered_behind_the_last_answer() {
    let server = TestServer::start(counting(3));
    let mut client = server.connect();
    client.send(support::get("/count").repeat(10));
    for (call, closes) in [("1 ", false), ("2 ", false), ("3 ", true)] {
        let response = client.response();
        assert_eq!((response.text(), response.says_close()), (call, closes));
    }
    client.expect_closed();
    let mut client = server.connect();
    client.send(request("GET", "/count", "Connection: close\r\n").repeat(10));
    assert_eq!(client.response().text(), "4 ");
    client.expect_closed();
    assert_eq!(server.stats().requests.value(), 4);
    server.stop();
}

#[test]
fn an_error_ends_the_connection_behind_the_answers_before_it() {
    let server = TestServer::start(app());
    for count in [0, 1, 7, 63, 64, 65, 200] {
        let mut client = server.connect();
        client.send(numbers(count) + "GET /1 HTTP/1.1\r\n\r\n" + &numbers(3));
        expect_numbers(&mut client, count);
        let refusal = client.response();
        assert_eq!((refusal.status, refusal.says_close()), (400, true));
        client.expect_closed();
    }
    let answered: u64 = server.stats().responses.iter().map(|class| class.value()).sum();
    assert_eq!(answered, 1 + 7 + 63 + 64 + 65 + 200 + 7);
    server.stop();
}

#[test]
fn a_peer_that_half_closes_gets_every_answer() {
    let server = TestServer::start(app());
    for count in [1, 64, 500] {
        let mut client = server.connect();
        client.send(numbers(count));
        client.half_close();
        expect_numbers(&mut client, count);
        client.expect_closed();
    }
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn what_comes_behind_the_last_request_is_never_parsed() {
    let server = TestServer::start(app());
    for last in [
        request("GET", "/0", "Connection: close\r\n"),
        request("GET", "/0", "Connection: x, CLOSE\r\n"),
        "GET /0 HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        let mut client = server.connect();
        client.send(last + &support::get("/1") + "noise\n\n");
        let response = client.response();
        assert_eq!((response.text(), response.says_close()), ("0", true));
        client.expect_closed();
    }
    assert_eq!(server.stats().requests.value(), 3);
    assert!(server.stats().refused.iter().all(|kind| kind.value() == 0));
    server.stop();
}

/// A request with a large head, so that it takes few of them to fill every buffer.
fn large_request() -> String {
    request("GET", "/large", &format!("Padding: {}\r\n", "x".repeat(4000)))
}

/// How many looks in a row, a millisecond apart, must find that nothing has moved.
const STILL_COUNT: usize = 300;

/// Sends requests until neither the server nor the kernel takes more; says how many bytes went.
///
/// The server may have stopped receiving, or the kernel may have ended the receive by itself: no
/// counter tells them both, so it is the silence that does.
fn flood(server: &TestServer, client: &mut Client) -> usize {
    let requests = large_request().repeat(1000);
    client.socket.set_nonblocking(true).expect("nonblocking");
    let (mut sent, mut received, mut still_count) = (0, 0, 0);
    while still_count < STILL_COUNT {
        match client.socket.write(&requests.as_bytes()[sent % requests.len()..]) {
            Ok(size) => (sent, still_count) = (sent + size, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
                let now = server.runtime_stats().bytes_received.value();
                still_count = if now == received { still_count + 1 } else { 0 };
                received = now;
            }
            Err(error) => panic!("send: {error}"),
        }
    }
    client.socket.set_nonblocking(false).expect("nonblocking");
    sent
}

#[test]
fn a_peer_that_reads_nothing_is_not_read_from() {
    let server = TestServer::start(app());
    let mut client = server.connect();
    let sent = flood(&server, &mut client);
    let request_bytes = large_request().len();
    let (received, answered) =
        (server.runtime_stats().bytes_received.value(), server.stats().requests.value());
    // What it has received and not answered is bounded, by the receive buffers that the kernel may
    // fill before it is told to stop; what it has answered by the kernel's own buffers.
    assert!(received < 4 << 20, "{received} bytes of requests received");
    assert!(answered * (LARGE_BYTES as u64) < 32 << 20, "{answered} requests answered");
    assert!((sent / request_bytes) as u64 > 2 * answered, "{sent} bytes sent");
    // Everybody else is served meanwhile.
    let mut other = server.connect();
    for _ in 0..100 {
        assert_eq!(other.exchange(support::get("/7")).text(), "7");
    }
    // Once it reads, it gets everything that it has asked for.
    client.half_close();
    let whole = sent / request_bytes;
    for _ in 0..whole {
        assert_eq!(client.response().body.len(), LARGE_BYTES);
    }
    client.expect_closed();
    assert_eq!(server.stats().requests.value(), whole as u64 + 100);
    drop(other);
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn a_peer_that_reads_nothing_and_goes_away_leaves_nothing_behind() {
    let server = TestServer::start(app());
    let mut client = server.connect();
    flood(&server, &mut client);
    client.reset();
    server.wait_until_quiet();
    eventually("it is counted", || server.stats().peers_gone.value() == 1);
    server.stop();
}
