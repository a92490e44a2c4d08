//! `corelane restart` against a real server under load, and what it says where it can not be done.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{Running, corelane, ends};

/// How long anything may take before the test counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A served directory, with whoever serves it.
struct Site {
    first: Running,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let public = folder.path().join("public");
        std::fs::create_dir(&public).expect("a folder");
        std::fs::write(public.join("index.html"), "home").expect("a file");
        let (public, pid) = (public.display().to_string(), folder.path().join("pid"));
        let mut command = corelane(&["serve", &public, "--listen", "127.0.0.1:0", "--cores", "1"]);
        command.arg("--pid-file").arg(pid).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut first = Running(command.spawn().expect("start"));
        let mut output = BufReader::new(first.0.stdout.take().expect("standard output"));
        let mut ready = String::new();
        output.read_line(&mut ready).expect("a line");
        let link = ready.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let address = link.unwrap_or_else(|| panic!("not ready: {ready:?}"));
        let address = address.parse().expect("an address");
        // What it and its successors print later must not end them.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let site = Site { first, address, folder };
        eventually("its number in the file", || site.process() != 0);
        site
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("pid")
    }

    /// Who serves, as the file says; 0 where it says nothing.
    fn process(&self) -> i32 {
        let text = std::fs::read_to_string(self.pid_file()).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

fn restart(arguments: &[&str]) -> (Option<i32>, String) {
    ends(&[&["restart"], arguments].concat())
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(process) = Pid::from_raw(self.process()) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One request and its answer, which is whole; whether it says that it is the last. Nothing where
/// the connection had ended before an answer began.
fn exchange(socket: &mut BufReader<TcpStream>, fields: &str) -> Option<bool> {
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    socket.get_mut().write_all(request.as_bytes()).ok()?;
    let mut status = String::new();
    if !matches!(socket.read_line(&mut status), Ok(1..)) {
        return None;
    }
    assert_eq!(status, "HTTP/1.1 200 OK\r\n");
    let mut is_last = false;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).expect("a line");
        if line == "\r\n" {
            break;
        }
        is_last |= line.eq_ignore_ascii_case("connection: close\r\n");
    }
    let mut body = [0; 4];
    socket.read_exact(&mut body).expect("the content");
    assert_eq!(&body, b"home");
    Some(is_last)
}

/// Requests until the load is over. A kept connection may end while it is idle, since no cure for
/// that is known to HTTP/1.1; a new one has to be answered.
fn ask(address: SocketAddr, is_over: &AtomicBool, answered: &AtomicUsize, fields: &str) {
    let mut kept: Option<BufReader<TcpStream>> = None;
    while !is_over.load(Ordering::Relaxed) {
        let is_fresh = kept.is_none();
        let mut socket = kept.take().unwrap_or_else(|| {
            let socket = TcpStream::connect(address).expect("somebody always listens");
            socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
            BufReader::new(socket)
        });
        match exchange(&mut socket, fields) {
            Some(is_last) => {
                answered.fetch_add(1, Ordering::Relaxed);
                kept = (!is_last).then_some(socket);
            }
            None => assert!(!is_fresh, "a new connection was not answered"),
        }
    }
}

/// Whether a process is gone, or is left only for its parent to ask about (proc_pid_stat(5)).
fn has_ended(process: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

/// Ends the load, also when the test fails within: the clients would go on for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn it_replaces_a_server_under_load_and_waits_for_that() {
    let mut site = Site::start();
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let file = site.pid_file().display().to_string();
    let wait_for_load = || {
        let goal = answered.load(Ordering::Relaxed) + 200;
        eventually("answers", || answered.load(Ordering::Relaxed) >= goal);
    };
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        for fields in ["", "Connection: close\r\n", "", "Connection: close\r\n"] {
            let (address, is_over, answered) = (site.address, &is_over, &answered);
            scope.spawn(move || ask(address, is_over, answered, fields));
        }
        wait_for_load();
        let old = site.process();
        assert_eq!(restart(&["--pid-file", &file]), (Some(0), String::new()));
        let new = site.process();
        assert!(new != old && new > 0, "{old} is replaced by {new}");
        wait_for_load();
        // By its number it is waited for until it has ended.
        assert_eq!(restart(&[&new.to_string()]), (Some(0), String::new()));
        assert!(has_ended(new), "{new} is still there");
        eventually("the next one's number", || ![0, new].contains(&site.process()));
        wait_for_load();
        drop(over);
    });
    // The one that was started by us has drained long since.
    assert_eq!(site.first.0.wait().expect("wait").code(), Some(0));
}

#[test]
fn a_successor_that_fails_is_an_error_and_the_old_one_serves_on() {
    let site = Site::start();
    let (process, file) = (site.process(), site.pid_file().display().to_string());
    std::fs::rename(site.folder.path().join("public"), site.folder.path().join("gone"))
        .expect("rename");
    let said = format!("corelane: process {process} serves on: the new process ended before");
    // Each failure is told apart from the one before; none is waited for until the time is over.
    for _ in 0..2 {
        let (code, error) = restart(&["--pid-file", &file, "--timeout", "3600"]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.starts_with(&said), "{error}");
        assert_eq!(site.process(), process);
    }
    // Who has only its number is told as well.
    let (code, error) = restart(&[&process.to_string(), "--timeout", "3600"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.starts_with(&said), "{error}");
    // Its directory is open, so it is served whatever its name is now.
    let socket = TcpStream::connect(site.address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    assert_eq!(exchange(&mut BufReader::new(socket), "Connection: close\r\n"), Some(true));
    // What failed before is over with a restart that does not.
    std::fs::rename(site.folder.path().join("gone"), site.folder.path().join("public"))
        .expect("rename");
    let (code, error) = restart(&["--pid-file", &file]);
    assert_eq!(code, Some(0), "{error}");
    assert_ne!(site.process(), process);
    assert!(!site.folder.path().join("pid.failed").exists());
}

#[test]
fn only_the_process_itself_says_that_it_failed() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};

    // Ends by the signal, which is all that is waited for.
    let mut other = std::process::Command::new("sleep").arg("3600").spawn().expect("start");
    let (process, kept) = (other.id().to_string(), Pid::from_child(&other));
    kill_process(kept, Signal::STOP).expect("signal");
    // One that has not stopped yet is ended by the other signal at once.
    let stopped = waitid(WaitId::Pid(kept), WaitIdOptions::STOPPED).expect("wait");
    assert!(stopped.is_some_and(|status| status.stopped()), "{stopped:?}");
    let arguments = ["restart", &process, "--timeout", "3600"];
    let waiting = corelane(&arguments).stderr(Stdio::piped()).spawn().expect("start");
    let name = SocketAddr::from_abstract_name(format!("corelane-restart-{process}"));
    let name = name.expect("a name");
    let mut heard = None;
    eventually("it listens", || {
        heard = UnixStream::connect_addr(&name).ok();
        heard.is_some()
    });
    let mut liar = heard.expect("connected");
    liar.write_all(b"it failed\n").expect("send");
    // Not believed: it has hung up without a word, and waits on.
    assert_eq!(liar.read(&mut [0]).unwrap_or(0), 0);
    kill_process(kept, Signal::CONT).expect("signal");
    let output = waiting.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    other.wait().expect("wait");
}

#[test]
fn what_can_not_be_restarted_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid").display().to_string();
    let check = |arguments: &[&str], expected: i32, parts: &[&str]| {
        let (code, error) = restart(arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {error}");
        for part in parts {
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
    };
    let by_file = ["--pid-file", file.as_str()];
    check(&by_file, 1, &["corelane: pid-file: ", &file, "No such file or directory"]);
    std::fs::write(&file, "soon\n").expect("a file");
    check(&by_file, 1, &[&file, "there is no process number in it"]);
    // One that has ended, and then nobody: numbers are given out in turn, so not soon again.
    let mut ended = std::process::Command::new("true").spawn().expect("start");
    let number = ended.id().to_string();
    std::fs::write(&file, &number).expect("a file");
    eventually("its end", || has_ended(ended.id() as i32));
    check(&by_file, 1, &[&format!("process {number} has ended, and no new one has come")]);
    ended.wait().expect("wait");
    let said = format!("process {number} can not be restarted: No such process");
    check(&by_file, 1, &[&said]);
    check(&[&number], 1, &[&said]);
    for nobody in ["0", "1", "-5"] {
        std::fs::write(&file, nobody).expect("a file");
        check(&by_file, 1, &["is no server's process number"]);
    }
    check(&[], 2, &["PID"]);
    check(&[&number, "--pid-file", &file], 2, &["cannot be used with"]);
}
