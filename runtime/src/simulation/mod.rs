//! A simulated world: a network, a clock and faults from a seed, in one thread, without a kernel.
//!
//! The shards are the real ones, with their slots, buffers, tasks, timers and mesh; so is
//! everything that runs on them. What is below the seam ([`World`](crate::world::World) and
//! [`Host`](crate::world::Host)) is simulated, and asserts that the shards keep to the contract.
//! Each step does one thing, chosen by the seed: a shard takes a turn, an operation is performed,
//! a peer moves some bytes. Where nothing can happen, the clock moves on to the next deadline.
//! The same seed gives the same run; a test that fails prints it.
//!
//! ```
//! use corelane_runtime::simulation::{Simulation, SimulationConfig};
//! use corelane_runtime::{SendBuffer, ShardId};
//!
//! let mut simulation = Simulation::new(7, SimulationConfig::default());
//! let address = "10.0.0.1:80".parse().expect("an address");
//! let mut listener = simulation.listen(ShardId(0), address);
//! simulation.spawn(ShardId(0), async move {
//!     let mut stream = listener.accept().await.expect("a client");
//!     let request = stream.recv().await.expect("a request");
//!     stream.send(SendBuffer::Owned(request.to_vec()));
//!     let _ = stream.sent(0).await;
//! });
//! let peer = simulation.connect(address).expect("somebody listens");
//! peer.send("hello");
//! simulation.run_until(|| peer.received() == b"hello");
//! ```

mod connection;
mod faults;
mod host;
mod network;
mod peer;
mod ring;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use faults::Faults;
pub use peer::{Ending, Peer};

use crate::address::Address;
use crate::balance::Balance;
use crate::clock::Moment;
use crate::config::ShardConfig;
use crate::driver::buffers::BufferPool;
use crate::listener::Listener;
use crate::offload::{OffloadStats, Pool};
use crate::remote::{Alarm, Remote};
use crate::shard::{Shard, ShardId};
use crate::world::Wait;
use host::SimulatedHost;
use network::Network;
use ring::SimulatedRing;

/// What a simulation consists of. Default: one small shard, no faults.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationConfig {
    /// How many shards there are.
    pub shard_count: usize,
    /// The size of each. Default: 8 buffers of 256 bytes, so that every bound is soon met.
    pub shard: ShardConfig,
    /// Jobs that may wait to be run off the shards. Default 4.
    pub offload_job_count_max: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// Bytes that are under way in one direction of a connection, at most. Default 1024.
    pub socket_bytes_max: usize,
    /// Steps after which [`Simulation::run_until`] gives up. Default one million.
    pub step_count_max: usize,
    /// Whether tasks may panic. Default `false`.
    pub permits_panics: bool,
}

impl Default for SimulationConfig {
    fn default() -> SimulationConfig {
        SimulationConfig {
            shard_count: 1,
            shard: ShardConfig {
                buffer_count: 8,
                buffer_bytes: 256,
                unread_bytes_max: 1024,
                ..ShardConfig::default()
            },
            offload_job_count_max: 4,
            faults: Faults::default(),
            socket_bytes_max: 1024,
            step_count_max: 1_000_000,
            permits_panics: false,
        }
    }
}

/// Shards in a world of their own. See the module's documentation.
pub struct Simulation {
    seed: u64,
    config: SimulationConfig,
    network: Rc<RefCell<Network>>,
    seats: Vec<Seat>,
    offload: Arc<Pool>,
}

/// A shard and what lies below it.
struct Seat {
    shard: Rc<Shard>,
    ring: SimulatedRing,
    pool: Rc<BufferPool>,
    /// Whether the last turn wants another one.
    is_restless: bool,
    /// The shard gets no CPU before.
    stalled_until: Moment,
}

/// One thing that may happen next.
enum Event {
    Turn(usize),
    Perform { shard: usize, operation: usize },
    PeerSends(usize),
    PeerReceives(usize),
    Offloaded,
}

impl Simulation {
    /// A world in which nothing has happened yet.
    pub fn new(seed: u64, config: SimulationConfig) -> Simulation {
        let network = Network::new(seed, config.faults.clone(), config.socket_bytes_max);
        let network = Rc::new(RefCell::new(network));
        let job_count_max = config.shard.mesh_job_count_max;
        let remotes: Arc<[Arc<Remote>]> = (0..config.shard_count)
            .map(|index| Remote::new(ShardId(index), job_count_max, Alarm::silent()))
            .map(Arc::new)
            .collect();
        let offload = Arc::new(Pool::new(config.offload_job_count_max));
        let seats = remotes.iter().map(|remote| {
            let pool = BufferPool::new(config.shard.buffer_count, config.shard.buffer_bytes);
            let pool = Rc::new(pool);
            let shard = Shard::new(
                &config.shard,
                Rc::clone(&pool),
                Arc::clone(remote),
                Arc::clone(&remotes),
                Arc::clone(&offload),
                Arc::default(),
                Box::new(SimulatedHost(Rc::clone(&network))),
                network.borrow().now,
            );
            Seat {
                shard: Rc::new(shard),
                ring: SimulatedRing::new(&network, &pool),
                pool,
                is_restless: true,
                stalled_until: Moment::default(),
            }
        });
        let seats = seats.collect();
        Simulation { seed, seats, network: Rc::clone(&network), offload, config }
    }

    /// The seed of this run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The simulated clock.
    pub fn now(&self) -> Moment {
        self.network.borrow().now
    }

    /// One of the shards.
    pub fn shard(&self, id: ShardId) -> &Rc<Shard> {
        &self.seats[id.0].shard
    }

    /// Runs a task on a shard.
    pub fn spawn(&self, shard: ShardId, task: impl Future<Output = ()> + 'static) {
        self.shard(shard).spawn(task);
    }

    /// Runs a future on a shard until it is ready; gives back what it returned.
    pub fn block_on<T: 'static>(
        &mut self,
        shard: ShardId,
        future: impl Future<Output = T> + 'static,
    ) -> T {
        let result = Rc::new(Cell::new(None));
        let place = Rc::clone(&result);
        self.spawn(shard, async move { place.set(Some(future.await)) });
        let mut taken = None;
        self.run_until(|| {
            taken = result.take();
            taken.is_some()
        });
        taken.expect("the run ended when it was there")
    }

    /// A listener on a shard. Several may share an address, as with `SO_REUSEPORT`.
    pub fn listen(&self, shard: ShardId, address: SocketAddr) -> Listener {
        let descriptor = self.network.borrow_mut().open_listener(address);
        let (shard, address) = (self.shard(shard), Address::Tcp(address));
        Listener::from_descriptor(shard, descriptor, address, Balance::Hash)
    }

    /// A client that connects to one of the listeners; `None` where nobody listens.
    pub fn connect(&self, address: SocketAddr) -> Option<Peer> {
        let end = self.network.borrow_mut().connect(address)?;
        Some(Peer::new(&self.network, end))
    }

    /// What became of the jobs that were offloaded.
    pub fn offload_stats(&self) -> OffloadStats {
        self.offload.stats()
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.network.borrow_mut().faults = faults;
    }

    /// Has every shard drain, for `patience` at most.
    pub fn drain(&self, patience: Duration) {
        let deadline = self.now() + patience;
        for seat in &self.seats {
            seat.shard.remote.drain(deadline);
        }
    }

    /// Whether every shard has ended its drain.
    pub fn is_finished(&self) -> bool {
        self.seats.iter().all(|seat| seat.shard.is_finished())
    }

    /// Does one thing. `false` where nothing is left that could ever happen.
    pub fn step(&mut self) -> bool {
        self.step_before(Moment::NEVER)
    }

    /// Steps until the clock has reached `moment`.
    ///
    /// # Panics
    /// Where too much has happened before.
    pub fn run_to(&mut self, moment: Moment) {
        for _ in 0..self.config.step_count_max {
            if self.now() >= moment {
                return;
            }
            self.step_before(moment);
        }
        panic!("the step limit came before the moment: {self:?}");
    }

    /// Does one thing, or moves the clock, no further than to `limit`.
    fn step_before(&mut self, limit: Moment) -> bool {
        let mut events = self.events();
        if events.is_empty() {
            return self.pass_time(limit);
        }
        let mut network = self.network.borrow_mut();
        let passed = network.random.u64(0..20_000);
        network.now = network.now + Duration::from_nanos(passed);
        let event = events.swap_remove(network.random.usize(0..events.len()));
        match event {
            Event::PeerSends(peer) => network.peer_send(peer),
            Event::PeerReceives(peer) => network.peer_receive(peer),
            Event::Offloaded => {
                drop(network);
                self.offload.run_next();
            }
            Event::Turn(shard) => {
                drop(network);
                self.turn(shard);
            }
            Event::Perform { shard, operation } => {
                drop(network);
                self.seats[shard].ring.perform(operation);
            }
        }
        true
    }

    /// Steps until `condition` holds.
    ///
    /// # Panics
    /// Where nothing more can happen, or too much has, before it does.
    pub fn run_until(&mut self, mut condition: impl FnMut() -> bool) {
        for _ in 0..self.config.step_count_max {
            if condition() {
                return;
            }
            assert!(self.step(), "nothing more can happen: {self:?}");
        }
        panic!("it did not happen within the step limit: {self:?}");
    }

    /// Steps until nothing more can happen, deadlines included.
    pub fn run_until_idle(&mut self) {
        for _ in 0..self.config.step_count_max {
            if !self.step() {
                return;
            }
        }
        panic!("it never became idle: {self:?}");
    }

    /// Drains the shards, waits until all is quiet, and checks that nothing was leaked.
    ///
    /// # Panics
    /// Where something was, or a task never ends.
    pub fn drain_and_check(&mut self) {
        self.drain(Duration::MAX);
        self.run_until_idle();
        assert!(self.is_finished(), "the drain never ends: {self:?}");
        self.check_quiet();
    }

    /// Ends the shards as a drain does that took too long, tasks and all, and checks that nothing
    /// was leaked.
    ///
    /// # Panics
    /// Where something was, or an operation never ends.
    pub fn stop_and_check(&mut self) {
        for seat in &self.seats {
            let _current = seat.shard.enter();
            seat.shard.drop_tasks();
        }
        // Not until all is idle: a drain that is overdue never lets the clock rest.
        for _ in 0..self.config.step_count_max {
            if self.seats.iter().all(|seat| seat.shard.is_quiet() && seat.ring.is_quiet()) {
                return self.check_quiet();
            }
            self.step();
        }
        panic!("an operation never ends: {self:?}");
    }

    /// Asserts that no task, timer, slot, buffer, operation or descriptor is left.
    ///
    /// # Panics
    /// Where one is.
    pub fn check_quiet(&self) {
        for seat in &self.seats {
            let shard = &seat.shard;
            assert_eq!(shard.task_count(), 0, "tasks are left: {self:?}");
            assert_eq!(shard.wheel.borrow().count(), 0, "timers are left: {self:?}");
            assert!(shard.is_quiet(), "slots are left: {self:?}");
            assert!(seat.ring.is_quiet(), "operations are left: {self:?}");
            assert_eq!(seat.pool.held_count(), 0, "buffers are left: {self:?}");
            let stale = shard.stats().stale_completions.value();
            assert_eq!(stale, seat.ring.echo_count(), "stale completions: {self:?}");
        }
        let open_count = self.network.borrow().open_count();
        assert_eq!(open_count, 0, "descriptors are left: {self:?}");
    }

    /// Everything that can happen now.
    fn events(&self) -> Vec<Event> {
        let network = self.network.borrow();
        let mut events = Vec::new();
        for (shard, seat) in self.seats.iter().enumerate() {
            if seat.is_ready(network.now) {
                events.push(Event::Turn(shard));
            }
            let performable = seat.ring.performable();
            events.extend(performable.map(|operation| Event::Perform { shard, operation }));
        }
        if self.offload.stats().queued > 0 {
            events.push(Event::Offloaded);
        }
        for peer in 0..network.peers.len() {
            if network.peer_can_send(peer) {
                events.push(Event::PeerSends(peer));
            }
            if network.peer_can_receive(peer) {
                events.push(Event::PeerReceives(peer));
            }
        }
        events
    }

    /// Moves the clock to the next moment at which something happens by itself.
    fn pass_time(&mut self, limit: Moment) -> bool {
        let next = self.seats.iter().flat_map(Seat::next_moment);
        let next = next.chain([limit]).min().filter(|next| *next < Moment::NEVER);
        let Some(next) = next else { return false };
        let mut network = self.network.borrow_mut();
        network.now = network.now.max(next);
        true
    }

    fn turn(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        let _current = seat.shard.enter();
        let turned = seat.shard.turn(&mut seat.ring, Wait::Until(Moment::NEVER));
        seat.is_restless = turned.expect("the simulated ring does not fail");
        seat.stalled_until = self.network.borrow_mut().stall_end();
        let panic_count = seat.shard.stats().panics.value();
        assert!(self.config.permits_panics || panic_count == 0, "a task panicked");
        let network = self.network.borrow();
        assert!(network.violations().is_empty(), "{:?}", network.violations());
    }
}

impl Seat {
    fn is_ready(&self, now: Moment) -> bool {
        self.stalled_until <= now
            && (self.wants_turn() || self.next_deadline().is_some_and(|next| next <= now))
    }

    fn wants_turn(&self) -> bool {
        let shard = &self.shard;
        self.is_restless || shard.has_work() || shard.remote.has_news()
    }

    /// When the shard has something to do even if nothing happens to it.
    fn next_moment(&self) -> Option<Moment> {
        match self.wants_turn() {
            true => Some(self.stalled_until),
            false => self.next_deadline().map(|next| next.max(self.stalled_until)),
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let deadline = self.shard.next_deadline();
        deadline.into_iter().chain(self.ring.next_due()).min()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation's seed was {}: {:?}", self.seed, self.config);
        }
        for seat in &self.seats {
            // Tasks hold their shard, and the shard its tasks.
            let _current = seat.shard.enter();
            seat.shard.drop_tasks();
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards: Vec<_> = self.seats.iter().map(|seat| &seat.shard).collect();
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("now", &self.now())
            .field("shards", &shards)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
