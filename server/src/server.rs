//! A running server, for those who started it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use corelane_runtime::{
    Address, BoundSockets, Handle, Lifecycle, Mesh, OffloadStats, Shard, ShardId, Stage, Stats,
    Stopper,
};

use crate::admin::AdminServer;
use crate::app::accept_from;
use crate::config::ServerConfig;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::records::Records;
use crate::serve::Sites;
use crate::stats::ServerStats;

/// A running server. Dropping it stops it at once; [`join`](Server::join) waits for its end.
#[derive(Debug)]
pub struct Server {
    pub(crate) handle: Handle,
    pub(crate) addresses: Vec<Address>,
    pub(crate) cpus: Vec<usize>,
    pub(crate) stats: Vec<Arc<ServerStats>>,
    pub(crate) drain_timeout: Duration,
    pub(crate) process: Process,
    /// Behind the handle: it answers until the last shard has ended.
    pub(crate) admin: Option<AdminServer>,
    /// Behind the handle as well: what the shards record to their end is still written.
    pub(crate) records: Records,
}

impl Server {
    /// Has every shard listen and accept. Not before all have started: a connection that one of
    /// them took would be lost with a start that fails on another.
    pub(crate) fn open(&self, mut bound: Vec<(BoundSockets, Arc<ServerConfig>)>) -> Result<()> {
        bound.iter().try_for_each(|(sockets, _)| sockets.listen())?;
        for index in (0..self.shard_count()).rev() {
            let own = bound.iter_mut().filter_map(|(sockets, config)| {
                sockets.pop_shard().map(|own| (own, Arc::clone(config)))
            });
            let own: Vec<_> = own.collect();
            let accept = move |shard: &Shard| {
                let Some(sites) = shard.local::<RefCell<Sites>>() else { return };
                for (sockets, config) in own {
                    let site = sites.borrow_mut().of(&config);
                    accept_from(&Shard::current(), &site, sockets.into_listeners());
                }
            };
            if self.mesh().call(ShardId(index), accept).is_err() {
                // It has failed: `join` says with what.
                break;
            }
        }
        self.lifecycle().advance(Stage::Ready);
        Ok(())
    }

    /// How far the server is: starting, ready, draining.
    pub fn lifecycle(&self) -> &Lifecycle {
        self.handle.lifecycle()
    }

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
        let Server { handle, admin, records, .. } = self;
        let ended = handle.join().map_err(Error::from);
        drop((admin, records));
        ended
    }

    /// One line for people and scripts: where it listens, and on which CPUs.
    pub fn ready_line(&self) -> String {
        let link = |address: &Address| match address {
            Address::Tcp(address) => format!("http://{address}"),
            _ => address.to_string(),
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
