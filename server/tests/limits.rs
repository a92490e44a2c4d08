//! Every limit and deadline, hit on the wire: the status that answers it, and what becomes of the
//! connection.

mod support;

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelane::http1::ProtocolError;
use corelane::runtime::simulation::{Peer, Simulation, SimulationConfig};
use corelane::runtime::{Moment, ShardId, sleep};
use corelane::{
    Address, App, BodyStream, Deadline, RequestBody, ServerConfig, ServerStats, get, post,
};
use futures_util::stream;
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
        .route("/large-stream", get(async || BodyStream::new(stream::iter(pieces()))))
}

/// As much as `/large`, in pieces.
fn pieces() -> impl Iterator<Item = Result<Bytes, Infallible>> {
    std::iter::repeat_n(Ok(Bytes::from(vec![b'x'; 1 << 20])), 32)
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

/// Narrow limits at one address, the defaults at the other; a route's own hold at both.
#[test]
fn each_listener_has_its_own_limits() {
    let mut own = ServerConfig { connections_max: Some(1), ..ServerConfig::default() };
    narrow(&mut own);
    (own.head_timeout, own.server_name) = (SHORT, None);
    let server = TestServer::start(app().listen_with(any_port(), own));
    let Address::Tcp(narrow) = server.server.addresses()[1] else { panic!("not TCP") };
    for (request, status, narrow_status) in [
        (target(101), 200, 414),
        (with_fields(&"a: b\r\n".repeat(10)), 200, 431),
        (sized("/body", 1001), 200, 413),
        (in_chunks("/body", 1001), 200, 413),
        (sized("/small", 11), 413, 413),
        (sized("/wide", 4000), 200, 200),
    ] {
        for (address, status) in [(server.address, status), (narrow, narrow_status)] {
            let mut client = Client::connect(address);
            client.send(&request);
            let response = client.response();
            assert_eq!(response.status, status, "{address}: {}", response.text());
            assert_eq!(response.field("server").is_some(), address == server.address);
            drop(client);
            server.wait_until_quiet();
        }
    }
    let mut slow = Client::connect(narrow);
    slow.send("GET / HTTP/1.1\r\n");
    assert_eq!(slow.response().status, 408);
    server.stop();
}

fn any_port() -> Address {
    Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

#[test]
fn a_listener_that_is_full_holds_up_no_other() {
    let own = ServerConfig { connections_max: Some(1), ..ServerConfig::default() };
    let server = TestServer::start(app().listen_with(any_port(), own));
    let Address::Tcp(narrow) = server.server.addresses()[1] else { panic!("not TCP") };
    let mut first = Client::connect(narrow);
    assert_eq!(first.exchange(support::get("/")).text(), "ok");
    let mut second = Client::connect(narrow);
    second.send(support::get("/"));
    let mut elsewhere = server.connect();
    for _ in 0..100 {
        assert_eq!(elsewhere.exchange(support::get("/")).text(), "ok");
        assert_eq!(first.exchange(support::get("/")).text(), "ok");
    }
    assert_eq!(server.stats().requests.value(), 201, "the second is not served yet");
    drop(first);
    assert_eq!(second.response().text(), "ok");
    server.stop();
}

#[test]
fn the_limits_of_a_listener_are_checked_at_start() {
    let mut own = ServerConfig::default();
    own.limits.head_bytes_max = 1;
    let error = app().listen_with(any_port(), own).start("127.0.0.1:0").expect_err("an error");
    assert!(error.to_string().contains("head_bytes_max: 1"), "{error}");
}

/// What comes behind a refused request is received and thrown away for a while, so that no reset
/// eats the refusal; and each refusal is counted as what it is.
#[test]
fn a_refusal_reaches_a_peer_that_goes_on_sending() {
    let server = TestServer::start_with(app(), |config| config.linger_timeout = support::PATIENCE);
    for (refused, status, error) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, ProtocolError::HostMissing),
        ("G@T / HTTP/1.1\r\n", 400, ProtocolError::MethodInvalid),
        ("GET / HTTP/3.0\r\n\r\n", 505, ProtocolError::VersionUnsupported),
    ] {
        let mut client = server.connect();
        client.send(refused);
        for piece in vec![b'x'; 32 * 1024].chunks(1000) {
            client.send(piece);
        }
        assert_eq!(client.response().status, status);
        client.expect_closed();
        assert_eq!(server.stats().refused[error.index()].value(), 1, "{error:?}");
    }
    server.stop();
}

/// As many clients do: a reset while they send would be all that they ever see.
#[test]
fn a_refusal_reaches_a_peer_that_sends_everything_before_it_reads() {
    let server = TestServer::start_with(app(), |config| config.linger_timeout = support::PATIENCE);
    for request in [sized("/body", 8 << 20), in_chunks("/body", 8 << 20), target(8 << 20)] {
        let mut client = server.connect();
        client.send(&request);
        let status = client.response().status;
        assert!(matches!(status, 413 | 414), "{status}");
        client.expect_closed();
    }
    server.wait_until_quiet();
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

#[test]
fn a_peer_that_does_not_take_its_answer_is_cut_off() {
    let server = TestServer::start_with(app(), |config| {
        config.send_timeout = SHORT;
        config.send_bytes_per_second_min = 1 << 30;
    });
    for (count, path) in ["/large", "/large-stream"].into_iter().enumerate() {
        let mut client = server.connect();
        client.send(support::get(path));
        let is_counted = || timeouts(&server, Deadline::Send) == count as u64 + 1;
        eventually("the deadline passes", is_counted);
        server.wait_until_quiet();
        assert!(matches!(client.try_response_to("GET"), Err(End::Within | End::Reset)));
    }
    server.stop();
}

/// A server on a simulated clock, which jumps to where something happens next.
struct Simulated {
    simulation: Simulation,
    stats: Arc<ServerStats>,
    address: SocketAddr,
}

impl Simulated {
    fn start() -> Simulated {
        // Few bytes are under way, so that it is the peer who says how fast an answer is taken.
        let config = SimulationConfig { socket_bytes_max: 100, ..SimulationConfig::default() };
        let mut simulation = Simulation::new(1, config);
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let app = app()
            .route("/some", get(async || "x".repeat(30_000)))
            .route("/more", get(async || Bytes::from(vec![b'x'; 100_000])));
        let stats = app.simulate(&mut simulation, 1, address).expect("it starts").remove(0);
        Simulated { simulation, stats, address }
    }

    fn connect(&self) -> Peer {
        self.simulation.connect(self.address).expect("somebody listens")
    }

    /// Sends a piece every second, as long as the server listens.
    fn drip(&self, peer: &Peer, bytes: impl Into<Vec<u8>>, piece_bytes: usize) {
        let (peer, bytes) = (peer.clone(), bytes.into());
        self.simulation.spawn(ShardId(0), async move {
            for piece in bytes.chunks(piece_bytes) {
                sleep(Duration::from_secs(1)).await;
                if peer.ending().is_some() {
                    return;
                }
                peer.send(piece);
            }
        });
    }

    /// Runs until the server has ended the connection; tells after how many seconds.
    fn seconds_until_end(&mut self, peer: &Peer) -> f64 {
        let start = self.simulation.now();
        self.simulation.run_until(|| peer.ending().is_some());
        self.seconds_since(start)
    }

    fn seconds_since(&self, start: Moment) -> f64 {
        (self.simulation.now() - start).as_secs_f64()
    }

    fn check_end(mut self, deadline: Option<Deadline>) {
        self.simulation.drain_and_check();
        for known in Deadline::ALL {
            let count = self.stats.timeouts[known as usize].value();
            assert_eq!(count, u64::from(Some(known) == deadline), "{known:?}");
        }
    }
}

fn check_seconds(seconds: f64, expected: f64) {
    assert!((expected..expected + 1.1).contains(&seconds), "{seconds} s, not {expected} s");
}

fn status_of(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.received()).chars().skip(9).take(3).collect()
}

/// Each with the default deadlines.
#[test]
fn heads_have_an_end_and_idleness_too() {
    let mut run = Simulated::start();
    let peer = run.connect();
    check_seconds(run.seconds_until_end(&peer), 10.0);
    assert_eq!(peer.received(), b"", "a connection that sent nothing is told nothing");
    run.check_end(Some(Deadline::FirstByte));

    let mut run = Simulated::start();
    let peer = run.connect();
    peer.send("G");
    run.drip(&peer, format!("ET / HTTP/1.1\r\nHost: h\r\nX: {}", "y".repeat(1000)), 1);
    check_seconds(run.seconds_until_end(&peer), 10.0);
    assert_eq!(status_of(&peer), "408");
    run.check_end(Some(Deadline::Head));

    let mut run = Simulated::start();
    let peer = run.connect();
    peer.send(support::get("/"));
    check_seconds(run.seconds_until_end(&peer), 75.0);
    assert_eq!(status_of(&peer), "200");
    run.check_end(Some(Deadline::Idle));
}

/// 20 s and 500 B/s: a body of 400 B/s loses a fifth of a second every second.
#[test]
fn bodies_have_a_least_rate() {
    for path in ["/body", "/stream", "/unread"] {
        for (rate, end) in [(1, Some(20.0)), (400, Some(95.5)), (500, None), (600, None)] {
            let mut run = Simulated::start();
            let peer = run.connect();
            let size = 100_000;
            peer.send(request("POST", path, &format!("Content-Length: {size}\r\n")));
            run.drip(&peer, [vec![b'x'; size], support::get("/").into()].concat(), rate);
            let Some(seconds) = end else {
                run.simulation.run_until(|| peer.received().ends_with(b"ok"));
                run.check_end(None);
                continue;
            };
            check_seconds(run.seconds_until_end(&peer), seconds);
            let status = if path == "/unread" { "200" } else { "408" };
            assert_eq!(status_of(&peer), status, "{path} at {rate} B/s");
            run.check_end(Some(Deadline::Body));
        }
    }
}

/// What came fast earns no pause that is longer than the time that every body has.
#[test]
fn a_body_that_stops_is_given_up_however_fast_it_was() {
    let mut run = Simulated::start();
    let peer = run.connect();
    peer.send(request("POST", "/body", "Content-Length: 400000\r\n"));
    peer.send(vec![b'x'; 300_000]);
    run.simulation.run_until(|| peer.unsent_count() == 0);
    check_seconds(run.seconds_until_end(&peer), 20.0);
    assert_eq!(status_of(&peer), "408");
    run.check_end(Some(Deadline::Body));
}

/// Takes what is there now and then, so many bytes a second on average.
async fn take_slowly(peer: Peer, bytes_per_second: usize) {
    loop {
        let before = peer.received().len();
        peer.resume_reading();
        sleep(Duration::from_millis(1)).await;
        peer.stop_reading();
        let taken = peer.received().len() - before;
        if taken == 0 {
            return;
        }
        sleep(Duration::from_secs(taken as u64) / bytes_per_second as u32).await;
    }
}

/// 30 s and 500 B/s, whether the answer fills what may be unsent or is the rest of it.
#[test]
fn answers_are_taken_at_a_least_rate() {
    for (path, size) in [("/some", 30_000), ("/more", 100_000)] {
        let mut run = Simulated::start();
        let peer = run.connect();
        peer.stop_reading();
        peer.send(support::get(path));
        let start = run.simulation.now();
        let stats = Arc::clone(&run.stats);
        run.simulation.run_until(|| stats.timeouts[Deadline::Send as usize].value() == 1);
        check_seconds(run.seconds_since(start), 30.0);
        peer.resume_reading();
        run.check_end(Some(Deadline::Send));

        let mut run = Simulated::start();
        let peer = run.connect();
        peer.stop_reading();
        peer.send(support::get(path));
        let start = run.simulation.now();
        run.simulation.spawn(ShardId(0), take_slowly(peer.clone(), 700));
        run.simulation.run_until(|| peer.received().len() > size);
        let least = (size - 3000) as f64 / 700.0;
        assert!(run.seconds_since(start) > least, "that was not slow");
        peer.resume_reading();
        peer.finish();
        run.check_end(None);
    }
}
