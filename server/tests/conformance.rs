//! Runs every wire vector against a running server over loopback, however its bytes arrive.

mod support;
#[allow(dead_code, reason = "written for the protocol core, of which less is seen from here")]
mod vector;

use std::net::SocketAddr;

use bytes::Bytes;
use corelane::runtime::simulation::{Simulation, SimulationConfig};
use corelane::{App, Method, get};
use support::{Client, End, TestServer, eventually};
use vector::{After, Expected, Vector};

const BEFORE: &[u8] = b"GET /before HTTP/1.1\r\nHost: h\r\n\r\n";
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n";

/// Vectors above this size are sent in larger pieces where one write per byte is asked for.
const BYTEWISE_BYTES_MAX: usize = 2048;

/// Every method that a vector uses.
const METHODS: [&str; 11] = [
    "!#$%&'*+-.^_`|~09",
    "BREW",
    "DELETE",
    "HEAD",
    "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
    "OPTIONS",
    "POST",
    "PUT",
    "TRACE",
    "get",
    "GET",
];

/// Any path and method: reads the body, and sends it back.
fn app() -> App {
    let methods = || {
        METHODS.iter().fold(get(async |body: Bytes| body), |router, method| {
            let method = Method::from_bytes(method.as_bytes()).expect("a token");
            router.on(method, async |body: Bytes| body)
        })
    };
    App::new().route("/", methods()).route("/{*rest}", methods())
}

fn start() -> TestServer {
    TestServer::start(app())
}

/// The final statuses that come back.
fn answers(vector: &Vector) -> impl Iterator<Item = u16> {
    let Expected { statuses, requests, .. } = &vector.expected;
    // RFC 9110 section 9.3.7: `OPTIONS *` asks the server, and no handler.
    let is_for_server =
        |index: usize| requests.get(index).is_some_and(|request| request.path == "*");
    let answer = move |(index, status)| if is_for_server(index) { 204 } else { status };
    statuses.iter().copied().enumerate().map(answer)
}

/// Receives what the vector says, and has the connection do what the vector says then.
fn check(vector: &Vector, mut client: Client) {
    let (name, expected) = (&vector.name, &vector.expected);
    for (index, status) in answers(vector).enumerate() {
        let request = expected.requests.get(index);
        let method = request.map_or("GET", |request| request.method.as_str());
        let response = client.try_response_to(method);
        let response = response.unwrap_or_else(|end| panic!("{name}: answer {index}: {end:?}"));
        assert_eq!(response.status, status, "{name}");
        match request {
            Some(request) if method != "HEAD" && status != 204 => {
                assert_eq!(String::from_utf8_lossy(&response.body), request.body, "{name}");
            }
            Some(_) => {}
            None => assert!(response.says_close(), "{name}: a refusal without close"),
        }
    }
    match expected.after {
        After::Open => {
            let response = client.exchange(BEHIND);
            assert_eq!(response.status, 200, "{name}: the next request");
        }
        After::Closed => client.expect_ended(),
        After::Waiting => {
            client.half_close();
            client.expect_closed();
        }
    }
}

/// Sends every vector as `send` does, each on a connection of its own.
fn check_all(send: impl Fn(&mut Client, &Vector)) {
    let server = start();
    let vectors = vector::all();
    assert!(vectors.len() > 800, "only {} vectors", vectors.len());
    for vector in &vectors {
        let mut client = server.connect();
        send(&mut client, vector);
        check(vector, client);
    }
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn whole() {
    check_all(|client, vector| client.send_pieces([vector.input.as_slice()]));
}

#[test]
fn byte_by_byte() {
    check_all(|client, Vector { input, .. }| {
        if input.len() <= BYTEWISE_BYTES_MAX {
            return client.send_bytewise(input);
        }
        let (first, rest) = input.split_at(64);
        let (middle, last) = rest.split_at(rest.len() - 64);
        client.send_pieces(first.chunks(1).chain(middle.chunks(61)).chain(last.chunks(1)));
    });
}

#[test]
fn as_the_second_of_two() {
    check_all(|client, vector| {
        let both = [BEFORE, &vector.input].concat();
        client.send_pieces([both.as_slice()]);
        let first = client.response();
        assert_eq!((first.status, first.says_close()), (200, false), "{}", vector.name);
    });
}

/// Cut at random by a simulated network, and sent in small pieces: each seed is another way.
#[test]
fn however_it_is_cut() {
    const SEEDS: u64 = 32;
    for vector in vector::all() {
        let name = &vector.name;
        for seed in 0..SEEDS {
            let mut simulation = Simulation::new(seed, SimulationConfig::default());
            let address = SocketAddr::from(([10, 0, 0, 1], 80));
            app().simulate(&mut simulation, 1, address).expect("it starts");
            let peer = simulation.connect(address).expect("somebody listens");
            peer.send(BEFORE);
            peer.send(&vector.input);
            // An unfinished request is closed without an answer only where it ends.
            if vector.expected.after == After::Waiting {
                peer.finish();
            }
            simulation.run_until(|| peer.ending().is_some());
            let methods = vector.expected.requests.iter().map(|request| request.method.as_str());
            let seen = statuses(&peer.take_received(), ["GET"].into_iter().chain(methods));
            let expected: Vec<u16> = [200].into_iter().chain(answers(&vector)).collect();
            assert_eq!(seen, expected, "{name}, seed {seed}");
            peer.close();
            simulation.drain_and_check();
        }
    }
}

/// The final statuses of whole answers, and nothing else, to requests with these methods; what is
/// behind them is one refusal.
fn statuses<'a>(mut bytes: &[u8], mut methods: impl Iterator<Item = &'a str>) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(size)) = head.parse(bytes) else {
            panic!("not a whole head: {:?}", String::from_utf8_lossy(bytes));
        };
        let status = head.code.expect("a status");
        bytes = &bytes[size..];
        if status == 100 {
            continue;
        }
        let length = head.headers.iter().find(|field| field.name == "content-length");
        let length = length.map_or(0, |field| {
            std::str::from_utf8(field.value).expect("text").parse().expect("a length")
        });
        let has_content = methods.next() != Some("HEAD");
        bytes = &bytes[if has_content { length } else { 0 }..];
        statuses.push(status);
    }
    statuses
}

/// What comes behind a refused or a last request is never answered; behind any other it is.
#[test]
fn with_a_request_behind() {
    let server = start();
    for mut vector in vector::all() {
        // Behind an unfinished request the bytes of another would become a part of it.
        if vector.expected.after == After::Waiting {
            continue;
        }
        vector.input.extend_from_slice(BEHIND);
        let mut client = server.connect();
        client.send_pieces([vector.input.as_slice()]);
        if vector.expected.after == After::Open {
            let statuses = &mut vector.expected.statuses;
            statuses.push(200);
            vector.expected.requests.push(vector::Request {
                method: "GET".to_owned(),
                path: "/behind".to_owned(),
                ..Default::default()
            });
        }
        check(&vector, client);
    }
    server.wait_until_quiet();
    server.stop();
}

/// Requests that are cut short behind every byte.
const CUT_SHORT: [&[u8]; 5] = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
      5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"\r\nPUT /a?b HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
];

/// Ends a connection behind every byte of every request that is to be cut short; `end` is told how
/// many bytes the server has been sent by then.
fn cut_everywhere(server: &TestServer, end: impl Fn(Client, u64)) {
    let answered = server.stats().responses.iter().map(|class| class.value()).sum::<u64>();
    let mut sent = server.runtime_stats().bytes_received.value();
    for request in CUT_SHORT {
        for size in 0..request.len() {
            let mut client = server.connect();
            client.send(&request[..size]);
            sent += size as u64;
            end(client, sent);
        }
    }
    server.wait_until_quiet();
    let responses = server.stats().responses.iter().map(|class| class.value()).sum::<u64>();
    assert_eq!(responses, answered, "a request that was cut short was answered");
    assert_eq!(server.request(CUT_SHORT[0]).status, 200, "and the shard goes on");
    server.wait_until_quiet();
}

#[test]
fn early_end_of_input_at_every_byte() {
    let server = start();
    cut_everywhere(&server, |mut client, _| {
        client.half_close();
        assert_eq!(client.try_response_to("GET"), Err(End::Clean));
    });
    server.stop();
}

#[test]
fn early_close_at_every_byte() {
    let server = start();
    cut_everywhere(&server, |client, _| drop(client));
    server.stop();
}

#[test]
fn early_reset_at_every_byte() {
    let server = start();
    cut_everywhere(&server, |client, sent| {
        // The kernel may forget a reset that comes right behind data: see docs/driver.md.
        eventually("it is received", || server.runtime_stats().bytes_received.value() == sent);
        client.reset();
    });
    server.stop();
}
