//! From shard to shard: a job is sent, runs on the other shard's thread, and its result comes back.
//!
//! ```text
//!   shard 0                                    shard 1
//!   call(1, job) ──► inbox of shard 1 ──► between two turns' tasks: job(&shard)
//!        │           (bounded, ordered           │
//!        ▼            per sender)                ▼
//!   waits  ◄──────── foreign wake ◄──────── reply
//! ```
//!
//! The inbox is bounded: a full one makes `call` wait and `cast` give the job back. A sleeping
//! shard is woken through a pipe that its ring reads; a busy one looks once a turn.

use std::fmt;
use std::sync::Arc;

use futures_channel::oneshot;

use crate::remote::{Job, Remote};
use crate::shard::{Shard, ShardId};
use crate::timer::{TICK, sleep};

/// The other shard did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeshError {
    /// There is no shard with this number.
    NoSuchShard,
    /// The shard ended, or its job panicked, before there was a result.
    NoReply,
    /// The other shard keeps no value of the type that the job asks for.
    NoSuchState,
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MeshError::NoSuchShard => "there is no shard with this number",
            MeshError::NoReply => "the shard ended or its job panicked before it replied",
            MeshError::NoSuchState => "the shard keeps no value of this type",
        })
    }
}

impl std::error::Error for MeshError {}

/// A job that a full inbox did not take, unharmed: to be run here, or sent again.
pub struct MeshFull(
    /// The job.
    pub Box<dyn FnOnce(&Shard) + Send>,
);

impl fmt::Debug for MeshFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshFull")
    }
}

/// Sends a job as soon as the inbox has room for it.
async fn send_when_there_is_room(remote: &Remote, mut job: Job) -> Result<(), MeshError> {
    while let Err(refused) = remote.send_job(job) {
        if remote.is_closed() {
            return Err(MeshError::NoReply);
        }
        job = refused;
        Shard::current().stats().mesh_waits.add(1);
        sleep(TICK).await;
    }
    Ok(())
}

/// The shards, for threads of the application's own. From [`Handle::mesh`](crate::Handle::mesh).
#[derive(Clone, Debug)]
pub struct Mesh(pub(crate) Arc<[Arc<Remote>]>);

impl Mesh {
    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.0.len()
    }

    /// Has `job` run on a shard, without waiting for it.
    ///
    /// # Errors
    /// The job, where the shard's inbox is full, the shard has ended, or there is no such shard.
    pub fn cast(
        &self,
        target: ShardId,
        job: impl FnOnce(&Shard) + Send + 'static,
    ) -> Result<(), MeshFull> {
        cast(&self.0, target, Box::new(job))
    }

    /// Runs `job` on a shard and blocks the calling thread until its result is there.
    ///
    /// # Errors
    /// No such shard; the shard ended or the job panicked.
    ///
    /// # Panics
    /// On a shard's thread, which must not be blocked.
    pub fn call<F, R>(&self, target: ShardId, job: F) -> Result<R, MeshError>
    where
        F: FnOnce(&Shard) -> R + Send + 'static,
        R: Send + 'static,
    {
        assert!(Shard::try_current().is_none(), "a task of a shard awaits `Shard::call` instead");
        let remote = self.0.get(target.0).ok_or(MeshError::NoSuchShard)?;
        let (reply, result) = std::sync::mpsc::channel();
        let mut job: Job = Box::new(move |shard| {
            let _ = reply.send(job(shard));
        });
        while let Err(refused) = remote.send_job(job) {
            if remote.is_closed() {
                return Err(MeshError::NoReply);
            }
            job = refused;
            std::thread::sleep(TICK);
        }
        result.recv().map_err(|_| MeshError::NoReply)
    }
}

fn cast(shards: &[Arc<Remote>], target: ShardId, job: Job) -> Result<(), MeshFull> {
    match shards.get(target.0) {
        Some(remote) => remote.send_job(job).map_err(MeshFull),
        None => Err(MeshFull(job)),
    }
}

impl Shard {
    /// Runs `job` on another shard, or here at once where `target` is this shard, and gives back
    /// its result. Waits while the other shard's inbox is full.
    ///
    /// Dropping the future does not take the job back.
    ///
    /// # Errors
    /// No such shard; the shard ended or the job panicked.
    pub async fn call<F, R>(&self, target: ShardId, job: F) -> Result<R, MeshError>
    where
        F: FnOnce(&Shard) -> R + Send + 'static,
        R: Send + 'static,
    {
        if target == self.id() {
            return self.run_job(job).ok_or(MeshError::NoReply);
        }
        let remote = self.peers.get(target.0).ok_or(MeshError::NoSuchShard)?;
        let (reply, result) = oneshot::channel();
        let job = Box::new(move |shard: &Shard| {
            // A caller that no longer waits does not need the result.
            let _ = reply.send(job(shard));
        });
        send_when_there_is_room(remote, job).await?;
        result.await.map_err(|_| MeshError::NoReply)
    }

    /// As [`call`](Shard::call), with the value of type `T` that the other shard keeps: its
    /// [`local`](Shard::local), which a server's state is.
    ///
    /// # Errors
    /// As [`call`](Shard::call), and where the shard keeps no such value.
    pub async fn call_state<T, F, R>(&self, target: ShardId, job: F) -> Result<R, MeshError>
    where
        T: 'static,
        F: FnOnce(&T) -> R + Send + 'static,
        R: Send + 'static,
    {
        let job = move |shard: &Shard| shard.local::<T>().map(|state| job(&state));
        self.call(target, job).await?.ok_or(MeshError::NoSuchState)
    }

    /// Has `job` run on every shard, this one included, without waiting for the results. Waits
    /// while an inbox is full.
    ///
    /// # Errors
    /// The first shard that has ended; those after it have not got the job.
    pub async fn broadcast<F>(&self, job: F) -> Result<(), MeshError>
    where
        F: FnOnce(&Shard) + Clone + Send + 'static,
    {
        for remote in &*self.peers {
            if remote.id == self.id() {
                self.run_job(job.clone());
            } else {
                send_when_there_is_room(remote, Box::new(job.clone())).await?;
            }
        }
        Ok(())
    }

    /// Has `job` run on another shard, without waiting for it.
    ///
    /// # Errors
    /// The job, where the shard's inbox is full, the shard has ended, or there is no such shard.
    pub fn cast(
        &self,
        target: ShardId,
        job: impl FnOnce(&Shard) + Send + 'static,
    ) -> Result<(), MeshFull> {
        cast(&self.peers, target, Box::new(job))
    }

    /// Runs `job` on every shard, this one included, and gives back the results by shard number.
    ///
    /// # Errors
    /// The first shard that did not answer.
    pub async fn gather<F, R>(&self, job: F) -> Result<Vec<R>, MeshError>
    where
        F: FnOnce(&Shard) -> R + Clone + Send + 'static,
        R: Send + 'static,
    {
        // All jobs are sent before the first result is awaited.
        let calls = (0..self.shard_count()).map(|index| self.call(ShardId(index), job.clone()));
        futures_util::future::try_join_all(calls).await
    }

    /// The shard that a key belongs to: the same in every process with as many shards.
    pub fn shard_for(&self, key: impl AsRef<[u8]>) -> ShardId {
        // FNV-1a, 64 bits: stable by definition, which the standard library's hashers are not.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let mut hash = key.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, fold);
        // Keys that differ in their last bytes only, "user:1" and "user:2", differ in the middle
        // bits so far. The finaliser of SplitMix64 (Steele, Lea, Flood 2014) carries that to all.
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        // The product's high half spreads over the shards without the bias of a remainder.
        let index = (u128::from(hash) * self.shard_count() as u128) >> 64;
        ShardId(index as usize)
    }
}
