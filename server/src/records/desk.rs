//! The thread that takes what the shards put into their rings.
//!
//! It comes by the clock, takes everything from every ring, hands it to its clerk, and rests: much
//! is handled at once, and no shard has to wake it but where a ring fills faster than that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use corelane_runtime::CheckedConfig;
use rtrb::Consumer;

use super::outlet::{Bell, Outlet};
use super::packed::turns;

/// How long it rests. Each awakening costs some 10 us, which the entries of a tenth of a second
/// share; people who watch the log do not notice.
const REST: Duration = Duration::from_millis(100);

/// What becomes of the records. It may block: full rings drop meanwhile.
pub(crate) trait Clerk: Send + 'static {
    /// Takes a turn of a shard: its [`exchanges`](super::exchanges).
    fn take(&mut self, shard: usize, turn: &[u8]);

    /// Every ring has been looked into; called at least every tenth of a second.
    fn settle(&mut self) {}

    /// What the records go to was replaced.
    fn reopen(&mut self) {}

    /// The server ends: what comes now is the last, and nothing may take long any more.
    fn hurry(&mut self) {}

    /// Nothing comes any more.
    fn end(&mut self) {}
}

/// The running thread. Dropping it takes what is left in the rings, and ends it.
#[derive(Debug)]
pub(crate) struct Desk {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// Starts a thread off the CPUs of the shards, with an outlet of so many bytes for each shard.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(
        name: &str,
        config: &CheckedConfig,
        ring_bytes: usize,
        clerk: impl Clerk,
    ) -> io::Result<(Desk, Vec<Outlet>)> {
        let bell = Arc::new(Bell::default());
        let pairs = config.cpus().iter().map(|_| Outlet::new(ring_bytes, Arc::clone(&bell)));
        let (outlets, rings) = pairs.unzip();
        let work = Work { rings, scratch: Vec::new(), clerk, bell: Arc::clone(&bell) };
        let config = config.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            config.settle_aside();
            work.run();
        })?;
        // Who rings before is not heard; the desk comes soon enough.
        let _ = bell.thread.set(thread.thread().clone());
        Ok((Desk { bell, thread: Some(thread) }, outlets))
    }

    /// Tells the clerk that what the entries go to was replaced, before it takes the next one.
    pub(crate) fn reopen(&self) {
        self.bell.wants_reopening.store(true, Ordering::Relaxed);
        self.bell.wake();
    }

    /// The same by signals: SIGHUP, and SIGUSR1, which nginx made usual.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub(crate) fn reopen_on_signals(&self) -> io::Result<()> {
        for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGUSR1] {
            signal_hook::flag::register(signal, Arc::clone(&self.bell.wants_reopening))?;
        }
        Ok(())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.bell.is_ending.store(true, Ordering::Release);
        self.bell.wake();
        if let Some(thread) = self.thread.take() {
            // A clerk that has panicked has said so; nobody else could be told.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Work<C> {
    /// Of each shard.
    rings: Vec<Consumer<u8>>,
    scratch: Vec<u8>,
    clerk: C,
    bell: Arc<Bell>,
}

impl<C: Clerk> Work<C> {
    fn run(mut self) {
        loop {
            // Asked before the look: what was put into a ring before the end is still taken.
            let is_ending = self.bell.is_ending.load(Ordering::Acquire);
            if self.bell.wants_reopening.swap(false, Ordering::Relaxed) {
                self.clerk.reopen();
            }
            if is_ending {
                self.clerk.hurry();
            }
            for (shard, ring) in self.rings.iter_mut().enumerate() {
                // What comes meanwhile is for the next time.
                let Ok(chunk) = ring.read_chunk(ring.slots()) else { continue };
                let (first, second) = chunk.as_slices();
                turns([first, second], &mut self.scratch, |turn| self.clerk.take(shard, turn));
                chunk.commit_all();
            }
            self.clerk.settle();
            if is_ending {
                return self.clerk.end();
            }
            std::thread::park_timeout(REST);
        }
    }
}
