//! How the arena is replaced by a new process of itself: nobody notices.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Program, Scratch};

/// Restarts in a row; the long mode of `docs/testing.md` asks for a hundred.
fn rounds() -> usize {
    std::env::var("CORELANE_TEST_RESTARTS").map_or(5, |count| count.parse().unwrap())
}

/// The arena, and whoever takes its place: all are ended with this.
struct Lineage {
    first: Program,
    config: String,
    pid_file: String,
    scratch: Scratch,
}

impl Lineage {
    fn start(name: &str) -> Lineage {
        let scratch = Scratch::new(name);
        let config = scratch.write("arena.toml", "cores = 1\npid_file = 'arena.pid'");
        let first = Program::arena(&["--config", &config]);
        let pid_file = scratch.path("arena.pid");
        let lineage = Lineage { first, config, pid_file, scratch };
        lineage.eventually("its number in the file", || lineage.process() != 0);
        lineage
    }

    /// The process that serves, as its file says.
    fn process(&self) -> u32 {
        fs::read_to_string(&self.pid_file).map_or(0, |text| text.trim().parse().unwrap())
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Restarts, and waits until the successor serves.
    fn restart(&self) {
        let process = self.process();
        self.signal("USR2");
        self.eventually("a successor", || self.process() != process);
    }

    fn eventually(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what} does not come; {}", self.config);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        if let Ok(text) = fs::read_to_string(&self.pid_file) {
            let _ = Command::new("kill").args(["-s", "KILL", text.trim()]).status();
        }
        let _ = &self.scratch;
    }
}

/// What all clients of a load share.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    answered: AtomicUsize,
    /// Connections that were closed between two requests, without a word: a client repeats what it
    /// had sent there (RFC 9112 section 9.3.1).
    closed_idle: AtomicUsize,
}

const GET: &str = "GET /pipeline HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &str = "GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const UPLOAD: &str = "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// One connection until the server says that it ends.
    Kept,
    /// A connection for each request.
    Short,
    /// A body that is under way for a while, kept.
    Upload,
}

/// Requests until the load is over; the first failure ends it, with what happened.
fn client(load: &Load, address: SocketAddr, kind: Kind) -> Result<(), String> {
    let mut kept: Option<TcpStream> = None;
    while !load.is_over.load(Ordering::Relaxed) {
        let is_fresh = kept.is_none();
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => connect(address).map_err(|error| format!("connect: {error}"))?,
        };
        match exchange(&mut stream, kind) {
            Ok(says_close) => {
                load.answered.fetch_add(1, Ordering::Relaxed);
                kept = (!says_close).then_some(stream);
            }
            Err(Failure::Nothing(_)) if !is_fresh => {
                load.closed_idle.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => return Err(format!("fresh: {is_fresh}, {failure:?}")),
        }
    }
    Ok(())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[derive(Debug)]
enum Failure {
    /// The connection ended before the first byte of an answer.
    Nothing(#[expect(dead_code, reason = "shown")] Option<io::Error>),
    /// It ended within one, or the answer is not the one expected.
    Wrong(#[expect(dead_code, reason = "shown")] String),
}

/// One request and its answer; whether the answer says that it is the last one.
fn exchange(stream: &mut TcpStream, kind: Kind) -> Result<bool, Failure> {
    let sent = match kind {
        Kind::Kept => stream.write_all(GET.as_bytes()),
        Kind::Short => stream.write_all(LAST.as_bytes()),
        Kind::Upload => stream
            .write_all(UPLOAD.as_bytes())
            .and_then(|()| stream.write_all(&[0; 20_000]))
            .and_then(|()| stream.write_all(&[0; 20_000])),
    };
    let expected = if kind == Kind::Upload { "40000" } else { "ok" };
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) if answer.is_empty() => return Err(Failure::Nothing(sent.err())),
            Err(error) if answer.is_empty() => return Err(Failure::Nothing(Some(error))),
            Ok(0) | Err(_) => return Err(Failure::Wrong(text(&answer))),
            Ok(size) => answer.extend_from_slice(&bytes[..size]),
        }
        let answer = text(&answer);
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
        if body.len() < expected.len() {
            continue;
        }
        if !head.starts_with("HTTP/1.1 200 ") || body != expected {
            return Err(Failure::Wrong(answer));
        }
        return Ok(head.to_ascii_lowercase().contains("connection: close"));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

type Clients = (Arc<Load>, Vec<JoinHandle<Result<(), String>>>);

fn start_load(address: SocketAddr) -> Clients {
    let load = Arc::<Load>::default();
    let kinds = [Kind::Kept, Kind::Short, Kind::Kept, Kind::Short, Kind::Upload, Kind::Kept];
    let start = |kind| {
        let load = Arc::clone(&load);
        thread::spawn(move || client(&load, address, kind))
    };
    let clients = kinds.into_iter().map(start).collect();
    (load, clients)
}

/// Ends a load in which nothing has failed; says how much was answered.
fn end_load((load, clients): Clients) -> usize {
    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.join().unwrap(), Ok(()));
    }
    let answered = load.answered.load(Ordering::Relaxed);
    println!("{answered} answered, {:?} connections closed while idle", load.closed_idle);
    answered
}

/// Each successor has another number of shards where the machine has two CPUs: the listeners of
/// those that are gone are served as well, and those that are new get their own.
#[test]
fn restarts_under_load_lose_no_request() {
    let lineage = Lineage::start("restarts");
    let cpu_count = thread::available_parallelism().unwrap().get().min(2);
    let clients = start_load(lineage.first.address());
    for round in 0..rounds() {
        let cores = if round % 2 == 0 { cpu_count } else { 1 };
        let settings = format!("cores = {cores}\npid_file = 'arena.pid'");
        fs::write(&lineage.config, settings).unwrap();
        let before = clients.0.answered.load(Ordering::Relaxed);
        lineage.restart();
        // The next one only once this one serves: it is the load that is looked at.
        lineage.eventually("answers", || {
            let is_failed = clients.1.iter().any(JoinHandle::is_finished);
            is_failed || clients.0.answered.load(Ordering::Relaxed) > before + 200
        });
    }
    assert!(end_load(clients) > 200 * rounds());
    lineage.signal("TERM");
    lineage.eventually("the end", || lineage.process() == 0);
}

#[test]
fn a_successor_that_fails_leaves_the_old_one_serving() {
    let lineage = Lineage::start("failing");
    let clients = start_load(lineage.first.address());
    let process = lineage.process();
    for broken in ["cores = 1000\npid_file = 'arena.pid'", "nonsense"] {
        fs::write(&lineage.config, broken).unwrap();
        lineage.signal("USR2");
        lineage.first.wait_for_log("no restart; this process serves on");
        assert_eq!(lineage.process(), process);
    }
    fs::write(&lineage.config, "cores = 1\npid_file = 'arena.pid'").unwrap();
    lineage.restart();
    lineage.first.wait_for_log("the new process serves");
    assert!(end_load(clients) > 0);
}

/// What systemd would hear; its messages are one datagram each (`sd_notify(3)`).
struct Manager(UnixDatagram);

impl Manager {
    fn hears(&self, expected: &str) -> String {
        let mut bytes = [0; 1024];
        loop {
            let size = self.0.recv(&mut bytes).expect(expected);
            let message = text(&bytes[..size]);
            if message.contains(expected) {
                return message;
            }
        }
    }
}

#[test]
fn systemd_passes_its_sockets_and_is_told_what_happens() {
    let scratch = Scratch::new("systemd");
    let manager = Manager(UnixDatagram::bind(scratch.path("notify")).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    // As some managers leave it; the arena waits at it all the same.
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let pid_file = scratch.path("arena.pid");
    let mut command = Command::new("sh");
    // The shell becomes the arena: its process number is the one that LISTEN_PID has to name.
    let line = format!(
        "LISTEN_PID=$$ exec {} --listen systemd:web --pid-file {pid_file} 3<&0 0</dev/null",
        env!("CARGO_BIN_EXE_arena")
    );
    command.args(["-c", &line]).env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    command.env("NOTIFY_SOCKET", scratch.path("notify")).env("WATCHDOG_USEC", "100000");
    let inherited = socket.try_clone().unwrap();
    assert!(inherited.as_raw_fd() > 2);
    command.stdin(std::os::fd::OwnedFd::from(inherited));
    let program = Program::of(command);
    manager.hears("READY=1");
    assert_eq!(program.address(), address);
    assert_eq!(program.connect().get("/pipeline").text(), "ok");
    manager.hears("WATCHDOG=1");

    program.signal("USR2");
    assert!(manager.hears("RELOADING=1").contains("MONOTONIC_USEC="));
    let told = manager.hears("MAINPID=");
    let successor = fs::read_to_string(&pid_file).unwrap();
    assert!(told.contains(&format!("MAINPID={}", successor.trim())), "{told}");
    assert!(told.contains("READY=1"), "{told}");
    // The name of the socket has come along, or there would be no successor.
    assert_eq!(program.connect().get("/pipeline").text(), "ok");
    manager.hears("WATCHDOG=1");
    let status = Command::new("kill").args(["-s", "TERM", successor.trim()]).status();
    assert!(status.unwrap().success());
    manager.hears("STOPPING=1");
    assert_eq!(program.wait().code, Some(0));
}

/// systemd's own tool for this: it listens, and starts the program when somebody connects.
#[test]
fn systemd_starts_it_for_the_first_connection() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &free.to_string(), "--fdname=web", env!("CARGO_BIN_EXE_arena")]);
    command.args(["--listen", "systemd:web", "--admin", "none", "--cores", "1"]);
    // It has said nothing by then: the connection waits for a server that is yet to be started.
    let first = thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            match connect(free) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "nobody listens: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        exchange(&mut stream, Kind::Short)
    });
    let arena = Program::of(command);
    assert!(matches!(first.join().unwrap(), Ok(true)));
    assert_eq!(arena.address(), free);
    arena.signal("TERM");
    assert_eq!(arena.wait().code, Some(0));
}

#[test]
fn a_socket_that_systemd_has_not_passed_is_an_error() {
    let ended = crate::support::run(env!("CARGO_BIN_EXE_arena"), &["--listen", "systemd:web"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.log.contains("systemd:web: systemd has passed no such socket"), "{}", ended.log);
}
