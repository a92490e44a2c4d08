//! A plaintext HTTP server with nothing in it but the kernel and `httparse`.
//!
//! One thread, one ring, one loop. It is the limit that the real server is compared with: what is
//! left of the difference is the price of everything a server does beyond this. So it does the
//! work that no server can skip (each head is really parsed, a partial head is kept, a partial
//! send is finished, `Date` is right to the second) and leaves out the rest on purpose:
//!
//! - limits: a head may grow without bound, and so may the answers to a peer that does not read;
//! - timeouts: an idle or slow peer keeps its connection for ever;
//! - strictness: only the head's syntax is checked; no body, no `Host`, no `Connection: close`,
//!   and anything but a well-formed GET closes the connection without an answer;
//! - a drain: it ends when it is killed.
//!
//! It must therefore never face a network that is not a test bench.

mod answers;
mod buffers;
mod connection;
mod ring;
mod server;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use socket2::{Domain, Protocol, Socket, Type};

const USAGE: &str = "usage: ceiling [--listen ADDRESS] [--cpu NUMBER]

  --listen ADDRESS  where to accept connections (default 127.0.0.1:8080; port 0 picks a free one)
  --cpu NUMBER      pin the thread to this CPU (default: not pinned)";

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("ceiling: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ceiling: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    if let Some(cpu) = options.cpu {
        pin(cpu)?;
    }
    let listener = listen(options.address)?;
    let mut ring = ring::open().map_err(|error| {
        io::Error::other(format!("no io_uring: {error}; scripts/serve names the cause"))
    })?;
    println!("ceiling: listening on {}", listener.local_addr()?);
    server::serve(&mut ring, &listener)
}

fn pin(cpu: usize) -> io::Result<()> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let core = allowed.into_iter().find(|core| core.id == cpu);
    if core.is_some_and(core_affinity::set_for_current) {
        return Ok(());
    }
    Err(io::Error::other(format!("this process may not run on CPU {cpu}")))
}

/// Opens the listener. `TCP_NODELAY` is set once here: accepted sockets inherit it (tcp(7)).
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What the command line says.
struct Options {
    address: SocketAddr,
    cpu: Option<usize>,
}

impl Options {
    /// Reads the arguments; `None` means that help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { address: SocketAddr::from(([127, 0, 0, 1], 8080)), cpu: None };
        while let Some(flag) = arguments.next() {
            if flag == "--help" {
                return Ok(None);
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let is_valid = match flag.as_str() {
                "--listen" => value.parse().map(|address| options.address = address).is_ok(),
                "--cpu" => value.parse().map(|cpu| options.cpu = Some(cpu)).is_ok(),
                _ => return Err(format!("unknown option {flag}")),
            };
            if !is_valid {
                return Err(format!("{flag} cannot be {value}"));
            }
        }
        Ok(Some(options))
    }
}
