//! Listening sockets that another process hands to this one: its predecessor, or systemd.
//!
//! ```text
//!   predecessor ── CORELANE_RESTART=PID:READY:FD:NAME:... ──┐   the descriptors themselves are
//!   systemd ────── LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES ──┴─► inherited through exec(2)
//! ```
//!
//! A socket is one kernel object with one queue, however many processes have a descriptor of it:
//! as long as one of them stays, no connection that waits in it is lost.

use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Socket, Type};

use crate::address::Address;
use crate::driver::host;
use crate::error::ConfigError;

/// What a predecessor writes for its successor: its own process number, the descriptor that says
/// "ready", then each socket's descriptor and name. Names never have a colon (systemd.socket(5)).
pub(crate) const VARIABLE: &str = "CORELANE_RESTART";

/// The descriptors of a process can be taken once: they are closed with whoever has them.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// What this process was given when it was started.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(crate) sockets: Vec<InheritedSocket>,
    /// All addresses that are listened on.
    asked: Vec<Address>,
    predecessor: Option<PipeWriter>,
}

/// A listening socket, and where it listens.
#[derive(Debug)]
pub(crate) struct InheritedSocket {
    pub(crate) socket: Socket,
    pub(crate) address: Address,
    /// The name in the socket unit; empty where there is none.
    pub(crate) name: String,
}

impl Inherited {
    /// Takes what a predecessor or systemd has handed to this process; nothing where neither has,
    /// and when it is called again.
    ///
    /// It reads the variables that carry it, which are meant for one process: they name the process
    /// that started it, or its own number (`sd_listen_fds(3)`), so its children ignore them.
    ///
    /// # Errors
    /// A descriptor that is no listening stream socket.
    pub fn take() -> Result<Inherited, ConfigError> {
        if IS_TAKEN.swap(true, Ordering::AcqRel) {
            return Ok(Inherited::default());
        }
        let handed = std::env::var(VARIABLE).ok();
        let handed =
            handed.as_deref().and_then(|text| parse(text, std::os::unix::process::parent_id()));
        if let Some((ready, sockets)) = handed {
            let predecessor = Some(PipeWriter::from(adopt(VARIABLE, ready)?));
            return Ok(Inherited {
                sockets: listening(VARIABLE, sockets)?,
                asked: Vec::new(),
                predecessor,
            });
        }
        let passed = sd_notify::listen_fds_with_names().map_err(|error| {
            ConfigError::new(
                "LISTEN_FDS",
                format!("what systemd passes is not understood: {error}"),
            )
        })?;
        Ok(Inherited { sockets: listening("LISTEN_FDS", passed)?, ..Inherited::default() })
    }

    /// Whether a predecessor waits for this process to be ready.
    pub fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Says which addresses are going to be listened on: one with port zero leaves the sockets of
    /// the others alone.
    pub fn expect(&mut self, addresses: &[Address]) {
        self.asked = addresses.to_vec();
    }

    /// Closes what nobody has asked for, with a warning.
    pub fn close_rest(self) {
        for InheritedSocket { address, name, .. } in &self.sockets {
            tracing::warn!(%address, name, "inherited, and not listened on: no address names it");
        }
    }

    /// The pipe to the predecessor.
    pub fn take_predecessor(&mut self) -> Option<Predecessor> {
        self.predecessor.take().map(Predecessor)
    }

    /// The sockets that listen at this address; at any port of it where port zero is asked for,
    /// unless that one is asked for itself.
    pub(crate) fn take_at(&mut self, address: &Address) -> Vec<InheritedSocket> {
        let is_free = |known: &Address| match (address, known) {
            (Address::Tcp(any), Address::Tcp(known)) if any.port() == 0 => {
                any.ip() == known.ip() && !self.asked.contains(&Address::Tcp(*known))
            }
            _ => address == known,
        };
        let found = self.sockets.iter().map(|socket| &socket.address).find(|known| is_free(known));
        let Some(found) = found.cloned() else { return Vec::new() };
        self.take_where(|socket| socket.address == found)
    }

    /// The sockets of this name, or all where it is empty.
    pub(crate) fn take_named(&mut self, name: &str) -> Vec<InheritedSocket> {
        self.take_where(|socket| name.is_empty() || socket.name == name)
    }

    fn take_where(&mut self, is_wanted: impl Fn(&InheritedSocket) -> bool) -> Vec<InheritedSocket> {
        let (wanted, others) = self.sockets.drain(..).partition(is_wanted);
        self.sockets = others;
        wanted
    }
}

/// The process that started this one in its own place, and serves until this one is ready.
#[derive(Debug)]
pub struct Predecessor(PipeWriter);

impl Predecessor {
    /// Tells it to drain. One that has ended meanwhile needs no telling.
    pub fn take_over(mut self) {
        let _ = self.0.write_all(&[READY]);
    }
}

/// What a successor writes once it accepts connections.
pub(crate) const READY: u8 = b'1';

/// The value of [`VARIABLE`].
pub(crate) fn describe<'a>(
    process: u32,
    ready: RawFd,
    sockets: impl Iterator<Item = (RawFd, &'a str)>,
) -> String {
    let mut text = format!("{process}:{ready}");
    for (socket, name) in sockets {
        text += &format!(":{socket}:{name}");
    }
    text
}

/// What [`describe`] wrote, unless it was written for somebody else's child.
fn parse(text: &str, parent: u32) -> Option<(RawFd, Vec<(RawFd, String)>)> {
    let mut parts = text.split(':');
    if parts.next()?.parse() != Ok(parent) {
        return None;
    }
    let ready = parts.next()?.parse().ok()?;
    let mut sockets = Vec::new();
    while let Some(socket) = parts.next() {
        sockets.push((socket.parse().ok()?, parts.next()?.to_owned()));
    }
    Some((ready, sockets))
}

fn adopt(variable: &'static str, descriptor: RawFd) -> Result<OwnedFd, ConfigError> {
    host::inherit(descriptor).map_err(|error| {
        ConfigError::new(variable, format!("descriptor {descriptor} can not be used: {error}"))
    })
}

fn listening(
    variable: &'static str,
    descriptors: impl IntoIterator<Item = (RawFd, String)>,
) -> Result<Vec<InheritedSocket>, ConfigError> {
    let take = |(descriptor, name): (RawFd, String)| {
        let owned = adopt(variable, descriptor)?;
        let (socket, address) = listening_socket(owned).map_err(|error| {
            let problem = format!(
                "descriptor {descriptor} ({name}) is no listening stream socket ({error}); \
                 in the socket unit write ListenStream=, and leave Accept= off"
            );
            ConfigError::new(variable, problem)
        })?;
        Ok(InheritedSocket { socket, address, name })
    };
    descriptors.into_iter().map(take).collect()
}

fn listening_socket(descriptor: OwnedFd) -> io::Result<(Socket, Address)> {
    let socket = Socket::from(descriptor);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let address = local_address(&socket)?;
    if matches!(address, Address::Tcp(_)) {
        // As for the sockets of our own: accepted ones inherit it.
        socket.set_tcp_nodelay(true)?;
    }
    Ok((socket, address))
}

/// Where a socket is bound.
pub(crate) fn local_address(socket: &Socket) -> io::Result<Address> {
    let address = socket.local_addr()?;
    if let Some(address) = address.as_socket() {
        return Ok(Address::Tcp(address));
    }
    let path = address.as_pathname().ok_or(io::ErrorKind::Unsupported)?;
    Ok(Address::Unix(path.to_owned()))
}

/// What tells two sockets apart, and two descriptors of one socket not: its inode (socket(7)).
pub(crate) fn identity(socket: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_understood_by_the_child_alone() {
        let sockets = [(5, "http".to_owned()), (9, String::new())];
        let named = sockets.iter().map(|(socket, name)| (*socket, name.as_str()));
        let text = describe(77, 4, named);
        assert_eq!(text, "77:4:5:http:9:");
        assert_eq!(parse(&text, 77), Some((4, sockets.to_vec())));
        assert_eq!(parse(&text, 78), None, "a grandchild's variable");
        assert_eq!(parse("77:4", 77), Some((4, Vec::new())));
        for text in ["", "77", "77:", "77:x", "77:4:5", "77:4:x:http", "x:4"] {
            assert_eq!(parse(text, 77), None, "{text}");
        }
    }

    fn inherited(addresses: &[(&str, &str)]) -> Inherited {
        let socket = |(address, name): &(&str, &str)| InheritedSocket {
            socket: Socket::new(socket2::Domain::UNIX, Type::STREAM, None).expect("a socket"),
            address: address.parse().expect("an address"),
            name: (*name).to_owned(),
        };
        Inherited { sockets: addresses.iter().map(socket).collect(), ..Inherited::default() }
    }

    fn check(address: &str, asked: &[&str], expected: &[&str]) {
        let parse = |text: &str| text.parse::<Address>().expect("an address");
        let asked: Vec<Address> = asked.iter().map(|text| parse(text)).collect();
        let all = [("127.0.0.1:80", "a"), ("127.0.0.1:81", "b"), ("127.0.0.1:80", "a")];
        let mut inherited = inherited(&all);
        inherited.expect(&asked);
        let found = inherited.take_at(&parse(address));
        let found: Vec<String> = found.iter().map(|socket| socket.address.to_string()).collect();
        assert_eq!(found, expected, "{address}");
        assert_eq!(inherited.sockets.len(), all.len() - expected.len());
    }

    #[test]
    fn sockets_are_found_by_address() {
        check("127.0.0.1:80", &[], &["127.0.0.1:80", "127.0.0.1:80"]);
        check("127.0.0.1:82", &[], &[]);
        check("0.0.0.0:80", &[], &[]);
        check("127.0.0.1:0", &["127.0.0.1:80"], &["127.0.0.1:81"]);
        check("127.0.0.1:0", &["127.0.0.1:80", "127.0.0.1:81"], &[]);
        check("unix:/run/a", &[], &[]);
    }

    #[test]
    fn sockets_are_found_by_name() {
        let mut sockets = inherited(&[("127.0.0.1:80", "web"), ("127.0.0.1:81", "admin")]);
        assert_eq!(sockets.take_named("none").len(), 0);
        assert_eq!(sockets.take_named("admin").len(), 1);
        assert_eq!(sockets.take_named("").len(), 1);
    }
}
