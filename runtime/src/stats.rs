//! A shard's counters: written by the shard alone, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and others read.
///
/// With a single writer an addition needs no locked instruction: a load, an add and a store.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the counter. Only the shard that owns the statistics may call this.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The current value; may be a few additions old on another thread.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that one thread sets and others read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the number. Only the shard that owns the statistics may call this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The current value; may be a turn old on another thread.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one shard counts.
///
/// Aligned to two cache lines, since adjacent lines are fetched in pairs: a reader of one shard's
/// counters never slows its neighbour down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Stats {
    /// Passes of the shard's loop.
    pub turns: Counter,
    /// Completions that the ring delivered.
    pub completions: Counter,
    /// Completions that named a slot that is no longer theirs. More than zero is a bug.
    pub stale_completions: Counter,
    /// Times that tasks were polled.
    pub polls: Counter,
    /// Of these, tasks in the background.
    pub background_polls: Counter,
    /// Tasks and jobs that ended with a panic.
    pub panics: Counter,
    /// Streams that were accepted or connected.
    pub streams_opened: Counter,
    /// Of these, connections that were accepted into the ring's own table (direct descriptors).
    pub direct_accepts: Counter,
    /// Streams whose descriptor is closed again.
    pub streams_closed: Counter,
    /// Times that accepting paused because descriptors or memory ran out.
    pub accepts_paused: Counter,
    /// Connections that were gone before they could be accepted.
    pub accepts_aborted: Counter,
    /// Bytes received.
    pub bytes_received: Counter,
    /// Bytes sent.
    pub bytes_sent: Counter,
    /// Sends of which the kernel took only a part.
    pub partial_sends: Counter,
    /// Receives that ended because the ring had no buffer left (`ENOBUFS`), and were armed again:
    /// usual under uploads, since only few buffers are lent to the ring at a time.
    pub buffers_exhausted: Counter,
    /// Those of them where no buffer of the shard's was free at all.
    pub buffers_all_used: Counter,
    /// Receives that were cancelled because nobody read what had arrived.
    pub receives_paused: Counter,
    /// Timers that fired.
    pub timers_fired: Counter,
    /// Times that the shard parked through glommio because nothing happened for a while.
    pub parks: Counter,
    /// Turns whose tasks ran for longer than the stall threshold without an end. Written by the
    /// thread that watches the shards.
    pub stalls: Counter,
    /// Jobs that were given to the offload pool.
    pub offloads: Counter,
    /// Jobs that the full offload pool gave back.
    pub offloads_rejected: Counter,
    /// Connections that were accepted here and handed to another shard. They count as opened and
    /// closed on either.
    pub handed_over: Counter,
    /// Connections that another shard has handed to this one.
    pub taken_over: Counter,
    /// Jobs that arrived over the mesh.
    pub mesh_jobs: Counter,
    /// Times that a task of this shard waited a millisecond for room in another shard's inbox.
    pub mesh_waits: Counter,
    /// Operations that were submitted to the ring.
    pub submissions: Counter,
    /// Turns that found more completions than their queue holds; the kernel keeps the rest.
    pub overflows: Counter,
    /// Nanoseconds in which the shard looked at its completion queue for something to do.
    pub spinning_nanos: Counter,
    /// Receive buffers that hold no received bytes, as of the last turn.
    pub buffers_spare: Gauge,
}

impl Stats {
    /// Streams that are open now.
    pub fn streams_open(&self) -> u64 {
        self.streams_opened.value().saturating_sub(self.streams_closed.value())
    }
}
