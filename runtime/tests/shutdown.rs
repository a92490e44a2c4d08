//! How shards end: by a drain, by a stop, by a failure, by a signal.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use corelane_runtime::{
    BoundSockets, Handle, ListenConfig, RuntimeError, Shard, ShardId, SignalWatch, Topology,
    launch, sleep,
};
use support::{Child, EchoServer, accept_all, config, echo, eventually, ping, tcp_address};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_drain_finishes_what_is_open_and_refuses_what_comes_later() {
    let server = EchoServer::start(2, &["127.0.0.1:0"]);
    let mut streams: Vec<_> =
        (0..8).map(|_| TcpStream::connect(server.tcp()).expect("connect")).collect();
    streams.iter_mut().for_each(ping);
    server.stopper().drain(PATIENCE);
    eventually(|| TcpStream::connect(server.tcp()).is_err());
    streams.iter_mut().for_each(ping);
    drop(streams);
    server.join();
}

/// Clients that the kernel has connected, and that the shard has not accepted when it is told to
/// drain: closing the listener over them would reset them.
#[test]
fn a_drain_serves_the_clients_that_wait_in_the_queue() {
    for is_accepting in [false, true] {
        drain_with_queue(is_accepting);
    }
}

fn drain_with_queue(is_accepting: bool) {
    let config = config(1).checked(&Topology::detect()).expect("config");
    let address = "127.0.0.1:0".parse().expect("address");
    let mut bound = BoundSockets::bind(&[address], 1, &ListenConfig::default()).expect("bind");
    let address = tcp_address(&bound.addresses()[0]).expect("TCP");
    let sockets = Arc::new(Mutex::new(bound.pop_shard()));
    let (release, is_released) = mpsc::channel::<()>();
    let is_released = Arc::new(Mutex::new(is_released));
    let handle = launch(&config, move |shard| {
        let (sockets, is_released) = (Arc::clone(&sockets), Arc::clone(&is_released));
        async move {
            let sockets = sockets.lock().expect("lock").take().expect("once");
            let listener = sockets.into_listeners().remove(0);
            let pass = shard.enter_gate();
            shard.clone().spawn(async move {
                let _pass = pass;
                if is_accepting {
                    let pass = shard.enter_gate();
                    let acceptor = Rc::clone(&shard);
                    shard.spawn(async move {
                        let _pass = pass;
                        accept_all(acceptor, listener, echo).await;
                    });
                    shard.yield_now().await;
                    let _ = is_released.lock().expect("lock").recv();
                } else {
                    let _ = is_released.lock().expect("lock").recv();
                    shard.drained().await;
                    accept_all(shard, listener, echo).await;
                }
            });
            Ok(())
        }
    })
    .expect("launch");
    let mut streams: Vec<_> =
        (0..300).map(|_| TcpStream::connect(address).expect("connect")).collect();
    for stream in &mut streams {
        stream.write_all(b"x").expect("send");
    }
    handle.stopper().drain(PATIENCE);
    drop(release);
    for stream in &mut streams {
        let mut reply = [0];
        stream.read_exact(&mut reply).expect("a reply, no reset");
    }
    drop(streams);
    handle.join().expect("join");
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let server = EchoServer::start(2, &["127.0.0.1:0"]);
    let mut stream = TcpStream::connect(server.tcp()).expect("connect");
    ping(&mut stream);
    server.stopper().drain(Duration::from_millis(50));
    server.join();
    assert_eq!(support::read(&mut stream, &mut [0]).unwrap_or(0), 0);
}

#[test]
fn an_earlier_deadline_wins() {
    let server = EchoServer::start(1, &["127.0.0.1:0"]);
    let mut stream = TcpStream::connect(server.tcp()).expect("connect");
    ping(&mut stream);
    let start = Instant::now();
    server.stopper().drain(Duration::from_secs(600));
    server.stopper().drain(Duration::from_millis(20));
    server.stopper().drain(Duration::from_secs(600));
    server.join();
    assert!(start.elapsed() < Duration::from_secs(300));
}

/// The last request of one shard may need another shard, which has nothing to finish itself.
#[test]
fn shards_end_together() {
    let config = config(2).checked(&Topology::detect()).expect("config");
    let (sender, replies) = mpsc::channel();
    let handle = launch(&config, move |shard| {
        let sender = sender.clone();
        async move {
            if shard.id() == ShardId(0) {
                let pass = shard.enter_gate();
                shard.clone().spawn(async move {
                    let _pass = pass;
                    shard.drained().await;
                    sleep(Duration::from_millis(100)).await;
                    let reply = shard.call(ShardId(1), Shard::id).await;
                    sender.send(reply).expect("the test waits");
                });
            }
            Ok(())
        }
    })
    .expect("launch");
    handle.stopper().drain(PATIENCE);
    assert_eq!(replies.recv().expect("the task ran"), Ok(ShardId(1)));
    handle.join().expect("join");
}

#[test]
fn a_stop_ends_connections_where_they_stand() {
    let server = EchoServer::start(2, &["127.0.0.1:0"]);
    let mut streams: Vec<_> =
        (0..8).map(|_| TcpStream::connect(server.tcp()).expect("connect")).collect();
    streams.iter_mut().for_each(ping);
    server.stop();
    for stream in &mut streams {
        assert_eq!(support::read(stream, &mut [0]).unwrap_or(0), 0);
    }
}

#[test]
fn dropping_the_handle_stops_the_shards() {
    struct Ended(mpsc::Sender<ShardId>, ShardId);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.send(self.1);
        }
    }
    let config = config(2).checked(&Topology::detect()).expect("config");
    let (sender, ended) = mpsc::channel();
    let handle = launch(&config, move |shard| {
        let ended = Ended(sender.clone(), shard.id());
        async move {
            shard.spawn(async move {
                let _ended = ended;
                std::future::pending::<()>().await;
            });
            Ok(())
        }
    })
    .expect("launch");
    assert!(ended.try_recv().is_err());
    drop(handle);
    assert_eq!(ended.iter().count(), 2);
}

#[test]
fn the_first_start_that_fails_stops_the_others_and_is_reported() {
    let config = config(2).checked(&Topology::detect()).expect("config");
    let error = launch(&config, |shard| async move {
        if shard.id() == ShardId(1) {
            return Err("no database".into());
        }
        // Would take forever if nobody stopped it.
        std::future::pending().await
    });
    let error = error.expect_err("it fails");
    assert!(matches!(error, RuntimeError::Start(_)), "{error:?}");
    assert!(format!("{error:?}").contains("no database"), "{error:?}");
}

#[test]
fn a_shard_that_dies_ends_the_others_and_is_reported() {
    let config = config(2).checked(&Topology::detect()).expect("config");
    let launched = launch(&config, |shard| async move {
        if shard.id() == ShardId(1) {
            // Panics of the shard's own tasks are caught. This one comes from beside them, as one
            // of the runtime itself would.
            corelane_runtime::glommio::spawn_local(async { panic!("expected") }).detach();
        }
        Ok(())
    });
    assert_died(launched.and_then(Handle::join));
}

/// Has the executor of this shard panic. It sleeps by then, and leaves its tasks behind, which
/// something that would wake it still holds.
fn die_asleep() {
    corelane_runtime::glommio::spawn_local(async {
        corelane_runtime::glommio::timer::sleep(Duration::from_millis(50)).await;
        panic!("expected")
    })
    .detach();
}

fn assert_died(outcome: Result<(), RuntimeError>) {
    match outcome {
        Err(RuntimeError::ShardPanicked { shard: 1, text }) => assert_eq!(text, "expected"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_waits_for_a_shard_that_has_died_before_it_was_ready() {
    let config = config(2).checked(&Topology::detect()).expect("config");
    let launched = launch(&config, |shard| async move {
        if shard.id() == ShardId(1) {
            die_asleep();
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    assert_died(launched.and_then(Handle::join));
}

#[test]
fn nobody_waits_for_the_reply_of_a_shard_that_has_died() {
    let config = config(2).checked(&Topology::detect()).expect("config");
    let handle = launch(&config, |shard| async move {
        if shard.id() == ShardId(1) {
            die_asleep();
        }
        Ok(())
    });
    let handle = handle.expect("both are ready");
    let mesh = handle.mesh();
    eventually(|| mesh.call(ShardId(1), |_| ()).is_err());
    assert_died(handle.join());
}

#[test]
fn a_start_that_panics_is_reported_with_its_shard_and_its_words() {
    let config = config(2).checked(&Topology::detect()).expect("config");
    let check = |outcome: Result<_, RuntimeError>| match outcome {
        Err(RuntimeError::ShardPanicked { shard: 1, text }) => assert_eq!(text, "expected"),
        other => panic!("{other:?}"),
    };
    check(launch(&config, |shard| async move {
        if shard.id() == ShardId(1) {
            panic!("expected");
        }
        Ok(())
    }));
    check(launch(&config, |shard| {
        // Before there is a future.
        if shard.id() == ShardId(1) {
            panic!("expected");
        }
        async { Ok(()) }
    }));
}

#[test]
#[ignore = "the process that the next tests signal"]
fn signalled() {
    let server = EchoServer::start(1, &["127.0.0.1:0"]);
    let _watch = SignalWatch::new(server.stopper(), PATIENCE).expect("signals");
    println!("listening {}", server.tcp());
    server.join();
    println!("ended");
}

fn send_signal(child: &Child, signal: i32) {
    // SAFETY: a system call without memory.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

#[test]
fn the_first_signal_drains() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut child = Child::start("signalled");
        let address: std::net::SocketAddr = child.line("listening").parse().expect("address");
        let mut stream = TcpStream::connect(address).expect("connect");
        ping(&mut stream);
        send_signal(&child, signal);
        eventually(|| TcpStream::connect(address).is_err());
        ping(&mut stream);
        drop(stream);
        child.line("ended");
        child.end();
    }
}

#[test]
fn the_second_signal_stops() {
    let mut child = Child::start("signalled");
    let address: std::net::SocketAddr = child.line("listening").parse().expect("address");
    let mut stream = TcpStream::connect(address).expect("connect");
    ping(&mut stream);
    send_signal(&child, libc::SIGTERM);
    eventually(|| TcpStream::connect(address).is_err());
    send_signal(&child, libc::SIGTERM);
    child.line("ended");
    child.end();
}
