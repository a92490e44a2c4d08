//! Connecting from a shard, to whoever listens and to nobody.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corelane_runtime::{SendBuffer, Shard, Stream, sleep};
use support::{config, on_shard};

async fn exchange(mut stream: Stream) -> Vec<u8> {
    stream.send(SendBuffer::Owned(b"hello".to_vec()));
    stream.shutdown_write().expect("open");
    let mut reply = Vec::new();
    loop {
        let received = stream.recv().await.expect("receive");
        if received.is_empty() {
            return reply;
        }
        reply.extend_from_slice(&received);
    }
}

/// Answers one connection with what it sent, doubled.
fn answer(mut stream: impl Read + Write) {
    let mut request = Vec::new();
    stream.read_to_end(&mut request).expect("receive");
    request.extend_from_within(..);
    stream.write_all(&request).expect("send");
}

#[test]
fn a_live_target_answers() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).expect("bind");
        let address = listener.local_addr().expect("address");
        let peer = std::thread::spawn(move || answer(listener.accept().expect("accept").0));
        let reply = on_shard(config(1), move |_| async move {
            let stream = Stream::connect(address).await.expect("connect");
            assert_eq!(stream.peer_address().expect("connected"), Some(address));
            exchange(stream).await
        });
        assert_eq!(reply, b"hellohello");
        peer.join().expect("peer");
    }
}

#[test]
fn a_unix_socket_answers() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("peer.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let peer = std::thread::spawn(move || answer(listener.accept().expect("accept").0));
    let reply = on_shard(config(1), move |_| {
        let path = path.clone();
        async move {
            let stream = Stream::connect_unix(&path).await.expect("connect");
            assert_eq!(stream.peer_address().expect("connected"), None);
            exchange(stream).await
        }
    });
    assert_eq!(reply, b"hellohello");
    peer.join().expect("peer");
}

#[test]
fn where_nobody_listens_the_connection_is_refused_and_the_socket_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        let error = Stream::connect(address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let missing = Stream::connect_unix("/nonexistent/peer.sock").await;
        assert_eq!(missing.expect_err("no file").kind(), ErrorKind::NotFound);
        while shard.stats().streams_open() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

/// A listener whose queue is full answers nobody: the connect stays in flight.
#[test]
fn a_connect_that_is_given_up_is_cancelled() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = listener.expect("socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("bind");
    listener.listen(0).expect("listen");
    let address = listener.local_addr().expect("address").as_socket().expect("IP");
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        let mut connected = Vec::new();
        let mut given_up_count = 0;
        while given_up_count < 5 {
            let connect = Box::pin(Stream::connect(address));
            let patience = Box::pin(sleep(Duration::from_millis(30)));
            match futures_util::future::select(connect, patience).await {
                futures_util::future::Either::Left((stream, _)) => connected.push(stream),
                futures_util::future::Either::Right(_) => given_up_count += 1,
            }
        }
        drop(connected);
        while shard.stats().streams_open() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(shard.stats().stale_completions.value(), 0);
    });
}

#[test]
fn sleep_lasts_as_long_as_it_says() {
    on_shard(config(1), |_| async {
        for millis in [1, 5, 20, 100] {
            let (start, duration) = (Instant::now(), Duration::from_millis(millis));
            sleep(duration).await;
            // The turn began a little before `start`.
            assert!(start.elapsed() + Duration::from_millis(1) >= duration, "{millis} ms");
        }
    });
}
