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
//! Parking through glommio costs about 17 system calls, so it comes last. A busy shard never gets
//! there; it lets glommio's reactor run once every `config.reactor_period`, for those who use
//! glommio directly, and more often while a task waits for a disk file. An idle shard that waits
//! for one parks at once.
//!
//! glommio 0.9 must not be left by a plain yield. When its preempt timer has fired by the time it
//! is about to run its task queues, it runs none of them, takes that for "nothing to do", and goes
//! to sleep with the yielded task in its queue. So the shard leaves by awaiting an eventfd that it
//! has signalled itself, the timer is set far away, and a timer of glommio's own ends such a sleep
//! should it happen all the same.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use glommio::io::BufferedFile;

use super::ring::Uring;
use crate::clock::Moment;
use crate::config::ShardConfig;
use crate::error::RuntimeError;
use crate::shard::Shard;
use crate::world::{Wait, World};

/// How long glommio's other tasks may keep its reactor from running: glommio's own default. A
/// thread must lose its CPU for as long, at the wrong moment, to meet the hazard above.
pub(crate) const PREEMPT_TIMER: Duration = Duration::from_millis(100);

/// How often a busy shard lets glommio's reactor run while tasks wait for disk files.
const DISK_PERIOD: Duration = Duration::from_micros(100);

/// How long glommio may sleep by mistake. Costs an idle shard four wake-ups a second.
const WATCHDOG_PERIOD: Duration = Duration::from_millis(250);

/// Takes turns until the shard is finished.
pub(crate) async fn run(
    shard: &Rc<Shard>,
    ring: &mut Uring,
    config: &ShardConfig,
) -> Result<(), RuntimeError> {
    let watchdog = glommio::spawn_local(watch());
    let mut bell = Bell::new().map_err(RuntimeError::Ring)?;
    let mut exit = Bell::new().map_err(RuntimeError::Ring)?;
    ring.register_bell(bell.ringer.fd()).map_err(RuntimeError::Ring)?;
    let mut visited = ring.now();
    while !shard.is_finished() {
        let idle = Wait::Until(ring.now() + config.block_max);
        let has_progressed = shard.turn(ring, idle).map_err(RuntimeError::Ring)?;
        if !has_progressed && !shard.is_finished() {
            park(shard, ring, &mut bell).await?;
        } else if shard.now() - visited >= reactor_period(shard, config) {
            exit.ringer.ring();
            exit.heard().await?;
        } else {
            continue;
        }
        visited = ring.now();
    }
    watchdog.cancel().await;
    Ok(())
}

/// How often a busy shard lets glommio's reactor run.
fn reactor_period(shard: &Shard, config: &ShardConfig) -> Duration {
    if shard.uses_disk() {
        return config.reactor_period.min(DISK_PERIOD);
    }
    config.reactor_period
}

async fn watch() {
    loop {
        glommio::timer::sleep(WATCHDOG_PERIOD).await;
    }
}

/// Sleeps outside the ring until anything happens: in the ring, on this thread, or elsewhere.
async fn park(shard: &Rc<Shard>, ring: &mut Uring, bell: &mut Bell) -> Result<(), RuntimeError> {
    let deadline = shard.next_deadline();
    let is_quiet = ring.enable_bell(deadline).map_err(RuntimeError::Ring)?;
    shard.set_parked(Some(Waker::from(Arc::clone(&bell.ringer))));
    // In this order: from here on a wake on this thread rings the bell, a wake from another one
    // rings the alarm, whose completion rings the bell. What came before is looked for now.
    if is_quiet && !shard.has_work() && shard.fall_asleep() {
        shard.stats().parks.add(1);
        bell.heard().await?;
    }
    shard.set_parked(None);
    ring.disable_bell();
    // What glommio has woken runs before the ring is entered again, and must not see the time at
    // which the shard fell asleep.
    shard.read_clock(ring);
    Ok(())
}

/// An eventfd that is read through glommio.
struct Bell {
    file: BufferedFile,
    ringer: Arc<Ringer>,
}

impl Bell {
    fn new() -> io::Result<Bell> {
        let bell = eventfd()?;
        let ringer = Arc::new(Ringer(bell.try_clone()?));
        // SAFETY: the descriptor is open and given away: the file closes it.
        let file = unsafe { BufferedFile::from_raw_fd(bell.into_raw_fd()) };
        Ok(Bell { file, ringer })
    }

    /// Waits until the bell was rung. It is a hint: one reading may stand for many rings, or for
    /// one whose cause is long dealt with.
    async fn heard(&mut self) -> Result<(), RuntimeError> {
        let read = self.file.read_at(0, 8).await;
        read.map(drop).map_err(|error| RuntimeError::Executor(error.to_string()))
    }
}

/// Rings a bell, from any thread.
struct Ringer(OwnedFd);

impl Ringer {
    fn fd(&self) -> &OwnedFd {
        &self.0
    }

    fn ring(&self) {
        // Fails only where the counter is full, and the bell readable, already.
        let _ = signal(&self.0);
    }
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
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

/// A new eventfd (`eventfd(2)`), counter zero. Blocking: glommio's read of it must wait.
fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: a system call without memory.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an eventfd's counter.
fn signal(eventfd: &impl AsFd) -> io::Result<()> {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight readable bytes, as eventfd(2) asks for.
    let written = unsafe { libc::write(eventfd.as_fd().as_raw_fd(), one.as_ptr().cast(), 8) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
