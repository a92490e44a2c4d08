//! The admin address's sockets, TCP or Unix, and the waits on them, which a stop ends at once.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use corelane_runtime::Address;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A connection of either kind. It never blocks.
pub(super) trait Socket: Read + Write + AsFd + Send {
    /// Sends no more.
    fn finish(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Socket for UnixStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Where the admin address listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    /// Its file goes when it does.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(super) fn bind(address: &Address) -> io::Result<Listener> {
        let listener = match address {
            // The standard library sets SO_REUSEADDR, and never SO_REUSEPORT.
            Address::Tcp(address) => Listener::Tcp(TcpListener::bind(address)?),
            Address::Unix(path) => {
                remove_if_abandoned(path)?;
                Listener::Unix(UnixListener::bind(path)?, path.clone())
            }
            Address::Systemd(_) => return Err(io::Error::from(io::ErrorKind::Unsupported)),
        };
        match &listener {
            Listener::Tcp(listener) => listener.set_nonblocking(true)?,
            Listener::Unix(listener, _) => listener.set_nonblocking(true)?,
        }
        Ok(listener)
    }

    pub(super) fn address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Listener::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }

    /// Whether only this machine can connect.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Listener::Tcp(listener) => listener.local_addr().is_ok_and(|at| at.ip().is_loopback()),
            Listener::Unix(..) => true,
        }
    }

    pub(super) fn accept(&self) -> io::Result<Box<dyn Socket>> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket file that nobody listens on was left behind by a process that was killed.
fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let is_socket = path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(is_refused) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    Ready,
    TimedOut,
    Stopped,
}

/// Ends every wait, of every thread, once the other end of its pipe is closed.
pub(super) struct Stop(PipeReader);

impl Stop {
    pub(super) fn new() -> io::Result<(Stop, PipeWriter)> {
        io::pipe().map(|(reader, writer)| (Stop(reader), writer))
    }

    pub(super) fn try_clone(&self) -> io::Result<Stop> {
        self.0.try_clone().map(Stop)
    }

    /// Waits for nothing but the stop.
    pub(super) fn wait(&self, until: Instant) -> Woken {
        self.wait_for(&mut [PollFd::new(&self.0, PollFlags::IN)], until)
    }

    pub(super) fn wait_readable(&self, socket: &impl AsFd, until: Instant) -> Woken {
        self.wait_socket(socket.as_fd(), PollFlags::IN, until)
    }

    pub(super) fn wait_writable(&self, socket: &impl AsFd, until: Instant) -> Woken {
        self.wait_socket(socket.as_fd(), PollFlags::OUT, until)
    }

    fn wait_socket(&self, socket: BorrowedFd<'_>, flags: PollFlags, until: Instant) -> Woken {
        let stop = PollFd::new(&self.0, PollFlags::IN);
        self.wait_for(&mut [stop, PollFd::from_borrowed_fd(socket, flags)], until)
    }

    /// The first one is the stop.
    fn wait_for(&self, fds: &mut [PollFd<'_>], until: Instant) -> Woken {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // More than a century is no time that anybody waits.
            let left = Timespec::try_from(left).unwrap_or_default();
            match poll(fds, Some(&left)) {
                Ok(0) => return Woken::TimedOut,
                Ok(_) if !fds[0].revents().is_empty() => return Woken::Stopped,
                Ok(_) => return Woken::Ready,
                Err(Errno::INTR) => {}
                // Out of memory: the connection ends.
                Err(_) => return Woken::Stopped,
            }
        }
    }
}
