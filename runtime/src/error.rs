//! What can go wrong below the server: in the configuration, and on the machine.

use std::error::Error;
use std::fmt;
use std::io;

/// The operator asked for something that this machine or this program can not do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The setting's name, as in the configuration file.
    pub key: &'static str,
    /// What is wrong with its value, and what to write instead: one sentence.
    pub problem: String,
}

impl ConfigError {
    /// An error about the setting `key`.
    pub fn new(key: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError { key, problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl Error for ConfigError {}

/// The machine does not let the runtime start, or go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A setting can not be obeyed.
    Config(ConfigError),
    /// The kernel is older than Linux 6.1, which introduced what the ring needs.
    KernelTooOld {
        /// The release that runs, as `uname -r` prints it.
        release: String,
    },
    /// io_uring is denied: by a sysctl, a seccomp filter, or a limit. Says which, and the fix.
    RingDenied {
        /// The cause and what to type.
        advice: String,
        /// The system call's error.
        source: io::Error,
    },
    /// `RLIMIT_MEMLOCK` is below what glommio's rings need.
    MemlockTooLow {
        /// The soft limit in bytes.
        limit_bytes: u64,
        /// What is needed, in bytes.
        needed_bytes: u64,
    },
    /// An address can not be listened on.
    Listen {
        /// The address as it was given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The ring failed while the shard was running.
    Ring(io::Error),
    /// A thread can not be started.
    Thread(io::Error),
    /// glommio can not start its executor.
    Executor(String),
    /// The application's own start-up on a shard failed.
    Start(Box<dyn Error + Send + Sync>),
    /// A shard ended with a panic; its connections are lost.
    ShardPanicked {
        /// The shard's number.
        shard: usize,
        /// What the panic said.
        text: String,
    },
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuntimeError::Config(error) => error.fmt(f),
            RuntimeError::KernelTooOld { release } => write!(
                f,
                "Linux {release} is too old: io_uring as it is used here needs Linux 6.1 or newer"
            ),
            RuntimeError::RingDenied { advice, source } => {
                write!(f, "io_uring is not available ({source}): {advice}")
            }
            RuntimeError::MemlockTooLow { limit_bytes, needed_bytes } => write!(
                f,
                "the limit on locked memory is {} KiB, and at least {} KiB are needed: \
                 shell: ulimit -l {}; systemd: LimitMEMLOCK=8M; Docker: --ulimit memlock=8388608; \
                 Kubernetes: raise the container runtime's LimitMEMLOCK",
                limit_bytes / 1024,
                needed_bytes / 1024,
                needed_bytes / 1024,
            ),
            RuntimeError::Listen { address, source } => {
                write!(f, "can not listen on {address}: {}", listen_advice(source))
            }
            RuntimeError::Ring(source) => write!(f, "the ring failed: {source}"),
            RuntimeError::Thread(source) => write!(f, "can not start a thread: {source}"),
            RuntimeError::Executor(text) => write!(f, "glommio's executor can not start: {text}"),
            RuntimeError::Start(source) => source.fmt(f),
            RuntimeError::ShardPanicked { shard, text } => {
                write!(f, "shard {shard} panicked and its connections are lost: {text}")
            }
        }
    }
}

/// One sentence on why listening failed, with the fix where there is a usual one.
fn listen_advice(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or choose another address".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address; use 0.0.0.0 or [::] for all".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE \
             (setcap cap_net_bind_service=+ep PROGRAM), and a socket file a writable directory"
                .to_owned()
        }
        _ => source.to_string(),
    }
}

impl Error for RuntimeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RuntimeError::Config(error) => Some(error),
            RuntimeError::RingDenied { source, .. }
            | RuntimeError::Listen { source, .. }
            | RuntimeError::Ring(source)
            | RuntimeError::Thread(source) => Some(source),
            RuntimeError::Start(source) => Some(&**source),
            _ => None,
        }
    }
}

impl From<ConfigError> for RuntimeError {
    fn from(error: ConfigError) -> RuntimeError {
        RuntimeError::Config(error)
    }
}
