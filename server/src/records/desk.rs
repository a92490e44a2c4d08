//! The thread that takes what the shards put into their rings.
//!
//! It sleeps until a shard rings, then takes everything from every ring, hands it to its clerk, and
//! rests a little, so that much is handled at once and no shard has to wake it for each entry.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use corelane_runtime::CheckedConfig;
use rtrb::Consumer;

use super::entry::Entry;
use super::outlet::{Bell, Outlet};

/// How long it rests after it has taken something: as much as a ring of the default size holds at
/// half a million requests a second.
const REST: Duration = Duration::from_millis(5);

/// After so long it looks without having been woken. A shard that rings just when the desk lies
/// down may not be heard: ringing costs a shard no fence.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// What becomes of the entries. It may block: full rings drop meanwhile.
pub(crate) trait Clerk: Send + 'static {
    /// Takes one entry.
    fn take(&mut self, entry: &Entry<'_>);

    /// Every ring has been looked into; called at least every quarter of a second.
    fn settle(&mut self);

    /// What the entries go to was replaced.
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
    /// Starts a thread off the CPUs of the shards, with an outlet for each of them.
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
        let work = Work { rings, clerk, entries: Vec::new(), bell: Arc::clone(&bell) };
        let config = config.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            config.settle_aside();
            work.run();
        })?;
        // The desk sleeps for a bounded time at first as well: whoever rings before is heard.
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
    rings: Vec<Consumer<u8>>,
    clerk: C,
    /// What was taken from a ring, as whole entries. Scratch of one look.
    entries: Vec<u8>,
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
            let has_any = self.look();
            self.clerk.settle();
            match (is_ending, has_any) {
                (true, _) => return self.clerk.end(),
                (false, true) => std::thread::park_timeout(REST),
                (false, false) => {
                    self.bell.is_asleep.store(true, Ordering::Relaxed);
                    std::thread::park_timeout(SLEEP_MAX);
                    self.bell.is_asleep.store(false, Ordering::Relaxed);
                }
            }
        }
    }

    /// Takes what is in the rings; whether there was anything.
    fn look(&mut self) -> bool {
        let mut has_any = false;
        for ring in &mut self.rings {
            self.entries.clear();
            // Entries are put in whole, so what is there is a number of whole ones.
            if let Ok(chunk) = ring.read_chunk(ring.slots()) {
                let (first, second) = chunk.as_slices();
                self.entries.extend_from_slice(first);
                self.entries.extend_from_slice(second);
                chunk.commit_all();
            }
            let mut rest = &self.entries[..];
            while let Some(entry) = Entry::read(&mut rest) {
                self.clerk.take(&entry);
                has_any = true;
            }
        }
        has_any
    }
}
