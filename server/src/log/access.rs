//! What an application says about its access log.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::format::AccessFormat;
use super::sink::Target;

/// Where a line for each request goes, and for which requests.
///
/// ```no_run
/// use corelane::{App, log::{AccessFormat, AccessLog}};
///
/// # fn main() -> corelane::Result<()> {
/// App::new()
///     .access_log(AccessLog::file("access.log").format(AccessFormat::Json).sample_one_in(100))
///     .serve("127.0.0.1:8080")
/// # }
/// ```
///
/// Lines are made and written by one thread off the shards' CPUs, ten times a second, and more
/// often where there are many. A shard never waits for it: where the disk is slow, lines are
/// dropped and counted (`ServerStats::access_log_dropped`). Lines of one shard stand in the order
/// in which its answers ended; those of several may be a tenth of a second out of order.
#[derive(Debug)]
pub struct AccessLog {
    pub(super) target: Target,
    pub(super) settings: Settings,
}

/// How it is written, and what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) format: AccessFormat,
    pub(crate) sample_one_in: u32,
    pub(crate) slow_after: Option<Duration>,
    pub(crate) ring_bytes: usize,
}

impl AccessLog {
    /// Appends to a file, which is made where there is none, with permissions `rw-r-----` less the
    /// process's mask. It is opened anew on SIGHUP and SIGUSR1 by
    /// [`App::serve`](crate::App::serve), or by
    /// [`Server::reopen_access_log`](crate::Server::reopen_access_log).
    pub fn file(path: impl Into<PathBuf>) -> AccessLog {
        AccessLog::new(Target::File(path.into()))
    }

    /// Writes to standard output.
    pub fn stdout() -> AccessLog {
        AccessLog::new(Target::Writer(Box::new(std::io::stdout())))
    }

    /// Writes to whatever takes bytes; it may block.
    pub fn writer(writer: impl Write + Send + 'static) -> AccessLog {
        AccessLog::new(Target::Writer(Box::new(writer)))
    }

    fn new(target: Target) -> AccessLog {
        let settings = Settings {
            format: AccessFormat::default(),
            sample_one_in: 1,
            slow_after: None,
            ring_bytes: 1 << 20,
        };
        AccessLog { target, settings }
    }

    /// How a line is written. Default: combined.
    #[must_use]
    pub fn format(mut self, format: AccessFormat) -> AccessLog {
        self.settings.format = format;
        self
    }

    /// Writes one of so many requests, counted on each shard; 0 is none. Those that were slow or
    /// answered with 5xx are written all the same. Default 1: all.
    #[must_use]
    pub fn sample_one_in(mut self, count: u32) -> AccessLog {
        self.settings.sample_one_in = count;
        self
    }

    /// From which duration on a request is slow: it is written whatever the sampling says. Default:
    /// none is.
    #[must_use]
    pub fn slow_after(mut self, duration: Duration) -> AccessLog {
        self.settings.slow_after = Some(duration);
        self
    }

    /// Bytes of requests that wait for the writer on each shard. Default 1 MiB, some 5,000 lines;
    /// beyond it they are dropped. At least 11 KiB, so that the longest fits. The writer is woken
    /// when half of it has been filled.
    #[must_use]
    pub fn ring_bytes(mut self, bytes: usize) -> AccessLog {
        self.settings.ring_bytes = bytes;
        self
    }
}
