//! How the arena ends: what is in flight is finished, what is idle is closed.

use crate::support::{Client, Program};

/// A client whose upload is under way: the handler has been called.
fn upload_half(arena: &Program) -> Client {
    let mut client = arena.connect();
    // The interim answer says that the server has seen the head.
    client.send(
        "POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    );
    assert_eq!(client.head().status, 100);
    client.send("01234");
    client
}

#[test]
fn a_drain_finishes_what_is_in_flight() {
    for signal in ["TERM", "INT"] {
        let arena = Program::arena(&[]);
        let mut busy: Vec<Client> = (0..8).map(|_| upload_half(&arena)).collect();
        // So many that every shard has one: each is closed as soon as its shard drains.
        let mut idle: Vec<Client> = (0..32).map(|_| arena.connect()).collect();
        for client in &mut idle {
            let answered = client.get("/pipeline");
            assert_eq!((answered.text(), answered.header("connection")), ("ok", None));
        }

        arena.signal(signal);
        arena.wait_for_log("draining");
        assert!(idle.iter_mut().all(Client::is_at_end));
        for client in &mut busy {
            client.send("56789");
            let response = client.response();
            assert_eq!((response.status, response.text()), (200, "10"));
            assert_eq!(response.header("connection"), Some("close"));
            assert!(client.is_at_end());
        }
        let ended = arena.wait();
        assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.log);
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let arena = Program::arena(&[]);
    let mut client = upload_half(&arena);
    arena.signal("TERM");
    arena.wait_for_log("draining");
    arena.signal("TERM");
    assert!(client.is_at_end());
    assert_eq!(arena.wait().code, Some(0));
}

#[test]
fn an_idle_server_ends_at_once() {
    let arena = Program::arena(&[]);
    arena.signal("TERM");
    let ended = arena.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}
