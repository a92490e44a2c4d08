//! Streams to others: time bounds, halves, resets in every state, everything dropped in flight.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use corelane_runtime::fs::FileRange;
use corelane_runtime::{SendBuffer, Shard, Stream, sleep, timeout};
use support::{config, on_shard, pattern, read};

/// A listener whose queue is full answers nobody: a connect to it stays in flight.
struct FullListener {
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
    address: SocketAddr,
}

impl FullListener {
    fn new() -> FullListener {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = listener.expect("socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
        listener.listen(0).expect("listen");
        let address = listener.local_addr().expect("address").as_socket().expect("IP");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let queued = std::iter::from_fn(|| connect().ok()).collect();
        FullListener { _listener: listener, _queued: queued, address }
    }
}

fn bytes_of(text: &str) -> SendBuffer {
    SendBuffer::Owned(text.as_bytes().to_vec())
}

/// More than the kernel's buffers on both sides take.
fn large() -> SendBuffer {
    SendBuffer::Owned(vec![1; 32 << 20])
}

async fn all_closed(shard: &Shard) {
    while shard.stats().streams_open() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(shard.stats().stale_completions.value(), 0);
}

/// To park through glommio costs as much as some requests do.
#[test]
fn a_slow_reader_is_waited_for_in_the_ring() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let (mut piece, mut size) = (vec![0; 64 << 10], 0);
        while let Ok(read @ 1..) = read(&mut stream, &mut piece) {
            size += read;
        }
        size
    });
    let file = tempfile::tempfile().expect("a file");
    file.set_len(32 << 20).expect("its size");
    let file = Arc::new(OwnedFd::from(file));
    let mut config = config(1);
    let hour = Duration::from_secs(3600);
    (config.shard.block_max, config.shard.reactor_period) = (hour, hour);
    let park_count = on_shard(config, move |shard: Rc<Shard>| {
        let file = Rc::new(file.try_clone().expect("a descriptor"));
        async move {
            let mut stream = Stream::connect(address).await.expect("connect");
            stream.send(large());
            stream.sent(0).await.expect("all of it");
            stream.send(bytes_of("head"));
            stream.send(SendBuffer::File(FileRange { file, offset: 0, size: 32 << 20 }));
            stream.sent(0).await.expect("all of it");
            shard.stats().parks.value()
        }
    });
    assert_eq!(reader.join().expect("the reader"), (64 << 20) + 4);
    assert_eq!(park_count, 0);
}

#[test]
fn a_connect_has_its_time_and_no_more() {
    let full = FullListener::new();
    let address = full.address;
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        let error = Stream::connect_timeout(address, Duration::from_millis(20)).await;
        assert_eq!(error.expect_err("nobody answers").kind(), ErrorKind::TimedOut);
        all_closed(&shard).await;
    });
    let (listener, address) = listen();
    on_shard(config(1), move |_| async move {
        let patience = Duration::from_secs(3600);
        Stream::connect_timeout(address, patience).await.expect("the queue has room");
        let closed = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = Stream::connect_timeout(closed, patience).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
    drop(listener);
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

/// A peer on a thread of its own, for one connection.
fn peer(run: impl FnOnce(TcpStream) + Send + 'static) -> (std::thread::JoinHandle<()>, SocketAddr) {
    let (listener, address) = listen();
    let run = move || run(listener.accept().expect("accept").0);
    (std::thread::spawn(run), address)
}

#[test]
fn two_tasks_read_and_write_one_stream_and_the_writers_end_is_the_peers() {
    const SIZE: usize = 4 << 20;
    let (echo, address) = peer(|mut stream| {
        let mut copy = stream.try_clone().expect("clone");
        std::io::copy(&mut stream, &mut copy).expect("echo");
        copy.shutdown(Shutdown::Write).expect("half-close");
    });
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        let stream = Stream::connect(address).await.expect("connect");
        let (mut reader, mut writer) = stream.split();
        shard.spawn(async move {
            for (seed, _) in (0..SIZE).step_by(64 << 10).enumerate() {
                writer.send(SendBuffer::Owned(pattern(seed, 64 << 10)));
                writer.sent(64 << 10).await.expect("sent");
            }
            // Dropped with bytes unsent: the reader keeps the connection.
        });
        let mut received = Vec::new();
        loop {
            let bytes = reader.recv().await.expect("receive");
            if bytes.is_empty() {
                break;
            }
            received.extend_from_slice(&bytes);
        }
        assert_eq!(received.len(), SIZE);
        for (seed, chunk) in received.chunks(64 << 10).enumerate() {
            assert!(chunk == pattern(seed, 64 << 10), "chunk {seed}");
        }
        drop(reader);
        all_closed(&shard).await;
    });
    echo.join().expect("peer");
}

#[test]
fn a_reader_that_is_gone_leaves_the_writer_its_connection() {
    let (sender, texts) = mpsc::channel();
    let (reading, address) = peer(move |mut stream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("receive");
        sender.send(text).expect("the test waits");
    });
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        let stream = Stream::connect(address).await.expect("connect");
        let (reader, mut writer) = stream.split();
        drop(reader);
        writer.send(bytes_of("still "));
        shard.yield_now().await;
        writer.send(bytes_of("here"));
        writer.sent(0).await.expect("sent");
        drop(writer);
        all_closed(&shard).await;
    });
    assert_eq!(texts.recv().as_deref(), Ok("still here"));
    reading.join().expect("peer");
}

/// What a stream is doing when its peer resets it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Idle,
    Receiving,
    BytesUnread,
    Sending,
    HalfClosed,
    Split,
}

/// Resets the connection once it is told to.
fn resetting_peer() -> (SocketAddr, mpsc::Sender<()>) {
    let (listener, address) = listen();
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.write_all(b"first").expect("send");
        let _ = told.recv();
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).expect("linger");
    });
    (address, sender)
}

async fn reset_in(state: State) {
    let (address, tell) = resetting_peer();
    let reset = || tell.send(()).expect("the peer waits");
    let mut stream = Stream::connect(address).await.expect("connect");
    if state != State::BytesUnread {
        assert_eq!(*stream.recv().await.expect("receive"), *b"first");
    }
    let error = match state {
        State::Idle => {
            reset();
            sleep(Duration::from_millis(5)).await;
            stream.recv().await.err()
        }
        State::Receiving => {
            let armed = timeout(Duration::from_millis(2), stream.recv()).await;
            assert!(armed.is_err(), "nothing arrives yet");
            reset();
            stream.recv().await.err()
        }
        State::BytesUnread => {
            let mut waiting = Box::pin(stream.recv());
            assert_eq!(*(&mut waiting).await.expect("receive"), *b"first");
            drop(waiting);
            reset();
            stream.recv().await.err()
        }
        State::Sending => {
            stream.send(large());
            let blocked = timeout(Duration::from_millis(5), stream.sent(0)).await;
            assert!(blocked.is_err(), "the peer does not read");
            reset();
            let error = stream.sent(0).await.err();
            // The kernel reports a reset once; to the reader it may look like the end.
            assert!(stream.recv().await.is_ok_and(|bytes| bytes.is_empty()), "{state:?}");
            error
        }
        State::HalfClosed => {
            stream.shutdown_write().expect("open");
            reset();
            stream.recv().await.err()
        }
        State::Split => {
            let (mut reader, mut writer) = stream.split();
            writer.send(large());
            reset();
            let (read, sent) = futures_util::future::join(reader.recv(), writer.sent(0)).await;
            read.err().or(sent.err())
        }
    };
    let kind = error.map(|error| error.kind());
    let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kind.is_some_and(|kind| expected.contains(&kind)), "{state:?}: {kind:?}");
}

#[test]
fn a_reset_by_the_peer_is_an_error_in_every_state() {
    use State::*;
    on_shard(config(1), |shard: Rc<Shard>| async move {
        for state in [Idle, Receiving, BytesUnread, Sending, HalfClosed, Split] {
            reset_in(state).await;
        }
        all_closed(&shard).await;
    });
}

/// What our side does when it breaks a connection off; the peer must never read end of file.
#[test]
fn an_abort_is_a_reset_for_the_peer_in_every_state() {
    for state in ["idle", "receiving", "sending"] {
        let (sender, ends) = mpsc::channel();
        let (reading, address) = peer(move |mut stream| {
            stream.write_all(b"x").expect("send");
            let mut bytes = Vec::new();
            let end = stream.read_to_end(&mut bytes).map_err(|error| error.kind());
            sender.send(end).expect("the test waits");
        });
        on_shard(config(1), move |shard: Rc<Shard>| async move {
            let mut stream = Stream::connect(address).await.expect("connect");
            assert_eq!(*stream.recv().await.expect("receive"), *b"x");
            stream.send(bytes_of("part of a body"));
            stream.sent(0).await.expect("sent");
            match state {
                "receiving" => {
                    let armed = timeout(Duration::from_millis(2), stream.recv()).await;
                    assert!(armed.is_err(), "nothing arrives");
                }
                "sending" => {
                    stream.send(large());
                    shard.yield_now().await;
                    shard.yield_now().await;
                }
                _ => {}
            }
            stream.abort();
            drop(stream);
            all_closed(&shard).await;
        });
        assert_eq!(ends.recv().expect("peer"), Err(ErrorKind::ConnectionReset), "{state}");
        reading.join().expect("peer");
    }
}

/// A receive armed, a send blocked, a connect unanswered, halves in different tasks: the shard
/// waits for the kernel to let go of all of it before it frees anything.
#[test]
fn a_shard_ends_with_connects_and_halves_in_flight() {
    let full = FullListener::new();
    let connecting = full.address;
    let (listener, address) = listen();
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        for _ in 0..10 {
            shard.spawn(async move { drop(Stream::connect(connecting).await) });
            let stream = Stream::connect(address).await.expect("connect");
            let (mut reader, mut writer) = stream.split();
            shard.spawn(async move { drop(reader.recv().await) });
            shard.spawn(async move {
                writer.send(large());
                let _ = writer.sent(0).await;
            });
        }
        sleep(Duration::from_millis(3)).await;
        assert!(shard.stats().streams_open() >= 20);
    });
    drop(listener);
}

/// How many packets with data a socket has received (`struct tcp_info`, linux/tcp.h).
fn data_segments(socket: &TcpStream) -> u32 {
    const DATA_SEGS_IN: usize = 152;
    let mut info = [0u8; 256];
    let mut size = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes, which are there.
    let failed = unsafe {
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        libc::getsockopt(socket.as_raw_fd(), level, name, info.as_mut_ptr().cast(), &raw mut size)
    };
    assert!(failed == 0 && size as usize >= DATA_SEGS_IN + 4, "{size} bytes");
    u32::from_ne_bytes(info[DATA_SEGS_IN..DATA_SEGS_IN + 4].try_into().expect("four bytes"))
}

#[test]
fn a_head_leaves_in_one_packet_with_the_start_of_its_file() {
    let (listener, address) = listen();
    let peer = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("accept");
        let mut bytes = String::new();
        peer.read_to_string(&mut bytes).expect("receive");
        (bytes, data_segments(&peer))
    });
    on_shard(config(1), move |shard: Rc<Shard>| async move {
        let mut stream = Stream::connect(address).await.expect("connect");
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"contents").expect("write");
        let file = Rc::new(OwnedFd::from(file));
        stream.send(bytes_of("head, "));
        stream.send(SendBuffer::File(FileRange { file, offset: 0, size: 8 }));
        stream.sent(0).await.expect("sent");
        drop(stream);
        all_closed(&shard).await;
    });
    assert_eq!(peer.join().expect("peer"), ("head, contents".to_owned(), 1));
}
