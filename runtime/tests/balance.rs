//! Few connections on many shards: how they are spread, and that none is lost on the way.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use corelane_runtime::{Balance, ListenConfig, Stats};
use support::{EchoServer, config, eventually, ping};

fn start(addresses: &[&str], balance: Balance) -> EchoServer {
    let listen = ListenConfig { balance, ..ListenConfig::default() };
    EchoServer::start_listening(config(2), addresses, &listen, |_| ())
}

fn total(stats: &[Arc<Stats>], count: impl Fn(&Stats) -> u64) -> u64 {
    stats.iter().map(|stats| count(stats)).sum()
}

#[test]
fn sixteen_connections_on_two_shards_are_nine_on_one_at_most() {
    let server = start(&["127.0.0.1:0"], Balance::LeastConnections);
    let stats = server.all_stats();
    for round in 0..100 {
        let connect = |_| TcpStream::connect(server.tcp()).expect("connect");
        let mut streams: Vec<_> = (0..16).map(connect).collect();
        streams.iter_mut().for_each(ping);
        let counts: Vec<_> = stats.iter().map(|stats| stats.streams_open()).collect();
        assert_eq!(counts.iter().sum::<u64>(), 16, "round {round}");
        assert!(counts.iter().all(|count| *count <= 9), "round {round}: {counts:?}");
        drop(streams);
        eventually(|| total(stats, Stats::streams_open) == 0);
    }
    let handed_over = total(stats, |stats| stats.handed_over.value());
    assert!(handed_over > 0, "the hash alone is never that even");
    assert_eq!(total(stats, |stats| stats.taken_over.value()), handed_over);
    server.stop();
}

/// Whatever has piled up on one shard, new connections go to the other.
#[test]
fn new_connections_go_where_there_are_fewest() {
    let server = start(&["127.0.0.1:0"], Balance::LeastConnections);
    let stats = server.all_stats();
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(server.tcp()).expect("connect");
        ping(&mut stream);
        streams.push(stream);
        let counts: Vec<_> = stats.iter().map(|stats| stats.streams_open()).collect();
        // One at a time there is no race: they never differ by more than one.
        assert!(counts[0].abs_diff(counts[1]) <= 1, "{counts:?}");
    }
    server.stop();
}

#[test]
fn with_the_hash_nothing_is_handed_over() {
    let server = start(&["127.0.0.1:0"], Balance::Hash);
    let connect = |_| TcpStream::connect(server.tcp()).expect("connect");
    let mut streams: Vec<_> = (0..32).map(connect).collect();
    streams.iter_mut().for_each(ping);
    assert_eq!(total(server.all_stats(), |stats| stats.handed_over.value()), 0);
    server.stop();
}

#[test]
fn each_of_several_listeners_gets_its_own_connections() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("echo.sock");
    let unix = format!("unix:{}", path.display());
    let server = start(&["127.0.0.1:0", &unix], Balance::LeastConnections);
    let mut tcp = Vec::new();
    let mut local = Vec::new();
    for byte in 0..20 {
        let mut stream = TcpStream::connect(server.tcp()).expect("connect");
        ping(&mut stream);
        tcp.push(stream);
        let mut stream = UnixStream::connect(&path).expect("connect");
        stream.write_all(&[byte]).expect("send");
        let mut reply = [0];
        stream.read_exact(&mut reply).expect("reply");
        assert_eq!(reply, [byte]);
        local.push(stream);
    }
    for stats in server.all_stats() {
        assert_eq!(stats.streams_open(), 20);
    }
    server.stop();
}

/// The drain begins while connections are on their way from shard to shard: each that the kernel
/// has accepted is served.
#[test]
fn a_drain_loses_no_connection_between_two_shards() {
    for _ in 0..60 {
        let server = start(&["127.0.0.1:0"], Balance::LeastConnections);
        let connect = |_| TcpStream::connect(server.tcp()).expect("connect");
        let mut streams: Vec<_> = (0..8).map(connect).collect();
        server.stopper().drain(Duration::from_secs(30));
        streams.iter_mut().for_each(ping);
        drop(streams);
        server.join();
    }
}
