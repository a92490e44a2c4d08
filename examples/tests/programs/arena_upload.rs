//! Uploads: counted, never held, and refused beyond the limit.

use std::thread;

use crate::support::{Client, Program, chunked};

const LIMIT: usize = 25 * 1024 * 1024;

fn announce(client: &mut Client, size: usize) {
    client.send(format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
}

fn upload(client: &mut Client, body: &[u8]) -> String {
    announce(client, body.len());
    client.send(body);
    let response = client.response();
    assert_eq!(response.status, 200);
    response.text().to_owned()
}

#[test]
fn sizes_are_counted() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    for size in [0, 1, 16 * 1024, 16 * 1024 + 1, 1_000_000, LIMIT] {
        assert_eq!(upload(&mut client, &vec![b'x'; size]), size.to_string());
    }
    let body = vec![0; 300_000];
    for sizes in [&[1, 2, 3, 5_000][..], &[65_536, 1], &[16_383, 16_385], &[300_000]] {
        client.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in chunked(&body, sizes).chunks(7_919) {
            client.send(piece);
        }
        assert_eq!(client.response().text(), "300000");
    }
}

#[test]
fn memory_does_not_grow_with_the_upload() {
    let arena = Program::arena(&["--cores", "1"]);
    let body = vec![b'x'; 20_000_000];
    // The kernel fills the shard's receive buffers in turn: after one round all are resident.
    assert_eq!(upload(&mut arena.connect(), &body), "20000000");
    let before_kib = arena.memory_kib("VmRSS");
    arena.forget_memory_peak();
    let mut client = arena.connect();
    for _ in 0..3 {
        assert_eq!(upload(&mut client, &body), "20000000");
    }
    // The peak, not what is left afterwards.
    let peak_kib = arena.memory_kib("VmHWM");
    assert!(peak_kib < before_kib + 4 * 1024, "{before_kib} KiB, then {peak_kib} KiB");
}

#[test]
fn uploads_at_the_same_time() {
    let arena = Program::arena(&[]);
    let address = arena.address();
    let threads: Vec<_> = (1..=8usize)
        .map(|index| {
            thread::spawn(move || {
                let body = vec![b'x'; 400_000 * index];
                let mut client = Client::connect(address);
                for _ in 0..3 {
                    assert_eq!(upload(&mut client, &body), body.len().to_string());
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn more_than_the_limit_is_refused() {
    let arena = Program::arena(&[]);
    let refused = |client: &mut Client| {
        let response = client.response();
        assert_eq!(response.status, 413);
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert_eq!(response.header("connection"), Some("close"));
    };
    // Announced: before a byte of it is sent.
    let mut client = arena.connect();
    announce(&mut client, LIMIT + 1);
    refused(&mut client);
    assert!(client.is_at_end());

    // In chunks: as soon as it is clear.
    let mut client = arena.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    for _ in 0..LIMIT / 0x10000 {
        client.send(&chunk);
    }
    // The server may have closed before it saw all of this one.
    let _ = client.try_send(b"1\r\n");
    refused(&mut client);
    assert!(client.is_at_end());
}

#[test]
fn an_upload_that_is_cut_off_harms_nobody() {
    let arena = Program::arena(&["--cores", "1"]);
    for size in [0, 1, 100_000] {
        let mut client = arena.connect();
        announce(&mut client, 1_000_000);
        client.send(vec![b'x'; size]);
    }
    assert_eq!(upload(&mut arena.connect(), b"four"), "4");
}
