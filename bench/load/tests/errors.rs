//! Each way to misbehave is counted as what it is, and as nothing else.

mod support;

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use support::{OK, Stub, Then, measure, write};

/// A stub that misbehaves as the path says.
fn misbehaving() -> Stub {
    Stub::start(|request, stream| match request.path() {
        "/close" => Ok(Then::Close),
        "/truncate" => {
            write(stream, &OK[..OK.len() - 1])?;
            Ok(Then::Close)
        }
        "/reset" => {
            // Linger zero: closing sends RST (socket(7)).
            let socket = socket2::SockRef::from(&*stream);
            socket.set_linger(Some(Duration::ZERO))?;
            Ok(Then::Close)
        }
        "/hang" => {
            std::thread::sleep(Duration::from_secs(60));
            Ok(Then::Close)
        }
        "/garbage" => write(stream, "SMTP ready\r\n\r\n"),
        "/chunk" => write(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "/twice" => write(stream, &OK.repeat(2)),
        "/busy" => write(stream, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        _ => write(stream, OK),
    })
}

fn check(stub: &Stub, path: &str, arguments: &[&str], expected: &str) {
    let arguments: Vec<_> = ["--connections", "2", "--duration", "300ms", "--warmup", "0s"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let (run, _) = measure(&stub.url(path), &arguments);
    for (kind, count) in run["errors"].as_object().expect("a map") {
        let has_happened = count.as_u64().expect("a number") > 0;
        assert_eq!(has_happened, kind == expected, "{path}: {kind} {run:#}");
    }
}

#[test]
fn each_kind_is_counted_apart() {
    let stub = misbehaving();
    for (path, arguments, expected) in [
        ("/close", &[][..], "closed"),
        ("/truncate", &[], "closed"),
        ("/reset", &[], "reset"),
        ("/hang", &["--timeout", "100ms"], "timeout"),
        ("/garbage", &[], "malformed"),
        ("/chunk", &[], "malformed"),
        ("/busy", &[], "status"),
        ("/", &["--expect-status", "204"], "status"),
        ("/", &["--expect-length", "6"], "length"),
        ("/", &["--expect-body", "hellO"], "body"),
        ("/", &["--expect-body", "hello"], "none"),
        ("/busy", &["--expect-status", "503"], "none"),
    ] {
        check(&stub, path, arguments, expected);
    }
}

#[test]
fn an_unasked_for_answer_is_malformed() {
    // The second answer may arrive when the next request is out already, and pass for its own.
    let stub = misbehaving();
    let (run, _) = measure(
        &stub.url("/twice"),
        &["--rate", "20", "--connections", "1", "--duration", "500ms", "--warmup", "0s"],
    );
    assert!(run["errors"]["malformed"].as_u64() > Some(0), "{run:#}");
}

#[test]
fn errors_in_an_open_loop_leave_the_connections_usable() {
    let stub = Stub::start(|request, stream| {
        if request.path().ends_with('0') {
            return Ok(Then::Close);
        }
        write(stream, OK)
    });
    let (run, code) = measure(
        &stub.url("/{seq:1}"),
        &[
            "--rate",
            "500",
            "--connections",
            "4",
            "--pipeline",
            "2",
            "--duration",
            "1s",
            "--warmup",
            "0s",
        ],
    );
    assert_eq!(code, 0);
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let answered = number(&run["latency_ns"]["corrected"]["count"]);
    // A reset, where a pipelined request was left unread.
    let lost = number(&run["errors"]["closed"]) + number(&run["errors"]["reset"]);
    // A tenth closes, and takes what was behind it in the pipeline along.
    assert!((50..=150).contains(&lost), "{run:#}");
    assert_eq!(answered + lost, 500, "{run:#}");
}

#[test]
fn a_target_that_goes_away_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    // The tool looks once whether the target is there; then it no longer is.
    let server = std::thread::spawn(move || listener.accept().map(drop));
    let (run, code) = measure(&url, &["--duration", "300ms", "--warmup", "100ms"]);
    let accepted: io::Result<()> = server.join().expect("server");
    accepted.expect("accept");
    assert_eq!(code, 1);
    assert!(run["errors"]["connect_refused"].as_u64() > Some(0), "{run:#}");
    assert_eq!(run["answers"], 0);
}
