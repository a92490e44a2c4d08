//! Few connections on many shards: how they are spread, and that none is lost on the way.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use corelane_runtime::{Balance, Config, Cores, ListenConfig, Stats, Topology};
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

/// Linux looks at the CPU within a group of sockets since 6.2; before that there is the hash alone.
fn looks_at_cpus() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()) >= Some((6, 2))
}

/// Connects so many times from one CPU: over the loopback, that is where the server's end comes in.
fn connect_from(cpu: usize, address: SocketAddr) -> Vec<TcpStream> {
    let connect = move || {
        assert!(core_affinity::set_for_current(core_affinity::CoreId { id: cpu }), "CPU {cpu}");
        (0..16).map(|_| TcpStream::connect(address).expect("connect")).collect()
    };
    thread::spawn(connect).join().expect("a client")
}

#[test]
fn with_cpu_each_connection_is_served_where_it_came_in() {
    if !looks_at_cpus() {
        return;
    }
    let cpus = Topology::detect().cpus()[..2].to_vec();
    // A CPU is not its shard's number.
    for cores in [cpus.clone(), cpus.iter().rev().copied().collect()] {
        let config = Config { cores: Cores::List(cores.clone()), ..Config::default() };
        let listen = ListenConfig { balance: Balance::Cpu, ..ListenConfig::default() };
        let addresses = &["127.0.0.1:0", "127.0.0.1:0"];
        let server = EchoServer::start_listening(config, addresses, &listen, |_| ());
        for address in server.addresses().iter().filter_map(support::tcp_address) {
            for (shard, cpu) in cores.iter().enumerate() {
                let mut streams = connect_from(*cpu, address);
                streams.iter_mut().for_each(ping);
                for (index, stats) in server.all_stats().iter().enumerate() {
                    let expected = if index == shard { streams.len() as u64 } else { 0 };
                    assert_eq!(stats.streams_open(), expected, "{cores:?}, CPU {cpu}");
                }
                drop(streams);
                eventually(|| total(server.all_stats(), Stats::streams_open) == 0);
            }
        }
        server.stop();
    }
}

/// A CPU that has no shard: the hash deals its connections out, and all are served.
#[test]
fn with_cpu_what_comes_in_elsewhere_is_served_too() {
    let cpus = Topology::detect().cpus();
    let config = Config { cores: Cores::List(vec![cpus[1]]), ..Config::default() };
    let listen = ListenConfig { balance: Balance::Cpu, ..ListenConfig::default() };
    let server = EchoServer::start_listening(config, &["127.0.0.1:0"], &listen, |_| ());
    connect_from(cpus[0], server.tcp()).iter_mut().for_each(ping);
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
