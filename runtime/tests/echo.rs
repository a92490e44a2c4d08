//! Streams end to end, against the standard library's sockets as peers.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use support::{EchoServer, pattern};

#[test]
fn bytes_come_back_as_they_were_sent() {
    let server = EchoServer::start(2, &["127.0.0.1:0"]);
    let mut streams: Vec<_> =
        (0..32).map(|_| TcpStream::connect(server.tcp()).expect("connect")).collect();
    for round in 0..20 {
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&pattern(round + index, 1 + index * 37)).expect("send");
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut reply = vec![0; 1 + index * 37];
            stream.read_exact(&mut reply).expect("reply");
            assert_eq!(reply, pattern(round + index, 1 + index * 37));
        }
    }
    drop(streams);
    server.stop();
}

#[test]
fn megabytes_pass_in_both_directions_and_partial_sends_are_finished() {
    let server = EchoServer::start(1, &["127.0.0.1:0"]);
    let stream = TcpStream::connect(server.tcp()).expect("connect");
    let sent = pattern(7, 8 << 20);
    let mut writer = stream.try_clone().expect("clone");
    let bytes = sent.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&bytes).expect("send");
        writer.shutdown(Shutdown::Write).expect("shutdown");
    });
    let mut received = Vec::new();
    (&stream).read_to_end(&mut received).expect("receive");
    sender.join().expect("sender");
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
    server.stop();
}

#[test]
fn a_half_closed_peer_still_gets_its_reply() {
    let server = EchoServer::start(1, &["127.0.0.1:0"]);
    let mut stream = TcpStream::connect(server.tcp()).expect("connect");
    stream.write_all(b"last words").expect("send");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("receive");
    assert_eq!(reply, "last words");
    server.stop();
}

#[test]
fn several_addresses_of_every_kind_are_served() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("echo.sock");
    let unix = format!("unix:{}", path.display());
    let server = EchoServer::start(2, &["127.0.0.1:0", "[::1]:0", &unix]);
    for address in server.addresses().iter().filter_map(support::tcp_address) {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(b"x").expect("send");
        stream.read_exact(&mut [0]).expect("reply");
    }
    for _ in 0..8 {
        let mut stream = UnixStream::connect(&path).expect("connect");
        stream.write_all(b"y").expect("send");
        stream.read_exact(&mut [0]).expect("reply");
    }
    server.stop();
    // The file is left; the next start finds that nobody listens on it and takes its place.
    EchoServer::start(1, &[&unix]).stop();
}

#[test]
fn descriptors_come_back() {
    let server = EchoServer::start(1, &["127.0.0.1:0"]);
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.tcp()).expect("connect");
        stream.write_all(b"x").expect("send");
        stream.read_exact(&mut [0]).expect("reply");
    }
    let stats = server.stats();
    support::eventually(|| stats.streams_open() == 0);
    assert_eq!(stats.streams_opened.value(), 300);
    assert_eq!(stats.stale_completions.value(), 0);
    server.stop();
}

#[test]
fn a_reset_in_any_state_ends_the_stream_and_nothing_else() {
    let server = EchoServer::start(1, &["127.0.0.1:0"]);
    let mut witness = TcpStream::connect(server.tcp()).expect("connect");
    for bytes_before in [0, 1, 100_000] {
        let stream = TcpStream::connect(server.tcp()).expect("connect");
        (&stream).write_all(&pattern(0, bytes_before)).expect("send");
        let socket = socket2::Socket::from(stream);
        // Linger zero: close sends RST (socket(7)).
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("linger");
        drop(socket);
        witness.write_all(b"x").expect("send");
        witness.read_exact(&mut [0]).expect("reply");
    }
    drop(witness);
    let stats = server.stats();
    support::eventually(|| stats.streams_open() == 0);
    assert_eq!(stats.panics.value(), 0);
    server.stop();
}
