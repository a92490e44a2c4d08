//! A running server, for those who embed it.

use std::sync::Arc;
use std::time::Duration;

use corelane_runtime::{Address, Handle, Mesh, OffloadStats, Stats, Stopper};

use crate::admin::AdminServer;
use crate::error::{Error, Result};
use crate::stats::ServerStats;

/// A running server. Dropping it stops it at once; [`join`](Server::join) waits for its end.
#[derive(Debug)]
pub struct Server {
    pub(crate) handle: Handle,
    pub(crate) addresses: Vec<Address>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) stats: Vec<Arc<ServerStats>>,
    pub(crate) drain_timeout: Duration,
    /// Behind the handle: it answers until the last shard has ended.
    pub(crate) admin: Option<AdminServer>,
}

impl Server {
    /// Where it listens, with the ports that were chosen where port zero was asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the admin address listens, if there is one.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref().map(AdminServer::address)
    }

    /// How many shards serve.
    pub fn shard_count(&self) -> usize {
        self.handle.shard_count()
    }

    /// The runtime's counters of each shard, by its number.
    pub fn runtime_stats(&self) -> &[Arc<Stats>] {
        self.handle.stats()
    }

    /// What the program's other threads send jobs to the shards with.
    pub fn mesh(&self) -> Mesh {
        self.handle.mesh()
    }

    /// What the offload pool does, and has done.
    pub fn offload_stats(&self) -> OffloadStats {
        self.handle.offload_stats()
    }

    /// The server's counters of each shard, by its number.
    pub fn stats(&self) -> &[Arc<ServerStats>] {
        &self.stats
    }

    /// What ends the server from any thread.
    pub fn stopper(&self) -> Stopper {
        self.handle.stopper()
    }

    /// Begins to drain: takes no new connections, finishes what is in flight, closes what is idle;
    /// after [`ServerConfig::drain_timeout`] it ends with whatever is unfinished.
    pub fn drain(&self) {
        self.handle.stopper().drain(self.drain_timeout);
    }

    /// Waits until every shard has ended.
    ///
    /// # Errors
    /// The first shard's error where one failed.
    pub fn join(self) -> Result<()> {
        let Server { handle, admin, .. } = self;
        let ended = handle.join().map_err(Error::from);
        drop(admin);
        ended
    }

    /// One line for people and scripts: where it listens, and on which CPUs.
    pub fn ready_line(&self) -> String {
        let link = |address: &Address| match address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(_) => address.to_string(),
        };
        let addresses: Vec<String> = self.addresses.iter().map(link).collect();
        let count = self.cpus.len();
        let shards = if count == 1 { "shard" } else { "shards" };
        let cpus: Vec<String> = self.cpus.iter().map(usize::to_string).collect();
        format!(
            "corelane listens on {} with {count} {shards} on CPU {}",
            addresses.join(" and "),
            cpus.join(",")
        )
    }
}
