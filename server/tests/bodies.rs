//! Answers and the bodies of their requests: asked for late, left unread, sent back as they come.

mod support;

use std::net::Shutdown;

use bytes::Bytes;
use corelane::{App, BodyStream, RequestBody, StatusCode, get, post};
use futures_util::{StreamExt, stream};
use support::{Client, End, TestServer, chunked, request};

/// Sends the body back while it comes.
async fn echo(body: RequestBody) -> BodyStream {
    BodyStream::new(body.map(|chunk| chunk.map(|chunk| chunk.into_bytes())))
}

/// In how many pieces the body was handed over, and how many bytes those had.
async fn count_pieces(mut body: RequestBody) -> Result<String, corelane::RequestBodyError> {
    let (mut count, mut size) = (0, 0);
    while let Some(chunk) = body.chunk().await {
        (count, size) = (count + 1, size + chunk?.len());
    }
    Ok(format!("{count} {size}"))
}

fn start() -> TestServer {
    let app = App::new()
        .route("/get", get(async || "got"))
        .route("/echo", post(echo).body_bytes_max(1 << 40))
        .route("/refuse", post(async |_body: RequestBody| StatusCode::FORBIDDEN))
        .route("/whole", post(async |body: String| body))
        .route("/unused", post(async || "unused"))
        .route(
            "/read",
            post(async |mut body: RequestBody| {
                body.collect_up_to(1 << 20).await.map(|body| body.len().to_string())
            }),
        )
        .route("/pieces", post(count_pieces))
        .route(
            "/first",
            post(async |mut body: RequestBody| {
                body.chunk()
                    .await
                    .map(|chunk| chunk.map(|chunk| chunk.len().to_string()))
                    .unwrap_or(Ok(String::new()))
            }),
        )
        .route(
            "/broken",
            get(async || {
                let pieces = [Ok(Bytes::from("whole?")), Err(std::io::Error::other("broken"))];
                BodyStream::new(stream::iter(pieces))
            }),
        );
    TestServer::start(app)
}

fn expecting(path: &str, size: usize) -> String {
    request("POST", path, &format!("Content-Length: {size}\r\nExpect: 100-continue\r\n"))
}

#[test]
fn continue_is_sent_when_the_handler_wants_the_body() {
    let server = start();
    for (path, answer) in [("/read", "5"), ("/whole", "hello"), ("/echo", "hello")] {
        let mut client = server.connect();
        client.send(expecting(path, 5));
        assert_eq!(client.any_response_to("POST").expect("interim").status, 100, "{path}");
        client.send("hello");
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, answer));
        assert!(!response.says_close(), "{path}");
        assert_eq!(client.exchange(support::get("/get")).text(), "got");
    }
    server.stop();
}

#[test]
fn a_final_answer_comes_at_once_where_the_body_is_not_wanted() {
    let server = start();
    for (path, status) in [("/refuse", 403), ("/unused", 200), ("/none", 404)] {
        let mut client = server.connect();
        client.send(expecting(path, 5));
        let response = client.any_response_to("POST").expect("final");
        assert_eq!(response.status, status, "{path}");
        assert!(response.says_close(), "{path}: the body may never come");
        client.expect_closed();
    }
    server.stop();
}

#[test]
fn a_client_that_does_not_wait_is_not_told_to_go_on() {
    let server = start();
    for path in ["/read", "/whole", "/echo"] {
        let mut client = server.connect();
        client.send(expecting(path, 5) + "hello");
        assert_eq!(client.any_response_to("POST").expect("final").status, 200, "{path}");
        assert_eq!(client.exchange(support::get("/get")).text(), "got");
    }
    server.stop();
}

#[test]
fn an_answer_says_when_it_leaves_a_body_unread() {
    let server = start();
    let length = |size: usize| format!("Content-Length: {size}\r\n");
    let coded = "Transfer-Encoding: chunked\r\n".to_owned();
    let first = "5\r\nhello\r\n";
    for (path, fields, body, closes) in [
        ("/unused", length(5), "hello", false),
        ("/unused", length(5), "", false),
        ("/unused", length(300 << 10), "hello", true),
        ("/unused", coded.clone(), "5\r\nhello\r\n0\r\n\r\n", false),
        ("/unused", coded.clone(), first, true),
        ("/none", coded.clone(), first, true),
        ("/refuse", length(5), "", false),
        ("/refuse", length(300 << 10), "", true),
        ("/refuse", coded.clone(), first, true),
        ("/first", length(300 << 10), "hello", true),
        ("/first", length(100), "hello", false),
        ("/first", coded, first, true),
    ] {
        let mut client = server.connect();
        client.send(request("POST", path, &fields) + body);
        let response = client.response();
        assert_eq!(response.says_close(), closes, "{path} {fields:?} {body:?}: {response:?}");
        if closes {
            client.socket.shutdown(Shutdown::Write).expect("shutdown");
            client.expect_closed();
        }
    }
    server.stop();
}

#[test]
fn what_follows_an_unread_body_is_answered_or_was_refused_beforehand() {
    let server = start();
    let mut client = server.connect();
    let head = request("POST", "/refuse", "Transfer-Encoding: chunked\r\n");
    let body = chunked(&[b'x'; 1000], 100);
    client.send([head.as_bytes(), &body, support::get("/get").as_bytes()].concat());
    assert_eq!(client.response().status, 403);
    assert_eq!(client.response().text(), "got");
    server.stop();
}

#[test]
fn a_body_comes_back_while_it_is_sent() {
    let server = start();
    let mut client = server.connect();
    client.send(request("POST", "/echo", "Transfer-Encoding: chunked\r\n"));
    let mut seen = Vec::new();
    for round in 0..20u8 {
        let piece = vec![round; 1000 * usize::from(round) + 1];
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(&piece);
        client.send("\r\n");
        seen.extend_from_slice(&piece);
        // The piece comes back before the next one is sent.
        let mut echoed = 0;
        let mut buffer = vec![0; 64 << 10];
        while echoed < piece.len() {
            echoed += client.receive_raw(&mut buffer);
        }
    }
    client.send("0\r\n\r\n");
    client.send(support::get("/get"));
    let rest = read_until(&mut client, b"got");
    assert!(rest.windows(5).any(|window| window == b"0\r\n\r\n"));
    server.stop();
}

fn read_until(client: &mut Client, end: &[u8]) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while !bytes.ends_with(end) {
        let size = client.receive_raw(&mut buffer);
        assert!(size > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..size]);
    }
    bytes
}

/// A piece costs more than a byte: whoever sends a byte a chunk must not make as many of them.
#[test]
fn small_chunks_are_handed_over_together() {
    let server = start();
    let mut client = server.connect();
    let head = request("POST", "/pieces", "Transfer-Encoding: chunked\r\n");
    for (size, pieces_max) in [(1, 1000), (7, 1000), (10_000, 200)] {
        client.send([head.as_bytes(), &chunked(&[b'x'; 100_000], size)].concat());
        let response = client.response();
        let (pieces, bytes) = response.text().split_once(' ').expect("two numbers");
        assert_eq!(bytes, "100000", "chunks of {size}");
        assert!(pieces.parse::<u32>().expect("a number") < pieces_max, "{size}: {pieces} pieces");
    }
    server.stop();
}

#[test]
fn a_large_body_comes_back_and_is_never_here_as_a_whole() {
    let server = start();
    let size = 64 << 20;
    let mut client = server.connect();
    let mut sender = client.socket.try_clone().expect("clone");
    let head = request("POST", "/echo", &format!("Content-Length: {size}\r\n"));
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        sender.write_all(head.as_bytes()).expect("send");
        let piece = vec![7; 1 << 20];
        (0..64).for_each(|_| sender.write_all(&piece).expect("send"));
    });
    let response = client.response();
    sending.join().expect("sent");
    assert_eq!(response.body.len(), size);
    assert!(response.body.iter().all(|byte| *byte == 7));
    server.stop();
}

#[test]
fn a_body_that_breaks_its_framing_breaks_the_answer_made_of_it() {
    let server = start();
    let mut client = server.connect();
    client.send(request("POST", "/echo", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n");
    let begun = read_until(&mut client, b"5\r\nhello\r\n");
    assert!(begun.starts_with(b"HTTP/1.1 200 "));
    client.send("x\r\n");
    // Neither an end of the content nor another answer.
    assert_eq!(client.rest(), b"");
    server.stop();
}

#[test]
fn content_that_ends_with_the_connection_is_reset_when_it_breaks() {
    let server = start();
    let mut client = server.connect();
    client.send("GET /broken HTTP/1.0\r\n\r\n");
    let error = loop {
        match client.try_receive_raw(&mut [0; 4096]) {
            Ok(0) => panic!("an orderly end: it looks complete"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // In chunks, the missing end tells.
    let mut client = server.connect();
    client.send(support::get("/broken"));
    assert_eq!(client.try_response_to("GET"), Err(End::Within));
    server.stop();
}

#[test]
fn a_refusal_to_head_has_no_content() {
    let server = start();
    for (request, status) in [
        ("HEAD / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\r\nHEAD / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n".to_owned(), 400),
        (request("HEAD", "/get", "Content-Length: 2000000\r\n"), 413),
        (request("HEAD", "/get", "Expect: x\r\n"), 417),
    ] {
        let mut client = server.connect();
        client.send(&request);
        let response = client.response_to("HEAD");
        assert_eq!(response.status, status, "{request:?}");
        assert_ne!(response.field("content-length"), Some("0"), "{request:?}");
        assert_eq!(client.rest(), b"", "{request:?}");
    }
    server.stop();
}
