//! The application under torture: one route for each way to answer, and a ledger of what ran.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use corelane::{
    App, BodyStream, Path, RequestBody, Shard, ShardId, StatusCode, get, offload, post, sleep,
};
use futures_util::StreamExt;

use crate::exchange::{CLIENT_NUMBERS, pattern};

/// What the handlers of one run have done. Simulated shards share one thread.
#[derive(Default)]
struct Ledger {
    /// How often each request's handler was called.
    calls: HashMap<u64, u32>,
    /// Handlers that run, by client.
    running: HashMap<u64, u32>,
    /// Handlers that run, by shard.
    running_on: HashMap<ShardId, usize>,
    connections_max: usize,
    /// A failed assertion in a handler would only be a 500.
    violations: Vec<String>,
}

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::default();
    static PLANNED: Cell<bool> = const { Cell::new(false) };
}

/// Begins a run of shards that serve at most `connections_max` connections each.
pub(crate) fn open_ledger(connections_max: usize) {
    LEDGER.set(Ledger { connections_max, ..Ledger::default() });
}

/// How often a request's handler was called.
pub(crate) fn calls(number: u64) -> u32 {
    LEDGER.with_borrow(|ledger| ledger.calls.get(&number).copied().unwrap_or(0))
}

/// What handlers saw that must not be.
pub(crate) fn violations() -> Vec<String> {
    LEDGER.with_borrow(|ledger| {
        let twice = ledger.calls.iter().filter(|(_, count)| **count > 1);
        let twice = twice.map(|(number, count)| format!("request {number} was run {count} times"));
        ledger.violations.iter().cloned().chain(twice).collect()
    })
}

/// Whether the panic that is being reported is a handler's own.
pub(crate) fn is_planned_panic() -> bool {
    PLANNED.take()
}

/// A handler that runs.
struct Running {
    number: u64,
    shard: ShardId,
}

impl Running {
    fn begin(number: u64) -> Running {
        let (client, shard) = (number / CLIENT_NUMBERS, Shard::current().id());
        LEDGER.with_borrow_mut(|ledger| {
            *ledger.calls.entry(number).or_default() += 1;
            let running = ledger.running.entry(client).or_default();
            *running += 1;
            if *running > 1 {
                let problem = format!("request {number} began before the one before it had ended");
                ledger.violations.push(problem);
            }
            let running = ledger.running_on.entry(shard).or_default();
            *running += 1;
            if *running > ledger.connections_max {
                let problem = format!("{running} connections on {shard:?} at once");
                ledger.violations.push(problem);
            }
        });
        Running { number, shard }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        LEDGER.with_borrow_mut(|ledger| {
            *ledger.running.entry(self.number / CLIENT_NUMBERS).or_default() -= 1;
            *ledger.running_on.entry(self.shard).or_default() -= 1;
        });
    }
}

fn report(problem: String) {
    LEDGER.with_borrow_mut(|ledger| ledger.violations.push(problem));
}

pub(crate) fn app() -> App {
    App::new()
        .route("/now/{number}", get(now))
        .route("/later/{number}", get(later))
        .route("/large/{number}", get(large))
        .route("/stream/{number}", get(stream))
        .route("/broken/{number}", get(broken))
        .route("/mesh/{number}", get(mesh))
        .route("/offload/{number}", get(offloaded))
        .route("/panic/{number}", get(panic))
        .route("/count/{number}", post(count))
        .route("/whole/{number}", post(whole))
        .route("/relay/{number}", post(relay))
        .route("/first/{number}", post(first))
        .route("/unused/{number}", post(unused))
}

async fn now(Path(number): Path<u64>) -> String {
    let _running = Running::begin(number);
    format!("now {number}")
}

async fn later(Path(number): Path<u64>) -> String {
    let _running = Running::begin(number);
    // Short, and now and then beyond the lowest level of the timer wheel.
    let wait = if number.is_multiple_of(5) { 70 + number % 60 } else { number % 7 };
    sleep(Duration::from_millis(wait)).await;
    format!("later {number}")
}

async fn large(Path(number): Path<u64>) -> Vec<u8> {
    let _running = Running::begin(number);
    pattern(number, large_size(number))
}

/// The size of a large answer: more than the sockets take at once.
pub(crate) fn large_size(number: u64) -> usize {
    2000 + (number % 37) as usize * 100
}

/// The pieces of a streamed answer.
pub(crate) fn pieces(number: u64) -> [String; 3] {
    [0, 1, 2].map(|piece| format!("{piece}.{number};"))
}

async fn stream(Path(number): Path<u64>) -> BodyStream {
    let running = Running::begin(number);
    let pieces = futures_util::stream::iter(pieces(number)).then(move |piece| {
        let _running = &running;
        async move {
            if number.is_multiple_of(2) {
                sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, std::io::Error>(Bytes::from(piece))
        }
    });
    BodyStream::new(pieces)
}

async fn broken(Path(number): Path<u64>) -> BodyStream {
    let _running = Running::begin(number);
    let pieces = [Ok(Bytes::from_static(b"begun")), Err(std::io::Error::other("on purpose"))];
    BodyStream::new(futures_util::stream::iter(pieces))
}

async fn mesh(Path(number): Path<u64>) -> Result<String, StatusCode> {
    let _running = Running::begin(number);
    let shard = Shard::current();
    let target = ShardId(number as usize % shard.shard_count());
    let there = shard.call(target, move |there| (there.id(), number)).await;
    match there {
        Ok((id, number)) if id == target => Ok(format!("mesh {number}")),
        _ => Err(StatusCode::BAD_GATEWAY),
    }
}

async fn offloaded(Path(number): Path<u64>) -> Result<String, StatusCode> {
    let _running = Running::begin(number);
    let tripled = offload(move || number * 3).await;
    tripled.map(|tripled| format!("offload {tripled}")).map_err(|_| StatusCode::BAD_GATEWAY)
}

async fn panic(Path(number): Path<u64>) -> String {
    let _running = Running::begin(number);
    if number.is_multiple_of(2) {
        sleep(Duration::from_millis(1)).await;
    }
    PLANNED.set(true);
    panic!("a handler panics on purpose");
}

async fn count(Path(number): Path<u64>, mut body: RequestBody) -> String {
    let _running = Running::begin(number);
    let mut received = Vec::new();
    while let Some(chunk) = body.chunk().await {
        let Ok(chunk) = chunk else { return "cut".to_owned() };
        received.extend_from_slice(&chunk);
    }
    check_body(number, &received);
    format!("count {number} {}", received.len())
}

async fn whole(Path(number): Path<u64>, body: Bytes) -> Bytes {
    let _running = Running::begin(number);
    check_body(number, &body);
    body
}

async fn relay(Path(number): Path<u64>, body: RequestBody) -> BodyStream {
    let running = Running::begin(number);
    BodyStream::new(body.map(move |chunk| {
        let _running = &running;
        chunk.map(|chunk| chunk.into_bytes())
    }))
}

async fn first(Path(number): Path<u64>, mut body: RequestBody) -> String {
    let _running = Running::begin(number);
    if let Some(Ok(chunk)) = body.chunk().await {
        let expected = pattern(number, chunk.len());
        if expected != chunk[..] {
            report(format!("request {number} has another body"));
        }
    }
    format!("first {number}")
}

async fn unused(Path(number): Path<u64>) -> String {
    let _running = Running::begin(number);
    format!("unused {number}")
}

/// A handler that sees a body to its end has seen all of it, and nothing else.
fn check_body(number: u64, received: &[u8]) {
    if received != pattern(number, received.len()) {
        report(format!("request {number} has another body"));
    }
}
