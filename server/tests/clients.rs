//! Other people's clients against the server, and proxies in front of it: curl, wget, wrk, h2load;
//! four of Python's, Node's fetch, Java's HttpClient, Go's net/http, headless Chromium; nginx and
//! HAProxy.
//!
//! `scripts/test packages` installs them. Java, Node, Go, the browser, the proxies and Python's
//! clients are large and not to be had everywhere: where one is not there, its test says so and
//! ends.

mod support;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use corelane::{
    App, BodyStream, HeaderName, HeaderValue, Multipart, MultipartError, get, header, post,
};
use support::{TestServer, eventually};

fn start() -> TestServer {
    let app = App::new()
        .route("/", get(async || "ok"))
        .route("/large", get(async || Bytes::from(vec![b'x'; 1 << 20])))
        .route("/stream", get(stream))
        .route("/echo", post(async |body: Bytes| body).body_bytes_max(8 << 20))
        .route("/form", post(form).body_bytes_max(8 << 20))
        .route("/page", get(page));
    TestServer::start(app)
}

/// The parts of a form, with what is said about each file, and their sizes.
async fn form(mut form: Multipart) -> Result<String, MultipartError> {
    let mut listed = Vec::new();
    while let Some(part) = form.next_part().await? {
        let name = part.name().to_owned();
        let media = part.content_type().unwrap_or_default().to_owned();
        let file = part.file_name().map(|file| format!(" ({file}, {media})")).unwrap_or_default();
        listed.push(format!("{name}{file}: {}", part.bytes().await?.len()));
    }
    Ok(listed.join(", "))
}

async fn page() -> ([(HeaderName, HeaderValue); 1], &'static str) {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    ([(header::CONTENT_TYPE, html)], include_str!("clients/page.html"))
}

/// 600 bytes whose number is not known beforehand.
async fn stream() -> BodyStream {
    let pieces = (0..100).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"piece ")));
    BodyStream::new(futures_util::stream::iter(pieces))
}

/// One of our own programs beside this file.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Where a command is, if it is: in the path, or where Debian keeps its daemons.
fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(command)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: {command} is not there; scripts/test packages installs it");
    }
    found
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
fn wget_downloads_and_posts() {
    let Some(wget) = find("wget") else { return };
    let server = start();
    let url = |path: &str| format!("http://{}{path}", server.address);
    let wget = |arguments: &[&str]| {
        run(Command::new(&wget).args(["--quiet", "--tries=1", "-O", "-"]).args(arguments))
    };
    assert_eq!(wget(&[&url("/"), &url("/"), &url("/")]), "okokok");
    assert_eq!(server.runtime_stats().streams_opened.value(), 1);
    assert_eq!(wget(&[&url("/large")]).len(), 1 << 20);
    assert_eq!(wget(&["--post-data=hello", &url("/echo")]), "hello");
    server.stop();
}

/// An interpreter that has a module: the first in the path may be one without Debian's.
fn python(module: &str) -> Option<Command> {
    let has_module = |python: &&str| {
        let mut check = Command::new(python);
        let status = check.args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_module);
    if found.is_none() {
        eprintln!("skipped: no Python has {module}; scripts/test packages installs it");
    }
    found.map(Command::new)
}

/// Runs a client's program, and expects it to keep at least some of its connections.
fn drive(mut client: Command, connections_max: u64) {
    let server = start();
    run(client.arg(format!("http://{}", server.address)));
    let opened = server.runtime_stats().streams_opened.value();
    assert!(opened <= connections_max, "{opened} connections");
    assert!(server.stats().requests.value() >= 9);
    server.wait_until_quiet();
    server.stop();
}

fn drive_python(module: &str) {
    let Some(mut python) = python(module) else { return };
    python.arg("-B").arg(program("client.py")).arg(module);
    drive(python, 1);
}

#[test]
fn python_http_client() {
    drive_python("http.client");
}

#[test]
fn python_requests() {
    drive_python("requests");
}

#[test]
fn python_httpx() {
    drive_python("httpx");
}

#[test]
fn python_aiohttp() {
    drive_python("aiohttp");
}

#[test]
fn node_fetch() {
    let Some(node) = find("node") else { return };
    let mut node = Command::new(node);
    node.arg(program("client.mjs"));
    // It takes no connection for a second request on which it has asked for a head.
    drive(node, 3);
}

#[test]
fn java_http_client() {
    // Without the compiler there is no running of a source file.
    if find("javac").is_none() {
        return;
    }
    let Some(java) = find("java") else { return };
    let mut java = Command::new(java);
    java.arg(program("Client.java"));
    drive(java, 1);
}

#[test]
fn go_net_http() {
    let Some(go) = find("go") else { return };
    let mut go = Command::new(go);
    // What it compiles is kept where ours is, and nothing is fetched.
    go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
    go.envs([("GO111MODULE", "off"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local")]);
    go.env("GOFLAGS", "");
    go.arg("run").arg(program("client.go"));
    // One of its uploads is refused before it is sent, which closes the connection.
    drive(go, 2);
}

#[test]
fn chromium_fetches_from_a_page() {
    let Some(chromium) = find("chromium").or_else(|| find("chromium-browser")) else { return };
    let (server, data) = (start(), tempfile::tempdir().expect("a directory"));
    let mut chromium = Command::new(chromium);
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update"]);
    // The clock of the page runs on only while nothing is awaited from the network.
    chromium.args(["--virtual-time-budget=20000", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", data.path().display()));
    let document = run(chromium.arg(format!("http://{}/page", server.address)));
    for line in
        ["ok ok", "echo true", "large 1048576", "stream 600", "head 1048576", "missing 404", "done"]
    {
        assert!(document.contains(&format!("\n{line}\n")), "{line}: {document}");
    }
    server.stop();
}

/// A proxy that listens on a Unix socket, which needs no free port.
struct Proxy {
    child: Child,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts `proxy` with a configuration, in which `FOLDER` and `SERVER` are filled in.
    fn start(proxy: &Path, arguments: &[&str], config: &str, server: &TestServer) -> Proxy {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().display().to_string();
        let fill = |text: &str| {
            text.replace("FOLDER", &path).replace("SERVER", &server.address.to_string())
        };
        std::fs::write(folder.path().join("config"), fill(config)).expect("a file");
        let mut command = Command::new(proxy);
        command.args(arguments.iter().map(|argument| fill(argument)));
        let child = command.spawn().expect("a proxy");
        let proxy = Proxy { child, folder };
        eventually("the proxy listens", || UnixStream::connect(proxy.socket()).is_ok());
        proxy
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("front")
    }

    fn curl(&self, arguments: &[&str], paths: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--unix-socket"]);
        curl.arg(self.socket()).args(arguments);
        run(curl.args(paths.iter().map(|path| format!("http://proxy.test{path}"))))
    }

    /// What services ask of a proxy, which keeps one connection to the server for all of it.
    fn check(&self, server: &TestServer) {
        let body = "0123456789abcdef".repeat(1 << 14);
        let file = self.folder.path().join("body");
        std::fs::write(&file, &body).expect("a file");
        let data = format!("@{}", file.display());
        for _ in 0..3 {
            assert_eq!(self.curl(&[], &["/", "/", "/"]), "okokok");
            for field in ["X: y", "Transfer-Encoding: chunked", "Expect: 100-continue"] {
                let echo = self.curl(&["--data-binary", &data, "--header", field], &["/echo"]);
                assert!(echo == body, "{field}: {} bytes", echo.len());
            }
            assert_eq!(self.curl(&[], &["/large"]).len(), 1 << 20);
            assert_eq!(self.curl(&[], &["/stream"]), "piece ".repeat(100));
            let head = self.curl(&["--head"], &["/large"]);
            assert!(
                head.to_ascii_lowercase().contains("\r\ncontent-length: 1048576\r\n"),
                "{head}"
            );
            let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
            assert_eq!(self.curl(&status, &["/none"]), "404");
        }
        assert_eq!(server.runtime_stats().streams_opened.value(), 1, "connections to the server");
        assert_eq!(server.stats().requests.value(), 3 * 10);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const NGINX: &str = "
daemon off;
master_process off;
pid FOLDER/pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER;
    proxy_temp_path FOLDER;
    fastcgi_temp_path FOLDER;
    scgi_temp_path FOLDER;
    uwsgi_temp_path FOLDER;
    client_max_body_size 0;
    upstream server { server SERVER; keepalive 4; }
    server {
        listen unix:FOLDER/front;
        location / {
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_request_buffering off;
        }
    }
}
";

const HAPROXY: &str = "
defaults
    mode http
    http-reuse always
    timeout connect 30s
    timeout client 30s
    timeout server 30s
frontend front
    bind unix@FOLDER/front
    default_backend back
backend back
    server server SERVER
";

#[test]
fn nginx_in_front() {
    let Some(nginx) = find("nginx") else { return };
    let server = start();
    let arguments = ["-p", "FOLDER", "-e", "stderr", "-c", "FOLDER/config"];
    let proxy = Proxy::start(&nginx, &arguments, NGINX, &server);
    proxy.check(&server);
    drop(proxy);
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn haproxy_in_front() {
    let Some(haproxy) = find("haproxy") else { return };
    let server = start();
    let proxy = Proxy::start(&haproxy, &["-db", "-f", "FOLDER/config"], HAPROXY, &server);
    proxy.check(&server);
    drop(proxy);
    server.wait_until_quiet();
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
