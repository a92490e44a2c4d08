//! The proxy: bytes and ends of file pass both ways, and so do resets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::Program;

fn start(target: SocketAddr) -> Program {
    Program::start(env!("CARGO_BIN_EXE_echo_proxy"), &["127.0.0.1:0", &target.to_string()])
}

/// A server that answers one connection.
fn target(answer: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || answer(listener.accept().unwrap().0));
    address
}

#[test]
fn bytes_and_ends_of_file_pass_both_ways() {
    let program = start(target(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.reverse();
        stream.write_all(&all).unwrap();
    }));
    let mut client = TcpStream::connect(program.address()).unwrap();
    let mut bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number / 7) as u8).collect();
    client.write_all(&bytes).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    bytes.reverse();
    assert!(reply == bytes, "{} bytes came back", reply.len());
    program.signal("TERM");
    assert_eq!(program.wait().code, Some(0));
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let program = start(target(|mut stream| {
        stream.write_all(b"part").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        // Closing with a byte unread resets the connection (RFC 9293 section 3.10.4).
        stream.peek(&mut [0]).unwrap();
    }));
    let mut client = TcpStream::connect(program.address()).unwrap();
    let mut part = [0; 4];
    client.read_exact(&mut part).unwrap();
    client.write_all(b"!!").unwrap();
    assert_eq!(client.read(&mut part).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn without_a_target_the_client_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let program = start(nobody);
    let mut client = TcpStream::connect(program.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
