//! The edge of the server: more requests than it takes on, clients that ask too often, and clients
//! behind proxies.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corelane::middleware::RateLimit;
use corelane::runtime::sleep;
use corelane::{
    App, ClientAddress, Concurrency, HeaderName, PeerAddress, ProxyConfig, ProxyField, get, post,
};
use support::{TestServer, eventually};

/// A server whose `/wait` answers once the switch is on.
fn waiting(concurrency_max: Concurrency) -> (TestServer, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&switch);
    let wait = move || {
        let seen = Arc::clone(&seen);
        async move {
            while !seen.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
            "waited"
        }
    };
    let app = App::new()
        .route("/", get(async || "at once"))
        .route("/echo", post(async |text: String| text))
        .route("/healthz", get(async || "well"))
        .route("/wait", get(wait));
    (TestServer::start(app.concurrency_max(concurrency_max)), switch)
}

#[test]
fn what_is_beyond_the_limit_is_refused_at_once() {
    let (server, switch) = waiting(Concurrency::Max(2));
    let mut busy = [server.connect(), server.connect()];
    for client in &mut busy {
        client.send(support::get("/wait"));
    }
    eventually("both wait", || server.stats().requests.value() == 2);
    let mut client = server.connect();
    for request in [support::get("/").into_bytes(), support::post("/echo", "text/plain", "body")] {
        let refused = client.exchange(request);
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
        assert!(!refused.says_close(), "the connection is not at fault");
        assert!(refused.text().contains("more requests than it can answer"), "{}", refused.text());
    }
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status, 503);
    assert_eq!(client.exchange(support::get("/healthz?full")).text(), "well");
    assert_eq!(server.stats().requests_shed.value(), 3);
    switch.store(true, Ordering::Relaxed);
    for client in &mut busy {
        assert_eq!(client.response().text(), "waited");
    }
    assert_eq!(client.exchange(support::get("/")).text(), "at once");
    server.stop();
}

/// A place is given back however its request ends.
#[test]
fn a_client_that_goes_away_leaves_its_place() {
    let (server, _switch) = waiting(Concurrency::Max(1));
    for _ in 0..3 {
        let mut client = server.connect();
        client.send(support::get("/wait"));
        eventually("it is refused elsewhere", || server.get("/").status == 503);
        client.reset();
        eventually("there is room", || server.get("/").status == 200);
    }
    server.stop();
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let limit = RateLimit::new(2, Duration::from_secs(7200));
    let limit = limit.by_header(HeaderName::from_static("x-key"));
    let app = App::new().route("/", get(async || "ok")).layer(limit);
    let server = TestServer::start(app);
    let mut client = server.connect();
    let asked = |key: &str| support::request("GET", "/", &format!("X-Key: {key}\r\n"));
    for (status, left) in [(200, 1), (200, 0), (429, 0)] {
        let answer = client.exchange(asked("a"));
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("ratelimit-policy"), Some("\"default\";q=2;w=7200"));
        let state = answer.field("ratelimit").expect("a field");
        assert!(state.starts_with(&format!("\"default\";r={left};t=")), "{state}");
        let retry_after = answer.field("retry-after").map(|text| text.parse::<u64>());
        match status {
            429 => assert!(matches!(retry_after, Some(Ok(3590..=3600))), "{retry_after:?}"),
            _ => assert_eq!(retry_after, None),
        }
    }
    assert_eq!(client.exchange(asked("b")).status, 200, "another client");
    assert_eq!(client.exchange(support::get("/")).status, 200, "those without a key");
    server.stop();
}

fn addresses(proxy: ProxyConfig) -> TestServer {
    let show = async |PeerAddress(peer): PeerAddress, ClientAddress(client): ClientAddress| {
        let peer = peer.map(|peer| peer.ip());
        let shown = [peer, client].map(|one| one.map_or("none".to_owned(), |one| one.to_string()));
        shown.join(" ")
    };
    let app = App::new().route("/", get(show));
    TestServer::start_with(app, |config| config.proxy = proxy)
}

fn trusting(network: &str) -> ProxyConfig {
    ProxyConfig { trusted: vec![network.parse().expect("a network")], ..ProxyConfig::default() }
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let fields = "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=198.51.100.1\r\n";
    let request = support::request("GET", "/", fields);
    let check = |proxy: ProxyConfig, expected: &str| {
        let server = addresses(proxy);
        assert_eq!(server.request(&request).text(), expected);
        server.stop();
    };
    check(trusting("127.0.0.0/8"), "127.0.0.1 192.0.2.7");
    let field = ProxyField::Forwarded;
    check(ProxyConfig { field, ..trusting("127.0.0.0/8") }, "127.0.0.1 198.51.100.1");
    check(trusting("10.0.0.0/8"), "127.0.0.1 127.0.0.1");
    check(ProxyConfig::default(), "127.0.0.1 127.0.0.1");
}

fn heads() -> Vec<(Vec<u8>, &'static str)> {
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\0\x50";
    vec![
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n".to_vec(), "127.0.0.1 192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n".to_vec(), "127.0.0.1 2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1 127.0.0.1"),
        (version_2.to_vec(), "127.0.0.1 192.0.2.7"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1 127.0.0.1"),
    ]
}

/// Whole, byte by byte, and split at every offset, with a request behind it in the same piece.
#[test]
fn a_connection_begins_with_a_head_of_the_proxy_protocol() {
    let server = addresses(ProxyConfig { has_protocol_head: true, ..trusting("127.0.0.1/32") });
    for (head, expected) in heads() {
        let bytes = [&head[..], support::get("/").as_bytes()].concat();
        for split in 0..=bytes.len() {
            let mut client = server.connect();
            let (first, second) = bytes.split_at(split);
            match split {
                0 => client.send_bytewise(&bytes),
                _ => client.send_pieces([first, second]),
            }
            assert_eq!(client.response().text(), expected, "split at {split}");
            // The next request has no head before it.
            assert_eq!(client.exchange(support::get("/")).text(), expected);
        }
    }
    assert_eq!(server.stats().not_proxied.value(), 0);
    server.stop();
}

#[test]
fn whoever_is_not_trusted_or_sends_no_head_is_closed() {
    let with_head = |network| ProxyConfig { has_protocol_head: true, ..trusting(network) };
    let (head, _) = heads().remove(0);
    let server = addresses(with_head("10.0.0.0/8"));
    let mut client = server.connect();
    let _ = client.try_send(&[&head[..], support::get("/").as_bytes()].concat());
    client.expect_ended();
    eventually("it is counted", || server.stats().not_proxied.value() == 1);
    assert_eq!(server.stats().requests.value(), 0);
    server.stop();

    let server = addresses(with_head("127.0.0.0/8"));
    let cut = &head[..head.len() - 1];
    for bytes in [support::get("/").as_bytes(), b"PROXY NONSENSE 1 2 3\r\n", b"\r\n\r\nX"] {
        let mut client = server.connect();
        client.send(bytes);
        client.expect_ended();
    }
    let mut client = server.connect();
    client.send(cut);
    client.half_close();
    client.expect_ended();
    eventually("all are counted", || server.stats().not_proxied.value() == 4);
    server.stop();
}

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let proxy = ProxyConfig { has_protocol_head: true, ..trusting("127.0.0.0/8") };
    let server = TestServer::start_with(App::new(), |config| {
        (config.proxy, config.head_timeout) = (proxy, Duration::from_millis(20));
    });
    let mut client = server.connect();
    client.send("PROXY TCP4 ");
    client.expect_ended();
    server.stop();
}
