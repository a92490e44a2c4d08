//! Accepting when the process runs out of descriptors, and other people's short visits. What direct
//! descriptors change is in `direct.rs`.

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Child, EchoServer, config, eventually, limit_descriptors, ping};

#[test]
#[ignore = "the process that runs out of descriptors"]
fn limited() {
    // Before the start: an accept in flight keeps the limit that it was submitted under. The shard
    // itself takes about half of them.
    limit_descriptors(64);
    let mut config = config(1);
    config.shard.direct_descriptors_max = 0;
    let server = EchoServer::start_with(config, &["127.0.0.1:0"]);
    println!("listening {}", server.tcp());
    let stats = server.stats();
    for line in std::io::stdin().lines() {
        assert_eq!(line.expect("stdin"), "count");
        let counters = [&stats.turns, &stats.accepts_paused, &stats.streams_opened];
        let values = counters.map(|counter| counter.value().to_string());
        println!("counted {}", values.join(" "));
    }
    server.stop();
}

/// Turns, pauses and streams so far.
fn count(child: &mut Child) -> [u64; 3] {
    child.tell("count");
    let line = child.line("counted");
    let values: Vec<u64> = line.split(' ').map(|n| n.parse().expect("a number")).collect();
    values.try_into().expect("three numbers")
}

#[test]
fn out_of_descriptors_accepting_pauses_and_goes_on() {
    let mut child = Child::start("limited");
    let address: std::net::SocketAddr = child.line("listening").parse().expect("address");
    let mut served: Vec<_> =
        (0..10).map(|_| TcpStream::connect(address).expect("connect")).collect();
    served.iter_mut().for_each(ping);
    let waiting: Vec<_> = (0..100).map(|_| TcpStream::connect(address).expect("connect")).collect();
    eventually(|| count(&mut child)[1] > 0);
    let (before, start) = (count(&mut child), Instant::now());
    std::thread::sleep(Duration::from_millis(500));
    let (after, elapsed) = (count(&mut child), start.elapsed());
    // A pause lasts 100 ms; an accept that is tried at once takes thousands of turns a second.
    let pause_count_max = elapsed.as_millis() as u64 / 100 + 1;
    assert!(after[1] - before[1] <= pause_count_max, "{before:?} {after:?}");
    let turn_count_max = 10 * pause_count_max;
    assert!(after[0] - before[0] <= turn_count_max, "{before:?} {after:?}");
    served.iter_mut().for_each(ping);
    // Each that leaves makes room for one that waits.
    drop(served);
    for mut stream in waiting {
        ping(&mut stream);
    }
    eventually(|| count(&mut child)[2] == 110);
    child.end();
}

#[test]
fn visitors_who_leave_before_they_are_accepted_harm_nobody() {
    let server = EchoServer::start(1, &["127.0.0.1:0"]);
    for round in 0..300 {
        let stream = TcpStream::connect(server.tcp()).expect("connect");
        if round % 2 == 0 {
            let socket = socket2::Socket::from(stream);
            socket.set_linger(Some(Duration::ZERO)).expect("linger");
        }
    }
    ping(&mut TcpStream::connect(server.tcp()).expect("connect"));
    let stats = server.stats();
    eventually(|| stats.streams_open() == 0);
    assert_eq!(stats.panics.value(), 0);
    server.stop();
}
