//! An echo server on the runtime, and what the tests wait with.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use corelane_runtime::{
    Address, BoundSockets, Config, Cores, Handle, ListenConfig, Listener, SendBuffer, Shard,
    ShardId, StartError, Stats, Stopper, Stream, Topology, launch,
};

/// A configuration for `shard_count` shards on as many CPUs as there are.
pub fn config(shard_count: usize) -> Config {
    let topology = Topology::detect();
    let cpus = topology.cpus();
    assert!(shard_count <= cpus.len(), "the tests need {shard_count} CPUs");
    Config { cores: Cores::List(cpus[..shard_count].to_vec()), ..Config::default() }
}

/// Runs `task` on shard 0 of a runtime, and gives back what it returned.
pub fn on_shard<F, R>(config: Config, task: impl Fn(Rc<Shard>) -> F + Clone + Send + 'static) -> R
where
    F: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let config = config.checked(&Topology::detect()).expect("config");
    let (sender, result) = mpsc::channel();
    let handle = launch(&config, move |shard| {
        let (task, sender) = (task.clone(), sender.clone());
        async move {
            if shard.id() == ShardId(0) {
                let running = task(Rc::clone(&shard));
                shard.spawn(async move {
                    let _ = sender.send(running.await);
                });
            }
            Ok(())
        }
    });
    let handle = handle.expect("launch");
    let result = result.recv().expect("the task panicked");
    handle.stopper().stop();
    handle.join().expect("join");
    result
}

/// Reads, however often it is interrupted: a signal of glommio's may land on any thread.
pub fn read(stream: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// The calling test binary again, as a process of its own that runs one ignored test.
pub struct Child {
    process: std::process::Child,
    output: std::io::Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub fn start(test: &str) -> Child {
        let mut process = Command::new(std::env::current_exe().expect("path"))
            .args(["--exact", test, "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let output = BufReader::new(process.stdout.take().expect("stdout")).lines();
        Child { process, output }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The rest of the next line that begins with `word`.
    pub fn line(&mut self, word: &str) -> String {
        let mut lines = self.output.by_ref().map_while(Result::ok);
        // The test harness writes "test name ... " before what the test writes.
        let found = lines.find_map(|line| Some(line.split_once(word)?.1.trim().to_owned()));
        found.unwrap_or_else(|| panic!("the child ended without a line \"{word}\""))
    }

    pub fn tell(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().expect("stdin");
        writeln!(input, "{line}").expect("write");
    }

    /// Closes the child's input and waits for its success.
    pub fn end(mut self) {
        drop(self.process.stdin.take());
        // The harness writes its result: a closed pipe would fail it.
        self.output.by_ref().for_each(drop);
        assert!(self.process.wait().expect("wait").success());
    }
}

pub struct EchoServer {
    handle: Handle,
    addresses: Vec<Address>,
}

impl EchoServer {
    pub fn start(shard_count: usize, addresses: &[&str]) -> EchoServer {
        EchoServer::start_with(config(shard_count), addresses)
    }

    pub fn start_with(config: Config, addresses: &[&str]) -> EchoServer {
        EchoServer::start_and(config, addresses, |_| ())
    }

    /// Starts, and runs `also` on every shard.
    pub fn start_and(
        config: Config,
        addresses: &[&str],
        also: impl Fn(&Rc<Shard>) + Clone + Send + 'static,
    ) -> EchoServer {
        EchoServer::start_listening(config, addresses, &ListenConfig::default(), also)
    }

    pub fn start_listening(
        config: Config,
        addresses: &[&str],
        listen: &ListenConfig,
        also: impl Fn(&Rc<Shard>) + Clone + Send + 'static,
    ) -> EchoServer {
        let config = config.checked(&Topology::detect()).expect("config");
        let addresses: Vec<Address> =
            addresses.iter().map(|address| address.parse().expect("address")).collect();
        let count = config.cpus().len();
        let bound = BoundSockets::bind(&addresses, count, listen).expect("bind");
        let addresses = bound.addresses().to_vec();
        let bound = Arc::new(Mutex::new(bound));
        let handle = launch(&config, move |shard| {
            also(&shard);
            start(shard, Arc::clone(&bound))
        });
        EchoServer { handle: handle.expect("launch"), addresses }
    }

    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub fn tcp(&self) -> SocketAddr {
        self.addresses.iter().find_map(tcp_address).expect("a TCP address")
    }

    pub fn all_stats(&self) -> &[Arc<Stats>] {
        self.handle.stats()
    }

    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.handle.stats()[0])
    }

    pub fn stopper(&self) -> Stopper {
        self.handle.stopper()
    }

    pub fn join(self) {
        self.handle.join().expect("join");
    }

    pub fn stop(self) {
        self.handle.stopper().stop();
        self.join();
    }
}

pub fn tcp_address(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Tcp(address) => Some(*address),
        _ => None,
    }
}

async fn start(shard: Rc<Shard>, bound: Arc<Mutex<BoundSockets>>) -> Result<(), StartError> {
    let sockets = bound.lock().expect("lock").pop_shard().expect("one for each shard");
    for listener in sockets.into_listeners() {
        let pass = shard.enter_gate();
        let shard = Rc::clone(&shard);
        shard.clone().spawn(async move {
            let _pass = pass;
            accept_all(shard, listener, echo).await;
        });
    }
    Ok(())
}

/// Serves each connection in a task of its own, until the drain.
pub async fn accept_all<F>(shard: Rc<Shard>, mut listener: Listener, serve: impl Fn(Stream) -> F)
where
    F: Future<Output = ()> + 'static,
{
    while let Some(stream) = listener.accept().await {
        let pass = shard.enter_gate();
        let served = serve(stream);
        shard.spawn(async move {
            let _pass = pass;
            served.await;
        });
    }
}

pub async fn echo(mut stream: Stream) {
    while let Ok(received) = stream.recv().await {
        if received.is_empty() {
            break;
        }
        stream.send(SendBuffer::Owned(received.to_vec()));
        drop(received);
        if stream.sent(256 * 1024).await.is_err() {
            return;
        }
    }
    let _ = stream.sent(0).await;
}

/// Connections that are never idle, from a thread of their own.
pub struct Load {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Load {
    pub fn start(address: SocketAddr, connection_count: usize) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let connect = |_| {
                let stream = TcpStream::connect(address).expect("connect");
                stream.set_nodelay(true).expect("option");
                stream
            };
            let mut streams: Vec<_> = (0..connection_count).map(connect).collect();
            let mut request_count = 0;
            while !is_stopped.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    stream.write_all(&[1; 64]).expect("send");
                }
                for stream in &mut streams {
                    stream.read_exact(&mut [0; 64]).expect("reply");
                    request_count += 1;
                }
            }
            request_count
        });
        Load { is_over, thread }
    }

    /// Ends the load; says how many requests were answered.
    pub fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("load")
    }
}

/// Lowers the open-file limit to `spare_count` above what is open.
pub fn limit_descriptors(spare_count: u64) {
    let open_count = std::fs::read_dir("/proc/self/fd").expect("proc").count() as u64;
    let limit =
        libc::rlimit { rlim_cur: open_count + spare_count, rlim_max: open_count + spare_count };
    // SAFETY: `limit` is a valid argument.
    let outcome = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(outcome, 0);
}

/// Sends one byte and expects it back.
pub fn ping(stream: &mut TcpStream) {
    stream.write_all(b"x").expect("send");
    stream.read_exact(&mut [0]).expect("reply");
}

/// `size` bytes that differ by `seed`.
pub fn pattern(seed: usize, size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 31 + seed * 7 + index / 251) as u8).collect()
}

/// Waits for a state that another thread brings about. The bound only ends a test that has
/// failed already.
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < limit, "it did not happen within 30 s");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Time on a CPU of all threads whose name begins with `name` (`/proc/PID/schedstat`, proc(5)).
pub fn cpu_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let nanos = tasks.filter_map(|task| {
        let task = task.ok()?.path();
        let is_named = std::fs::read_to_string(task.join("comm")).ok()?.starts_with(name);
        let times = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos: u64 = times.split(' ').next()?.parse().ok()?;
        is_named.then_some(nanos)
    });
    Duration::from_nanos(nanos.sum())
}
