//! Very many connections: open at once, and one after the other; what they leave behind.
//!
//! A connection costs a descriptor at both ends, so the client is a process of its own: this test
//! binary again, with one of the ignored tests below and the server's address in the environment.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use corelane::{App, ServerConfig, get};
use socket2::{Domain, SockRef, Socket, Type};
use support::{Client, TestServer};

const ADDRESS: &str = "CORELANE_TEST_ADDRESS";

/// Open at once, on one shard.
const OPEN_COUNT: usize = 10_000;

/// Opened and closed one after the other, twice; `CORELANE_TEST_CHURN` says how many otherwise.
const CHURN_COUNT: usize = 100_000;

/// Descriptors and memory are the whole process's: one test of this file at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> TestServer {
    let config = ServerConfig { connections_max: Some(OPEN_COUNT), ..ServerConfig::default() };
    TestServer::start(App::new().config(config).route("/", get(async || "ok")))
}

/// Runs one of this binary's ignored tests as a client, to its end or until it waits for us.
fn client(name: &str, address: SocketAddr) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", name, "--ignored", "--nocapture", "--quiet"]);
    command.env(ADDRESS, address.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn server_address() -> SocketAddr {
    std::env::var(ADDRESS).expect("run by the tests of this file").parse().expect("an address")
}

fn descriptor_count() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// Resident memory in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

#[test]
fn ten_thousand_connections_are_open_and_answered() {
    let _alone = alone();
    let server = start();
    let before = descriptor_count();
    let mut client = client("hold_open", server.address).spawn().expect("client");
    let mut output = client.stdout.take().expect("stdout");
    // The harness prints a line of its own before the client's mark.
    let mut byte = [0];
    while byte != *b"#" {
        assert_eq!(output.read(&mut byte).expect("read"), 1, "the client has failed");
    }
    assert_eq!(server.runtime_stats().streams_open(), OPEN_COUNT as u64);
    assert_eq!(server.stats().requests.value(), 2 * OPEN_COUNT as u64);
    // Each has a descriptor: one of the process's, or one of its ring's alone.
    let direct = server.runtime_stats().direct_accepts.value() as usize;
    assert!(descriptor_count() + direct >= before + OPEN_COUNT);
    drop(client.stdin.take());
    assert!(client.wait().expect("wait").success());
    drop((client, output));
    server.wait_until_quiet();
    assert_eq!(descriptor_count(), before);
    server.stop();
}

/// The client of the test above: opens them all, asks twice on each, waits to be let go.
#[test]
#[ignore = "a client, run by another test of this file"]
fn hold_open() {
    let address = server_address();
    let mut clients: Vec<_> = (0..OPEN_COUNT).map(|_| Client::connect(address)).collect();
    for _ in 0..2 {
        for client in &mut clients {
            client.send(support::get("/"));
        }
        for client in &mut clients {
            assert_eq!(client.response().text(), "ok");
        }
    }
    std::io::stdout().write_all(b"#").and_then(|()| std::io::stdout().flush()).expect("mark");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("wait");
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let _alone = alone();
    let server = start();
    let churn = || {
        let output = client("come_and_go", server.address).output().expect("client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        server.wait_until_quiet();
    };
    // What a warm shard keeps for the next connection is there after the first round.
    churn();
    let (descriptors, resident) = (descriptor_count(), resident_kib());
    churn();
    assert_eq!(descriptor_count(), descriptors);
    let grown = resident_kib().saturating_sub(resident);
    assert!(grown < 1024, "{grown} KiB more than after as many connections");
    let opened = server.runtime_stats().streams_opened.value();
    assert_eq!(opened, server.runtime_stats().streams_closed.value());
    assert_eq!(opened, 2 * churn_count() as u64);
    server.stop();
}

fn churn_count() -> usize {
    let count = std::env::var("CORELANE_TEST_CHURN").ok();
    count.map_or(CHURN_COUNT, |count| count.parse().expect("CORELANE_TEST_CHURN: a number"))
}

/// The client of the test above: each fourth connection sends nothing, or half a request.
#[test]
#[ignore = "a client, run by another test of this file"]
fn come_and_go() {
    let address = server_address();
    for index in 0..churn_count() {
        let mut client = connect_from(index, address);
        match index % 8 {
            0 => {}
            4 => client.send("GET / HT"),
            _ => assert_eq!(client.exchange(support::get("/")).text(), "ok"),
        }
        // A reset leaves no port in TIME_WAIT behind.
        client.reset();
    }
}

/// Connects from one of many loopback addresses: one alone has too few ports.
fn connect_from(index: usize, address: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    let host = Ipv4Addr::new(127, 0, 0, 2 + (index % 200) as u8);
    // The port is chosen by connect(2), which knows the target and finds more of them free.
    SockRef::from(&socket).set_reuse_address(true).expect("reuse");
    socket.bind(&SocketAddr::from((host, 0)).into()).expect("bind");
    socket.connect(&address.into()).expect("connect");
    Client::new(socket.into())
}
