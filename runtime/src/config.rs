//! The runtime's settings, their defaults with the reasons, and the check that makes them usable.

use std::time::Duration;

use crate::driver::probe;
use crate::error::ConfigError;
use crate::offload::{OffloadConfig, settle};
use crate::placement::Cores;
use crate::timer::TICK;
use crate::topology::Topology;

/// How many shards run where, and how each is sized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Which CPUs get a shard. Default: every CPU that the process may use.
    pub cores: Cores,
    /// The size of each shard.
    pub shard: ShardConfig,
    /// The threads for work that blocks.
    pub offload: OffloadConfig,
}

/// The bounds of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Entries of the submission queue; a power of two from 8 to 32,768. Default 1024: a turn that
    /// queues more is submitted in two calls. The completion queue has eight times as many, up
    /// to the kernel's limit of 65,536.
    pub ring_entries: u32,
    /// Provided receive buffers; a power of two from 8 to 32,768. Default 512: as many
    /// connections can receive in one turn before a receive has to be armed again. Untouched
    /// buffers use no memory.
    pub buffer_count: u16,
    /// The size of one receive buffer in bytes, 1024 to 1,048,576. Default 32 KiB: an upload takes
    /// few completions, and what it is received into stays in a cache. Of a buffer only those pages
    /// use memory that were received into.
    pub buffer_bytes: u32,
    /// Accepted connections that take no descriptor of the process's, but a place in a table of
    /// the shard's ring (direct descriptors, Linux 6.13). Default 65,536, in eight bytes of the
    /// kernel's each. The process's open-file limit bounds each shard's table, and so each shard
    /// and not all of them together; connections beyond it take ordinary descriptors. Zero: all
    /// do, as with [`LeastConnections`](crate::Balance::LeastConnections).
    pub direct_descriptors_max: u32,
    /// Unread bytes of one connection above which it is no longer received from. Default 64 KiB:
    /// one receive buffer, more than any honest client pipelines.
    pub unread_bytes_max: usize,
    /// Send buffers that a shard keeps for reuse. Default 1024.
    pub spare_buffer_count_max: usize,
    /// A send buffer larger than this is freed after use. Default 64 KiB.
    pub spare_buffer_bytes_max: usize,
    /// How long an idle shard looks at its completion queue before it blocks. Default zero: an
    /// idle shard costs nothing. A few tens of microseconds save the wake-up, at the price of a
    /// core that is busy while requests come in at least that often. At most
    /// [`block_max`](ShardConfig::block_max).
    pub spin: Duration,
    /// How long an idle shard blocks in its own ring before it parks through glommio, which is
    /// when tasks that use glommio directly are next looked at. Default 10 ms: to park costs 17
    /// system calls, so a shard with short pauses should not.
    pub block_max: Duration,
    /// How often a busy shard lets glommio's reactor run, at least. Default 10 ms: it costs seven
    /// system calls, which whoever comes next waits for. Disk files do not wait for it. A glommio
    /// task of the program's own that another thread wakes needs up to two passes; a program with
    /// such tasks sets 1 ms.
    pub reactor_period: Duration,
    /// How long the tasks of one turn may run before `yield_if_needed` yields. Default 1 ms: what
    /// a waiting request may lose to one that computes.
    pub turn_budget: Duration,
    /// How long a task may hold the shard before that is counted and logged with a backtrace.
    /// Default 10 ms: hundreds of requests wait by then. Zero turns the watch off.
    pub stall_threshold: Duration,
    /// Jobs from other shards that may wait. Default 1024; a caller finds the mesh full beyond.
    pub mesh_job_count_max: usize,
    /// Memory that glommio registers for disk files, per shard, in bytes. Default 256 KiB.
    pub disk_memory_bytes: usize,
}

impl Default for ShardConfig {
    fn default() -> ShardConfig {
        ShardConfig {
            ring_entries: 1024,
            buffer_count: 512,
            buffer_bytes: 32 * 1024,
            direct_descriptors_max: 65_536,
            unread_bytes_max: 64 * 1024,
            spare_buffer_count_max: 1024,
            spare_buffer_bytes_max: 64 * 1024,
            spin: Duration::ZERO,
            block_max: Duration::from_millis(10),
            reactor_period: Duration::from_millis(10),
            turn_budget: Duration::from_millis(1),
            stall_threshold: Duration::from_millis(10),
            mesh_job_count_max: 1024,
            disk_memory_bytes: 256 * 1024,
        }
    }
}

/// A configuration that this process can obey: each shard has its CPU.
#[derive(Clone, Debug)]
pub struct CheckedConfig {
    pub(crate) cpus: Vec<usize>,
    pub(crate) shard: ShardConfig,
    pub(crate) offload: OffloadConfig,
    /// The CPUs that no shard has; all of them where every one has a shard.
    pub(crate) offload_cpus: Vec<usize>,
}

impl Config {
    /// Checks every setting against its bounds and against the machine.
    ///
    /// # Errors
    /// The first setting that can not be obeyed.
    pub fn checked(self, topology: &Topology) -> Result<CheckedConfig, ConfigError> {
        self.shard.check()?;
        self.offload.check()?;
        let cpus = self.cores.resolve(topology)?;
        if cpus.is_empty() {
            return Err(ConfigError::new("cores", "this process may use no CPU at all"));
        }
        let mut offload = self.offload;
        let mut offload_cpus = topology.cpus();
        if offload_cpus.iter().any(|cpu| !cpus.contains(cpu)) {
            offload_cpus.retain(|cpu| !cpus.contains(cpu));
            offload.nice = 0;
        }
        Ok(CheckedConfig { cpus, shard: self.shard, offload, offload_cpus })
    }
}

impl CheckedConfig {
    /// How many connections each shard can accept without a descriptor of the process's: the size
    /// of its ring's table here; zero where the kernel is older than Linux 6.13.
    pub fn direct_descriptor_count(&self) -> u32 {
        probe::direct_descriptor_count(self.shard.direct_descriptors_max)
    }

    /// The CPU of each shard, in the order of the shards' numbers.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// The size of each shard.
    pub fn shard(&self) -> &ShardConfig {
        &self.shard
    }

    /// The threads for work that blocks.
    pub fn offload(&self) -> &OffloadConfig {
        &self.offload
    }

    /// Puts the calling thread, and those that it starts, where the threads of the offload pool
    /// are: on the CPUs without a shard, or at a lower priority where there is none. For threads
    /// that watch.
    pub fn settle_aside(&self) {
        settle(&self.offload_cpus, self.offload.nice);
    }
}

impl ShardConfig {
    fn check(&self) -> Result<(), ConfigError> {
        check_power_of_two("ring_entries", self.ring_entries)?;
        check_power_of_two("buffer_count", u32::from(self.buffer_count))?;
        if !(1024..=1 << 20).contains(&self.buffer_bytes) {
            let problem = format!("{} is not within 1024 to 1048576 bytes", self.buffer_bytes);
            return Err(ConfigError::new("buffer_bytes", problem));
        }
        if self.stall_threshold > Duration::ZERO && self.stall_threshold < TICK {
            let problem = "below 1 millisecond every turn is a stall; write 1 ms or more, or 0";
            return Err(ConfigError::new("stall_threshold", problem));
        }
        if self.spin > self.block_max {
            let problem = format!("{:?} is more than block_max, {:?}", self.spin, self.block_max);
            return Err(ConfigError::new("spin", problem));
        }
        if self.mesh_job_count_max == 0 {
            return Err(ConfigError::new("mesh_job_count_max", "0 leaves no room for any call"));
        }
        if self.reactor_period.is_zero() || self.block_max.is_zero() {
            let key = if self.block_max.is_zero() { "block_max" } else { "reactor_period" };
            return Err(ConfigError::new(key, "0 is not a period; write at least 1 microsecond"));
        }
        Ok(())
    }
}

fn check_power_of_two(key: &'static str, value: u32) -> Result<(), ConfigError> {
    if value.is_power_of_two() && (8..=32_768).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(key, format!("{value} is not a power of two from 8 to 32768")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn check(change: impl FnOnce(&mut ShardConfig), expected: &str) {
        let mut config = Config::default();
        change(&mut config.shard);
        let topology = Topology::read([0], Path::new("/nonexistent"));
        let error = config.checked(&topology).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn each_bound_is_named() {
        check(|shard| shard.ring_entries = 1000, "ring_entries: 1000");
        check(|shard| shard.buffer_count = 4, "buffer_count: 4");
        check(|shard| shard.buffer_bytes = 0, "buffer_bytes: 0");
        check(|shard| shard.mesh_job_count_max = 0, "mesh_job_count_max: 0");
        check(|shard| shard.stall_threshold = Duration::from_nanos(1), "stall_threshold: below");
        check(|shard| shard.block_max = Duration::ZERO, "block_max: 0");
        check(|shard| shard.spin = Duration::from_secs(1), "spin: 1s is more than block_max, 10ms");
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        let topology = Topology::read([0, 1], Path::new("/nonexistent"));
        let checked = Config::default().checked(&topology).expect("defaults");
        assert_eq!(checked.cpus(), [0, 1]);
    }
}
