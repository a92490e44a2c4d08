//! Measurements of the mesh, to be run on a machine that does nothing else:
//!
//! ```text
//! cargo test --release -p corelane-runtime --test mesh_load -- \
//!     --ignored --nocapture --test-threads=1
//! ```

mod support;

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use corelane_runtime::{Balance, ListenConfig, Shard, ShardId, sleep};
use io_uring::{IoUring, opcode, squeue, types};
use support::{EchoServer, Load, config};

/// Rounds of each kind; they alternate.
const ROUND_COUNT: usize = 9;
const ROUND: Duration = Duration::from_secs(2);
const CONNECTION_COUNT: usize = 64;

fn percentile(sorted: &[Duration], thousandth: usize) -> Duration {
    sorted[(sorted.len() - 1) * thousandth / 1000]
}

/// Calls the other shard about a thousand times a second, for as long as the shard lives.
async fn call_often(shard: Rc<Shard>, samples: mpsc::Sender<Duration>) {
    let other = ShardId(1 - shard.id().0);
    loop {
        let start = Instant::now();
        assert_eq!(shard.call(other, Shard::id).await, Ok(other));
        let _ = samples.send(start.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
}

/// Requests that two saturated shards answer in one round, and what their calls took.
fn round(calls: bool) -> (u64, Vec<Duration>) {
    let (sender, samples) = mpsc::channel();
    let balance = Balance::LeastConnections;
    let listen = ListenConfig { balance, ..ListenConfig::default() };
    let server = EchoServer::start_listening(config(2), &["127.0.0.1:0"], &listen, move |shard| {
        if calls {
            shard.spawn(call_often(Rc::clone(shard), sender.clone()));
        }
    });
    let load = Load::start(server.tcp(), CONNECTION_COUNT);
    std::thread::sleep(ROUND);
    let request_count = load.end();
    server.stop();
    (request_count, samples.into_iter().collect())
}

#[test]
#[ignore = "a measurement: see the top of the file"]
fn calls_between_saturated_shards() {
    let (mut ratios, mut samples) = (Vec::new(), Vec::new());
    for _ in 0..ROUND_COUNT {
        let (without, _) = round(false);
        let (with, more) = round(true);
        ratios.push(with as f64 / without as f64);
        samples.extend(more);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    samples.sort_unstable();
    println!(
        "calls: p50 {:?}, p99 {:?}, p99.9 {:?} of {}; throughput with calls: {:.3} \
         ({:.3} to {:.3}) of that without",
        percentile(&samples, 500),
        percentile(&samples, 990),
        percentile(&samples, 999),
        samples.len(),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

const WAKE_COUNT: usize = 5000;

/// A ring as the shards set theirs up.
fn ring() -> IoUring {
    let mut builder = IoUring::<squeue::Entry>::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    builder.build(64).expect("ring")
}

/// Sleeps in its ring again and again; tells how late it woke, in nanoseconds since `origin`.
fn sleeper(alarm: PipeReader, origin: Instant, ring_fd: mpsc::Sender<i32>, woken: &AtomicU64) {
    let mut ring = ring();
    ring_fd.send(ring.as_raw_fd()).expect("the waker waits");
    let mut bytes = [0u8; 64];
    let mut is_reading = false;
    for _ in 0..2 * WAKE_COUNT {
        if !is_reading {
            let read = opcode::Read::new(types::Fd(alarm.as_raw_fd()), bytes.as_mut_ptr(), 64);
            let read = read.build().user_data(1);
            // SAFETY: the bytes live longer than the ring is used, and nobody looks at them.
            unsafe { ring.submission().push(&read) }.expect("room");
            is_reading = true;
        }
        ring.submit_and_wait(1).expect("enter");
        woken.store(origin.elapsed().as_nanos() as u64, Ordering::Release);
        for completion in ring.completion() {
            is_reading &= completion.user_data() != 1;
        }
    }
    // The read that is in flight ends with the ring, before its bytes do.
    drop(ring);
}

/// Wakes by one means; says what it cost the waker, and how late the sleeper woke.
fn wake(
    origin: Instant,
    woken: &AtomicU64,
    mut by: impl FnMut(),
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut costs, mut delays) = (Vec::new(), Vec::new());
    for _ in 0..WAKE_COUNT {
        // Long enough that the other thread sleeps.
        std::thread::sleep(Duration::from_micros(100));
        woken.store(0, Ordering::Release);
        let start = origin.elapsed();
        by();
        costs.push(origin.elapsed() - start);
        let at = loop {
            match woken.load(Ordering::Acquire) {
                0 => std::hint::spin_loop(),
                at => break Duration::from_nanos(at),
            }
        };
        delays.push(at - start);
    }
    costs.sort_unstable();
    delays.sort_unstable();
    (costs, delays)
}

/// The alarm that the shards have, against `IORING_OP_MSG_RING` (Linux 5.18).
#[test]
#[ignore = "a measurement: see the top of the file"]
fn waking_a_sleeping_ring() {
    let (alarm, writer): (PipeReader, PipeWriter) = std::io::pipe().expect("pipe");
    let (sender, target) = mpsc::channel();
    let (origin, woken) = (Instant::now(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let woken = &woken;
        scope.spawn(move || sleeper(alarm, origin, sender, woken));
        let target = target.recv().expect("the sleeper starts");
        let pipe = wake(origin, woken, || (&writer).write_all(&[0]).expect("write"));
        let mut own = ring();
        let message = wake(origin, woken, || {
            let message = opcode::MsgRingData::new(types::Fd(target), 0, 2, None);
            // SAFETY: a message refers to no memory.
            unsafe { own.submission().push(&message.build()) }.expect("room");
            own.submit_and_wait(1).expect("enter");
            own.completion().for_each(drop);
        });
        for (name, (costs, delays)) in [("pipe", pipe), ("message", message)] {
            println!(
                "{name}: waker pays p50 {:?}, p99 {:?}; sleeper wakes after p50 {:?}, p99 {:?}",
                percentile(&costs, 500),
                percentile(&costs, 990),
                percentile(&delays, 500),
                percentile(&delays, 990),
            );
        }
    });
}
