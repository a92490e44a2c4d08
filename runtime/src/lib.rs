//! A thread-per-core io_uring runtime: one pinned shard a core, hosted on glommio.
//!
//! ```text
//!   one CPU, one thread: a shard
//!   ┌────────────────────────────────────────────────────────────────┐
//!   │  tasks        streams, handlers; polled by the shard itself    │
//!   │  timer wheel  deadlines, one look a turn                       │
//!   │  driver       slots, buffers, operations in flight             │
//!   │ ───────────── the seam: World ──────────────────────────────── │
//!   │  ring         one io_uring_enter a turn                        │
//!   │  glommio      the thread, its reactor, disk files              │
//!   └────────────────────────────────────────────────────────────────┘
//!          ▲ inbox: wakes, jobs, drain               ▲ SO_REUSEPORT
//!      other shards, other threads                 the network
//! ```
//!
//! Shards share nothing on the path of a request. A shard's loop is [`Shard::turn`]; what lies
//! below it is behind [`world::World`], so that all of it runs on a simulated ring as well.
//!
//! ```no_run
//! use corelane_runtime::{Config, SendBuffer, Stream, Topology, launch};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::default().checked(&Topology::detect())?;
//! let handle = launch(&config, |shard| async move {
//!     let mut stream = Stream::connect("127.0.0.1:7".parse()?).await?;
//!     stream.send(SendBuffer::Owned(b"hello".to_vec()));
//!     let reply = stream.recv().await?;
//!     println!("shard {} got {} bytes", shard.id().0, reply.len());
//!     Ok(())
//! })?;
//! handle.stopper().stop();
//! handle.join()?;
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod address;
mod announced;
mod balance;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod bind;
mod clock;
mod config;
#[allow(unsafe_code, reason = "the one place that talks to the kernel and owns its memory")]
mod driver;
mod ending;
mod error;
pub mod fs;
mod gate;
mod halves;
mod heartbeat;
mod inherit;
mod interval;
mod launch;
mod lifecycle;
mod listener;
mod mesh;
mod monitor;
#[cfg(feature = "mutations")]
#[doc(hidden)]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
#[allow(unreachable_pub, reason = "it is reached with the feature alone")]
mod mutation;
mod net;
mod news;
mod offload;
mod placement;
mod remote;
mod restart;
mod sent;
mod shard;
mod shutdown;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod stats;
mod task;
mod timeout;
mod timer;
mod topology;
mod turn_end;
mod watch;
pub mod world;

pub use address::Address;
pub use balance::Balance;
pub use bind::{BoundSockets, ListenConfig, ShardSockets};
pub use clock::Moment;
pub use config::{CheckedConfig, Config, ShardConfig};
pub use driver::buffers::{BufferId, BufferPool, Received};
pub use driver::operation::{
    AddressPointer, BytesPointer, Half, Kind as OperationKind, Operation, Token,
};
pub use driver::probe::{Features, open_file_limit, probe_ring};
pub use driver::send::SendBuffer;
pub use error::{ConfigError, RuntimeError};
pub use gate::{Drained, GatePass};
pub use halves::{StreamReader, StreamWriter};
pub use heartbeat::Activity;
pub use inherit::{Inherited, Predecessor};
pub use interval::{Interval, MissedTicks, interval};
pub use launch::{Handle, StartError, Stopper, launch};
pub use lifecycle::{Lifecycle, Stage};
pub use listener::Listener;
pub use mesh::{Mesh, MeshError, MeshFull};
pub use monitor::Monitor;
pub use net::Stream;
pub use offload::{
    OffloadConfig, OffloadError, OffloadFull, OffloadStats, Offloaded, offload, try_offload,
};
pub use placement::Cores;
pub use restart::{Restart, RestartError};
pub use shard::{Shard, ShardId, panic_text, yield_if_needed};
pub use shutdown::SignalWatch;
pub use stats::{Counter, Gauge, Stats};
pub use timeout::{TimedOut, timeout};
pub use timer::{TICK, Timer, sleep};
pub use topology::Topology;
pub use watch::CpuTime;

/// glommio, for handlers that use its files or timers directly on their shard's executor.
pub use glommio;

#[cfg(doctest)]
#[doc = include_str!("../../docs/runtime.md")]
struct Guide;
