//! One core's share of everything: tasks, driver, timers, inbox; and the turn that moves them.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::balance::Handed;
use crate::clock::Moment;
use crate::config::ShardConfig;
use crate::driver::buffers::BufferPool;
use crate::driver::{Bounds, Driver};
use crate::heartbeat::Activity;
use crate::offload::Pool;
use crate::remote::{Phase, Remote};
use crate::stats::Stats;
use crate::task::{TaskKey, Tasks, Urgency};
use crate::timer::Wheel;
use crate::turn_end::TurnEnd;
use crate::world::{Completion, Host, Wait, World};

thread_local! {
    /// The shard whose turn it is on this thread.
    static CURRENT: RefCell<Option<Rc<Shard>>> = const { RefCell::new(None) };
}

/// A shard's number, `0 <= id < shard_count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub usize);

/// One pinned core's runtime. Lives on its thread alone; handlers reach it as [`Shard::current`].
pub struct Shard {
    pub(crate) remote: Arc<Remote>,
    pub(crate) peers: Arc<[Arc<Remote>]>,
    pub(crate) driver: Driver,
    pub(crate) host: Box<dyn Host>,
    pub(crate) offload_pool: Arc<Pool>,
    pub(crate) wheel: RefCell<Wheel>,
    tasks: Tasks,
    stats: Arc<Stats>,
    now: Cell<Moment>,
    turn_budget: Duration,
    wall_seconds: Cell<u64>,
    wall_read_due: Cell<Moment>,
    pub(crate) drain_waiters: RefCell<Slab<Waker>>,
    phase: Cell<Phase>,
    /// Operations on disk files that are under way through glommio.
    pub(crate) disk_operation_count: Cell<usize>,
    /// Work that a drain waits for: connections and their like.
    pub(crate) gate_count: Cell<usize>,
    pub(crate) handed: RefCell<Vec<Handed>>,
    locals: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
    completions: RefCell<Vec<Completion>>,
    /// Set while the shard is parked outside its ring: what wakes it there.
    parked: RefCell<Option<Waker>>,
    pub(crate) turn_end: TurnEnd,
}

impl Shard {
    #[allow(clippy::too_many_arguments, reason = "called twice: by the machine, by a simulation")]
    pub(crate) fn new(
        config: &ShardConfig,
        pool: Rc<BufferPool>,
        remote: Arc<Remote>,
        peers: Arc<[Arc<Remote>]>,
        offload_pool: Arc<Pool>,
        stats: Arc<Stats>,
        host: Box<dyn Host>,
        now: Moment,
    ) -> Shard {
        let bounds = Bounds {
            unread_bytes_max: config.unread_bytes_max,
            spare_buffer_count_max: config.spare_buffer_count_max,
            spare_buffer_bytes_max: config.spare_buffer_bytes_max,
        };
        Shard {
            remote,
            peers,
            driver: Driver::new(pool, bounds, Arc::clone(&stats)),
            host,
            offload_pool,
            wheel: RefCell::new(Wheel::new(now)),
            tasks: Tasks::new(),
            stats,
            now: Cell::new(now),
            turn_budget: config.turn_budget,
            wall_seconds: Cell::new(0),
            wall_read_due: Cell::new(now),
            drain_waiters: RefCell::new(Slab::new()),
            phase: Cell::new(Phase::Running),
            disk_operation_count: Cell::new(0),
            gate_count: Cell::new(0),
            handed: RefCell::new(Vec::new()),
            locals: RefCell::new(Vec::new()),
            completions: RefCell::new(Vec::new()),
            parked: RefCell::new(None),
            turn_end: TurnEnd::default(),
        }
    }

    /// The shard that runs the calling task.
    ///
    /// # Panics
    /// Outside a shard: on a thread of the application's own.
    pub fn current() -> Rc<Shard> {
        Shard::try_current().expect("called outside a shard: only tasks of a shard have one")
    }

    /// The shard that runs the calling task, `None` on any other thread.
    pub fn try_current() -> Option<Rc<Shard>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// This shard's number.
    pub fn id(&self) -> ShardId {
        self.remote.id
    }

    /// How many shards the runtime has.
    pub fn shard_count(&self) -> usize {
        self.peers.len()
    }

    /// The time as of this turn.
    pub fn now(&self) -> Moment {
        self.now.get()
    }

    /// The wall clock in whole seconds since the Unix epoch, at most a second old.
    pub fn wall_seconds(&self) -> u64 {
        self.wall_seconds.get()
    }

    /// This shard's counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Runs a future on this shard, from this turn or the next on. It need not be `Send`.
    ///
    /// A panic ends the task, is counted and logged, and harms nothing else. The task is dropped
    /// when the shard ends; a drain waits only for those that hold a [`GatePass`](crate::GatePass).
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.insert(&self.remote, Box::pin(task), Urgency::Normal);
    }

    /// Runs a future on this shard whenever it has nothing better to do, and once a turn at least:
    /// each turn polls every other task that is ready, and then one of those in the background.
    ///
    /// So a background task takes as much from the others as it does in one poll: it should await
    /// [`yield_now`](Shard::yield_now) after each few microseconds of work. In all else it is like
    /// a task of [`spawn`](Shard::spawn).
    pub fn spawn_background(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.insert(&self.remote, Box::pin(task), Urgency::Background);
    }

    /// An empty buffer to be filled and sent: one that an earlier send has given back, where there
    /// is one, so that sending allocates nothing once the shard is warm.
    pub fn send_buffer(&self) -> Vec<u8> {
        self.driver.send_buffer()
    }

    /// Gives back a buffer of [`send_buffer`](Shard::send_buffer) that was not sent.
    pub fn recycle(&self, buffer: Vec<u8>) {
        self.driver.recycle(buffer);
    }

    /// Whether more than a quarter of the receive buffers are free: a task may then hold one for
    /// longer than its turn.
    pub fn has_spare_buffers(&self) -> bool {
        let pool = &self.driver.pool;
        pool.spare_count() * 4 > usize::from(pool.count())
    }

    /// Lets the shard's other tasks and its ring have a turn.
    pub async fn yield_now(&self) {
        let mut has_yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Yields where the tasks of this turn have run for longer than
    /// [`turn_budget`](crate::ShardConfig::turn_budget); for loops that compute. Reads the clock,
    /// about 25 ns.
    pub async fn yield_if_needed(&self) {
        if self.turn_time() >= self.turn_budget {
            self.yield_now().await;
        }
    }

    /// Names the shard's activities, by their index, for the log lines of stalls.
    pub fn name_activities(&self, names: Vec<String>) {
        self.remote.heartbeat.set_names(names);
    }

    /// Notes what is about to run; until the end of the turn, or the next note. One store.
    pub fn begin_activity(&self, activity: Activity) {
        self.remote.heartbeat.begin(activity);
    }

    /// The name of the activity that was begun last in this turn, for log lines. Allocates.
    pub fn activity(&self) -> Option<String> {
        self.remote.heartbeat.activity()
    }

    /// Keeps a value for this shard, one of each type; gives back the one it replaces.
    pub fn set_local<T: 'static>(&self, value: Rc<T>) -> Option<Rc<T>> {
        let mut locals = self.locals.borrow_mut();
        let known = locals.iter_mut().find(|(id, _)| *id == TypeId::of::<T>());
        let Some((_, slot)) = known else {
            locals.push((TypeId::of::<T>(), value));
            return None;
        };
        std::mem::replace(slot, value).downcast().ok()
    }

    /// The value that [`set_local`](Shard::set_local) keeps of this type.
    pub fn local<T: 'static>(&self) -> Option<Rc<T>> {
        let locals = self.locals.borrow();
        let (_, value) = locals.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        Rc::clone(value).downcast().ok()
    }

    /// Whether the shard is to finish what it has begun and take on nothing new.
    pub fn is_draining(&self) -> bool {
        self.phase.get() >= Phase::Draining
    }

    /// One pass of the shard: runs what is ready, hands operations down, takes completions in,
    /// fires timers, receives from other shards. Blocks as `idle` says only if nothing is ready.
    ///
    /// Says whether anything happened, or is about to.
    ///
    /// # Errors
    /// An error of the ring itself, after which the shard can not go on.
    pub fn turn(self: &Rc<Self>, world: &mut impl World, idle: Wait) -> io::Result<bool> {
        self.stats.turns.add(1);
        self.run_ready();
        self.remote.heartbeat.rest(self.stats.turns.value());
        self.driver.flush(world);
        self.turn_end.reach(world);
        let mut completions = self.completions.take();
        // Whoever waits for a send is told only by looking, in this turn; the next one may block.
        let must_look = self.driver.take_awaits_sends();
        let wait = if must_look { Wait::No } else { self.wait(idle) };
        world.enter(wait, &mut completions)?;
        self.remote.wake_up();
        self.read_clock(world);
        let mut has_progressed = !completions.is_empty();
        self.stats.completions.add(completions.len() as u64);
        self.driver.complete_all(&mut completions);
        self.completions.replace(completions);
        let fired = self.wheel.borrow_mut().advance(self.now());
        self.stats.timers_fired.add(fired as u64);
        if self.remote.take_news() {
            has_progressed = true;
            self.receive();
        }
        if self.is_draining() {
            self.announce();
        }
        Ok(has_progressed || must_look || self.has_work())
    }

    /// Whether a task is ready to run, or an operation to be started again.
    pub fn has_work(&self) -> bool {
        self.tasks.queued_count() > 0 || self.tasks.has_background_work() || self.driver.has_work()
    }

    /// Whether the shard has nothing left that its drain waits for.
    ///
    /// All shards end together: what one still has to finish may need to call another.
    pub fn is_finished(&self) -> bool {
        match self.phase.get() {
            Phase::Running => false,
            Phase::Draining => self.is_drained() || self.now() >= self.drain_deadline(),
            Phase::Stopping => true,
        }
    }

    fn is_drained(&self) -> bool {
        self.gate_count.get() == 0 && self.peers.iter().all(|peer| peer.is_done())
    }

    /// While draining: tells the other shards whether they need wait for this one.
    #[cold]
    fn announce(&self) {
        let is_done = self.gate_count.get() == 0;
        if self.remote.set_done(is_done) && is_done {
            self.peers.iter().for_each(|peer| peer.notify());
        }
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn task_count(&self) -> usize {
        self.tasks.live_count()
    }

    /// Whether nothing is open and nothing in flight.
    pub fn is_quiet(&self) -> bool {
        self.driver.slot_count() == 0
    }

    /// Announces that the shard is about to block; `false` where another thread has sent
    /// something that must be received first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.remote.fall_asleep()
    }

    /// The moment at which there is something to do even if nothing arrives.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let timer = self.wheel.borrow().next_deadline();
        let drain = self.is_draining().then(|| self.drain_deadline());
        timer.into_iter().chain(drain).min()
    }

    fn drain_deadline(&self) -> Moment {
        self.remote.drain_deadline()
    }

    /// Polls the tasks that are queued now; those they wake run in the next pass.
    fn run_ready(&self) {
        let count = self.tasks.queued_count();
        for _ in 0..count {
            match self.tasks.run_next(Urgency::Normal) {
                None => break,
                Some(Ok(())) => {}
                Some(Err(panic)) => self.on_panic(&*panic),
            }
        }
        self.stats.polls.add(count as u64);
        if self.tasks.has_background_work() {
            self.run_background();
        }
    }

    #[cold]
    fn run_background(&self) {
        if let Some(Err(panic)) = self.tasks.run_next(Urgency::Background) {
            self.on_panic(&*panic);
        }
        self.stats.polls.add(1);
        self.stats.background_polls.add(1);
    }

    #[cold]
    fn on_panic(&self, panic: &(dyn Any + Send)) {
        self.stats.panics.add(1);
        tracing::error!(shard = self.id().0, panic = panic_text(panic), "a task or a job panicked");
    }

    /// How long the ring may block.
    fn wait(&self, idle: Wait) -> Wait {
        let Wait::Until(latest) = idle else {
            return Wait::No;
        };
        // What glommio does for a task is noticed outside the ring only.
        if self.uses_disk() || self.has_work() || !self.fall_asleep() {
            return Wait::No;
        }
        Wait::Until(self.next_deadline().map_or(latest, |deadline| latest.min(deadline)))
    }

    pub(crate) fn read_clock(&self, world: &mut impl World) {
        let now = world.now();
        self.now.set(now);
        if now >= self.wall_read_due.get() {
            self.wall_seconds.set(world.wall_seconds());
            // A quarter of a second bounds how late a new second, or a changed clock, is noticed.
            self.wall_read_due.set(now + Duration::from_millis(250));
        }
    }

    #[cold]
    fn receive(&self) {
        while let Some(wake) = self.remote.next_wake() {
            self.tasks.queue(wake.receive());
        }
        self.remote.heartbeat.resume();
        while let Some(job) = self.remote.next_job() {
            self.stats.mesh_jobs.add(1);
            self.run_job(job);
        }
        self.remote.heartbeat.rest(self.stats.turns.value());
        self.move_to(self.remote.phase());
    }

    /// Runs a job; `None` where it panicked, which harms nothing else.
    pub(crate) fn run_job<R>(&self, job: impl FnOnce(&Shard) -> R) -> Option<R> {
        let job = std::panic::AssertUnwindSafe(|| job(self));
        let outcome = std::panic::catch_unwind(job);
        outcome.map_err(|panic| self.on_panic(&*panic)).ok()
    }

    fn move_to(&self, phase: Phase) {
        if phase <= self.phase.get() {
            return;
        }
        self.phase.set(phase);
        // Every task looks once, so a connection need not register for what happens once.
        self.tasks.queue_all();
        for (_, waiter) in self.drain_waiters.borrow().iter() {
            waiter.wake_by_ref();
        }
    }

    /// Ends the shard: drops its tasks and its values, and takes no more jobs.
    pub(crate) fn drop_tasks(&self) {
        self.remote.close();
        self.tasks.clear();
        // Not within the borrow: a value's destructor may look at the shard.
        drop(self.locals.take());
    }

    /// Makes this the thread's current shard until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> CurrentGuard {
        CurrentGuard(CURRENT.replace(Some(Rc::clone(self))))
    }

    /// Queues a task if its shard is the current one of this thread.
    pub(crate) fn wake_if_current(remote: &Arc<Remote>, key: TaskKey) -> bool {
        let woken = CURRENT.try_with(|current| {
            let current = current.borrow();
            let Some(shard) = current.as_ref().filter(|s| Arc::ptr_eq(&s.remote, remote)) else {
                return false;
            };
            shard.tasks.queue(key);
            if let Some(waker) = &*shard.parked.borrow() {
                waker.wake_by_ref();
            }
            true
        });
        // A thread that is ending has no current shard any more.
        woken.unwrap_or(false)
    }

    /// While parked outside the ring, a wake on this thread also wakes `waker`.
    pub(crate) fn set_parked(&self, waker: Option<Waker>) {
        self.parked.replace(waker);
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.id())
            .field("tasks", &self.tasks.live_count())
            .field("slots", &self.driver.slot_count())
            .finish_non_exhaustive()
    }
}

/// Yields where the tasks of this turn have used up their budget: for handlers that compute.
///
/// ```no_run
/// # async fn count(numbers: Vec<u64>) -> u64 {
/// let mut sum = 0;
/// for chunk in numbers.chunks(1000) {
///     sum += chunk.iter().sum::<u64>();
///     corelane_runtime::yield_if_needed().await;
/// }
/// # sum
/// # }
/// ```
///
/// # Panics
/// Outside a shard.
pub async fn yield_if_needed() {
    Shard::current().yield_if_needed().await;
}

/// Restores the thread's former current shard.
pub(crate) struct CurrentGuard(Option<Rc<Shard>>);

impl Drop for CurrentGuard {
    fn drop(&mut self) {
        CURRENT.replace(self.0.take());
    }
}

/// What a panic said, where it said it in words.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
