//! A drain loses nothing: what was accepted is answered, what is idle is closed, and it ends.

mod support;

use std::convert::Infallible;
use std::future::pending;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelane::runtime::simulation::{Peer, Simulation, SimulationConfig};
use corelane::runtime::sleep;
use corelane::{App, BodyStream, Server, ServerConfig, get, post};
use futures_util::{Stream, StreamExt, stream};
use support::{Client, End, PATIENCE, TestServer, eventually};

const ROUNDS: usize = 20;
const CLIENT_COUNT: usize = 8;

fn app() -> App {
    App::new()
        .route("/", get(async || "ok"))
        .route(
            "/slow",
            get(async || {
                sleep(Duration::from_millis(3)).await;
                "slow"
            }),
        )
        .route("/echo", post(async |text: String| text))
        .route("/forever", get(async || pending::<()>().await))
        .route("/endless", get(async || BodyStream::new(begun().chain(stream::pending()))))
}

fn begun() -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::once(async { Ok(Bytes::from_static(b"begun")) })
}

/// A server in a simulated world, and one connection to it.
fn simulated(app: App) -> (Simulation, Peer) {
    let mut simulation = Simulation::new(1, SimulationConfig::default());
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    app.simulate(&mut simulation, 1, address).expect("it starts");
    let peer = simulation.connect(address).expect("somebody listens");
    (simulation, peer)
}

/// Runs for so long; what has arrived meanwhile.
fn arrived(simulation: &mut Simulation, peer: &Peer, millis: u64) -> String {
    simulation.run_to(simulation.now() + Duration::from_millis(millis));
    String::from_utf8(peer.take_received()).expect("text")
}

/// Whoever was at work a moment ago, be it with a body that nobody wants or with taking a stream,
/// may have its next request on the way, however long ago the handler was done.
#[test]
fn a_drain_does_not_take_who_was_busy_for_idle() {
    let ticks = async || {
        let ticks = stream::iter(0..10).then(async |_| {
            sleep(Duration::from_millis(100)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"tick"))
        });
        BodyStream::new(ticks)
    };
    let discarded = "POST /unused HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n";
    for (request, rest) in [(discarded, "xx"), (support::get("/ticks").as_str(), "")] {
        let app = app().route("/unused", post(async || "unused")).route("/ticks", get(ticks));
        let (mut simulation, peer) = simulated(app);
        peer.send(request);
        let answer = arrived(&mut simulation, &peer, 900);
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("close"), "{answer}");
        simulation.drain(Duration::MAX);
        peer.send(rest);
        let answer = arrived(&mut simulation, &peer, 200);
        assert_eq!(peer.ending(), None, "{request}: {answer}");
        peer.send(support::get("/"));
        let answer = arrived(&mut simulation, &peer, 10);
        assert!(answer.contains("connection: close\r\n"), "{request}: {answer}");
        assert!(answer.ends_with("\r\n\r\nok"), "{request}: {answer}");
        simulation.drain_and_check();
    }
}

/// One client's requests until its connection ends; says how many were answered.
fn load(mut client: Client, index: usize) -> usize {
    let requests = [
        support::get("/").into_bytes(),
        support::get("/slow").into_bytes(),
        support::post("/echo", "text/plain", "body"),
    ];
    let mut answered = 0;
    loop {
        let request = &requests[(index + answered) % requests.len()];
        // Every other client has more than one request under way.
        let count = 1 + index % 2 * 3;
        if client.try_send(&request.repeat(count)).is_err() {
            return answered;
        }
        for _ in 0..count {
            match client.try_response_to("GET") {
                Ok(response) => {
                    assert_eq!(response.status, 200);
                    answered += 1;
                    if response.says_close() {
                        assert_ne!(client.try_response_to("GET"), Err(End::Within));
                        return answered;
                    }
                }
                Err(end) => {
                    // Idle as seen by the server: not one byte of an answer came.
                    assert_ne!(end, End::Within, "an answer was cut off");
                    assert!(answered > 0, "accepted, and never answered");
                    return answered;
                }
            }
        }
    }
}

fn start_load(address: SocketAddr) -> Vec<JoinHandle<usize>> {
    let clients = (0..CLIENT_COUNT).map(|index| {
        let client = Client::connect(address);
        std::thread::spawn(move || load(client, index))
    });
    clients.collect()
}

fn responses(server: &Server) -> u64 {
    let count = |class: &corelane::runtime::Counter| class.value();
    server.stats().iter().map(|stats| stats.responses.iter().map(count).sum::<u64>()).sum()
}

#[test]
fn a_drain_under_load_loses_no_request() {
    for round in 0..ROUNDS {
        let server = app().start("127.0.0.1:0").expect("start");
        let stats = server.stats().to_vec();
        let clients = start_load(support::tcp_address(&server));
        eventually("load", || responses(&server) > 100 + 20 * round as u64);
        server.drain();
        server.join().expect("join");
        let answered: usize =
            clients.into_iter().map(|client| client.join().expect("client")).sum();
        let responses: u64 =
            stats.iter().flat_map(|stats| &stats.responses).map(|class| class.value()).sum();
        assert_eq!(answered as u64, responses, "an answer was written and did not arrive");
        let refused: u64 =
            stats.iter().flat_map(|stats| &stats.refused).map(|kind| kind.value()).sum();
        assert_eq!(refused, 0, "a request was taken for something else");
    }
}

/// A connection for each request, until nobody listens any more; says how many were answered.
fn connect_until_refused(address: SocketAddr) -> usize {
    let mut answered = 0;
    // A connection that was made is served: refused is the only other thing that it may be.
    while let Ok(socket) = TcpStream::connect(address) {
        let mut client = Client::new(socket);
        client.send(support::request("GET", "/", "Connection: close\r\n"));
        assert_eq!(client.response().text(), "ok");
        answered += 1;
    }
    answered
}

/// The long mode of `docs/testing.md` asks for a thousand.
#[test]
fn whoever_connects_during_a_drain_is_served_or_refused() {
    let rounds = std::env::var("CORELANE_TEST_DRAINS").map_or(Ok(3), |rounds| rounds.parse());
    let rounds: usize = rounds.expect("a count");
    for _ in 0..rounds {
        let server = app().start("127.0.0.1:0").expect("start");
        let address = support::tcp_address(&server);
        let connect = |_| std::thread::spawn(move || connect_until_refused(address));
        let clients: Vec<_> = (0..CLIENT_COUNT).map(connect).collect();
        eventually("load", || responses(&server) > 200);
        server.drain();
        server.join().expect("join");
        let answered: usize =
            clients.into_iter().map(|client| client.join().expect("client")).sum();
        assert!(answered > 200);
    }
}

/// Requests that have come together are answered together, whatever begins meanwhile.
#[test]
fn pipelined_requests_that_have_arrived_are_answered() {
    let server = TestServer::start(app());
    let mut client = server.connect();
    client.send([support::get("/slow"), support::get("/"), support::get("/")].concat());
    eventually("it has begun", || server.stats().requests.value() >= 1);
    server.server.drain();
    for expected in ["slow", "ok", "ok"] {
        assert_eq!(client.response().text(), expected);
    }
    client.expect_closed();
    server.server.join().expect("join");
}

/// What the kernel has completed before the drain began is accepted and answered.
#[test]
fn connections_in_the_queue_are_served() {
    for _ in 0..ROUNDS {
        let server = app().start("127.0.0.1:0").expect("start");
        let address = support::tcp_address(&server);
        let mut clients: Vec<_> = (0..50).map(|_| Client::connect(address)).collect();
        for client in &mut clients {
            client.send(support::get("/"));
        }
        server.drain();
        for mut client in clients {
            assert_eq!(client.response().text(), "ok");
        }
        server.join().expect("join");
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}

#[test]
fn idle_connections_are_closed_and_new_ones_refused() {
    let server = TestServer::start(app());
    let (mut fresh, mut used) = (server.connect(), server.connect());
    assert_eq!(used.exchange(support::get("/")).text(), "ok");
    server.server.drain();
    used.expect_closed();
    fresh.expect_closed();
    server.server.join().expect("join");
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_request_in_flight_is_finished_and_says_close() {
    let is_begun = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&is_begun);
    let app = App::new().route(
        "/",
        get(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async {
                sleep(Duration::from_millis(50)).await;
                "done"
            }
        }),
    );
    let server = TestServer::start(app);
    let mut client = server.connect();
    client.send(support::get("/"));
    let mut uploading = server.connect();
    uploading.send("POST /none HTTP/1.1\r\nHost: h\r\n");
    eventually("it runs", || is_begun.load(Ordering::SeqCst) == 1);
    server.server.drain();
    // A head that is under way is a request that is under way.
    uploading.send("Content-Length: 3\r\n\r\nabc");
    let response = uploading.response();
    assert_eq!((response.status, response.says_close()), (404, true));
    let response = client.response();
    assert_eq!((response.text(), response.says_close()), ("done", true));
    client.expect_closed();
    server.server.join().expect("join");
}

#[test]
fn the_deadline_ends_what_does_not_end_by_itself() {
    let config =
        ServerConfig { drain_timeout: Duration::from_millis(50), ..ServerConfig::default() };
    let server = TestServer::start(app().config(config));
    let mut client = server.connect();
    client.send(support::get("/forever"));
    eventually("it runs", || server.stats().requests.value() == 1);
    server.server.drain();
    server.server.join().expect("join");
    client.expect_ended();
}

/// To HTTP/1.0 an orderly end would be the end of the content.
#[test]
fn what_the_deadline_cuts_off_does_not_look_whole() {
    let config =
        ServerConfig { drain_timeout: Duration::from_millis(50), ..ServerConfig::default() };
    let server = TestServer::start(app().config(config));
    let mut client = server.connect();
    client.send("GET /endless HTTP/1.0\r\n\r\n");
    let mut received = Vec::new();
    while !received.ends_with(b"begun") {
        let mut piece = [0; 4096];
        let size = client.receive_raw(&mut piece);
        assert_ne!(size, 0, "{}", received.escape_ascii());
        received.extend_from_slice(&piece[..size]);
    }
    server.server.drain();
    server.server.join().expect("join");
    let error =
        client.try_receive_raw(&mut [0; 64]).expect_err("an orderly end: it looks complete");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_second_stop_does_not_wait() {
    let server = TestServer::start(app());
    let mut client = server.connect();
    client.send(support::get("/forever"));
    eventually("it runs", || server.stats().requests.value() == 1);
    let begun = Instant::now();
    server.server.drain();
    server.server.stopper().stop();
    server.server.join().expect("join");
    // The drain alone would have taken its whole deadline, which is as long as our patience.
    assert!(begun.elapsed() < PATIENCE);
    client.expect_ended();
}
