//! The command `corelane` as a process: what it prints, how it fails, how it ends.

#[path = "command/restart.rs"]
mod restart;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
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

/// Status and head of the answer to a request on a connection that stays open.
fn ask(connection: &mut BufReader<TcpStream>, target: &str) -> (String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes()).expect("send");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(connection.read_line(&mut head).expect("a line") > 0, "closed behind {head}");
    }
    let size = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut content = vec![0; size.expect("a length").parse().expect("a number")];
    connection.read_exact(&mut content).expect("the content");
    (head[9..12].to_owned(), head)
}

#[test]
fn without_descriptors_files_are_refused_until_there_are_some() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.txt", "b.txt"] {
        std::fs::write(folder.path().join(name), name).expect("a file");
    }
    let path = folder.path().to_str().expect("text");
    let arguments = ["serve", path, "--listen", "127.0.0.1:0", "--cores", "1"];
    let mut child = Running(corelane(&arguments).stdout(Stdio::piped()).spawn().expect("start"));
    let mut ready = String::new();
    let mut output = BufReader::new(child.0.stdout.take().expect("standard output"));
    output.read_line(&mut ready).expect("a line");
    let address = ready.split("http://").nth(1).expect("a link").split(' ').next().expect("one");
    let mut connection = BufReader::new(TcpStream::connect(address).expect("connect"));
    assert_eq!(ask(&mut connection, "/a.txt").0, "200");
    // The lowest number that is free must not be taken; the open ones above it stay open.
    let place = std::path::PathBuf::from(format!("/proc/{}/fd", child.0.id()));
    let free = (0..).find(|number| !place.join(number.to_string()).is_symlink()).expect("one");
    let pid = Some(Pid::from_child(&child.0));
    let limit = rustix::process::getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(free), ..limit }).expect("a limit");
    let (status, head) = ask(&mut connection, "/b.txt");
    assert!(status == "503" && head.contains("\r\nretry-after: 1\r\n"), "{head}");
    prlimit(pid, Resource::Nofile, limit).expect("the limit is lifted");
    assert_eq!(ask(&mut connection, "/b.txt").0, "200");
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

/// What a server of a directory logs of one connection, as (answer, client of its line).
fn logged(options: &[&str], sent: &str) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("index.html"), "home").expect("a file");
    let path = folder.path().to_str().expect("text");
    let arguments = ["serve", path, "--listen", "127.0.0.1:0", "--cores", "1", "--access-log", "-"];
    let arguments = [&arguments, options].concat();
    let mut child = Running(corelane(&arguments).stdout(Stdio::piped()).spawn().expect("start"));
    let mut output = BufReader::new(child.0.stdout.take().expect("standard output"));
    let (mut ready, mut line) = (String::new(), String::new());
    output.read_line(&mut ready).expect("a line");
    let address = ready.split("http://").nth(1).expect("a link").split(' ').next().expect("one");
    let mut socket = TcpStream::connect(address).expect("connect");
    socket.write_all(sent.as_bytes()).expect("send");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("receive");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child.0),
        rustix::process::Signal::TERM,
    )
    .expect("signal");
    output.read_line(&mut line).expect("the directory");
    line.clear();
    output.read_line(&mut line).expect("the log");
    (answer, line.split(' ').next().unwrap_or_default().trim().to_owned())
}

#[test]
fn it_believes_the_proxies_that_it_is_told_of_and_nobody_else() {
    let request = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\n\
                   Forwarded: for=192.0.2.8\r\nConnection: close\r\n\r\n";
    let proxied = format!("PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n{request}");
    let trusted = ["--trusted-proxy", "127.0.0.0/8"];
    for (options, sent, client) in [
        (&[][..], request, "127.0.0.1"),
        (&["--trusted-proxy", "10.0.0.0/8"], request, "127.0.0.1"),
        (&trusted, request, "192.0.2.7"),
        (&["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.1"], request, "192.0.2.7"),
        (&[trusted[0], trusted[1], "--proxy-field", "forwarded"], request, "192.0.2.8"),
        (&[trusted[0], trusted[1], "--proxy-field", "none"], request, "127.0.0.1"),
        (
            &[trusted[0], trusted[1], "--proxy-field", "none", "--proxy-protocol"],
            &proxied,
            "192.0.2.9",
        ),
    ] {
        let (answer, logged) = logged(options, sent);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{options:?}: {answer}");
        assert_eq!(logged, client, "{options:?}");
    }
    // Whoever does not begin with a head is not answered, and there is no line of it.
    let options = [trusted[0], trusted[1], "--proxy-protocol"];
    assert_eq!(logged(&options, request), (String::new(), String::new()));
    for (arguments, said) in [
        (&["serve", "--trusted-proxy", "nobody"][..], "nobody"),
        (&["serve", "--proxy-field", "via"], "x-forwarded-for, forwarded or none"),
        (&["serve", "--proxy-protocol"], "name them"),
    ] {
        let (code, error) = ends(arguments);
        assert!(code == Some(2) && error.contains(said), "{arguments:?}: {error}");
    }
}

/// A tree that looks like a machine's: its kernel, and settings that nobody has tuned.
fn untuned_machine(release: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in [("kernel/osrelease", release)].iter().chain(UNTUNED) {
        let path = folder.path().join("proc/sys").join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, format!("{text}\n")).expect("a file");
    }
    folder
}

const UNTUNED: &[(&str, &str)] = &[
    ("net/core/somaxconn", "128"),
    ("net/ipv4/tcp_max_syn_backlog", "8192"),
    ("net/ipv4/ip_local_port_range", "50000\t60000"),
    ("net/ipv4/tcp_slow_start_after_idle", "1"),
    ("net/ipv4/tcp_migrate_req", "0"),
];

/// What `corelane doctor --json` says below a root: whether the server starts, and who warns.
fn diagnosis(root: &std::path::Path) -> (bool, Vec<String>) {
    let root = root.to_str().expect("text");
    let output = corelane(&["doctor", "--json", "--root", root]).output().expect("start");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let starts = report["starts"].as_bool().expect("a boolean");
    assert_eq!(output.status.code(), Some(if starts { 0 } else { 1 }));
    let findings = report["findings"].as_array().expect("a list");
    let warnings = findings.iter().filter(|finding| finding["level"] == "warning");
    for finding in warnings.clone() {
        for place in ["shell", "systemd", "docker", "kubernetes"] {
            assert!(finding["fix"][place].is_string(), "{finding}");
        }
    }
    let name = |finding: &serde_json::Value| finding["check"].as_str().unwrap_or("?").to_owned();
    (starts, warnings.map(name).collect())
}

#[test]
fn the_doctor_says_whether_the_server_can_start() {
    let machine = untuned_machine("6.18.0");
    let expected =
        ["somaxconn", "ip_local_port_range", "tcp_slow_start_after_idle", "tcp_migrate_req"];
    assert_eq!(diagnosis(machine.path()), (true, expected.map(str::to_owned).to_vec()));
    assert!(!diagnosis(untuned_machine("5.10.0").path()).0);
    // This machine runs the tests, so the server starts here.
    let output = corelane(&["doctor"]).output().expect("start");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.ends_with("; the server can start\n"), "{text}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn tuning_fixes_what_the_doctor_warns_of_and_can_be_undone() {
    let machine = untuned_machine("6.18.0");
    let root = machine.path();
    let tune = |option: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/tune");
        let mut command = Command::new(script);
        command.arg("--root").arg(root).arg("--saved").arg(root.join("saved/sysctl")).arg(option);
        let output = command.stderr(Stdio::null()).output().expect("start");
        (output.status.success(), String::from_utf8(output.stdout).expect("text"))
    };
    let settings = || {
        let value = |(path, _): &(&str, &str)| {
            let path = root.join("proc/sys").join(path);
            std::fs::read_to_string(path).expect("a file").trim().replace('\t', " ")
        };
        UNTUNED.iter().map(value).collect::<Vec<_>>()
    };
    let before = settings();
    assert!(tune("--apply").0);
    assert_eq!(diagnosis(root), (true, Vec::new()));
    // What is better already stays.
    assert_eq!(settings(), ["4096", "8192", "10240 65535", "0", "1"]);
    // Applied twice, what was there first is still what comes back.
    assert!(tune("--apply").0);
    assert!(tune("--revert").0);
    assert_eq!(settings(), before);
    assert!(!tune("--revert").0, "there is nothing left to undo");
    assert!(!tune("--nonsense").0);
}

/// What is answered on a connection of its own, head and all.
fn exchange(mut socket: impl Read + Write, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("receive");
    answer
}

#[test]
fn the_admin_address_is_where_it_is_told_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let (admin, log) = (folder.path().join("admin"), folder.path().join("access.log"));
    let place = format!("unix:{}", admin.display());
    let start = |arguments: &[&str]| {
        let mut command = corelane(&["serve", path, "--listen", "127.0.0.1:0", "--cores", "1"]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("start");
        let output = BufReader::new(child.stdout.take().expect("standard output"));
        (Running(child), output.lines().map(|line| line.expect("text")))
    };
    let log_path = log.to_str().expect("text");
    let (_server, lines) = start(&["--admin", &place, "--access-log", log_path]);
    let lines: Vec<String> = lines.take(3).collect();
    assert_eq!(lines[2], format!("metrics and a live page at {place}"));
    let ask = |target: &str| exchange(UnixStream::connect(&admin).expect("connect"), target);
    assert!(ask("/readyz").starts_with("HTTP/1.1 200 "));
    let metrics = ask("/metrics");
    for line in
        ["corelane_access_log_dropped_total{shard=\"0\"} 0", "corelane_access_log_lost_total 0"]
    {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let config = ask("/config");
    let config = config.split("\r\n\r\n").nth(1).expect("content");
    let config: serde_json::Value = serde_json::from_str(config).expect("JSON");
    assert_eq!(config["program"]["directory"], path);
    assert_eq!(config["program"]["access_log"], log_path);
    // Nobody has asked for one: its second line is the last.
    for arguments in [&[][..], &["--admin", "none"]] {
        let (mut server, mut lines) = start(arguments);
        assert!(lines.next().is_some_and(|line| line.contains(" listens on ")));
        let pid = rustix::process::Pid::from_child(&server.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        assert_eq!(server.0.wait().expect("wait").code(), Some(0));
        assert!(lines.last().is_some_and(|line| line.starts_with("files of ")));
    }
    assert_eq!(ends(&["serve", path, "--admin", "nowhere"]).0, Some(2));
}

#[test]
fn signals_open_the_access_log_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (site, log) = (folder.path().join("site"), folder.path().join("access.log"));
    std::fs::create_dir(&site).expect("a folder");
    let (site, path) = (site.to_str().expect("text"), log.to_str().expect("text"));
    let mut command = corelane(&["serve", site, "--listen", "127.0.0.1:0", "--cores", "1"]);
    command.args(["--access-log", path, "--access-log-format", "json"]);
    let mut child = Running(command.stdout(Stdio::piped()).spawn().expect("start"));
    let mut ready = String::new();
    let mut output = BufReader::new(child.0.stdout.take().expect("standard output"));
    output.read_line(&mut ready).expect("a line");
    let address = ready.split("http://").nth(1).expect("a link").split(' ').next().expect("one");
    // Asks until the log, where it has its name, has the line: a signal takes its time.
    let ask_until_logged = |target: &str| {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains(target)) {
            assert!(std::time::Instant::now() < limit, "{target} is not logged");
            let mut socket = TcpStream::connect(address).expect("connect");
            let request = format!("GET {target} HTTP/1.0\r\n\r\n");
            socket.write_all(request.as_bytes()).expect("send");
            socket.read_to_string(&mut String::new()).expect("receive");
        }
    };
    ask_until_logged("/first");
    for (signal, target) in [("HUP", "/second"), ("USR1", "/third")] {
        std::fs::rename(&log, log.with_extension(signal)).expect("rename");
        let process = child.0.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(sent.expect("kill").success());
        ask_until_logged(target);
    }
    let process = child.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &process]).status().expect("kill").success());
    assert_eq!(child.0.wait().expect("wait").code(), Some(0));
}
