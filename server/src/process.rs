//! A server that is the process: signals, restart, the number in a file, and what systemd is told.
//!
//! ```text
//!              SIGTERM, SIGINT                    SIGUSR2
//!   run ─────────────────────► drain ◄── ready ── successor ── failed ──► serve on
//! ```

use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use corelane_runtime::{
    Mesh, Predecessor, Restart, RestartError, RuntimeError, ShardId, SignalWatch, Stage, Stopper,
};
use sd_notify::NotifyState;

use crate::error::Result;
use crate::pid_file::{PidFile, note_failure};
use crate::server::Server;

/// How long a successor may take to be ready. What it does meanwhile is up to its states; the old
/// process serves, so there is no hurry.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// What a server has for its life as a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) restart: Restart,
    pub(crate) pid_file: Option<PathBuf>,
}

impl Server {
    /// Serves until the process is told to end: SIGTERM or SIGINT drain, the second one stops at
    /// once. SIGUSR2 starts the program anew, with the arguments that this process has; once the
    /// new process is ready, this one drains. One that fails leaves this one serving.
    ///
    /// Tells a predecessor that this process has taken over, and systemd what it does
    /// (`sd_notify(3)`, where `NOTIFY_SOCKET` is set): ready, reloading, stopping, and, as long as
    /// every shard answers, that the watchdog need not bite. Where there is an access log, SIGHUP
    /// and SIGUSR1 open its file anew.
    ///
    /// # Errors
    /// As [`join`](Server::join), and where no thread can be started.
    pub fn run(self) -> Result<()> {
        self.run_announced(|_| {})
    }

    /// As [`run`](Server::run), and calls `announce` once signals are answered: whoever reads that
    /// the server listens may send one at once, which would end the process before.
    ///
    /// # Errors
    /// As [`run`](Server::run).
    pub fn run_announced(mut self, announce: impl FnOnce(&Server)) -> Result<()> {
        self.reopen_access_log_on_signals()?;
        let (stopper, patience) = (self.stopper(), self.drain_timeout);
        let restart = self.process.restart.clone();
        let hand_over = {
            let (stopper, pid_file) = (stopper.clone(), self.process.pid_file.clone());
            move |restart: &Restart| hand_over(restart, &stopper, patience, pid_file.as_deref())
        };
        let signals = SignalWatch::with_restart(stopper, patience, restart.clone(), hand_over);
        let _signals = signals.map_err(RuntimeError::Thread)?;
        announce(&self);
        let _pid_file = self.process.pid_file.take().map(PidFile::write).transpose()?;
        match self.process.predecessor.take() {
            // It tells systemd, which listens to the main process alone.
            Some(predecessor) => predecessor.take_over(),
            None => tell(&[NotifyState::Ready]),
        }
        let _watchdog = Watchdog::start(self.mesh()).map_err(RuntimeError::Thread)?;
        self.lifecycle().wait_for(Stage::Draining);
        if !restart.is_done() {
            tell(&[NotifyState::Stopping]);
        }
        self.join()
    }

    /// Replaces this process by `command`, as SIGUSR2 does, for programs that have signals of their
    /// own: starts it, waits until its server is ready, and begins to drain. Gives back its process
    /// number.
    ///
    /// The new process has to be one of Corelane that inherits ([`App::inherit`](crate::App)) and
    /// calls [`run`](Server::run).
    ///
    /// # Errors
    /// Why the new process does not serve; this one goes on.
    pub fn restart(&self, command: Command, patience: Duration) -> Result<u32, RestartError> {
        let process = self.process.restart.hand_over(command, patience)?;
        self.drain();
        Ok(process)
    }
}

/// The whole of a restart, on a thread of its own.
fn hand_over(restart: &Restart, stopper: &Stopper, patience: Duration, pid_file: Option<&Path>) {
    tracing::info!("restarting: a new process is started");
    tell_reloading();
    match restart.hand_over(this_program(), READY_PATIENCE) {
        Ok(process) => {
            tracing::info!(process, "the new process serves; this one drains");
            tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
            stopper.drain(patience);
        }
        Err(error @ RestartError::Begun) => {
            tracing::warn!(%error, "no second restart");
            tell_of_failure(&error);
        }
        Err(error) => {
            tracing::error!(%error, "no restart; this process serves on");
            pid_file.into_iter().for_each(|path| note_failure(path, &error));
            tell_of_failure(&error);
            let status = format!("not restarted: {error}");
            tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
    }
}

/// Tells whoever has asked for the restart and listens at this process's name for what comes of
/// it: `corelane restart`. Nobody need listen.
fn tell_of_failure(error: &RestartError) {
    let name = format!("corelane-restart-{}", std::process::id());
    let told = SocketAddr::from_abstract_name(name)
        .and_then(|address| UnixStream::connect_addr(&address))
        .and_then(|mut listener| writeln!(listener, "{error}"));
    if let Err(error) = told {
        tracing::debug!(%error, "nobody waits to hear of the restart");
    }
}

/// As this process was started: by its name, so that what is behind a link is looked up anew.
fn this_program() -> Command {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(arguments.next().unwrap_or_default());
    command.args(arguments);
    command
}

/// Nobody listens where systemd has not started the process; that is no failure.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd can not be told");
    }
}

/// `Type=notify-reload` wants the time as well (systemd.service(5)).
fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Feeds systemd's watchdog for as long as it lives.
struct Watchdog(#[expect(dead_code, reason = "dropping it ends the thread")] mpsc::Sender<()>);

impl Watchdog {
    /// Starts the thread, where the unit has `WatchdogSec=`.
    fn start(mesh: Mesh) -> io::Result<Option<Watchdog>> {
        let Some(limit) = sd_notify::watchdog_enabled() else { return Ok(None) };
        let (sender, end) = mpsc::channel();
        // sd_watchdog_enabled(3) recommends half of the time.
        let period = limit / 2;
        let feed = move || {
            while end.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                if every_shard_answers(&mesh, period) {
                    tell(&[NotifyState::Watchdog]);
                } else {
                    tracing::error!("a shard does not answer: systemd's watchdog is not fed");
                }
            }
        };
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(feed)?;
        Ok(Some(Watchdog(sender)))
    }
}

/// Whether every shard has got round to a job within the time; one that has ended counts as well.
fn every_shard_answers(mesh: &Mesh, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let (reply, replied) = mpsc::channel();
    let ask = |index| {
        let reply = reply.clone();
        mesh.cast(ShardId(index), move |_| _ = reply.send(())).is_ok()
    };
    let asked_count = (0..mesh.shard_count()).filter(|index| ask(*index)).count();
    (0..asked_count)
        .all(|_| replied.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok())
}
