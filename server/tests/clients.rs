//! Other people's clients against the server: curl, wrk, h2load.

mod support;

use std::process::Command;

use bytes::Bytes;
use corelane::{App, get, post};
use support::TestServer;

fn start() -> TestServer {
    let app = App::new()
        .route("/", get(async || "ok"))
        .route("/large", get(async || Bytes::from(vec![b'x'; 1 << 20])))
        .route("/echo", post(async |body: Bytes| body).body_bytes_max(8 << 20));
    TestServer::start(app)
}

/// What a command printed. It must be installed: `scripts/test packages` does so.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{error}", output.status);
    out
}

fn curl(server: &TestServer, arguments: &[&str], paths: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "30"]).args(arguments);
    curl.args(paths.iter().map(|path| format!("http://{}{path}", server.address)));
    run(&mut curl)
}

#[test]
fn curl_keeps_its_connection() {
    let server = start();
    let format = ["--write-out", " %{http_code} %{num_connects}\n"];
    assert_eq!(curl(&server, &format, &["/", "/", "/"]), "ok 200 1\nok 200 0\nok 200 0\n");
    assert_eq!(server.runtime_stats().streams_opened.value(), 1);
    server.stop();
}

#[test]
fn curl_speaks_the_old_version() {
    let server = start();
    let format = ["--http1.0", "--write-out", " %{http_code} %{num_connects}\n"];
    assert_eq!(curl(&server, &format, &["/", "/"]), "ok 200 1\nok 200 1\n");
    assert_eq!(curl(&server, &["--http1.0"], &["/large"]).len(), 1 << 20);
    server.stop();
}

#[test]
fn curl_asks_for_heads() {
    let server = start();
    let head = curl(&server, &["--head"], &["/large"]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-length: 1048576\r\n"), "{head}");
    server.stop();
}

#[test]
fn curl_uploads_with_a_length_in_chunks_and_after_asking() {
    let server = start();
    let file = std::env::temp_dir().join(format!("corelane-upload-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef".repeat(1 << 17)).expect("file");
    let data = format!("@{}", file.display());
    for field in ["X: y", "Transfer-Encoding: chunked", "Expect: 100-continue", "Expect:"] {
        let arguments = ["--data-binary", &data, "--header", field];
        let echo = curl(&server, &arguments, &["/echo"]);
        assert!(echo == "0123456789abcdef".repeat(1 << 17), "{field}: {} bytes", echo.len());
    }
    std::fs::remove_file(&file).expect("file");
    server.stop();
}

#[test]
fn wrk_sees_no_error() {
    let server = start();
    let url = format!("http://{}/", server.address);
    let report = run(Command::new("wrk").args(["-t1", "-c64", "-d2s", &url]));
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    assert!(server.stats().requests.value() > 1000, "{report}");
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn h2load_sees_no_error() {
    let server = start();
    let url = format!("http://{}/", server.address);
    let arguments = ["--h1", "--clients=64", "--threads=1", "--duration=2", &url];
    let report = run(Command::new("h2load").args(arguments));
    let requests = report.lines().find(|line| line.starts_with("requests:")).expect("a summary");
    assert!(requests.contains(" 0 failed, 0 errored, 0 timeout"), "{report}");
    assert!(server.stats().requests.value() > 1000, "{report}");
    server.wait_until_quiet();
    server.stop();
}
