//! An echo server on the runtime, and what the tests wait with.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use corelane_runtime::{
    Address, BoundSockets, Config, Cores, Handle, ListenConfig, Listener, SendBuffer, Shard,
    StartError, Stats, Stopper, Stream, Topology, launch,
};

/// A configuration for `shard_count` shards on as many CPUs as there are.
pub fn config(shard_count: usize) -> Config {
    let topology = Topology::detect();
    let cpus = topology.cpus();
    assert!(shard_count <= cpus.len(), "the tests need {shard_count} CPUs");
    Config { cores: Cores::List(cpus[..shard_count].to_vec()), ..Config::default() }
}

pub struct EchoServer {
    handle: Handle,
    addresses: Vec<Address>,
}

impl EchoServer {
    pub fn start(shard_count: usize, addresses: &[&str]) -> EchoServer {
        EchoServer::start_with(config(shard_count), addresses)
    }

    pub fn start_with(config: Config, addresses: &[&str]) -> EchoServer {
        let config = config.checked(&Topology::detect()).expect("config");
        let addresses: Vec<Address> =
            addresses.iter().map(|address| address.parse().expect("address")).collect();
        let count = config.cpus().len();
        let bound = BoundSockets::bind(&addresses, count, &ListenConfig::default()).expect("bind");
        let addresses = bound.addresses().to_vec();
        let bound = Arc::new(Mutex::new(bound));
        let handle = launch(&config, move |shard| start(shard, Arc::clone(&bound)));
        EchoServer { handle: handle.expect("launch"), addresses }
    }

    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub fn tcp(&self) -> SocketAddr {
        self.addresses.iter().find_map(tcp_address).expect("a TCP address")
    }

    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.handle.stats()[0])
    }

    pub fn stopper(&self) -> Stopper {
        self.handle.stopper()
    }

    pub fn join(self) {
        self.handle.join().expect("join");
    }

    pub fn stop(self) {
        self.handle.stopper().stop();
        self.join();
    }
}

pub fn tcp_address(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }
}

async fn start(shard: Rc<Shard>, bound: Arc<Mutex<BoundSockets>>) -> Result<(), StartError> {
    let sockets = bound.lock().expect("lock").pop_shard().expect("one for each shard");
    for listener in sockets.into_listeners() {
        let pass = shard.enter_gate();
        let shard = Rc::clone(&shard);
        shard.clone().spawn(async move {
            let _pass = pass;
            accept_all(&shard, listener).await;
        });
    }
    Ok(())
}

async fn accept_all(shard: &Rc<Shard>, mut listener: Listener) {
    while let Some(stream) = listener.accept().await {
        let pass = shard.enter_gate();
        shard.spawn(async move {
            let _pass = pass;
            echo(stream).await;
        });
    }
}

pub async fn echo(mut stream: Stream) {
    while let Ok(received) = stream.recv().await {
        if received.is_empty() {
            break;
        }
        stream.send(SendBuffer::Owned(received.to_vec()));
        drop(received);
        if stream.sent(256 * 1024).await.is_err() {
            return;
        }
    }
    let _ = stream.sent(0).await;
}

/// `size` bytes that differ by `seed`.
pub fn pattern(seed: usize, size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 31 + seed * 7 + index / 251) as u8).collect()
}

/// Waits for a state that another thread brings about. The bound only ends a test that has
/// failed already.
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < limit, "it did not happen within 30 s");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
