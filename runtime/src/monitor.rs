//! What other threads may see of the running shards, without asking them: for metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Moment;
use crate::offload::{OffloadStats, Pool};
use crate::remote::{Phase, Remote};
use crate::shard::ShardId;
use crate::stats::Stats;
use crate::watch::CpuTime;

/// Reads what the shards write down. It never wakes or holds one up: each figure is a plain load,
/// and may be a turn old. From [`Handle::monitor`](crate::Handle::monitor).
#[derive(Clone)]
pub struct Monitor {
    pub(crate) remotes: Arc<[Arc<Remote>]>,
    pub(crate) stats: Arc<[Arc<Stats>]>,
    pub(crate) offload: Arc<Pool>,
    pub(crate) origin: Instant,
}

impl Monitor {
    /// The counters of each shard, by its number.
    pub fn stats(&self) -> &[Arc<Stats>] {
        &self.stats
    }

    /// Jobs that wait in the inbox of a shard; zero where there is no such shard.
    pub fn mesh_depth(&self, shard: ShardId) -> usize {
        self.remotes.get(shard.0).map_or(0, |remote| remote.job_count())
    }

    /// What the thread of a shard did with its time, the kernel's work for it included.
    pub fn cpu_time(&self, shard: ShardId) -> CpuTime {
        let thread = self.remotes.get(shard.0).map(|remote| remote.heartbeat.thread());
        thread.map(CpuTime::of).unwrap_or_default()
    }

    /// What the offload pool does, and has done.
    pub fn offload_stats(&self) -> OffloadStats {
        self.offload.stats()
    }

    /// The time, as the shards count it.
    pub fn now(&self) -> Moment {
        Moment::default() + self.origin.elapsed()
    }

    /// Whether a drain or a stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.remotes.iter().any(|remote| remote.phase() > Phase::Running)
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("shards", &self.remotes).finish_non_exhaustive()
    }
}
