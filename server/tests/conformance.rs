//! Runs every wire vector against a running server over loopback, however its bytes arrive.

mod support;
#[allow(dead_code, reason = "written for the protocol core, of which less is seen from here")]
mod vector;

use bytes::Bytes;
use corelane::{App, Method, get};
use support::{Client, End, TestServer};
use vector::{After, Vector};

const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n";

/// Vectors above this size are sent in larger pieces where one write per byte is asked for.
const BYTEWISE_BYTES_MAX: usize = 2048;

/// Every method that a vector uses.
const METHODS: [&str; 10] = [
    "!#$%&'*+-.^_`|~09",
    "BREW",
    "DELETE",
    "HEAD",
    "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM",
    "OPTIONS",
    "POST",
    "PUT",
    "get",
    "GET",
];

/// Any path and method: reads the body, and sends it back.
fn start() -> TestServer {
    let methods = || {
        METHODS.iter().fold(get(async |body: Bytes| body), |router, method| {
            router
                .on(Method::from_bytes(method.as_bytes()).expect("a token"), async |body: Bytes| {
                    body
                })
        })
    };
    TestServer::start(App::new().route("/", methods()).route("/{*rest}", methods()))
}

/// Receives what the vector says, and has the connection do what the vector says then.
fn check(vector: &Vector, mut client: Client) {
    let (name, expected) = (&vector.name, &vector.expected);
    for (index, status) in expected.statuses.iter().enumerate() {
        let request = expected.requests.get(index);
        let method = request.map_or("GET", |request| request.method.as_str());
        let response = client.try_response_to(method);
        let response = response.unwrap_or_else(|end| panic!("{name}: answer {index}: {end:?}"));
        // RFC 9110 section 9.3.7: `OPTIONS *` asks the server, and no handler.
        let is_for_server = request.is_some_and(|request| request.path == "*");
        assert_eq!(response.status, if is_for_server { 204 } else { *status }, "{name}");
        assert!(response.field("date").is_some(), "{name}: no date");
        match request {
            Some(request) if method != "HEAD" => {
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
    assert!(vectors.len() > 400, "only {} vectors", vectors.len());
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

/// Ends a connection behind every byte of every request that is to be cut short.
fn cut_everywhere(server: &TestServer, end: impl Fn(Client)) {
    let answered = server.stats().responses.iter().map(|class| class.value()).sum::<u64>();
    for request in CUT_SHORT {
        for size in 0..request.len() {
            let mut client = server.connect();
            client.send(&request[..size]);
            end(client);
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
    cut_everywhere(&server, |mut client| {
        client.half_close();
        assert_eq!(client.try_response_to("GET"), Err(End::Clean));
    });
    server.stop();
}

#[test]
fn early_close_at_every_byte() {
    let server = start();
    cut_everywhere(&server, drop);
    server.stop();
}

#[test]
fn early_reset_at_every_byte() {
    let server = start();
    cut_everywhere(&server, Client::reset);
    server.stop();
}
