//! Proof that a request costs no allocation, by an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use corelane_runtime::Moment;

use crate::connection::{Connection, Flow, Ledger, Pending};
use crate::expectation::Expectation;
use crate::request::{Request, RequestParts};
use crate::response::HeadCache;
use crate::schedule::{Arrivals, Schedule};
use crate::tally::{Tally, Window};
use crate::template::Numbers;

thread_local! {
    /// Of this thread: tests run side by side.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged; the counter is a plain cell
// that needs no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DEPTH: usize = 16;

#[test]
fn a_request_and_its_answer_allocate_nothing() {
    let parts = RequestParts {
        method: "POST".to_owned(),
        path: "/{rand:1:50000}".to_owned(),
        body: Some(b"{\"id\": {seq:1}}".to_vec()),
        keeps_alive: true,
        ..RequestParts::default()
    };
    let mut request = Request::new(&parts, "a").expect("request");
    let mut numbers = Numbers::new(0, 1, 0);
    let mut connection = Connection::new(DEPTH);
    connection.open(u64::MAX);
    let (mut tally, mut cache) = (Tally::new(), HeadCache::default());
    let expectation = Expectation::default();
    let mut schedule = Schedule::new(1e6, Arrivals::Poisson, Moment::default(), 0.0, 1);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nDate: x\r\n\r\nx".repeat(DEPTH);
    let mut output = Vec::with_capacity(16 * 1024);
    let mut count_before = 0;
    for round in 0..1000 {
        // By then every buffer has been used.
        if round == 10 {
            count_before = COUNT.get();
        }
        output.clear();
        let now = Moment::from_nanos(round * 100_000_000);
        for _ in 0..DEPTH {
            let due = schedule.take_due(Moment::NEVER).expect("due");
            connection.push(Pending { due, sent: now, is_head: false });
            request.render(&mut numbers, &mut output);
        }
        let mut ledger = Ledger {
            expectation: &expectation,
            cache: &mut cache,
            tally: &mut tally,
            window: Window { start: Moment::default(), end: Moment::NEVER },
            is_open_loop: true,
            now,
        };
        assert_eq!(connection.feed(&answer, &mut ledger), Flow::Open);
    }
    assert_eq!(COUNT.get(), count_before);
    assert_eq!(tally.answers, 1000 * DEPTH as u64);
}
