//! Once warm, a plain route allocates nothing: counted on the shard's thread by the allocator.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corelane::log::{AccessFormat, AccessLog};
use corelane::runtime::ShardConfig;
use corelane::{App, FileCache, Path, files, get};
use support::{Client, TestServer};

/// Allocations of the shard's thread, freed or not.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator as it came; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A shard that never leaves its ring: glommio, through which an idle one parks, allocates.
fn start(folder: &std::path::Path, is_logged: bool) -> TestServer {
    let hour = Duration::from_secs(3600);
    let shard = ShardConfig { block_max: hour, reactor_period: hour, ..ShardConfig::default() };
    let app = App::new()
        .shard(shard)
        .state(async |_shard| IS_COUNTED.set(true))
        .route("/plaintext", get(async || "Hello, World!"))
        .route("/pipeline", get(async || "ok"))
        .route("/boxed", get(async || Box::new(1).to_string()))
        .route("/hello/{name}", get(async |Path(_): Path<u32>| "hello"))
        .files("/files", files(folder).cache(FileCache { fresh_for: hour, ..Default::default() }));
    let log = || AccessLog::writer(std::io::sink()).format(AccessFormat::Json);
    TestServer::start(if is_logged { app.access_log(log()) } else { app })
}

/// Sends `requests` and receives their answers, `answers_bytes` in all, `rounds` times.
fn run(client: &mut Client, requests: &[u8], answers_bytes: usize, rounds: usize) {
    let mut answers = vec![0; answers_bytes];
    for _ in 0..rounds {
        client.socket.write_all(requests).expect("send");
        client.socket.read_exact(&mut answers).expect("receive");
    }
}

/// How many allocations the shard makes for each of five times 400 rounds of `count` pipelined
/// requests.
fn allocations(path: &str, count: usize, is_logged: bool) -> [u64; 5] {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.css"), "a { color: red }").expect("a file");
    let server = start(folder.path(), is_logged);
    let mut client = server.connect();
    let request = support::get(path);
    client.send(&request);
    let answer_bytes = answer_bytes(&mut client);
    let requests = request.repeat(count);
    run(&mut client, requests.as_bytes(), answer_bytes * count, 200);
    let allocations = std::array::from_fn(|_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run(&mut client, requests.as_bytes(), answer_bytes * count, 400);
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    server.stop();
    allocations
}

fn answer_bytes(client: &mut Client) -> usize {
    let mut bytes = [0; 4096];
    // An answer this small comes in one piece.
    client.receive_raw(&mut bytes)
}

/// One test, so that no other server's shard is counted meanwhile.
#[test]
fn a_plain_route_allocates_nothing_once_it_is_warm() {
    let plain = ["/plaintext", "/pipeline", "/hello/7", "/files/a.css"].map(|path| (path, false));
    for (path, is_logged) in plain.into_iter().chain([("/hello/7", true)]) {
        for count in [1, 16, 64] {
            let allocations = allocations(path, count, is_logged);
            // A burst that the machine cuts in two may need a second buffer, once: that is warming
            // up. A single allocation per request would be hundreds, every time.
            let (least, most) = (allocations.iter().min(), allocations.iter().max());
            assert_eq!(least, Some(&0), "{path}, {count} at a time: {allocations:?}");
            assert!(most < Some(&10), "{path}, {count} at a time: {allocations:?}");
        }
    }
    // The counter counts: this route allocates twice for each request.
    assert!(allocations("/boxed", 1, false).iter().all(|count| *count >= 800));
}
