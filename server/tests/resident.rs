//! What a file needs of memory while it is sent: alone in its process, whose memory is looked at.
// Clippy knows test functions, but not what they are made of.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use corelane::{App, files};
use support::TestServer;

/// Bytes of memory that this process has resident.
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

#[test]
fn a_gigabyte_is_sent_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, size| {
        fs::File::create(folder.path().join(name)).unwrap().set_len(size).unwrap();
    };
    let size: u64 = 1 << 30;
    make("large.bin", 1 << 20);
    make("huge.bin", size);
    let server = TestServer::start(App::new().files("/", files(folder.path())));
    let mut client = server.connect();
    server.get("/large.bin");
    let before = resident_bytes();
    let mut most = before;
    client.send(support::get("/huge.bin"));
    let (mut received, mut bytes) = (0, vec![0; 1 << 20]);
    let head = client.receive_head();
    assert!(head.contains(&format!("content-length: {size}\r\n")), "{head}");
    while received < size {
        let count = client.receive_raw(&mut bytes);
        assert!(count > 0, "ended after {received} bytes");
        received += count as u64;
        most = most.max(resident_bytes());
    }
    assert!(most - before < 8 << 20, "{} KiB more than before", (most - before) >> 10);
    server.stop();
}
