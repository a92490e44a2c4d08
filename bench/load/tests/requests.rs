//! What arrives at the server is what was asked for, and all of it is counted.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use support::{OK, Stub, Then, measure, write};

const SHORT: [&str; 4] = ["--duration", "300ms", "--warmup", "0s"];

fn with_short<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&SHORT[..], arguments].concat()
}

#[test]
fn the_server_saw_exactly_what_was_counted() {
    for pace in [&["--pipeline", "4"][..], &["--rate", "3000", "--pipeline", "2"]] {
        let stub = Stub::ok();
        let arguments = [&["--connections", "8"][..], pace].concat();
        let (run, code) = measure(&stub.url("/"), &with_short(&arguments));
        assert_eq!(code, 0);
        let sent = run["sent"].as_u64().expect("a number");
        assert_eq!(sent, stub.requests().len() as u64, "{run:#}");
        // Every one is answered: the window's end waits for those that are on their way.
        let recorded = run["latency_ns"]["corrected"]["count"].as_u64();
        let unsent = run["unsent"].as_u64().expect("a number");
        assert_eq!(recorded, Some(sent + unsent), "{run:#}");
        assert_eq!(run["connections_made"], 8);
        // One more connection was the look whether the target is there.
        assert_eq!(stub.connection_count.load(Ordering::Relaxed), 9);
    }
}

#[test]
fn requests_rotate_and_their_numbers_are_made() {
    let stub = Stub::ok();
    let (_, code) = measure(
        &stub.url("/unused"),
        &with_short(&[
            "--connections",
            "1",
            "--header",
            "X-Id: {seq:100}",
            "--request",
            "GET /a/{rand:1:3}",
            "--request",
            "POST /b {\"id\": {seq:1}}",
            "--request",
            "HEAD /c",
        ]),
    );
    // The stub answers HEAD with a body, which is nothing that anybody asked for.
    assert_eq!(code, 0);
    let requests = stub.requests();
    let paths: BTreeSet<_> = requests.iter().map(|request| request.path()).collect();
    let expected = ["/a/1", "/a/2", "/a/3", "/b", "/c"];
    assert!(paths.iter().all(|path| expected.contains(path)), "{paths:?}");
    let bodies: Vec<_> = requests
        .iter()
        .filter(|request| request.method() == "POST")
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert_eq!(bodies[0], "{\"id\": 1}");
    assert_eq!(requests[0].header("x-id"), Some("100"));
}

#[test]
fn bodies_arrive_whole_in_chunks_or_not() {
    let large = "x".repeat(100_000);
    for (arguments, size) in [
        (&["--body", "hello"][..], 5),
        (&["--body", "hello", "--chunked", "2"], 5),
        (&["--body", "{rand:10:99}", "--chunked", "1"], 2),
        (&["--body", &large], 100_000),
        (&["--body", &large, "--chunked", "4096", "--pipeline", "2"], 100_000),
    ] {
        let stub = Stub::ok();
        let arguments = [arguments, &["-X", "POST", "--connections", "2"]].concat();
        let (run, code) = measure(&stub.url("/"), &with_short(&arguments));
        assert_eq!((code, &run["errors"]["closed"]), (0, &0.into()), "{run:#}");
        let requests = stub.requests();
        assert!(!requests.is_empty());
        assert!(requests.iter().all(|request| request.body.len() == size));
    }
}

#[test]
fn connections_are_made_anew_after_so_many_requests() {
    let stub = Stub::ok();
    let arguments = ["--connections", "4", "--pipeline", "2", "--requests-per-connection", "3"];
    let (run, code) = measure(&stub.url("/"), &with_short(&arguments));
    assert_eq!(code, 0);
    let mut counts = BTreeMap::new();
    for request in stub.requests() {
        *counts.entry(request.connection).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| *count <= 3));
    let full = counts.values().filter(|count| **count == 3).count();
    assert!(full > 4, "{run:#}");
    assert_eq!(run["errors"]["closed"], 0, "{run:#}");
}

#[test]
fn without_keep_alive_each_request_has_its_connection() {
    let stub = Stub::start(|request, stream| {
        assert_eq!(request.header("connection"), Some("close"));
        write(stream, OK)?;
        Ok(Then::Close)
    });
    let (run, code) = measure(&stub.url("/"), &with_short(&["--no-keep-alive"]));
    assert_eq!(code, 0);
    let connections: BTreeSet<_> = stub.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections.len(), stub.requests().len(), "{run:#}");
    assert_eq!(run["errors"]["closed"], 0, "{run:#}");
}

#[test]
fn responses_of_every_framing_are_answers() {
    let stub = Stub::start(|request, stream| match request.path() {
        "/chunked" => write(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ),
        "/close" => {
            write(stream, "HTTP/1.1 200 OK\r\n\r\nhello")?;
            Ok(Then::Close)
        }
        _ => write(stream, OK),
    });
    for path in ["/", "/chunked", "/close"] {
        let arguments = ["--connections", "2", "--expect-body", "hello", "--expect-length", "5"];
        let (run, code) = measure(&stub.url(path), &with_short(&arguments));
        assert_eq!(code, 0, "{path}: {run:#}");
        let errors = run["errors"].as_object().expect("a map");
        assert!(errors.values().all(|count| count == 0), "{path}: {run:#}");
    }
}
