//! `corelane restart`: has a running server replace itself, and waits until that is done.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often the file is looked at: a restart takes tens of milliseconds at least.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// How long a sentence may take, and how long it may be.
const SPEECH_PATIENCE: Duration = Duration::from_secs(1);
const SPEECH_BYTES_MAX: u64 = 4096;

/// Has a running server start its program anew and hand its connections over, without losing one.
///
/// Waits until the new process serves, as --pid-file tells, or with PID until the old one has
/// ended; or until the old one says why there is no new one.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The server's process number
    #[arg(value_name = "PID", required_unless_present = "pid_file")]
    process: Option<i32>,
    /// The file with the number, as the server's own --pid-file names it
    #[arg(long, value_name = "FILE", conflicts_with = "process")]
    pid_file: Option<PathBuf>,
    /// How many seconds to wait
    #[arg(long, value_name = "SECONDS", default_value = "90")]
    timeout: u64,
}

/// The exit code is 0 once the restart is done, 1 where it is not.
pub(crate) fn run(options: &Options) -> ExitCode {
    match restart(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("corelane: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn restart(options: &Options) -> Result<(), String> {
    let number = match (options.process, &options.pid_file) {
        (Some(number), _) => number,
        (None, Some(file)) => number_in(file)?,
        (None, None) => return Err("name a process".to_owned()),
    };
    let refused = |error: rustix::io::Errno| {
        format!("process {number} can not be restarted: {}", io::Error::from(error))
    };
    let process = Some(number).filter(|number| *number > 1).and_then(Pid::from_raw);
    let process = process.ok_or_else(|| format!("{number} is no server's process number"))?;
    // By descriptor: the number may be somebody else's once the process has ended.
    let process = pidfd_open(process, PidfdFlags::empty()).map_err(refused)?;
    let failures =
        Failures { ear: Ear::open(number), file: options.pid_file.as_deref().map(Failure::beside) };
    pidfd_send_signal(&process, Signal::USR2).map_err(refused)?;
    wait(&process, number, &failures, options)
}

fn wait(
    process: &OwnedFd,
    number: i32,
    failures: &Failures,
    options: &Options,
) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(options.timeout);
    while Instant::now() < deadline {
        let has_ended = has_ended(process).map_err(|error| error.to_string())?;
        match &options.pid_file {
            Some(file) if read_number(file).is_some_and(|found| found != number) => return Ok(()),
            Some(_) if has_ended => {
                return Err(format!("process {number} has ended, and no new one has come"));
            }
            None if has_ended => return Ok(()),
            _ => {}
        }
        if let Some(reason) = failures.reason(number) {
            return Err(format!("process {number} serves on: {}", reason.trim()));
        }
    }
    Err(format!(
        "process {number} still serves after {} s; its log says why, or what it still finishes",
        options.timeout
    ))
}

/// The two ways in which the old process says why there is no new one.
struct Failures {
    ear: Option<Ear>,
    file: Option<Failure>,
}

impl Failures {
    fn reason(&self, number: i32) -> Option<String> {
        let heard = self.ear.as_ref().and_then(|ear| ear.reason(number));
        heard.or_else(|| self.file.as_ref()?.reason())
    }
}

/// The socket at which the old process tells: in the abstract namespace, so that nothing is left
/// behind and no directory has to be agreed upon (unix(7)).
struct Ear(UnixListener);

impl Ear {
    /// `None` where another restart listens already, or nobody may: then the file has to do, or the
    /// time.
    fn open(number: i32) -> Option<Ear> {
        let address = SocketAddr::from_abstract_name(format!("corelane-restart-{number}")).ok()?;
        let listener = UnixListener::bind_addr(&address).ok()?;
        listener.set_nonblocking(true).ok()?;
        Some(Ear(listener))
    }

    /// What the process says, once it has said something. Nobody else is listened to.
    fn reason(&self, number: i32) -> Option<String> {
        let (speaker, _) = self.0.accept().ok()?;
        let peer = socket_peercred(&speaker).ok()?;
        if peer.pid.as_raw_nonzero().get() != number {
            return None;
        }
        let mut reason = String::new();
        speaker.set_nonblocking(false).ok()?;
        speaker.set_read_timeout(Some(SPEECH_PATIENCE)).ok()?;
        speaker.take(SPEECH_BYTES_MAX).read_to_string(&mut reason).ok()?;
        Some(reason)
    }
}

/// The file in which the old process says why there is no new one: `FILE.failed`.
struct Failure {
    path: PathBuf,
    /// That of an earlier restart, by its inode: the server puts a new file in its place.
    known: Option<u64>,
}

impl Failure {
    fn beside(pid_file: &Path) -> Failure {
        let mut path = pid_file.as_os_str().to_owned();
        path.push(".failed");
        let path = PathBuf::from(path);
        let known = inode(&path);
        Failure { path, known }
    }

    /// Why the restart failed, once it has.
    fn reason(&self) -> Option<String> {
        let found = inode(&self.path);
        (found.is_some() && found != self.known)
            .then(|| std::fs::read_to_string(&self.path).ok())
            .flatten()
    }
}

fn inode(path: &Path) -> Option<u64> {
    Some(path.metadata().ok()?.ino())
}

/// Whether the process has ended, after a wait of a look's period at most.
fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let limit = Timespec::try_from(LOOK_PERIOD).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// As [`read_number`], or what is wrong with the file.
fn number_in(file: &Path) -> Result<i32, String> {
    let refused = |problem: &str| format!("pid-file: {}: {problem}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| refused(&error.to_string()))?;
    text.trim().parse().map_err(|_| refused("there is no process number in it"))
}

fn read_number(file: &Path) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
