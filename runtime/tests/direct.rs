//! Accepted connections by their descriptors: of the process's, or in their ring's own table.
//!
//! Where the kernel has no direct descriptors (before Linux 6.13) all of this holds for ordinary
//! ones, which is what the tests of both kinds then look at twice.

mod support;

use std::fs::File;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelane_runtime::fs::FileRange;
use corelane_runtime::{
    Address, BoundSockets, Config, Handle, ListenConfig, SendBuffer, Shard, Stats, Stream,
    Topology, launch, sleep, timeout,
};
use support::{
    Child, EchoServer, Load, accept_all, config, eventually, limit_descriptors, pattern, ping,
};

fn config_with(direct_descriptors_max: u32) -> Config {
    let mut config = config(1);
    config.shard.direct_descriptors_max = direct_descriptors_max;
    config
}

/// Direct descriptors, and ordinary ones.
fn both_kinds() -> [Config; 2] {
    [config_with(1024), config_with(0)]
}

fn has_direct_descriptors() -> bool {
    let checked = config_with(1).checked(&Topology::detect()).expect("config");
    checked.direct_descriptor_count() > 0
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("connect")
}

/// One shard that does with each connection what a test says.
struct Server {
    handle: Handle,
    address: Address,
}

impl Server {
    fn start<F>(config: Config, address: &str, serve: fn(Stream) -> F) -> Server
    where
        F: Future<Output = ()> + 'static,
    {
        let config = config.checked(&Topology::detect()).expect("config");
        let addresses = [address.parse().expect("address")];
        let bound = BoundSockets::bind(&addresses, 1, &ListenConfig::default()).expect("bind");
        let address = bound.addresses()[0].clone();
        let bound = Arc::new(Mutex::new(bound));
        let handle = launch(&config, move |shard: Rc<Shard>| {
            let bound = Arc::clone(&bound);
            async move {
                let sockets = bound.lock().expect("lock").pop_shard().expect("its sockets");
                for listener in sockets.into_listeners() {
                    let served = accept_all(Rc::clone(&shard), listener, serve);
                    shard.spawn(served);
                }
                Ok(())
            }
        });
        Server { handle: handle.expect("launch"), address }
    }

    fn tcp(&self) -> SocketAddr {
        support::tcp_address(&self.address).expect("a TCP address")
    }

    fn stats(&self) -> &Stats {
        &self.handle.stats()[0]
    }

    /// Waits until every stream is closed, and ends the shard.
    fn stop(self) {
        eventually(|| self.stats().streams_open() == 0);
        assert_eq!(self.stats().stale_completions.value(), 0);
        self.handle.stopper().stop();
        self.handle.join().expect("join");
    }
}

#[test]
fn connections_take_no_descriptor_of_the_process_where_the_kernel_can_do_without() {
    let server = EchoServer::start_with(config_with(1024), &["127.0.0.1:0"]);
    let mut streams: Vec<_> = (0..50).map(|_| connect(server.tcp())).collect();
    streams.iter_mut().for_each(ping);
    let direct_count = if has_direct_descriptors() { 50 } else { 0 };
    assert_eq!(server.stats().direct_accepts.value(), direct_count);
    server.stop();
}

#[test]
fn peers_have_their_address() {
    async fn tell(mut stream: Stream) {
        let text = format!("{:?}", stream.peer_address().expect("connected"));
        stream.send(SendBuffer::Owned(text.into_bytes()));
        let _ = stream.sent(0).await;
    }
    for config in both_kinds() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let server = Server::start(config.clone(), address, tell);
            for _ in 0..40 {
                let mut stream = connect(server.tcp());
                let expected = format!("{:?}", stream.local_addr().ok());
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("receive");
                assert_eq!(text, expected);
            }
            server.stop();
        }
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("socket");
        let server = Server::start(config, &format!("unix:{}", path.display()), tell);
        let mut text = String::new();
        let mut stream = UnixStream::connect(path).expect("connect");
        stream.read_to_string(&mut text).expect("receive");
        assert_eq!(text, "None");
        drop(stream);
        server.stop();
    }
}

/// The peer reads the end of file while it still sends, and what it sends then arrives.
#[test]
fn a_half_can_be_shut_down() {
    async fn finish_first(mut stream: Stream) {
        stream.send(SendBuffer::Owned(b"all".to_vec()));
        stream.shutdown_write().expect("open");
        let mut received = 0;
        while let Ok(bytes) = stream.recv().await
            && !bytes.is_empty()
        {
            received += bytes.len();
        }
        assert_eq!(received, 4);
    }
    for config in both_kinds() {
        let server = Server::start(config, "127.0.0.1:0", finish_first);
        for _ in 0..40 {
            let mut stream = connect(server.tcp());
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("receive");
            assert_eq!(text, "all");
            stream.write_all(b"more").expect("send");
        }
        eventually(|| server.stats().streams_closed.value() == 40);
        assert_eq!(server.stats().panics.value(), 0);
        assert_eq!(server.stats().bytes_received.value(), 160);
        server.stop();
    }
}

/// What the peer reads when a connection ends in each of the ways, with a receive in flight.
#[test]
fn ends_are_told_apart_by_the_peer() {
    async fn end_as_told(mut stream: Stream) {
        let told = stream.recv().await.expect("receive").to_vec();
        let armed = timeout(Duration::from_millis(2), stream.recv()).await;
        assert!(armed.is_err(), "nothing arrives");
        match &*told {
            b"drop" => drop(stream),
            b"abort" => stream.abort(),
            b"halves" => {
                let (mut reader, writer) = stream.split();
                drop(writer);
                assert!(reader.recv().await.is_ok_and(|bytes| bytes.is_empty()));
            }
            _ => unreachable!("not told by this test"),
        }
    }
    for config in both_kinds() {
        let server = Server::start(config, "127.0.0.1:0", end_as_told);
        for _ in 0..20 {
            let end_of = |way: &str| {
                let mut stream = connect(server.tcp());
                stream.write_all(way.as_bytes()).expect("send");
                support::read(&mut stream, &mut [0; 8]).map_err(|error| error.kind())
            };
            assert_eq!(end_of("drop"), Ok(0));
            assert_eq!(end_of("halves"), Ok(0));
            assert_eq!(end_of("abort"), Err(ErrorKind::ConnectionReset));
        }
        assert_eq!(server.stats().panics.value(), 0);
        server.stop();
    }
}

/// What is closed is closed at once, however many others are open and idle: before Linux 6.13 they
/// would have kept it half open.
#[test]
fn idle_connections_keep_no_other_open() {
    async fn answer_once(mut stream: Stream) {
        let _ = stream.recv().await;
    }
    let server = Server::start(config_with(1024), "127.0.0.1:0", answer_once);
    let idle: Vec<_> = (0..100).map(|_| connect(server.tcp())).collect();
    for _ in 0..500 {
        let mut stream = connect(server.tcp());
        stream.write_all(b"x").expect("send");
        assert_eq!(support::read(&mut stream, &mut [0]).expect("the end"), 0);
    }
    drop(idle);
    server.stop();
}

#[test]
fn a_file_goes_out_without_a_copy() {
    const SIZE: usize = 3 << 20;
    thread_local! {
        static FILE: Rc<OwnedFd> = {
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(&pattern(1, SIZE)).expect("write");
            Rc::new(OwnedFd::from(file))
        };
    }
    async fn send_file(mut stream: Stream) {
        let range = FileRange { file: FILE.with(Rc::clone), offset: 7, size: SIZE - 7 };
        stream.send(SendBuffer::File(range));
        stream.send(SendBuffer::Owned(b"end".to_vec()));
        let _ = stream.sent(0).await;
    }
    for config in both_kinds() {
        let server = Server::start(config, "127.0.0.1:0", send_file);
        let mut bytes = Vec::new();
        connect(server.tcp()).read_to_end(&mut bytes).expect("receive");
        let expected = pattern(1, SIZE);
        assert!(bytes[..SIZE - 7] == expected[7..], "another content");
        assert_eq!(&bytes[SIZE - 7..], b"end");
        // A peer that goes in the middle.
        let mut stream = connect(server.tcp());
        stream.read_exact(&mut [0; 1000]).expect("receive");
        drop(stream);
        server.stop();
    }
}

/// A table with too few places: the rest have ordinary descriptors, and no place is lost.
#[test]
fn a_full_table_is_no_end() {
    let server = EchoServer::start_with(config_with(40), &["127.0.0.1:0"]);
    let stats = server.stats();
    for round in 1..=5 {
        let mut streams: Vec<_> = (0..100).map(|_| connect(server.tcp())).collect();
        streams.iter_mut().for_each(ping);
        if has_direct_descriptors() {
            // A few ordinary accepts from the end of the last round may come before.
            let direct_count = stats.direct_accepts.value();
            assert!((round * 24..=round * 40).contains(&direct_count), "{direct_count}");
        }
        drop(streams);
        eventually(|| stats.streams_open() == 0);
    }
    // One after the other they all fit, save those whose accept was begun when the table was full.
    let before = stats.direct_accepts.value();
    for _ in 0..1000 {
        ping(&mut connect(server.tcp()));
    }
    if has_direct_descriptors() {
        assert!(stats.direct_accepts.value() - before >= 1000 - 16);
    }
    eventually(|| stats.streams_open() == 0);
    assert_eq!(stats.stale_completions.value(), 0);
    assert_eq!(stats.accepts_paused.value(), 0);
    server.stop();
}

#[test]
#[ignore = "the process that runs out of both kinds of descriptors"]
fn limited() {
    async fn end_as_told(mut stream: Stream) {
        while let Ok(told) = stream.recv().await {
            match &*told {
                b"finish" => {
                    stream.shutdown_write().expect("open");
                }
                b"abort" => return stream.abort(),
                b"drop" | b"" => {
                    let _ = timeout(Duration::from_millis(2), stream.recv()).await;
                    return;
                }
                other => stream.send(SendBuffer::Owned(other.to_vec())),
            }
        }
    }
    let server = Server::start(config_with(64), "127.0.0.1:0", end_as_told);
    println!("listening {}", server.tcp());
    let mut taken = Vec::new();
    for line in std::io::stdin().lines() {
        match &*line.expect("stdin") {
            "fill" => {
                // Everything that is left, so that not one can be had for a moment.
                let open = || File::open("/dev/null");
                taken.extend(std::iter::from_fn(|| open().ok()));
                println!("filled {}", taken.len());
            }
            "count" => {
                let stats = server.stats();
                let counters = [&stats.accepts_paused, &stats.direct_accepts, &stats.panics];
                let values = counters.map(|counter| counter.value().to_string());
                println!("counted {}", values.join(" "));
            }
            _ => limit_descriptors(0),
        }
    }
    server.stop();
}

/// Every end works without a single descriptor of the process's; what does not fit waits.
#[test]
fn out_of_descriptors_connections_are_served_and_end_as_ever() {
    if !has_direct_descriptors() {
        return;
    }
    let mut child = Child::start("limited");
    let address: SocketAddr = child.line("listening").parse().expect("address");
    let count = |child: &mut Child| -> Vec<u64> {
        child.tell("count");
        let line = child.line("counted");
        line.split(' ').map(|number| number.parse().expect("a number")).collect()
    };
    let mut streams: Vec<_> = (0..12).map(|_| connect(address)).collect();
    streams.iter_mut().for_each(ping);
    child.tell("limit");
    child.tell("fill");
    child.line("filled");
    streams.iter_mut().for_each(ping);
    for (index, mut stream) in streams.into_iter().enumerate() {
        let (told, expected) = match index % 3 {
            0 => ("finish", Ok(0)),
            1 => ("abort", Err(ErrorKind::ConnectionReset)),
            _ => ("drop", Ok(0)),
        };
        stream.write_all(told.as_bytes()).expect("send");
        let end = support::read(&mut stream, &mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(end, expected, "{told}");
        if told == "finish" {
            stream.shutdown(Shutdown::Write).expect("open");
        }
    }
    // More than there are places: accepting pauses, and goes on when some have left.
    let mut served: Vec<_> = (0..100).map(|_| connect(address)).collect();
    eventually(|| count(&mut child)[0] > 0);
    served[..10].iter_mut().for_each(ping);
    let waiting = served.split_off(40);
    drop(served);
    for mut stream in waiting {
        ping(&mut stream);
    }
    assert_eq!(count(&mut child)[2], 0);
    child.end();
}

/// Connections in each state when the shard ends; what comes meanwhile is accepted or not.
#[test]
fn a_shard_ends_with_accepts_and_errands_in_flight() {
    async fn in_any_state(mut stream: Stream) {
        let index = stream.recv().await.map_or(0, |bytes| bytes.first().copied().unwrap_or(0));
        match index % 6 {
            0 => drop(stream),
            1 => stream.abort(),
            2 => {
                let _ = stream.shutdown_write();
                let _ = stream.recv().await;
            }
            3 => {
                stream.send(SendBuffer::Owned(vec![1; 32 << 20]));
                let _ = stream.sent(0).await;
            }
            4 => {
                stream.abort();
                let _ = timeout(Duration::from_millis(1), stream.recv()).await;
            }
            _ => sleep(Duration::from_secs(60)).await,
        }
    }
    for config in both_kinds() {
        for round in 0..10 {
            let server = Server::start(config.clone(), "127.0.0.1:0", in_any_state);
            let mut streams: Vec<_> = (0..60).map(|_| connect(server.tcp())).collect();
            for (index, stream) in streams.iter_mut().enumerate() {
                let _ = stream.write_all(&[index as u8]);
            }
            if round % 2 == 0 {
                eventually(|| server.stats().streams_opened.value() == 60);
            }
            let stats = Arc::clone(&server.handle.stats()[0]);
            server.handle.stopper().stop();
            server.handle.join().expect("join");
            assert_eq!(stats.streams_open(), 0, "round {round}");
            assert_eq!(stats.stale_completions.value(), 0);
            assert_eq!(stats.panics.value(), 0);
            // Each of the clients is told: nothing is left open.
            for mut stream in streams {
                let mut rest = Vec::new();
                let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
                assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
            }
        }
    }
}

/// CPU of the shard for each of `count` requests, `per_connection` on each connection.
fn request_cost(config: Config, per_connection: Option<usize>) -> f64 {
    let server = EchoServer::start_with(config, &["127.0.0.1:0"]);
    // From the shard's start on: the thread of the one before may still be counted just now.
    let request_count = match per_connection {
        None => {
            let load = Load::start(server.tcp(), 64);
            std::thread::sleep(Duration::from_millis(700));
            load.end()
        }
        Some(count) => {
            for _ in 0..2000 {
                let mut stream = connect(server.tcp());
                (0..count).for_each(|_| ping(&mut stream));
            }
            2000 * count as u64
        }
    };
    let cost = support::cpu_time("shard-").as_nanos() as f64 / request_count as f64;
    server.stop();
    cost
}

#[test]
#[ignore = "a measurement: cargo test --release --test direct -- --ignored --nocapture cost"]
fn cost_of_each_kind() {
    let [direct, ordinary] = both_kinds();
    for (name, per_connection) in [("long-lived", None), ("10 each", Some(10)), ("1", Some(1))] {
        let rounds: Vec<[f64; 2]> = (0..9)
            .map(|_| {
                [&direct, &ordinary].map(|config| request_cost(config.clone(), per_connection))
            })
            .collect();
        let median = |mut values: Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            (values[0], values[values.len() / 2], values[values.len() - 1])
        };
        let (least, ratio, most) = median(rounds.iter().map(|[one, other]| one / other).collect());
        let cost = median(rounds.iter().map(|[one, _]| *one).collect()).1;
        println!("{name}: {cost:.0} ns, {ratio:.3} ({least:.3} to {most:.3}) times ordinary ones");
    }
}
