//! What an idle shard costs. Alone in its process, whose shards it measures.

mod support;

use std::net::TcpStream;
use std::time::Duration;

use support::{EchoServer, cpu_time, ping};

#[test]
fn an_idle_shard_parks() {
    let server = EchoServer::start(2, &["127.0.0.1:0"]);
    let mut streams: Vec<_> =
        (0..100).map(|_| TcpStream::connect(server.tcp()).expect("connect")).collect();
    streams.iter_mut().for_each(ping);
    std::thread::sleep(Duration::from_millis(100));
    let before = cpu_time("shard-");
    let period = Duration::from_secs(2);
    std::thread::sleep(period);
    let spent = cpu_time("shard-") - before;
    let percent = spent.as_secs_f64() / period.as_secs_f64() * 100.0;
    println!("two idle shards, 100 connections: {percent:.3} % of a core");
    // A shard that spins takes 100.
    assert!(percent < 5.0, "{percent} % of a core");
    streams.iter_mut().for_each(ping);
    drop(streams);
    server.stop();
}
