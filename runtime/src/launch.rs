//! Starting the shards, each on its pinned thread, and the handle that stops them again.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use glommio::{LocalExecutorBuilder, Placement};

use crate::clock::Moment;
use crate::config::{CheckedConfig, ShardConfig};
use crate::driver::buffers::BufferPool;
use crate::driver::host::Machine;
use crate::driver::ring::Uring;
use crate::driver::{park, probe};
use crate::error::RuntimeError;
use crate::lifecycle::{Lifecycle, Stage};
use crate::mesh::Mesh;
use crate::monitor::Monitor;
use crate::offload::{OffloadStats, Pool};
use crate::remote::{Alarm, Remote};
use crate::shard::{Shard, ShardId, panic_text};
use crate::stats::Stats;
use crate::watch::Watch;

/// What an application's start-up on a shard may fail with.
pub type StartError = Box<dyn Error + Send + Sync>;

/// How long a shard that ends waits for its last completions before it gives its memory up.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// glommio's own rings carry wake-ups and disk reads only.
const EXECUTOR_RING_DEPTH: usize = 32;

/// Starts one shard on each CPU of the configuration, and waits until all are ready.
///
/// `start` runs once on every shard, as its first task; the shard is ready when it returns. What
/// it spawns goes on until the shard ends.
///
/// # Errors
/// What the machine refuses, and the error of the first shard whose start fails: the others are
/// stopped then.
pub fn launch<S, F>(config: &CheckedConfig, start: S) -> Result<Handle, RuntimeError>
where
    S: Fn(Rc<Shard>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), StartError>> + 'static,
{
    probe::check_machine()?;
    let shard_count = config.cpus.len();
    let remotes: Arc<[Arc<Remote>]> = (0..shard_count)
        .map(|index| {
            let alarm = Alarm::new().map_err(RuntimeError::Ring)?;
            let job_count_max = config.shard.mesh_job_count_max;
            Ok(Arc::new(Remote::new(ShardId(index), job_count_max, alarm)))
        })
        .collect::<Result<_, RuntimeError>>()?;
    let stats: Arc<[Arc<Stats>]> = remotes.iter().map(|_| Arc::default()).collect();
    let origin = Instant::now();
    let offload = Arc::new(Pool::new(config.offload.job_count_max));
    let mut handle = Handle {
        remotes,
        stats,
        threads: Vec::new(),
        offload: Arc::clone(&offload),
        watch: None,
        lifecycle: Lifecycle::default(),
        origin,
    };
    offload
        .start(config.offload.thread_count, &config.offload_cpus, config.offload.nice)
        .map_err(RuntimeError::Thread)?;
    let (ready, readiness) = mpsc::channel();
    if !config.shard.stall_threshold.is_zero() {
        let watch = Watch::start(config, &handle.remotes, &handle.stats);
        handle.watch = Some(watch.map_err(RuntimeError::Thread)?);
    }
    for (index, cpu) in config.cpus.iter().enumerate() {
        let seat = Seat {
            cpu: *cpu,
            config: config.shard.clone(),
            remote: Arc::clone(&handle.remotes[index]),
            peers: Arc::clone(&handle.remotes),
            offload: Arc::clone(&offload),
            stats: Arc::clone(&handle.stats[index]),
            lifecycle: handle.lifecycle.clone(),
            origin,
            ready: ready.clone(),
        };
        let start = start.clone();
        let thread = std::thread::Builder::new().name(format!("shard-{index}"));
        match thread.spawn(move || seat.run(start)) {
            Ok(thread) => handle.threads.push(thread),
            Err(error) => return Err(handle.abandon(RuntimeError::Thread(error))),
        }
    }
    drop(ready);
    handle.wait_until_ready(&readiness)?;
    Ok(handle)
}

/// What a shard's thread tells whoever waits for it to be ready.
enum Word {
    Ready,
    Failed(RuntimeError),
    /// It is over, whatever it has said before; what it died of is the thread's outcome.
    Ended,
}

/// Everything that a shard's thread starts from.
struct Seat {
    cpu: usize,
    config: ShardConfig,
    remote: Arc<Remote>,
    peers: Arc<[Arc<Remote>]>,
    offload: Arc<Pool>,
    stats: Arc<Stats>,
    lifecycle: Lifecycle,
    origin: Instant,
    ready: mpsc::Sender<Word>,
}

impl Seat {
    /// The whole life of a shard's thread.
    fn run<S, F>(self, start: S) -> Result<(), RuntimeError>
    where
        S: FnOnce(Rc<Shard>) -> F + 'static,
        F: Future<Output = Result<(), StartError>> + 'static,
    {
        let (peers, lifecycle) = (Arc::clone(&self.peers), self.lifecycle.clone());
        let (id, ready) = (self.remote.id, self.ready.clone());
        self.remote.heartbeat.enter_thread();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_executor(start)));
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic_text(&*panic).to_owned();
            Err(RuntimeError::ShardPanicked { shard: id.0, text })
        });
        if outcome.is_err() {
            // One shard less would silently strand its share of the connections.
            peers.iter().for_each(|peer| peer.stop());
            lifecycle.advance(Stage::Draining);
        }
        // A panic of the executor leaves its tasks behind: nobody must wait for what they say.
        peers[id.0].close();
        let _ = ready.send(Word::Ended);
        outcome
    }

    fn run_executor<S, F>(self, start: S) -> Result<(), RuntimeError>
    where
        S: FnOnce(Rc<Shard>) -> F + 'static,
        F: Future<Output = Result<(), StartError>> + 'static,
    {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(self.cpu))
            .name(&format!("shard-{}", self.remote.id.0))
            .io_memory(self.config.disk_memory_bytes)
            .ring_depth(EXECUTOR_RING_DEPTH)
            .preempt_timer(park::PREEMPT_TIMER)
            .make();
        match executor {
            Ok(executor) => executor.run(self.run_shard(start)),
            Err(error) => {
                let error = RuntimeError::Executor(error.to_string());
                let _ = self.ready.send(Word::Failed(error));
                Ok(())
            }
        }
    }

    async fn run_shard<S, F>(self, start: S) -> Result<(), RuntimeError>
    where
        S: FnOnce(Rc<Shard>) -> F + 'static,
        F: Future<Output = Result<(), StartError>> + 'static,
    {
        let Seat { config, remote, peers, offload, stats, origin, ready, .. } = self;
        let pool = Rc::new(BufferPool::new(config.buffer_count, config.buffer_bytes));
        let mut ring =
            match Uring::new(&config, &pool, remote.alarm_fd(), origin, Arc::clone(&stats)) {
                Ok(ring) => ring,
                Err(error) => {
                    let _ = ready.send(Word::Failed(error));
                    return Ok(());
                }
            };
        if remote.id.0 == 0 {
            tracing::info!(features = %ring.features(), "ring");
        }
        let now = moment_since(origin);
        let host = Box::new(Machine { origin, peers: ring.peers() });
        let shard = Shard::new(&config, pool, remote, peers, offload, stats, host, now);
        let shard = Rc::new(shard);
        let current = shard.enter();
        shard.read_clock(&mut ring);
        let id = shard.id().0;
        let starting = AssertUnwindSafe(start(Rc::clone(&shard)));
        shard.spawn(async move {
            let started = starting.catch_unwind().await.unwrap_or_else(|panic| {
                let text = panic_text(&*panic).to_owned();
                Err(RuntimeError::ShardPanicked { shard: id, text }.into())
            });
            // Nobody listens any more where another shard has failed already.
            let _ = ready.send(match started {
                Ok(()) => Word::Ready,
                Err(error) => Word::Failed(start_error(error)),
            });
        });
        let outcome = park::run(&shard, &mut ring, &config).await;
        shard.drop_tasks();
        let patience = moment_since(origin) + CLOSE_PATIENCE;
        if !park::close_down(&shard, &mut ring, patience) {
            // What the kernel may still write to is leaked rather than freed.
            std::mem::forget((Rc::clone(&shard), ring));
        }
        drop(current);
        outcome
    }
}

/// What a start-up failed with: its own error, or that it panicked.
fn start_error(error: StartError) -> RuntimeError {
    match error.downcast::<RuntimeError>() {
        Ok(error) => *error,
        Err(error) => RuntimeError::Start(error),
    }
}

fn moment_since(origin: Instant) -> Moment {
    Moment::default() + origin.elapsed()
}

/// The running shards. Dropping it stops them at once.
pub struct Handle {
    remotes: Arc<[Arc<Remote>]>,
    stats: Arc<[Arc<Stats>]>,
    threads: Vec<JoinHandle<Result<(), RuntimeError>>>,
    offload: Arc<Pool>,
    watch: Option<Watch>,
    lifecycle: Lifecycle,
    origin: Instant,
}

impl Handle {
    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.remotes.len()
    }

    /// The counters of each shard, by its number.
    pub fn stats(&self) -> &[Arc<Stats>] {
        &self.stats
    }

    /// What other threads send jobs to the shards with.
    pub fn mesh(&self) -> Mesh {
        Mesh(Arc::clone(&self.remotes))
    }

    /// What the offload pool does, and has done.
    pub fn offload_stats(&self) -> OffloadStats {
        self.offload.stats()
    }

    /// What other threads watch the shards with.
    pub fn monitor(&self) -> Monitor {
        Monitor {
            remotes: Arc::clone(&self.remotes),
            stats: Arc::clone(&self.stats),
            offload: Arc::clone(&self.offload),
            origin: self.origin,
        }
    }

    /// How far the shards are. Whoever launched them says when they are ready.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// What signals and other threads use to end the shards.
    pub fn stopper(&self) -> Stopper {
        let (remotes, lifecycle) = (Arc::clone(&self.remotes), self.lifecycle.clone());
        Stopper { remotes, lifecycle, origin: self.origin }
    }

    /// Waits until every shard has ended.
    ///
    /// # Errors
    /// The first shard's error where one did not end by itself.
    pub fn join(mut self) -> Result<(), RuntimeError> {
        self.join_threads()
    }

    fn join_threads(&mut self) -> Result<(), RuntimeError> {
        let mut outcome = Ok(());
        for (shard, thread) in self.threads.drain(..).enumerate() {
            let ended = thread.join().unwrap_or_else(|panic| {
                let text = panic_text(&*panic).to_owned();
                Err(RuntimeError::ShardPanicked { shard, text })
            });
            outcome = outcome.and(ended);
        }
        outcome
    }

    fn wait_until_ready(&mut self, readiness: &mpsc::Receiver<Word>) -> Result<(), RuntimeError> {
        for _ in 0..self.threads.len() {
            match readiness.recv() {
                Ok(Word::Ready) => {}
                Ok(Word::Failed(error)) => return Err(self.abandon(error)),
                Ok(Word::Ended) | Err(mpsc::RecvError) => {
                    self.stopper().stop();
                    return self.join_threads();
                }
            }
        }
        Ok(())
    }

    /// Stops what has started; gives the cause back.
    fn abandon(&mut self, cause: RuntimeError) -> RuntimeError {
        self.stopper().stop();
        let _ = self.join_threads();
        cause
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stopper().stop();
            let _ = self.join_threads();
        }
        self.offload.close();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shards", &self.remotes).finish_non_exhaustive()
    }
}

/// Ends the shards from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    remotes: Arc<[Arc<Remote>]>,
    lifecycle: Lifecycle,
    origin: Instant,
}

impl Stopper {
    /// Has every shard take on nothing new, finish what it has begun, and end; after `patience`
    /// it ends with whatever is unfinished.
    pub fn drain(&self, patience: Duration) {
        let deadline = moment_since(self.origin) + patience;
        self.lifecycle.advance(Stage::Draining);
        self.remotes.iter().for_each(|remote| remote.drain(deadline));
    }

    /// Has every shard end now. Connections are closed where they stand.
    pub fn stop(&self) {
        self.lifecycle.advance(Stage::Draining);
        self.remotes.iter().for_each(|remote| remote.stop());
    }

    /// Has the drain to come leave the kernel's queues to a successor; `false` where one has begun
    /// without one.
    ///
    /// Either this sees that drain, or its shards see this: a drain that knew nothing of the
    /// successor would turn the clients of their common sockets away.
    pub(crate) fn leave_queues(&self) -> bool {
        let begin = |remote: &&Arc<Remote>| remote.leaving_queues.begin(|| self.is_stopping());
        let begun_count = self.remotes.iter().take_while(begin).count();
        if begun_count == self.remotes.len() {
            return true;
        }
        self.remotes[..begun_count].iter().for_each(|remote| remote.leaving_queues.end());
        false
    }

    /// Whether a drain or a stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.remotes.iter().any(|remote| remote.phase() > crate::remote::Phase::Running)
    }
}
