//! Replacing the process by a new one of its program, while connections keep coming.
//!
//! ```text
//!   this process                                   its successor
//!   collects its listening sockets
//!   starts the program ── sockets, a pipe ───────► binds nothing that it was given
//!   goes on serving                                starts its shards
//!        │                                         every shard accepts
//!        │  ◄──────────────── "ready" ─────────────┘
//!        ▼
//!   drains: what it has accepted is answered; what waits in the queues is the successor's too
//! ```
//!
//! Until it is ready the successor has promised nothing to anybody: where it fails, nothing was
//! lost, and this process goes on as if nobody had asked.

use std::error::Error;
use std::fmt;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use socket2::Socket;

use crate::address::Address;
use crate::driver::host;
use crate::inherit::{self, READY, VARIABLE};
use crate::launch::Stopper;
use crate::mesh::Mesh;
use crate::shard::{Shard, ShardId};

/// What a process is told about its own start that does not hold for its successor: systemd's
/// sockets, and whose watchdog it is.
const VARIABLES_OF_ONE_PROCESS: [&str; 4] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// How long a shard may take to name its sockets: it does so between two turns.
const SHARD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a successor that is given up may take to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Starts successors, one at a time. Clones share that.
#[derive(Clone, Debug)]
pub struct Restart {
    mesh: Mesh,
    stopper: Stopper,
    names: Arc<[(Address, String)]>,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Idle,
    /// A successor is about to be started.
    Begun,
    /// It runs and is not ready: whoever ends this process ends that one too.
    Waiting(Pid),
    /// It serves, and is nobody's to stop.
    Done,
}

impl Restart {
    /// For the shards of `mesh`; `names` are those of systemd, from
    /// [`BoundSockets::names`](crate::BoundSockets::names).
    pub fn new(mesh: Mesh, stopper: Stopper, names: &[(Address, String)]) -> Restart {
        Restart { mesh, stopper, names: names.into(), progress: Arc::default() }
    }

    /// Starts a successor and waits until it is ready, for `patience` at most. Gives back its
    /// process number; the caller then drains its own shards.
    ///
    /// Descriptors are inherited by clearing their close-on-exec flag for the moment of the start:
    /// another process that is started in that very moment inherits them too.
    ///
    /// # Errors
    /// Why there is no successor; the shards serve on.
    pub fn hand_over(&self, mut command: Command, patience: Duration) -> Result<u32, RestartError> {
        self.begin()?;
        let outcome = self.start(&mut command).and_then(|(child, ready)| {
            let process = child.id();
            self.wait(child, ready, patience).map(|()| process)
        });
        if outcome.is_err() {
            *self.progress() = Progress::Idle;
        }
        outcome
    }

    /// Ends the successor that is not ready yet: this process is to end, and nothing shall serve.
    pub fn cancel(&self) {
        // Not reaped before `wait` has changed the progress, so the number is still its own.
        if let Progress::Waiting(process) = *self.progress() {
            let _ = kill_process(process, Signal::TERM);
        }
    }

    /// Whether a successor has taken over.
    pub fn is_done(&self) -> bool {
        *self.progress() == Progress::Done
    }

    fn begin(&self) -> Result<(), RestartError> {
        let mut progress = self.progress();
        if self.stopper.is_stopping() {
            return Err(RestartError::Stopping);
        }
        match *progress {
            Progress::Idle => *progress = Progress::Begun,
            _ => return Err(RestartError::Begun),
        }
        Ok(())
    }

    fn start(&self, command: &mut Command) -> Result<(Child, PipeReader), RestartError> {
        let sockets = self.sockets()?;
        let (ready, told) = io::pipe().map_err(RestartError::Sockets)?;
        let named = sockets.iter().map(|(socket, name)| (socket.as_raw_fd(), *name));
        let value = inherit::describe(std::process::id(), told.as_raw_fd(), named);
        VARIABLES_OF_ONE_PROCESS.iter().for_each(|variable| _ = command.env_remove(variable));
        command.env(VARIABLE, value);
        for (socket, _) in &sockets {
            rustix::io::fcntl_setfd(socket, FdFlags::empty()).map_err(system_error)?;
        }
        rustix::io::fcntl_setfd(&told, FdFlags::empty()).map_err(system_error)?;
        let mut progress = self.progress();
        // Under the lock: whoever stops this process from now on finds the child, or is found here.
        if self.stopper.is_stopping() {
            return Err(RestartError::Stopping);
        }
        let child = command.spawn().map_err(|source| {
            let program = command.get_program().to_string_lossy().into_owned();
            RestartError::Start { program, source }
        })?;
        *progress = Progress::Waiting(Pid::from_child(&child));
        Ok((child, ready))
    }

    /// Every socket that the shards listen on, once each, with its name.
    fn sockets(&self) -> Result<Vec<(OwnedFd, &str)>, RestartError> {
        let mut sockets = Vec::new();
        let mut known = Vec::new();
        let deadline = Instant::now() + SHARD_PATIENCE;
        for shard in 0..self.mesh.shard_count() {
            for socket in self.sockets_of(ShardId(shard), deadline)? {
                // Shards may listen on one socket together.
                let identity = inherit::identity(&socket).map_err(RestartError::Sockets)?;
                if known.contains(&identity) {
                    continue;
                }
                known.push(identity);
                let socket = Socket::from(socket);
                let address = inherit::local_address(&socket).map_err(RestartError::Sockets)?;
                let name = self.names.iter().find(|(known, _)| *known == address);
                sockets.push((socket.into(), name.map_or("", |(_, name)| name)));
            }
        }
        Ok(sockets)
    }

    fn sockets_of(&self, shard: ShardId, by: Instant) -> Result<Vec<OwnedFd>, RestartError> {
        let (reply, replied) = mpsc::channel();
        let job = move |shard: &Shard| _ = reply.send(shard.duplicate_listeners());
        // A full inbox drops the job, and with it the sender.
        let _ = self.mesh.cast(shard, job);
        match replied.recv_timeout(by.saturating_duration_since(Instant::now())) {
            Ok(sockets) => sockets.map_err(RestartError::Sockets),
            Err(_) => Err(RestartError::ShardBusy { shard: shard.0 }),
        }
    }

    /// Waits for the one byte that says "ready"; the end of the pipe is the end of the successor.
    fn wait(
        &self,
        mut child: Child,
        mut ready: PipeReader,
        patience: Duration,
    ) -> Result<(), RestartError> {
        let mut byte = [0];
        let is_readable = wait_readable(&ready, patience).map_err(RestartError::Sockets)?;
        let is_ready = is_readable && matches!(ready.read(&mut byte), Ok(1)) && byte[0] == READY;
        let mut progress = self.progress();
        if is_ready && self.stopper.leave_queues() {
            *progress = Progress::Done;
            return Ok(());
        }
        *progress = Progress::Idle;
        drop(progress);
        let ended = end(&mut child).map_err(RestartError::Sockets)?;
        Err(match ended {
            _ if self.stopper.is_stopping() => RestartError::Stopping,
            _ if !is_readable => RestartError::TooSlow { patience },
            status => RestartError::Ended { status },
        })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing panics while it holds the lock.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Another descriptor of each socket that this shard listens on.
    fn duplicate_listeners(&self) -> io::Result<Vec<OwnedFd>> {
        self.driver.listening().into_iter().map(host::duplicate).collect()
    }
}

fn system_error(error: rustix::io::Errno) -> RestartError {
    RestartError::Sockets(error.into())
}

/// Whether the pipe can be read, or has ended, before the time is over.
fn wait_readable(pipe: &PipeReader, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&limit)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends a successor that failed, gently first: it may be serving and unable to say so.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let deadline = Instant::now() + END_PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()
}

/// Why there is no successor. The process serves on.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestartError {
    /// A restart is under way already, or done.
    Begun,
    /// The process drains or stops.
    Stopping,
    /// A shard is stalled, so its sockets can not be handed over.
    ShardBusy {
        /// Its number.
        shard: usize,
    },
    /// The system refused a descriptor.
    Sockets(io::Error),
    /// The program can not be started.
    Start {
        /// Its path.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The successor ended before it was ready.
    Ended {
        /// How.
        status: ExitStatus,
    },
    /// The successor was not ready in time, and was ended.
    TooSlow {
        /// How long it had.
        patience: Duration,
    },
}

impl fmt::Display for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartError::Begun => f.write_str("a restart is under way already"),
            RestartError::Stopping => f.write_str("the process is about to end"),
            RestartError::ShardBusy { shard } => {
                write!(f, "shard {shard} does not answer; the log says what holds it up")
            }
            RestartError::Sockets(source) => {
                write!(f, "the listening sockets can not be handed over: {source}")
            }
            RestartError::Start { program, source } => {
                write!(f, "{program} can not be started: {source}")
            }
            RestartError::Ended { status } => {
                write!(
                    f,
                    "the new process ended before it was ready ({status}); see what it logged"
                )
            }
            RestartError::TooSlow { patience } => {
                write!(f, "the new process was not ready within {patience:?} and was ended")
            }
        }
    }
}

impl Error for RestartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RestartError::Sockets(source) | RestartError::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}
