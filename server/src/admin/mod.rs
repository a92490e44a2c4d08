//! The admin address: metrics, health, settings, and a live page of the cores.
//!
//! ```text
//!   shards ──► counters ◄── read ── admin thread: accepts, and samples once a second
//!   (write)    (plain loads)            │
//!                                       └── a thread a connection: /metrics, /events, ...
//! ```
//!
//! No shard is ever asked: what it counts lies in memory that only it writes. So a scrape costs the
//! shards nothing but a few cache lines, and the address answers while they are saturated, held up,
//! or still starting. The threads block, use no ring, and are neither pinned nor urgent; HTTP is
//! read and written by [`http1`](crate::http1).

mod answer;
mod connection;
mod exposition;
mod families;
mod live;
mod process;
mod settings;
mod socket;
mod view;

use std::fmt;
use std::io::{self, PipeWriter};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelane_runtime::{Address, CheckedConfig, RuntimeError};

use connection::{Places, serve};
use live::Sampler;
pub(crate) use settings::{Settings, describe};
use socket::{Listener, Stop, Woken};
pub(crate) use view::{Running, View};

/// How often the live page learns something new.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

/// How long accepting pauses when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a server tells about itself, and to how many: for [`App::admin`](crate::App::admin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen. Nobody is asked who they are: it should be a loopback address or a Unix
    /// socket, or one that only the monitoring can reach.
    pub address: Address,
    /// Connections at once, each a thread. Default 16: a scraper or two, probes, and a few people
    /// who look at the page. Beyond it: 503.
    pub connections_max: usize,
    /// How long a request may take to arrive, and its answer or one event to be taken. Default
    /// 10 s, as Prometheus gives a scrape; then the connection is closed.
    pub patience: Duration,
    /// How long a connection may be idle between requests. Default 75 s: scrapers keep theirs, and
    /// ask once a minute at least.
    pub idle_timeout: Duration,
    /// Seconds that the live page shows when it is opened. Default 120.
    pub history_count: usize,
    /// Whether the server starts without it where it can not listen there. Default `false`.
    pub is_optional: bool,
    /// What [`show`](Admin::show) has added.
    pub shown: Vec<(String, String)>,
}

impl Admin {
    /// With the defaults.
    pub fn new(address: impl Into<Address>) -> Admin {
        Admin {
            address: address.into(),
            connections_max: 16,
            patience: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            history_count: 120,
            is_optional: false,
            shown: Vec::new(),
        }
    }

    /// The same, where it can listen there; else a line in the log says why not.
    #[must_use]
    pub fn optional(mut self) -> Admin {
        self.is_optional = true;
        self
    }

    /// Adds a setting of the program's own to those that `/config` shows. The value is hidden
    /// where the key looks like that of a secret (`secret`, `password`, `token`, `key`,
    /// `credential`), and so is a password in a URL.
    #[must_use]
    pub fn show(mut self, key: impl Into<String>, value: impl fmt::Display) -> Admin {
        self.shown.push((key.into(), value.to_string()));
        self
    }
}

impl From<Address> for Admin {
    fn from(address: Address) -> Admin {
        Admin::new(address)
    }
}

/// The running admin address. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct AdminServer {
    address: Address,
    view: Arc<View>,
    /// Closed to end every thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens and answers from now on; what there is to tell comes with [`View::begin`]. A
    /// successor does once its predecessor has drained, which has the address until then.
    pub(crate) fn start(
        admin: &Admin,
        config: &CheckedConfig,
        view: Arc<View>,
        has_predecessor: bool,
    ) -> Result<Option<AdminServer>, RuntimeError> {
        let refused = |source| RuntimeError::Listen { address: admin.address.to_string(), source };
        let listener = match Listener::bind(&admin.address) {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && has_predecessor => None,
            Err(error) if admin.is_optional => {
                tracing::warn!(%error, address = %admin.address, "there is no admin address");
                return Ok(None);
            }
            Err(error) => return Err(refused(error)),
        };
        let address = listener.as_ref().map_or(Ok(admin.address.clone()), Listener::address);
        let address = address.map_err(refused)?;
        tracing::info!(%address, "admin");
        let (stop, writer) = Stop::new().map_err(RuntimeError::Thread)?;
        let (admin, config) = (admin.clone(), config.clone());
        let (places, shown) = (Places::new(admin.connections_max), Arc::clone(&view));
        let thread = std::thread::Builder::new().name("admin".to_owned());
        let thread = thread
            .spawn(move || {
                // The threads that it starts inherit its CPUs and its priority.
                config.settle_aside();
                if let Some(listener) = listener.or_else(|| bind_once_free(&admin.address, &stop)) {
                    Office { admin, listener, places, stop, view: shown }.run();
                }
            })
            .map_err(RuntimeError::Thread)?;
        Ok(Some(AdminServer { address, view, stop: Some(writer), thread: Some(thread) }))
    }

    /// Where it listens, with the port that was chosen where port zero was asked for.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.view.close();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `None` where the server ends before.
fn bind_once_free(address: &Address, stop: &Stop) -> Option<Listener> {
    loop {
        if let Ok(listener) = Listener::bind(address) {
            return Some(listener);
        }
        if stop.wait(Instant::now() + ACCEPT_PAUSE) == Woken::Stopped {
            return None;
        }
    }
}

/// What the admin thread has.
struct Office {
    admin: Admin,
    listener: Listener,
    places: Places,
    stop: Stop,
    view: Arc<View>,
}

impl Office {
    fn run(&self) {
        let mut sampler = Sampler::default();
        let mut due = Instant::now() + SAMPLE_PERIOD;
        loop {
            let now = Instant::now();
            if now >= due {
                sampler.sample(&self.view, self.admin.history_count);
                // What was missed, on a machine that slept, is not made up for.
                due = now + SAMPLE_PERIOD;
            }
            match self.stop.wait_readable(&self.listener, due) {
                Woken::Ready if self.accept().is_err() => {
                    if self.stop.wait(Instant::now() + ACCEPT_PAUSE) == Woken::Stopped {
                        return;
                    }
                }
                Woken::Ready | Woken::TimedOut => {}
                Woken::Stopped => return,
            }
        }
    }

    fn accept(&self) -> io::Result<()> {
        let socket = match self.listener.accept() {
            Ok(socket) => socket,
            // The client was gone before it was accepted, or a signal came.
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(place) = self.places.take() else {
            connection::turn_away(socket);
            return Ok(());
        };
        let (view, admin, stop) =
            (Arc::clone(&self.view), self.admin.clone(), self.stop.try_clone()?);
        let is_local = self.listener.is_local();
        let thread = std::thread::Builder::new().name("admin-client".to_owned());
        thread.spawn(move || {
            serve(socket, &admin, &view, &stop, is_local);
            drop(place);
        })?;
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}
