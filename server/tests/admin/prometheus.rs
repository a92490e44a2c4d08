//! Prometheus itself: its linter, and a server that scrapes.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use super::support::{self, Client, TestServer, eventually};
use super::{admin_address, ask, start};

const INSTALL: &str = "scripts/install-missing prometheus=prometheus";

#[test]
fn promtool_has_nothing_to_say() {
    let server = start();
    for path in ["/", "/hello/\u{22}x", "/wait/1", "/nowhere"] {
        server.get(path);
    }
    let text = ask(&server, "/metrics");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap_or_else(|error| panic!("{error}: {INSTALL}"));
    promtool.stdin.take().expect("piped").write_all(&text.body).expect("it reads");
    let said = promtool.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    assert_eq!(text(&said.stdout) + &text(&said.stderr), "");
    server.stop();
}

/// A process that is killed when the test is over.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on; another process may take it, which the test would notice.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address")
}

/// What a query to Prometheus finds: the value of the first series.
fn query(prometheus: SocketAddr, query: &str) -> Option<String> {
    let stream = std::net::TcpStream::connect(prometheus).ok()?;
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let path = format!("/api/v1/query?query={query}");
    let response = Client::new(stream).exchange(support::get(&path));
    let found: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
    found["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

/// A Prometheus that scrapes a server once a second.
struct Prometheus {
    address: SocketAddr,
    _process: Killed,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(server: &TestServer, arguments: &[&str]) -> Prometheus {
        let folder = tempfile::tempdir().expect("folder");
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: corelane, static_configs: [{{targets: ['{}']}}]}}]\n",
            admin_address(&server.server)
        );
        std::fs::write(&config, text).expect("config");
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}: {INSTALL}"));
        Prometheus { address, _process: Killed(child), _folder: folder }
    }

    fn expect(&self, asked: &str, expected: &str) {
        eventually(asked, || query(self.address, asked).as_deref() == Some(expected));
    }
}

#[test]
fn a_real_prometheus_scrapes_it() {
    let server = start();
    (0..7).for_each(|_| assert_eq!(server.get("/hello/x").text(), "x"));
    let prometheus = Prometheus::start(&server, &[]);
    // It asks for OpenMetrics, so this is the parser of that format; `up` is 0 where it fails.
    prometheus.expect("up{job=\"corelane\"}", "1");
    prometheus.expect("corelane_requests_total{route=\"/hello/{name}\",code=\"2xx\"}", "7");
    prometheus.expect("corelane_request_duration_seconds_count{route=\"/hello/{name}\"}", "7");
    let quantile = "histogram_quantile(1, corelane_shard_request_duration_seconds_bucket)";
    prometheus.expect(&format!("{quantile} > bool 0"), "1");
    server.stop();
}

/// One that asks for messages, since only they have native histograms.
#[test]
fn a_prometheus_with_native_histograms_gets_them() {
    let server = start();
    (0..7).for_each(|_| assert_eq!(server.get("/hello/x").text(), "x"));
    assert_eq!(server.get("/wait/40").text(), "waited");
    let prometheus = Prometheus::start(&server, &["--enable-feature=native-histograms"]);
    prometheus.expect("up{job=\"corelane\"}", "1");
    prometheus.expect("corelane_requests_total{route=\"/hello/{name}\",code=\"2xx\"}", "7");
    let durations = |route: &str| format!("corelane_request_duration_seconds{{route=\"{route}\"}}");
    let hello = durations("/hello/{name}");
    prometheus.expect(&format!("histogram_count({hello})"), "7");
    // Where the buckets lie is what the schema says: all seven are above the first bound.
    prometheus.expect(&format!("histogram_fraction(0.0000005, +Inf, {hello})"), "1");
    // A timer is never early. A quarter of a power of two below 40 ms are 37.2 ms.
    let wait = durations("/wait/{millis}");
    prometheus.expect(&format!("histogram_quantile(0.000001, {wait}) > bool 0.037"), "1");
    prometheus.expect(&format!("histogram_sum({wait}) >= bool 0.04"), "1");
    server.stop();
}
