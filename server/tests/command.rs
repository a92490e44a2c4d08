//! The command `corelane` as a process: what it prints, how it fails, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

fn corelane(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    command.args(arguments);
    command
}

/// Ended when the test is over, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ends(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = corelane(arguments).output().expect("start");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

#[test]
fn it_serves_a_directory_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("index.html"), "home").expect("a file");
    std::fs::write(folder.path().join("a.txt"), "a").expect("a file");
    let path = folder.path().to_str().expect("text");
    let arguments = ["serve", path, "--listen", "127.0.0.1:0", "--cores", "1", "--spa"];
    let mut child = Running(corelane(&arguments).stdout(Stdio::piped()).spawn().expect("start"));
    let mut output = BufReader::new(child.0.stdout.take().expect("standard output"));
    let (mut ready, mut directory) = (String::new(), String::new());
    output.read_line(&mut ready).expect("a line");
    output.read_line(&mut directory).expect("a line");
    assert!(ready.contains(" with 1 shard on CPU "), "{ready}");
    let canonical = folder.path().canonicalize().expect("a path");
    assert_eq!(directory, format!("files of {}; Ctrl-C ends it\n", canonical.display()));
    let address = ready.split("http://").nth(1).expect("a link").split(' ').next().expect("one");
    for (target, expected) in [("/a.txt", "a"), ("/", "home"), ("/users/7", "home")] {
        let mut socket = TcpStream::connect(address).expect("connect");
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("send");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("receive");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{target}: {answer}");
    }
    // In use by another one: said in a sentence.
    let (code, error) = ends(&["serve", path, "--listen", address]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(address) && error.contains("another program listens"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    assert_eq!(child.0.wait().expect("wait").code(), Some(0));
}

#[test]
fn what_can_not_be_served_is_said_in_a_sentence() {
    let (code, error) = ends(&["serve", "/there/is/none"]);
    assert_eq!(code, Some(2));
    assert!(error.starts_with("corelane: ") && error.contains("/there/is/none"), "{error}");
    assert!(error.contains("No such file or directory"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let (code, error) = ends(&["serve", file.path().to_str().expect("text")]);
    assert_eq!(code, Some(2));
    assert!(error.contains("it is not a directory"), "{error}");
    for arguments in [&["serve", "--listen", "x"][..], &["serve", "--cores", "x"], &["x"], &[]] {
        assert_eq!(ends(arguments).0, Some(2), "{arguments:?}");
    }
}
