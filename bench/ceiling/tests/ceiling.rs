//! What the ceiling answers on a real socket, however the requests are cut into packets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};

const HEAD: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PIPELINE_HEAD: &str = "GET /pipeline HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A running server, killed when dropped.
struct Ceiling {
    process: Child,
    address: String,
}

impl Ceiling {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ceiling"))
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built with this test");
        let mut line = String::new();
        let output = process.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut line).expect("the output is UTF-8");
        let address = line.trim().strip_prefix("ceiling: listening on ").expect("a ready line");
        Self { process, address: address.to_owned() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the server is listening");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        stream
    }

    /// Sends each part in a packet of its own, then checks the bodies of all the answers.
    fn check(&self, parts: &[&[u8]], bodies: &[&str]) {
        let mut stream = self.connect();
        for part in parts {
            stream.write_all(part).expect("the server reads");
        }
        stream.shutdown(Shutdown::Write).expect("the stream is open");
        let mut output = String::new();
        stream.read_to_string(&mut output).expect("the server closes in order");
        assert_eq!(bodies_of(&output), bodies, "{parts:?}");
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        self.process.kill().expect("the server runs until it is killed");
        self.process.wait().expect("a killed process ends");
    }
}

/// Takes a stream of responses apart and checks the parts that are the same in all of them.
fn bodies_of(mut output: &str) -> Vec<&str> {
    let mut bodies = Vec::new();
    while let Some((head, rest)) = output.split_once("\r\n\r\n") {
        let lines: Vec<_> = head.split("\r\n").collect();
        assert_eq!(lines[..2], ["HTTP/1.1 200 OK", "Server: corelane"]);
        assert!(lines[2].starts_with("Date: ") && lines[2].ends_with(" GMT"), "{head}");
        assert_eq!(lines[3], "Content-Type: text/plain; charset=utf-8");
        let length = lines[4].strip_prefix("Content-Length: ").expect("the fifth line");
        let (body, next) = rest.split_at(length.parse().expect("a number"));
        bodies.push(body);
        output = next;
    }
    assert_eq!(output, "", "every response is whole");
    bodies
}

#[test]
fn answers_whole_and_pipelined_requests() {
    let server = Ceiling::start();
    server.check(&[], &[]);
    server.check(&[HEAD.as_bytes()], &["Hello, World!"]);
    server.check(&[HEAD.as_bytes(), PIPELINE_HEAD.as_bytes()], &["Hello, World!", "ok"]);
    // Longer than one receive buffer, so that heads are cut wherever it ends.
    server.check(&[PIPELINE_HEAD.repeat(500).as_bytes()], &["ok"; 500]);
}

#[test]
fn answers_a_request_split_at_every_offset() {
    let server = Ceiling::start();
    let input = format!("{PIPELINE_HEAD}{HEAD}");
    for offset in 0..input.len() {
        let (first, second) = input.as_bytes().split_at(offset);
        server.check(&[first, second], &["ok", "Hello, World!"]);
    }
    let bytes: Vec<_> = input.as_bytes().chunks(1).collect();
    server.check(&bytes, &["ok", "Hello, World!"]);
}

#[test]
fn closes_on_what_it_does_not_serve_and_goes_on() {
    let server = Ceiling::start();
    let mut kept = server.connect();
    for request in ["POST / HTTP/1.1\r\n\r\n", "nonsense\r\n\r\n"] {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("the server reads");
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "{request:?} has no answer");
    }
    // A peer that resets its connection while the answers are on their way.
    for _ in 0..100 {
        let mut stream = server.connect();
        stream.write_all(HEAD.repeat(50).as_bytes()).expect("the server reads");
    }
    kept.write_all(HEAD.as_bytes()).expect("the server reads");
    assert_eq!(kept.read(&mut [0]).expect("an answer"), 1);
}

#[test]
fn sends_everything_to_a_peer_that_reads_late() {
    let server = Ceiling::start();
    let mut stream = server.connect();
    let mut reader = stream.try_clone().expect("a descriptor is left");
    let count = 100_000;
    let writer = std::thread::spawn(move || {
        stream.write_all(HEAD.repeat(count).as_bytes()).expect("the server reads");
        stream.shutdown(Shutdown::Write).expect("the stream is open");
    });
    writer.join().expect("the server never waits for its reader");
    let mut output = String::new();
    reader.read_to_string(&mut output).expect("the server closes in order");
    assert_eq!(bodies_of(&output).len(), count);
}
