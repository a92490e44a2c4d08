//! Sockets that are bound, new or inherited, and shared out to the shards.
//!
//! Each shard has a socket of its own for each TCP address (`SO_REUSEPORT`, socket(7)): the kernel
//! deals connections out by a hash, and no queue is shared. A Unix socket can not be had twice, nor
//! can an inherited one always: shards share those.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::address::Address;
use crate::balance::Balance;
use crate::error::{ConfigError, RuntimeError};
use crate::inherit::{Inherited, InheritedSocket, local_address};
use crate::listener::Listener;
use crate::shard::Shard;

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

/// Sockets that are bound, to be handed to their shards.
#[derive(Debug)]
pub struct BoundSockets {
    addresses: Vec<Address>,
    shards: Vec<Vec<BoundSocket>>,
    config: ListenConfig,
    names: Vec<(Address, String)>,
}

impl BoundSockets {
    /// Binds every address for each of `shard_count` shards, and listens.
    ///
    /// # Errors
    /// The first address that can not be listened on.
    pub fn bind(
        addresses: &[Address],
        shard_count: usize,
        config: &ListenConfig,
    ) -> Result<BoundSockets, RuntimeError> {
        let mut none = Inherited::default();
        let bound = BoundSockets::prepare(addresses, shard_count, config, &mut none)?;
        bound.listen()?;
        Ok(bound)
    }

    /// As [`bind`](BoundSockets::bind), with inherited sockets in the place of new ones, and
    /// without listening: until [`listen`](BoundSockets::listen) nothing is promised to any client,
    /// so that a start may still fail.
    ///
    /// # Errors
    /// The first address that can not be bound.
    pub fn prepare(
        addresses: &[Address],
        shard_count: usize,
        config: &ListenConfig,
        inherited: &mut Inherited,
    ) -> Result<BoundSockets, RuntimeError> {
        let mut bound = BoundSockets {
            addresses: Vec::new(),
            shards: (0..shard_count).map(|_| Vec::new()).collect(),
            config: config.clone(),
            names: Vec::new(),
        };
        for address in addresses {
            bound.prepare_one(address, inherited)?;
        }
        Ok(bound)
    }

    /// Listens on all of them.
    ///
    /// # Errors
    /// The first address that can not be listened on.
    pub fn listen(&self) -> Result<(), RuntimeError> {
        // For one that listens already this sets the backlog alone (listen(2)).
        self.shards.iter().flatten().try_for_each(|bound| {
            let listened = bound.socket.listen(self.config.backlog);
            listened.map_err(|source| listen_error(&bound.address, source))
        })
    }

    /// The addresses, with the ports that were chosen where port zero was asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The names that systemd gave to addresses, for [`Restart`](crate::Restart).
    pub fn names(&self) -> &[(Address, String)] {
        &self.names
    }

    /// Takes the sockets of the last shard that still has any.
    pub fn pop_shard(&mut self) -> Option<ShardSockets> {
        let sockets = self.shards.pop()?;
        Some(ShardSockets { sockets, balance: self.config.balance })
    }

    fn prepare_one(
        &mut self,
        address: &Address,
        inherited: &mut Inherited,
    ) -> Result<(), RuntimeError> {
        let found = match address {
            Address::Systemd(name) => inherited.take_named(name),
            _ => inherited.take_at(address),
        };
        let prepared = match address {
            _ if !found.is_empty() => self.adopt(found),
            Address::Tcp(address) => self.bind_tcp(*address),
            Address::Unix(path) => self.bind_unix(path),
            Address::Systemd(_) => {
                let problem = "systemd has passed no such socket; start the socket unit, and see \
                               its FileDescriptorName= where a name is asked for";
                return Err(ConfigError::new("listen", format!("{address}: {problem}")).into());
            }
        };
        prepared.map_err(|source| listen_error(address, source))
    }

    /// Shares inherited sockets out, address by address.
    fn adopt(&mut self, mut found: Vec<InheritedSocket>) -> io::Result<()> {
        while let Some(InheritedSocket { address, name, .. }) = found.first() {
            let (address, name) = (address.clone(), name.clone());
            let is_here = |socket: &mut InheritedSocket| socket.address == address;
            let here = found.extract_if(.., is_here).map(|inherited| inherited.socket).collect();
            self.share_out(here, &address, !name.is_empty())?;
            self.addresses.push(address.clone());
            if !name.is_empty() {
                self.names.push((address, name));
            }
        }
        Ok(())
    }

    /// One socket for each shard. Where there are more shards than sockets, TCP gets new ones if
    /// the kernel allows it, and what is still missing is shared; where there are fewer, every
    /// shard accepts from the others too: none may be left with connections in its queue.
    fn share_out(
        &mut self,
        mut sockets: Vec<Socket>,
        address: &Address,
        is_kept: bool,
    ) -> io::Result<()> {
        let shard_count = self.shards.len();
        if let Address::Tcp(address) = address {
            let can_grow = sockets.iter().all(|socket| socket.reuse_port().unwrap_or(false));
            while can_grow && sockets.len() < shard_count {
                // Denied where the others are of another user, or the port is a privileged one.
                let Ok(socket) = tcp_socket_shared(*address) else { break };
                sockets.push(socket);
            }
        }
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let own = &sockets[index % sockets.len()];
            for socket in iter::once(own).chain(sockets.iter().skip(shard_count)) {
                let (socket, address) = (socket.try_clone()?, address.clone());
                shard.push(BoundSocket { socket, address, is_kept });
            }
        }
        Ok(())
    }

    fn bind_tcp(&mut self, mut address: SocketAddr) -> io::Result<()> {
        if !self.config.shares_port {
            // Without SO_REUSEPORT this fails where anybody listens on the address, which our own
            // sockets below would not notice if that somebody is of the same user.
            tcp_socket(address)?.bind(&address.into())?;
        }
        let mut sockets = Vec::new();
        for _ in &self.shards {
            let socket = tcp_socket_shared(address)?;
            if let Address::Tcp(chosen) = local_address(&socket)? {
                address = chosen;
            }
            sockets.push(socket);
        }
        self.addresses.push(Address::Tcp(address));
        self.share_out(sockets, &Address::Tcp(address), false)
    }

    fn bind_unix(&mut self, path: &Path) -> io::Result<()> {
        let address = SockAddr::unix(path)?;
        remove_stale_socket(path, &address)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        self.addresses.push(Address::Unix(path.to_owned()));
        self.share_out(vec![socket], &Address::Unix(path.to_owned()), false)
    }
}

/// A descriptor of a bound socket.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) socket: Socket,
    pub(crate) address: Address,
    /// Whether systemd keeps the socket when this process has closed it.
    pub(crate) is_kept: bool,
}

/// What `SO_INCOMING_CPU` is until it is set.
const NO_CPU: u32 = u32::MAX;

impl BoundSocket {
    /// Has the kernel choose this socket for what comes in on the calling thread's CPU, or forget
    /// that an earlier process wanted it to.
    fn prefer_cpu(&self, balance: Balance) {
        if !matches!(self.address, Address::Tcp(_)) {
            return;
        }
        let is_preferring = balance == Balance::Cpu;
        // A shard's thread is on no other CPU than its own.
        let cpu = if is_preferring { rustix::thread::sched_getcpu() as u32 } else { NO_CPU };
        if let Err(error) = rustix::net::sockopt::set_socket_incoming_cpu(&self.socket, cpu)
            && is_preferring
        {
            let address = &self.address;
            tracing::warn!(%address, %error, "balance = cpu is as hash here: no SO_INCOMING_CPU");
        }
    }
}

/// One shard's share of [`BoundSockets`].
#[derive(Debug)]
pub struct ShardSockets {
    sockets: Vec<BoundSocket>,
    balance: Balance,
}

impl ShardSockets {
    /// Makes each socket a listener of the calling shard.
    pub fn into_listeners(self) -> Vec<Listener> {
        let shard = Shard::current();
        let listener = |bound: BoundSocket| {
            bound.prefer_cpu(self.balance);
            Listener::new(&shard, bound, self.balance)
        };
        self.sockets.into_iter().map(listener).collect()
    }
}

fn listen_error(address: &Address, source: io::Error) -> RuntimeError {
    RuntimeError::Listen { address: address.to_string(), source }
}

/// A socket that is bound, and shares its port with others of this user.
fn tcp_socket_shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A successor has its predecessor's sockets, which may have been told otherwise.
    #[test]
    fn a_socket_forgets_the_cpu_that_was_preferred() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = tcp_socket_shared(address).expect("a socket");
        let bound = BoundSocket { socket, address: Address::Tcp(address), is_kept: false };
        let preferred = || rustix::net::sockopt::socket_incoming_cpu(&bound.socket).expect("read");
        assert_eq!(preferred(), NO_CPU);
        bound.prefer_cpu(Balance::Cpu);
        assert_ne!(preferred(), NO_CPU);
        for balance in [Balance::Hash, Balance::LeastConnections] {
            bound.prefer_cpu(balance);
            assert_eq!(preferred(), NO_CPU);
        }
    }
}
