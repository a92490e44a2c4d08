//! How a shard lives on glommio's executor: one task that takes turns, and how it goes idle.
//!
//! ```text
//!   busy ──nothing completed──► spin on the ring's memory (config.spin)
//!    ▲                              │
//!    │                              ▼ still nothing
//!    ├───── a completion ──── block in the ring (config.block_max)
//!    │                              │
//!    │                              ▼ still nothing
//!    └── the bell, a local wake ─ park: await the bell through glommio
//! ```
//!
//! Parking through glommio costs about 17 system calls, so it comes last; but only there, and
//! once each `config.reactor_period`, does glommio's reactor run for those who use it directly.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};

use glommio::io::BufferedFile;

use super::ring::{Uring, eventfd, signal};
use crate::clock::Moment;
use crate::config::ShardConfig;
use crate::error::RuntimeError;
use crate::shard::Shard;
use crate::world::{Wait, World};

/// Takes turns until the shard is finished.
pub(crate) async fn run(
    shard: &Rc<Shard>,
    ring: &mut Uring,
    config: &ShardConfig,
) -> Result<(), RuntimeError> {
    let mut bell = Bell::new(ring)?;
    let mut reactor_due = ring.now() + config.reactor_period;
    while !shard.is_finished() {
        let idle = Wait::Until(ring.now() + config.block_max);
        let has_progressed = shard.turn(ring, idle).map_err(RuntimeError::Ring)?;
        if !has_progressed && !shard.is_finished() {
            park(shard, ring, &mut bell).await?;
        } else if shard.now() >= reactor_due {
            // A task that only yields is run again at once, for as long as the preempt timer has
            // not fired. One that awaits what is there already empties the run queue: the reactor
            // polls its rings, wakes what is due, and runs its other tasks.
            bell.ring();
            bell.heard().await?;
        } else {
            continue;
        }
        reactor_due = shard.now() + config.reactor_period;
    }
    Ok(())
}

/// Sleeps outside the ring until anything happens: in the ring, on this thread, or elsewhere.
async fn park(shard: &Rc<Shard>, ring: &mut Uring, bell: &mut Bell) -> Result<(), RuntimeError> {
    let deadline = shard.next_deadline();
    let is_quiet = ring.enable_bell(deadline).map_err(RuntimeError::Ring)?;
    shard.set_parked(Some(bell.ringer.clone()));
    // In this order: from here on a wake on this thread rings the bell, a wake from another one
    // rings the alarm, whose completion rings the bell. What came before is looked for now.
    if is_quiet && !shard.has_work() && shard.fall_asleep() {
        shard.stats().parks.add(1);
        bell.heard().await?;
    }
    shard.set_parked(None);
    ring.disable_bell();
    Ok(())
}

/// An eventfd that both the ring and this thread's wakers signal, read through glommio.
struct Bell {
    file: BufferedFile,
    ringer: Waker,
}

impl Bell {
    fn new(ring: &mut Uring) -> Result<Bell, RuntimeError> {
        let bell = eventfd().map_err(RuntimeError::Ring)?;
        ring.register_bell(&bell).map_err(RuntimeError::Ring)?;
        let ours = bell.try_clone().map_err(RuntimeError::Ring)?;
        // SAFETY: the descriptor is open and given away: the file closes it.
        let file = unsafe { std::os::fd::FromRawFd::from_raw_fd(bell.into_raw_fd()) };
        Ok(Bell {
            file,
            ringer: Waker::from(Arc::new(Ringer(ours))),
        })
    }

    fn ring(&self) {
        self.ringer.wake_by_ref();
    }

    /// Waits until the bell was rung. It is a hint: one reading may stand for many rings, or for
    /// one whose cause is long dealt with.
    async fn heard(&mut self) -> Result<(), RuntimeError> {
        let read = self.file.read_at(0, 8).await;
        read.map(drop)
            .map_err(|error| RuntimeError::Executor(error.to_string()))
    }
}

/// Rings the bell from this thread.
struct Ringer(OwnedFd);

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Fails only where the counter is full, and the bell readable, already.
        let _ = signal(&self.0);
    }
}

/// Ends a shard whose tasks are dropped: turns until every operation has completed.
///
/// `false` where that takes longer than `patience`: the kernel may still write to the shard's
/// memory, which must then never be freed.
pub(crate) fn close_down(shard: &Rc<Shard>, ring: &mut Uring, deadline: Moment) -> bool {
    while !shard.is_quiet() && ring.now() < deadline {
        if shard.turn(ring, Wait::Until(deadline)).is_err() {
            return false;
        }
    }
    shard.is_quiet()
}
