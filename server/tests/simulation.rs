//! The whole server above a simulated ring, network and clock: each seed is another run, with
//! partial sends, lost multishots, late completions, broken connections, and a drain at any moment.
//!
//! What must hold: a request that was sent whole is answered once, in order, with its own content;
//! or the connection ends, and then no later request is answered. Nothing is left over.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use corelane::runtime::simulation::{Faults, Peer, Simulation, SimulationConfig};
use corelane::runtime::sleep;
use corelane::{App, BodyStream, Path, RequestBody, ServerConfig, get, post};

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 80))
}

fn app() -> App {
    App::new()
        .route("/now/{number}", get(async |Path(number): Path<u64>| format!("now {number}")))
        .route(
            "/later/{number}",
            get(async |Path(number): Path<u64>| {
                sleep(Duration::from_millis(number % 7)).await;
                format!("later {number}")
            }),
        )
        .route("/count/{number}", post(count))
        .route("/whole/{number}", post(whole))
        .route("/stream/{number}", get(stream))
}

async fn count(Path(number): Path<u64>, mut body: RequestBody) -> String {
    let mut size = 0;
    while let Some(Ok(chunk)) = body.chunk().await {
        size += chunk.len();
    }
    format!("count {number} {size}")
}

async fn whole(Path(number): Path<u64>, body: Bytes) -> String {
    format!("whole {number} {}", body.len())
}

async fn stream(Path(number): Path<u64>) -> BodyStream {
    let pieces = (0..3).map(move |piece| Ok::<_, std::io::Error>(format!("{piece}.{number};")));
    BodyStream::new(futures_util::stream::iter(pieces.map(|piece| piece.map(Bytes::from))))
}

/// A request and the content of its answer.
struct Exchange {
    request: Vec<u8>,
    answer: String,
}

fn exchange(random: &mut fastrand::Rng, number: u64) -> Exchange {
    let get = |path: &str| format!("GET /{path}/{number} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    match random.u8(0..6) {
        0 | 1 => Exchange { request: get("now"), answer: format!("now {number}") },
        2 => Exchange { request: get("later"), answer: format!("later {number}") },
        3 => {
            let answer = format!("0.{number};1.{number};2.{number};");
            Exchange { request: get("stream"), answer }
        }
        kind => {
            let path = if kind == 4 { "count" } else { "whole" };
            let size = random.usize(0..3000);
            let request = body_request(random, path, number, size);
            Exchange { request, answer: format!("{path} {number} {size}") }
        }
    }
}

/// A body of `size` bytes, by its length or in chunks.
fn body_request(random: &mut fastrand::Rng, path: &str, number: u64, size: usize) -> Vec<u8> {
    let line = format!("POST /{path}/{number} HTTP/1.1\r\nHost: h\r\n");
    if random.bool() {
        let head = format!("{line}Content-Length: {size}\r\n\r\n");
        return [head.as_bytes(), &vec![b'x'; size]].concat();
    }
    let mut request = format!("{line}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let mut left = size;
    while left > 0 {
        let chunk = random.usize(1..=left);
        request.extend_from_slice(format!("{chunk:x}\r\n").as_bytes());
        request.extend(std::iter::repeat_n(b'x', chunk));
        request.extend_from_slice(b"\r\n");
        left -= chunk;
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// Takes the first answer off `bytes`: its content, and whether it says that it is the last one.
/// `None` where it is not whole.
fn take_answer(bytes: &mut Vec<u8>) -> Option<(String, bool)> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a head in ASCII");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let is_last = head.contains("connection: close\r\n");
    let field = |name: &str| {
        let (_, rest) = head.split_once(name)?;
        rest.split("\r\n").next()
    };
    let (content, size) = match field("content-length: ") {
        Some(size) => {
            let size: usize = size.parse().expect("a length");
            (bytes.get(head_end..head_end + size)?.to_vec(), size)
        }
        None => dechunk(&bytes[head_end..])?,
    };
    bytes.drain(..head_end + size);
    Some((String::from_utf8(content).expect("text"), is_last))
}

/// The content of a chunked body and the size of its framing; `None` where it is not whole.
fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let line_size = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..at + line_size]).expect("a size");
        let size = usize::from_str_radix(line, 16).expect("a size");
        at += line_size + 2;
        content.extend_from_slice(bytes.get(at..at + size)?);
        bytes.get(at + size..at + size + 2)?;
        at += size + 2;
        if size == 0 {
            return Some((content, at));
        }
    }
}

struct Client {
    peer: Peer,
    exchanges: Vec<Exchange>,
}

impl Client {
    fn check(&self, seed: u64, is_reliable: bool) {
        let mut received = self.peer.received();
        let mut answered = 0;
        let mut was_last = false;
        while let Some((content, is_last)) = take_answer(&mut received) {
            assert!(!was_last, "seed {seed}: an answer behind the last one");
            assert_eq!(content, self.exchanges[answered].answer, "seed {seed}, answer {answered}");
            was_last = is_last;
            answered += 1;
        }
        if is_reliable {
            assert!(received.is_empty(), "seed {seed}: an answer was cut off");
            let is_complete = answered == self.exchanges.len();
            assert!(is_complete || was_last, "seed {seed}: {answered} answers, then silence");
        }
    }
}

fn run(seed: u64, faults: Faults, drains: bool) {
    let is_reliable = faults.reset == 0.0 && !drains;
    let mut random = fastrand::Rng::with_seed(seed);
    let shard_count = random.usize(1..3);
    let config = SimulationConfig { shard_count, faults, ..SimulationConfig::default() };
    let mut simulation = Simulation::new(seed, config);
    let server = ServerConfig { pipelined_max: random.usize(1..10), ..ServerConfig::default() };
    let app = app().config(server);
    let stats = app.simulate(&mut simulation, shard_count, address()).expect("it starts");
    let clients: Vec<Client> = (0..random.usize(1..6))
        .map(|_| {
            let peer = simulation.connect(address()).expect("somebody listens");
            let count = random.u64(0..8);
            let exchanges: Vec<_> =
                (0..count).map(|number| exchange(&mut random, number)).collect();
            for exchange in &exchanges {
                peer.send(&exchange.request);
            }
            peer.finish();
            Client { peer, exchanges }
        })
        .collect();
    if drains {
        (0..random.usize(0..3000)).all(|_| simulation.step());
    } else {
        simulation.run_until_idle();
    }
    simulation.drain_and_check();
    clients.iter().for_each(|client| client.check(seed, is_reliable));
    assert_eq!(stats.iter().map(|stats| stats.handler_panics.value()).sum::<u64>(), 0);
}

#[test]
fn a_request_in_two_parts_is_answered() {
    let mut simulation = Simulation::new(1, SimulationConfig::default());
    app().simulate(&mut simulation, 1, address()).expect("it starts");
    let peer = simulation.connect(address()).expect("somebody listens");
    peer.send("GET /now/7 HTT");
    peer.send("P/1.1\r\nHost: h\r\n\r\n");
    simulation.run_until(|| peer.received().ends_with(b"now 7"));
    peer.finish();
    simulation.drain_and_check();
}

#[test]
fn every_request_is_answered_whatever_the_ring_does() {
    (0..700).for_each(|seed| run(seed, Faults::harmless(), false));
}

#[test]
fn broken_connections_break_nothing_else() {
    (0..700).for_each(|seed| run(seed, Faults::all(), false));
}

#[test]
fn a_drain_at_any_moment_leaves_nothing_over() {
    (0..700).for_each(|seed| run(seed, Faults::harmless(), true));
}
