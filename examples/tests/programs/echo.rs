//! The echo: what it says back, and what it refuses like any other server.

use std::process::Command;

use crate::support::{Program, chunked, run};

const ECHO: &str = env!("CARGO_BIN_EXE_echo");

fn start() -> Program {
    Program::start(ECHO, &["--listen", "127.0.0.1:0", "--cores", "1"])
}

/// Request, status, content type, content; each on the same connection.
const ROWS: &[(&str, u16, Option<&str>, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Some("text/plain; charset=utf-8"), "OK"),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, None, "OK"),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b; c=\"d\"\r\nContent-Length: 3\r\n\r\na\0c",
        200,
        Some("a/b; c=\"d\""),
        "a\0c",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nabc\r\n0\r\nt: u\r\n\r\n",
        200,
        Some("application/octet-stream"),
        "abc",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a b/c\r\nContent-Length: 3\r\n\r\nabc",
        200,
        Some("application/octet-stream"),
        "abc",
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 200, None, ""),
    (
        "GET /echo HTTP/1.1\r\nHost:  a:1\t\r\nX-B: 1\r\nx-b:2\r\nX-Empty:\r\n\r\n",
        200,
        Some("text/plain"),
        "Host: a:1\nX-B: 1\nx-b: 2\nX-Empty: \n",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        200,
        Some("text/plain"),
        "Host: a\nContent-Length: 1\n",
    ),
    (
        "GET /cookie HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\"d=e\";f=\r\nCookie: a=2\r\n\r\n",
        200,
        Some("text/plain"),
        "a=b\nc=\"d=e\"\nf=\na=2\n",
    ),
    ("GET /cookie HTTP/1.1\r\nHost: a\r\n\r\n", 200, Some("text/plain"), ""),
    ("GET /delay/3 HTTP/1.1\r\nHost: a\r\n\r\n", 200, None, "OK"),
    ("GET /delay/10001 HTTP/1.1\r\nHost: a\r\n\r\n", 400, None, "at most 10000"),
    ("GET /delay/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, None, "millis"),
    ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, None, "GET, POST, HEAD, OPTIONS"),
    ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 404, None, "Not Found"),
];

#[test]
fn it_says_back_what_it_was_sent() {
    let program = start();
    let mut client = program.connect();
    for (request, status, content_type, content) in ROWS {
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, *status, "{request:?}: {}", response.text());
        if content_type.is_some() {
            assert_eq!(response.header("content-type"), *content_type, "{request:?}");
            assert_eq!(response.text(), *content, "{request:?}");
        }
        assert!(response.text().contains(content), "{request:?}: {}", response.text());
    }
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let program = start();
    let mut client = program.connect();
    let tag = client.get("/").header("etag").unwrap().to_owned();
    for (field, status) in [
        (format!("If-None-Match: {tag}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        (format!("If-None-Match: {}", tag.replace('"', "")), 200),
        ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT".to_owned(), 200),
        (format!("If-Match: {tag}"), 412),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, status, "{field}");
        assert_eq!(response.header("etag").is_some(), status != 412, "{field}");
    }
}

#[test]
fn what_is_malformed_is_refused_and_ends_the_connection() {
    let program = start();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        ("GET /cookie HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ] {
        let mut client = program.connect();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, status, "{request:?}: {}", response.text());
        assert_eq!(response.header("connection"), Some("close"), "{request:?}");
        assert!(client.is_at_end(), "{request:?}");
    }
}

#[test]
fn a_large_body_comes_back_as_it_was() {
    let program = start();
    let body: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
    let mut client = program.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunked(&body, &[1, 4096, 70_000]));
    assert!(client.response().body == body);
}

#[test]
fn curl_sends_fields_and_cookies() {
    let program = start();
    let fetch = |arguments: &[&str]| {
        let output =
            Command::new("curl").args(["--silent", "--show-error"]).args(arguments).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(fetch(&["--cookie", "a=b; c=d", &program.link("/cookie")]), "a=b\nc=d\n");
    let lines = fetch(&["--header", "X-Word: a b", &program.link("/echo")]);
    assert!(lines.contains("\nX-Word: a b\n"), "{lines}");
    assert_eq!(fetch(&["--data", "hello", &program.link("/")]), "hello");
}

#[test]
fn its_options_are_those_of_a_service() {
    let ended = run(ECHO, &["--dataset", "x"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.log.contains("echo: unexpected argument '--dataset'"), "{ended:?}");
}
