//! A program as a process: started, ready, signalled, ended.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::Client;

/// How long anything may take before a test gives up: far beyond what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output, without the line that said it is ready.
    pub(crate) output: String,
    pub(crate) log: String,
}

/// A running program that has said it is ready. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    pub(crate) ready_line: String,
    output: Receiver<String>,
    log: Receiver<String>,
}

impl Program {
    /// Starts a program and waits until it says where it listens.
    pub(crate) fn start(path: &str, arguments: &[&str]) -> Program {
        Program::ready(&format!("{path} {arguments:?}"), spawn(path, arguments))
    }

    /// As [`start`](Program::start), by a command that says what its standard input is.
    pub(crate) fn of(mut command: Command) -> Program {
        command.env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        Program::ready(&format!("{command:?}"), command.spawn().unwrap())
    }

    fn ready(name: &str, mut child: Child) -> Program {
        let output = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        let Ok(ready_line) = output.recv_timeout(PATIENCE) else {
            child.kill().unwrap();
            panic!("{name} is not ready: {}", log.iter().collect::<String>());
        };
        Program { child, ready_line, output, log }
    }

    /// The arena on any free port, without its admin address, with further arguments.
    pub(crate) fn arena(arguments: &[&str]) -> Program {
        let arguments = [&["--listen", "127.0.0.1:0", "--admin", "none"], arguments].concat();
        Program::start(env!("CARGO_BIN_EXE_arena"), &arguments)
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let links = self.ready_line.split("http://").skip(1);
        links.map(|link| link.split(' ').next().unwrap().parse().unwrap()).collect()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    pub(crate) fn link(&self, target: &str) -> String {
        format!("http://{}{target}", self.address())
    }

    pub(crate) fn shard_count(&self) -> usize {
        let words: Vec<&str> = self.ready_line.split(' ').collect();
        let at = words.iter().position(|word| word.starts_with("shard")).unwrap();
        words[at - 1].parse().unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for a line of the log with this text in it.
    pub(crate) fn wait_for_log(&self, text: &str) {
        while !self.log.recv_timeout(PATIENCE).expect("the log has no such line").contains(text) {}
    }

    /// A number of `/proc/PID/status` in KiB.
    pub(crate) fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Makes the peak of resident memory (`VmHWM`) what is resident now (proc(5), clear_refs).
    pub(crate) fn forget_memory_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        // The output ends when the process does; waiting for that has a limit, `wait` has none.
        let collect = |lines: &Receiver<String>| {
            let mut text = String::new();
            loop {
                match lines.recv_timeout(PATIENCE) {
                    Ok(line) => text += &line,
                    Err(mpsc::RecvTimeoutError::Disconnected) => return text,
                    Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {text}"),
                }
            }
        };
        let (output, log) = (collect(&self.output), collect(&self.log));
        Ended { code: self.child.wait().unwrap().code(), output, log }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already where the test waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(path: &str, arguments: &[&str]) -> Ended {
    let mut child = spawn(path, arguments);
    let output = lines(child.stdout.take().unwrap());
    let log = lines(child.stderr.take().unwrap());
    Program { child, ready_line: String::new(), output, log }.wait()
}

fn spawn(path: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(path);
    command.args(arguments).env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The lines of a stream, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            // Nobody listens any more where the test is over.
            if !matches!(reader.read_line(&mut line), Ok(1..)) || sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A folder for one test's files, gone when the test is over.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        // Not in the target folder: the path of a Unix socket is at most 107 bytes (unix(7)).
        let folder = std::env::temp_dir().join(format!("corelane-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.join(name), content).unwrap();
        self.path(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
