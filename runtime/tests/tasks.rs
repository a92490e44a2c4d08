//! Tasks that panic, and everything that can be dropped half way.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use corelane_runtime::{
    Address, BoundSockets, ListenConfig, Listener, SendBuffer, Shard, Stream, sleep,
};
use support::{EchoServer, config, on_shard, ping, tcp_address};

#[test]
fn a_panic_ends_its_task_and_nothing_else() {
    let server = EchoServer::start_and(config(1), &["127.0.0.1:0"], |shard| {
        let spawner = Rc::clone(shard);
        shard.spawn(async move {
            for _ in 0..10 {
                spawner.spawn(async { panic!("expected") });
                spawner.yield_now().await;
            }
        });
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("expected, from a destructor");
            }
        }
        shard.spawn(async {
            let _bomb = Bomb;
        });
    });
    ping(&mut TcpStream::connect(server.tcp()).expect("connect"));
    let stats = server.stats();
    support::eventually(|| stats.panics.value() == 11);
    server.stop();
}

/// A peer that accepts and neither reads nor writes.
fn silent_peer() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

/// Waits until every stream's descriptor is closed.
async fn all_closed(shard: &Shard) {
    while shard.stats().streams_open() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(shard.stats().stale_completions.value(), 0);
}

/// Polls a future for a while and drops it.
async fn give_up<F: Future>(future: F) {
    let patience = Box::pin(sleep(Duration::from_millis(3)));
    drop(futures_util::future::select(Box::pin(future), patience).await);
}

async fn connect(address: SocketAddr) -> Stream {
    Stream::connect(address).await.expect("connect")
}

/// More than the kernel's buffers on both sides take.
fn large() -> SendBuffer {
    SendBuffer::Owned(vec![1; 32 << 20])
}

#[test]
fn a_stream_can_be_dropped_in_every_state() {
    let (_peer, address) = silent_peer();
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        drop(connect(address).await);
        let mut stream = connect(address).await;
        give_up(stream.recv()).await;
        drop(stream);
        let mut stream = connect(address).await;
        stream.send(large());
        drop(stream);
        let mut stream = connect(address).await;
        stream.send(large());
        stream.send(large());
        give_up(stream.sent(0)).await;
        assert!(stream.unsent_bytes() > 32 << 20);
        drop(stream);
        let mut stream = connect(address).await;
        stream.send(large());
        give_up(stream.recv()).await;
        stream.shutdown_write().expect("open");
        drop(stream);
        give_up(Stream::connect(address)).await;
        drop(Box::pin(Stream::connect(address)));
        all_closed(&shard).await;
    });
}

#[test]
fn a_receive_that_is_dropped_loses_nothing() {
    let (peer, address) = silent_peer();
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = peer.accept().expect("accept");
        for byte in 0..100 {
            std::io::Write::write_all(&mut stream, &[byte]).expect("send");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let received = on_shard(config(1), move |_| async move {
        let mut stream = connect(address).await;
        let mut all = Vec::new();
        loop {
            let patience = Box::pin(sleep(Duration::ZERO));
            let receive = Box::pin(stream.recv());
            if let futures_util::future::Either::Left((bytes, _)) =
                futures_util::future::select(receive, patience).await
            {
                let bytes = bytes.expect("receive");
                if bytes.is_empty() {
                    return all;
                }
                all.extend_from_slice(&bytes);
            }
        }
    });
    sender.join().expect("sender");
    assert!(received.iter().copied().eq(0..100), "{received:?}");
}

fn listen() -> (Listener, SocketAddr) {
    let address: Address = "127.0.0.1:0".parse().expect("address");
    let mut bound = BoundSockets::bind(&[address], 1, &ListenConfig::default()).expect("bind");
    let address = tcp_address(&bound.addresses()[0]).expect("TCP");
    let sockets = bound.pop_shard().expect("one");
    (sockets.into_listeners().remove(0), address)
}

#[test]
fn a_listener_can_be_dropped_with_clients_that_nobody_took() {
    on_shard(config(1), |shard: Rc<Shard>| async move {
        drop(listen());
        let (mut listener, address) = listen();
        give_up(listener.accept()).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(connect(address).await);
        }
        drop(listener.accept().await.expect("a client"));
        drop(listener);
        for client in &mut clients {
            // Closed or reset: it ends.
            let _ = client.recv().await;
        }
        drop(clients);
        all_closed(&shard).await;
    });
}

/// Clients beyond what a listener's slot keeps wait in the kernel's queue, and are all served.
#[test]
fn a_listener_that_nobody_polls_leaves_clients_to_the_kernel() {
    on_shard(config(1), |shard: Rc<Shard>| async move {
        let (mut listener, address) = listen();
        give_up(listener.accept()).await;
        let mut clients = Vec::new();
        for _ in 0..600 {
            clients.push(connect(address).await);
        }
        let accepted_count = shard.stats().streams_opened.value() - 600;
        assert!((256..600).contains(&accepted_count), "{accepted_count}");
        let mut served = Vec::new();
        while served.len() < 600 {
            served.push(listener.accept().await.expect("a client"));
        }
        drop((served, clients));
        all_closed(&shard).await;
    });
}

#[test]
fn a_shard_ends_with_everything_in_flight() {
    let (_peer, address) = silent_peer();
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        for _ in 0..20 {
            let (mut reading, mut writing) = (connect(address).await, connect(address).await);
            shard.spawn(async move { drop(reading.recv().await) });
            shard.spawn(async move {
                writing.send(large());
                let _ = writing.sent(0).await;
            });
            let (mut listener, _) = listen();
            shard.spawn(async move { drop(listener.accept().await) });
            shard.spawn(sleep(Duration::from_secs(3600)));
        }
        sleep(Duration::from_millis(5)).await;
    });
}
