//! The shared receive buffers when there are too few, and peers that do not read.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;

use corelane_runtime::{
    BoundSockets, Config, ListenConfig, SendBuffer, Shard, Stats, Stream, Topology, launch, sleep,
};
use support::{EchoServer, config, eventually, pattern, ping, tcp_address};

fn few_buffers() -> Config {
    let mut config = config(1);
    config.shard.buffer_count = 8;
    config.shard.buffer_bytes = 1024;
    config
}

#[test]
fn eight_buffers_serve_two_hundred_connections() {
    let server = EchoServer::start_with(few_buffers(), &["127.0.0.1:0"]);
    let mut streams: Vec<_> =
        (0..200).map(|_| TcpStream::connect(server.tcp()).expect("connect")).collect();
    for round in 0..10 {
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&pattern(round + index, 5000)).expect("send");
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut reply = vec![0; 5000];
            stream.read_exact(&mut reply).expect("reply");
            assert!(reply == pattern(round + index, 5000));
        }
    }
    assert!(server.stats().buffers_exhausted.value() > 0);
    assert!(server.stats().buffers_all_used.value() > 0);
    drop(streams);
    server.stop();
}

/// Whatever the kernel finds lent to it, there are more: uploads are no reason to raise the limit.
#[test]
fn bulk_transfers_never_use_all_buffers() {
    let server = EchoServer::start_with(config(1), &["127.0.0.1:0"]);
    let address = server.tcp();
    let transfer = move |seed| {
        let mut stream = TcpStream::connect(address).expect("connect");
        let mut reader = stream.try_clone().expect("another descriptor");
        let sent = pattern(seed, 8 << 20);
        let expected = sent.clone();
        let sender = thread::spawn(move || stream.write_all(&sent).expect("send"));
        let mut echoed = vec![0; expected.len()];
        reader.read_exact(&mut echoed).expect("the echo");
        sender.join().expect("the sender");
        assert!(echoed == expected, "transfer {seed}");
    };
    let transfers: Vec<_> = (0..4).map(|seed| thread::spawn(move || transfer(seed))).collect();
    transfers.into_iter().for_each(|transfer| transfer.join().expect("a transfer"));
    assert_eq!(server.stats().buffers_all_used.value(), 0);
    server.stop();
}

/// One shard on which `serve` runs for each connection.
fn serve_with<F>(
    config: Config,
    serve: impl Fn(Stream) -> F + Copy + Send + 'static,
    test: impl FnOnce(std::net::SocketAddr, &Stats),
) where
    F: Future<Output = ()> + 'static,
{
    let address = "127.0.0.1:0".parse().expect("address");
    let mut bound = BoundSockets::bind(&[address], 1, &ListenConfig::default()).expect("bind");
    let address = tcp_address(&bound.addresses()[0]).expect("TCP");
    let sockets = Arc::new(Mutex::new(bound.pop_shard()));
    let config = config.checked(&Topology::detect()).expect("config");
    let handle = launch(&config, move |shard: Rc<Shard>| {
        let sockets = sockets.lock().expect("lock").take().expect("once");
        async move {
            let mut listener = sockets.into_listeners().remove(0);
            shard.clone().spawn(async move {
                while let Some(stream) = listener.accept().await {
                    shard.spawn(serve(stream));
                }
            });
            Ok(())
        }
    })
    .expect("launch");
    test(address, &handle.stats()[0]);
    handle.stopper().stop();
    handle.join().expect("join");
}

const BLOB_BYTES: usize = 16 << 20;

/// Sends a blob in pieces, with at most 64 KiB unsent; what is read first says whether to.
async fn send_blob(mut stream: Stream) {
    while let Ok(received) = stream.recv().await {
        match received.first() {
            Some(b'x') => stream.send(SendBuffer::Owned(received.to_vec())),
            Some(_) => break,
            None => return,
        }
    }
    let blob = bytes::Bytes::from(pattern(3, BLOB_BYTES));
    for start in (0..BLOB_BYTES).step_by(1 << 16) {
        stream.send(SendBuffer::Shared(blob.slice(start..start + (1 << 16))));
        if stream.sent(1 << 16).await.is_err() {
            return;
        }
        assert!(stream.unsent_bytes() <= 1 << 16);
    }
    let _ = stream.sent(0).await;
}

#[test]
fn a_peer_that_does_not_read_holds_nobody_up_and_loses_nothing() {
    serve_with(config(1), send_blob, |address, stats| {
        let mut lazy = TcpStream::connect(address).expect("connect");
        lazy.write_all(b"b").expect("send");
        let mut other = TcpStream::connect(address).expect("connect");
        // The kernel takes a few megabytes for the lazy one, then no more.
        let mut sent = u64::MAX;
        eventually(|| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            (0..100).for_each(|_| ping(&mut other));
            let before = std::mem::replace(&mut sent, stats.bytes_sent.value());
            sent - 100 == before
        });
        assert!(sent < BLOB_BYTES as u64);
        let mut received = vec![0; BLOB_BYTES];
        lazy.read_exact(&mut received).expect("the blob");
        assert!(received == pattern(3, BLOB_BYTES));
    });
}

/// Whether no more is received for one that does not read: too much waits, or it has taken all
/// buffers that were lent, and gets new ones when it reads.
fn is_paused(stats: &Stats) -> bool {
    stats.receives_paused.value() + stats.buffers_exhausted.value() > 0
}

/// Waits once, in vain, then does something else for a while; then sends everything back.
async fn read_late(mut stream: Stream) {
    let given_up = futures_util::future::select(
        Box::pin(std::future::poll_fn(|context| stream.poll_recv(context).map(drop))),
        Box::pin(sleep(std::time::Duration::from_millis(1))),
    );
    drop(given_up.await);
    let shard = Rc::clone(stream.shard());
    while !is_paused(shard.stats()) {
        sleep(std::time::Duration::from_millis(1)).await;
    }
    support::echo(stream).await;
}

#[test]
fn a_stream_that_nobody_reads_is_paused_and_resumed_without_loss() {
    serve_with(config(1), read_late, |address, stats| {
        let stream = TcpStream::connect(address).expect("connect");
        // Longer than the wait that is given up.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let sent = pattern(5, 4 << 20);
        let (mut writer, bytes) = (stream.try_clone().expect("clone"), sent.clone());
        let sender = std::thread::spawn(move || {
            writer.write_all(&bytes).expect("send");
            writer.shutdown(Shutdown::Write).expect("shutdown");
        });
        let mut received = Vec::new();
        (&stream).read_to_end(&mut received).expect("receive");
        sender.join().expect("sender");
        assert!(received == sent, "{} of {}", received.len(), sent.len());
        assert!(is_paused(stats));
    });
}
