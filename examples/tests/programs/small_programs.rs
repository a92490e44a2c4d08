//! The small programs: each does what its first lines say.

use std::io::Write;

use simd_json::prelude::*;

use crate::support::{Client, Program, chunked};

/// Starts a program on any free port.
fn start(path: &str) -> Program {
    Program::start(path, &["127.0.0.1:0"])
}

fn check(client: &mut Client, method: &str, target: &str, expected: (u16, &str)) {
    let response = client.request(method, target);
    assert_eq!((response.status, response.text()), expected, "{method} {target}");
}

#[test]
fn hello() {
    let program = start(env!("CARGO_BIN_EXE_hello"));
    let mut client = program.connect();
    check(&mut client, "GET", "/", (200, "Hello, World!"));
    check(&mut client, "GET", "/hello/Ada%20L", (200, "Hello, Ada L!"));
}

#[test]
fn json() {
    let program = start(env!("CARGO_BIN_EXE_json"));
    let mut client = program.connect();
    let response = client.json("POST", "/area", r#"{"width":3,"height":4.5}"#);
    assert_eq!((response.status, response.text()), (200, r#"{"area":13.5}"#));
    for (body, status) in [(r#"{"width":3}"#, 422), ("{", 400), (r#"{"width":"3"}"#, 422)] {
        assert_eq!(client.json("POST", "/area", body).status, status, "{body}");
    }
    let response = client.json("POST", "/area", r#"{"width":3,"height":-4}"#);
    assert_eq!((response.status, response.json().get_str("field")), (422, Some("height")));
    client.send("POST /area HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(client.response().status, 415);
}

#[test]
fn routes() {
    let program = start(env!("CARGO_BIN_EXE_routes"));
    let mut client = program.connect();
    check(&mut client, "GET", "/", (200, "shelves, files, search"));
    check(&mut client, "GET", "/shelves/a", (200, "shelf a"));
    check(&mut client, "GET", "/shelves/new", (200, "an empty shelf"));
    check(&mut client, "PUT", "/shelves/a", (201, ""));
    check(&mut client, "DELETE", "/shelves/a", (204, ""));
    check(&mut client, "GET", "/shelves/a/books/7", (200, "book 7 on shelf a"));
    check(&mut client, "GET", "/files/notes/today.txt", (200, "notes/today.txt"));
    check(&mut client, "GET", "/search?text=ring&limit=3", (200, "3 hits for ring at most"));
    check(&mut client, "GET", "/search?text=a+b", (200, "10 hits for a b at most"));
    assert_eq!(client.get("/shelves/a/books/x").status, 400);
    assert_eq!(client.get("/search").status, 400);
    let refused = client.request("PATCH", "/shelves/a");
    let allowed = refused.header("allow").unwrap();
    assert_eq!(refused.status, 405);
    assert_eq!(allowed, "GET, PUT, DELETE, HEAD, OPTIONS");
    let nowhere = client.get("/nowhere/at/all");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.text().contains("there is nothing at /nowhere/at/all"));
    assert_eq!(client.request("HEAD", "/").status, 200);
    assert_eq!(client.request("OPTIONS", "/").status, 204);
}

#[test]
fn shard_state() {
    let program = start(env!("CARGO_BIN_EXE_shard_state"));
    let mut counts = vec![0; program.shard_count()];
    for _ in 0..16 {
        let mut client = program.connect();
        for target in ["/", "/", "/"] {
            let answer = client.get(target).text().to_owned();
            let (count, shard) = answer.split_once(" on shard ").unwrap();
            let shard = &mut counts[shard.parse::<usize>().unwrap()];
            *shard += 1;
            assert_eq!(count, format!("visit {shard}"));
        }
    }
    let mut client = program.connect();
    assert!(client.get("/ada").text().starts_with("visit 1 on shard "));
    assert!(client.get("/ada").text().starts_with("visit 2 on shard "));
}

#[test]
fn cross_shard() {
    let program = start(env!("CARGO_BIN_EXE_cross_shard"));
    let mut clients: Vec<Client> = (0..8).map(|_| program.connect()).collect();
    for name in ["apples", "pears", "plums", "cherries", "grapes"] {
        let target = format!("/counters/{name}");
        for (index, client) in clients.iter_mut().enumerate() {
            let answer = client.request("POST", &target).text().to_owned();
            assert!(answer.starts_with(&format!("{} on shard ", index + 1)), "{answer}");
            assert_eq!(client.get(&target).text(), answer);
        }
    }
    let total = format!("40 on {} shards", program.shard_count());
    for client in &mut clients {
        check(client, "GET", "/total", (200, &total));
    }
}

#[test]
fn streaming() {
    let program = start(env!("CARGO_BIN_EXE_streaming"));
    let mut client = program.connect();
    let body = "one\ntwo\nthree\n".repeat(10_000);
    client.send("POST /lines HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunked(body.as_bytes(), &[3, 1000]));
    assert_eq!(client.response().text(), "30000 lines\n");
    let countdown = client.get("/countdown/3");
    assert_eq!(countdown.header("transfer-encoding"), Some("chunked"));
    assert_eq!(countdown.header("content-type"), Some("text/plain"));
    assert_eq!(countdown.text(), "3\n2\n1\n0\n");
    let zeros = client.get("/zeros/1000000");
    assert_eq!(zeros.header("content-length"), Some("1000000"));
    assert!(zeros.body.iter().all(|byte| *byte == 0));
    assert_eq!(client.get("/zeros/0").body, b"");
}

#[test]
fn embedding() {
    let mut program = start(env!("CARGO_BIN_EXE_embedding"));
    let mut client = program.connect();
    let first: u64 = client.get("/").text().parse().unwrap();
    // The program's own thread goes on meanwhile.
    while client.get("/").text().parse::<u64>().unwrap() == first {}
    drop(program.stdin());
    assert!(client.is_at_end());
    let ended = program.wait();
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), "ended\n"), "{}", ended.log);
}

#[test]
fn graceful() {
    let program = start(env!("CARGO_BIN_EXE_graceful"));
    let mut client = program.connect();
    // Both are in one segment, so once the first is answered the second is under way.
    client
        .send("GET /slow/0 HTTP/1.1\r\nHost: a\r\n\r\nGET /slow/1500 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "answered after 0 ms\n");
    program.signal("TERM");
    let response = client.response();
    assert_eq!(response.text(), "answered after 1500 ms\n");
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.is_at_end());
    let ended = program.wait();
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), "drained\n"), "{}", ended.log);
}

const GIGABYTE: u64 = 1_000_000_000;
const GROWTH_KIB_MAX: u64 = 20_000;

#[test]
fn a_gigabyte_each_way_leaves_no_trace_in_memory() {
    let program = start(env!("CARGO_BIN_EXE_streaming"));
    let mut client = program.connect();
    assert_eq!(client.get("/zeros/0").body, b"");
    let idle_kib = program.memory_kib("VmRSS");
    program.forget_memory_peak();

    let mut socket = std::net::TcpStream::connect(program.address()).unwrap();
    let request = format!("GET /zeros/{GIGABYTE} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let received = std::io::copy(&mut socket, &mut std::io::sink()).unwrap();
    assert!((GIGABYTE..GIGABYTE + 1000).contains(&received), "{received}");

    let head = format!("POST /lines HTTP/1.1\r\nHost: a\r\nContent-Length: {GIGABYTE}\r\n\r\n");
    client.send(head);
    let piece = [&[b'x'; 999_999][..], b"\n"].concat();
    (0..GIGABYTE / 1_000_000).for_each(|_| client.send(&piece));
    assert_eq!(client.response().text(), "1000 lines\n");

    let peak_kib = program.memory_kib("VmHWM");
    assert!(peak_kib < idle_kib + GROWTH_KIB_MAX, "{idle_kib} KiB, then {peak_kib} KiB");
}
