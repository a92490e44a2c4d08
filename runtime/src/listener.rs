//! Listening: one socket a shard for each address, and the loop that accepts from it.
//!
//! TCP addresses are bound once for every shard with `SO_REUSEPORT`: the kernel spreads new
//! connections over the sockets by a hash of the addresses. A Unix socket has no such option: all
//! shards accept from one queue, and whichever is first serves the connection.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::balance::{Balance, Balancing};
use crate::driver::operation::SlotKey;
use crate::error::{ConfigError, RuntimeError};
use crate::net::Stream;
use crate::shard::Shard;
use crate::timer::{TICK, sleep};
use crate::world::Descriptor;

/// How long accepting pauses when the process or the machine is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to listen: `127.0.0.1:8080`, `[::1]:8080`, or `unix:/run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address. Port zero is any free port, the same for all shards.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Address, ConfigError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        // A name would need a resolver; the one that everybody types needs none.
        let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        numeric.as_deref().unwrap_or(text).parse().map(Address::Tcp).map_err(|_| {
            let problem = format!(
                "\"{text}\" is no address to listen on; write IP:PORT such as 127.0.0.1:8080 or \
                 [::1]:8080, or unix:PATH"
            );
            ConfigError::new("listen", problem)
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Connections that the kernel completes and keeps until they are accepted, per socket.
    /// Default 4096; the sysctl `net.core.somaxconn` caps it.
    pub backlog: i32,
    /// Whether other processes may listen on the same TCP address, as for a restart without loss.
    /// Default `false`: a second server on the same port is an error, not a silent half.
    pub shares_port: bool,
    /// Which shard serves a connection. Default: the one that the kernel chose.
    pub balance: Balance,
}

impl Default for ListenConfig {
    fn default() -> ListenConfig {
        ListenConfig { backlog: 4096, shares_port: false, balance: Balance::Hash }
    }
}

/// Sockets that are bound and listening, to be handed to their shards.
#[derive(Debug)]
pub struct BoundSockets {
    addresses: Vec<Address>,
    shards: Vec<Vec<Socket>>,
    balance: Balance,
}

impl BoundSockets {
    /// Binds every address for each of `shard_count` shards.
    ///
    /// # Errors
    /// The first address that can not be listened on.
    pub fn bind(
        addresses: &[Address],
        shard_count: usize,
        config: &ListenConfig,
    ) -> Result<BoundSockets, RuntimeError> {
        let mut bound = BoundSockets {
            addresses: Vec::new(),
            shards: (0..shard_count).map(|_| Vec::new()).collect(),
            balance: config.balance,
        };
        for address in addresses {
            bound.bind_one(address, config).map_err(|source| {
                let address = address.to_string();
                RuntimeError::Listen { address, source }
            })?;
        }
        Ok(bound)
    }

    /// The addresses, with the ports that were chosen where port zero was asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Takes the sockets of the next shard.
    pub fn pop_shard(&mut self) -> Option<ShardSockets> {
        let sockets = self.shards.pop()?;
        let addresses = self.addresses.clone();
        Some(ShardSockets { sockets, addresses, balance: self.balance })
    }

    fn bind_one(&mut self, address: &Address, config: &ListenConfig) -> io::Result<()> {
        match address {
            Address::Tcp(address) => self.bind_tcp(*address, config),
            Address::Unix(path) => self.bind_unix(path, config),
        }
    }

    fn bind_tcp(&mut self, mut address: SocketAddr, config: &ListenConfig) -> io::Result<()> {
        if !config.shares_port {
            // Without SO_REUSEPORT this fails where anybody listens on the address, which our own
            // sockets below would not notice if that somebody is of the same user.
            tcp_socket(address)?.bind(&address.into())?;
        }
        for sockets in &mut self.shards {
            let socket = tcp_socket(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.listen(config.backlog)?;
            if address.port() == 0
                && let Some(chosen) = socket.local_addr()?.as_socket()
            {
                address = chosen;
            }
            sockets.push(socket);
        }
        self.addresses.push(Address::Tcp(address));
        Ok(())
    }

    fn bind_unix(&mut self, path: &Path, config: &ListenConfig) -> io::Result<()> {
        let address = SockAddr::unix(path)?;
        remove_stale_socket(path, &address)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        socket.listen(config.backlog)?;
        for sockets in &mut self.shards {
            sockets.push(socket.try_clone()?);
        }
        self.addresses.push(Address::Unix(path.to_owned()));
        Ok(())
    }
}

/// One shard's share of [`BoundSockets`].
#[derive(Debug)]
pub struct ShardSockets {
    sockets: Vec<Socket>,
    addresses: Vec<Address>,
    balance: Balance,
}

impl ShardSockets {
    /// Makes each socket a listener of the calling shard.
    pub fn into_listeners(self) -> Vec<Listener> {
        let shard = Shard::current();
        let sockets = self.sockets.into_iter().zip(self.addresses);
        let listener = |(socket, address)| Listener::new(&shard, socket, address, self.balance);
        sockets.map(listener).collect()
    }
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it (Linux): no system call per connection.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // So that [::]:80 and 0.0.0.0:80 can be listened on side by side.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Removes a socket file that nobody listens on any more; leaves anything else alone.
fn remove_stale_socket(path: &Path, address: &SockAddr) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

/// A listening socket of one shard. Dropping it closes the socket.
#[derive(Debug)]
pub struct Listener {
    shard: Rc<Shard>,
    key: SlotKey,
    address: Address,
    /// When a pause was last logged: two lines a second at most, however long it lasts.
    has_logged_pause: bool,
    /// Present where connections go to the shard that has the fewest.
    balancing: Option<Balancing>,
}

impl Listener {
    fn new(shard: &Rc<Shard>, socket: Socket, address: Address, balance: Balance) -> Listener {
        let balancing = match balance {
            Balance::Hash => None,
            Balance::LeastConnections => Some(Balancing::new(shard, &address)),
        };
        let descriptor = Descriptor(socket.into_raw_fd());
        let mut listener = Listener::from_descriptor(shard, descriptor, address);
        listener.balancing = balancing;
        listener
    }

    pub(crate) fn from_descriptor(
        shard: &Rc<Shard>,
        descriptor: Descriptor,
        address: Address,
    ) -> Listener {
        let key = shard.driver.listen(descriptor);
        Listener { shard: Rc::clone(shard), key, address, has_logged_pause: false, balancing: None }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection; `None` once the shard drains and the queue is empty.
    ///
    /// Out of descriptors or memory it pauses for 100 ms at a time, counted and logged, and goes
    /// on: the connections wait in the kernel's queue meanwhile.
    pub async fn accept(&mut self) -> Option<Stream> {
        loop {
            if self.shard.is_draining() {
                return self.accept_queued().await;
            }
            let accepted = poll_fn(|context| {
                if self.shard.is_draining() {
                    return Poll::Ready(None);
                }
                if self.balancing.is_some()
                    && let Poll::Ready(key) = self.shard.poll_handed(&self.address, context)
                {
                    return Poll::Ready(Some(Ok(Accepted::Elsewhere(key))));
                }
                let accepted = self.shard.driver.poll_accept(self.key, context);
                accepted.map(|accepted| Some(accepted.map(Accepted::Here)))
            });
            match accepted.await {
                Some(Ok(key)) => {
                    self.has_logged_pause = false;
                    if let Some(stream) = self.admit(key) {
                        return Some(stream);
                    }
                }
                Some(Err(errno)) => self.recover(errno).await,
                None => {}
            }
        }
    }

    /// The stream of an accepted connection, unless another shard is to serve it.
    fn admit(&self, accepted: Accepted) -> Option<Stream> {
        let shard = Rc::clone(&self.shard);
        match accepted {
            Accepted::Elsewhere(key) => Some(Stream::counted(shard, key)),
            Accepted::Here(key) if self.balancing.is_none() => Some(Stream::new(shard, key)),
            Accepted::Here(key) => {
                let key = shard.hand_over(key, &self.address)?;
                Some(Stream::counted(shard, key))
            }
        }
    }

    /// What an accept's errno calls for; one place for all of them.
    async fn recover(&mut self, errno: i32) {
        let stats = self.shard.stats();
        match errno {
            // The peer was gone before it was accepted (accept(2): treat like EAGAIN).
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::EINTR
            | libc::EAGAIN
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP => stats.accepts_aborted.add(1),
            _ => {
                stats.accepts_paused.add(1);
                self.log_pause(errno);
                sleep(PAUSE).await;
            }
        }
    }

    /// While draining: what other shards had sent before they knew.
    async fn accept_handed(&mut self) -> Option<Stream> {
        self.balancing.as_ref()?;
        loop {
            // In this order: what comes between the two looks is seen by the next round.
            let is_expecting = self.shard.expects_handed();
            let context = Context::from_waker(Waker::noop());
            if let Poll::Ready(key) = self.shard.poll_handed(&self.address, &context) {
                return Some(Stream::counted(Rc::clone(&self.shard), key));
            }
            if !is_expecting {
                return None;
            }
            sleep(TICK).await;
        }
    }

    #[cold]
    fn log_pause(&mut self, errno: i32) {
        if std::mem::replace(&mut self.has_logged_pause, true) {
            return;
        }
        let error = io::Error::from_raw_os_error(errno);
        tracing::warn!(
            shard = self.shard.id().0,
            address = %self.address,
            %error,
            "accepting pauses until it works again; raise the open-file limit if that is the cause"
        );
    }

    /// While draining: what the ring had accepted, and what waits in the kernel's queue. Closing
    /// the listener would reset the latter, so errors are waited out as at any other time; the
    /// drain's deadline bounds it.
    async fn accept_queued(&mut self) -> Option<Stream> {
        let driver = &self.shard.driver;
        driver.disarm_accept(self.key);
        if let Some(key) = poll_fn(|context| driver.poll_disarmed(self.key, context)).await {
            return Some(Stream::new(Rc::clone(&self.shard), key));
        }
        loop {
            let descriptor = self.shard.driver.descriptor(self.key).ok()?;
            match self.shard.host.accept_now(descriptor) {
                Ok(Some(accepted)) => {
                    let key = self.shard.driver.adopt_descriptor(accepted);
                    return Some(Stream::new(Rc::clone(&self.shard), key));
                }
                Ok(None) => return self.accept_handed().await,
                Err(error) => self.recover(error.raw_os_error().unwrap_or(0)).await,
            }
        }
    }
}

/// Who accepted a connection.
enum Accepted {
    Here(SlotKey),
    Elsewhere(SlotKey),
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shard.driver.release_listener(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["127.0.0.1:8080", "[::1]:80", "0.0.0.0:0", "unix:/run/app.sock"] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        let local = "localhost:80".parse::<Address>().map(|address| address.to_string());
        assert_eq!(local, Ok("127.0.0.1:80".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_explained() {
        for text in ["", "8080", ":8080", "127.0.0.1", "example.com:80", "unix:", "1.2.3.4:99999"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("write IP:PORT"), "{text}: {error}");
        }
    }
}
