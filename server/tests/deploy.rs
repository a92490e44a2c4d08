//! What is in `scripts/deploy/`, checked with the tools that will read it: systemd, libseccomp,
//! nginx, HAProxy.

mod support;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::eventually;
use tempfile::TempDir;

/// How long anything may take before the test counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

const BINARY: &str = env!("CARGO_BIN_EXE_corelane");

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/deploy").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn confined() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/confined"))
}

/// Runs a tool to its end; it must be installed: `scripts/test packages` does so.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A process that is ended when the test is over, however that ends.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        let process = self.0.id().to_string();
        assert!(run(Command::new("kill").args(["-s", name, &process])).0, "kill -s {name}");
    }

    fn wait(mut self) -> Option<i32> {
        self.0.wait().expect("wait").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `corelane serve` by `command`, which has all but its arguments; says where it listens.
fn serve(command: Command, site: &Path) -> (Running, SocketAddr) {
    serve_with(command, site, &[])
}

fn serve_with(mut command: Command, site: &Path, options: &[&str]) -> (Running, SocketAddr) {
    std::fs::write(site.join("index.html"), "home").expect("a file");
    command.arg("serve").arg(site).args(["--listen", "127.0.0.1:0", "--cores", "1"]).args(options);
    let mut child = Running(command.stdout(Stdio::piped()).spawn().expect("start"));
    let mut ready = String::new();
    let mut output = BufReader::new(child.0.stdout.take().expect("standard output"));
    output.read_line(&mut ready).expect("a line");
    let address = ready.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
    let address = address.unwrap_or_else(|| panic!("not ready: {ready:?}"));
    // What it prints later must not end it.
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    (child, address.parse().expect("an address"))
}

/// The status of a request on a connection of its own.
fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// The unit as systemd would read it on a machine where the program is where Cargo has put it.
fn unit() -> (TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("corelane.service");
    let text = read("corelane.service").replace("/usr/local/bin/corelane", BINARY);
    assert!(text.contains(BINARY), "the unit starts another program");
    std::fs::write(&path, text).expect("a file");
    std::fs::copy(deploy("corelane.socket"), folder.path().join("corelane.socket")).expect("copy");
    (folder, path)
}

#[test]
fn systemd_understands_the_units() {
    let (folder, service) = unit();
    for path in [service, folder.path().join("corelane.socket")] {
        let (is_fine, text) = run(Command::new("systemd-analyze").arg("verify").arg(&path));
        assert!(is_fine && text.is_empty(), "{}: {text}", path.display());
    }
}

/// The command of a line of the unit, as systemd would run it, with `places` of this test's own.
fn command_of_unit(key: &str, places: &[(&str, &str)]) -> Command {
    let text = read("corelane.service").replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let line = line.unwrap_or_else(|| panic!("the unit has no {key}"));
    let line = places.iter().fold(line.to_owned(), |line, (theirs, own)| {
        assert!(line.contains(theirs), "{key} has no {theirs}: {line}");
        line.replace(theirs, own)
    });
    let mut words = line.split_ascii_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    command
}

/// Plays systemd: starts what the unit says, hears what it is told, reloads, and stops.
#[test]
fn the_unit_is_ready_reloads_and_ends_as_it_says() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let manager = UnixDatagram::bind(path("notify")).expect("bind");
    manager.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let hears = |expected: &str| {
        let mut message = [0; 1024];
        loop {
            let size = manager.recv(&mut message).unwrap_or_else(|_| panic!("not {expected}"));
            let text = String::from_utf8_lossy(&message[..size]).into_owned();
            if text.contains(expected) {
                return text;
            }
        }
    };
    std::fs::write(path("index.html"), "home").expect("a file");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = command_of_unit(
        "ExecStart",
        &[
            ("/usr/local/bin/corelane", BINARY),
            ("/srv/www", &path("")),
            ("0.0.0.0:8080", &address.to_string()),
            ("127.0.0.1:9090", &format!("unix:{}", path("admin"))),
            ("${LOGS_DIRECTORY}", &path("")),
        ],
    );
    command.env("NOTIFY_SOCKET", path("notify")).env("WATCHDOG_USEC", "1000000");
    let first = Running(command.stdout(Stdio::null()).spawn().expect("start"));
    hears("READY=1");
    assert_eq!(get(address).expect("an answer"), "200");
    hears("WATCHDOG=1");

    let main = first.0.id().to_string();
    let mut reload =
        command_of_unit("ExecReload", &[("/usr/local/bin/corelane", BINARY), ("$MAINPID", &main)]);
    let (is_reloaded, text) = run(&mut reload);
    assert!(is_reloaded, "{text}");
    assert_eq!(first.wait(), Some(0));
    let told = hears("MAINPID=");
    let next = told.lines().find_map(|line| line.strip_prefix("MAINPID=")).expect("a number");
    let _end = OnDrop(|| _ = run(Command::new("kill").args(["-s", "KILL", next])));
    assert_eq!(get(address).expect("an answer"), "200");
    hears("WATCHDOG=1");
    assert!(run(Command::new("kill").args(["-s", "TERM", next])).0);
    hears("STOPPING=1");
    // It is not this test's child; its log shows that it ends.
    let limit = Instant::now() + PATIENCE;
    let log = || std::fs::read_to_string(path("access.log")).expect("a log");
    while log().matches("\"GET / HTTP/1.1\" 200 ").count() < 2 {
        assert!(Instant::now() < limit, "a line is missing: {}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_unit_is_exposed_to_little() {
    let (_folder, service) = unit();
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", "--threshold=25"]).arg(service);
    let (is_below, text) = run(&mut analyze);
    assert!(is_below, "exposed to more than 2.5: {text}");
}

/// The names of a group of system calls, and of the groups in it (systemd.exec(5)).
fn group(name: &str, names: &mut Vec<String>) {
    let (is_known, text) = run(Command::new("systemd-analyze").args(["syscall-filter", name]));
    assert!(is_known, "{name}: {text}");
    for line in text.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#')) {
        match line.starts_with('@') {
            true => group(line, names),
            false => names.push(line.to_owned()),
        }
    }
}

/// A profile with what the unit's `SystemCallFilter=` lines leave.
fn profile_of_unit() -> Value {
    let mut allowed = Vec::new();
    // Allowed beside whatever else is: what a process can not live without.
    group("@default", &mut allowed);
    for line in read("corelane.service").lines() {
        let Some(filter) = line.strip_prefix("SystemCallFilter=") else { continue };
        let mut names = Vec::new();
        filter.trim_start_matches('~').split(' ').for_each(|name| group(name, &mut names));
        match filter.starts_with('~') {
            true => allowed.retain(|name| !names.contains(name)),
            false => allowed.extend(names),
        }
    }
    let architecture = format!("SCMP_ARCH_{}", std::env::consts::ARCH.to_uppercase());
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{ "architecture": architecture }],
        "syscalls": [{ "names": allowed, "action": "SCMP_ACT_ALLOW" }],
    })
}

fn write_profile(folder: &TempDir, profile: &Value) -> PathBuf {
    let path = folder.path().join("profile.json");
    std::fs::write(&path, profile.to_string()).expect("a file");
    path
}

/// Serves and drains under a profile.
fn serve_confined(profile: &Path) {
    let site = folder();
    let mut command = confined();
    command.arg(profile).arg(BINARY);
    let (server, address) = serve(command, site.path());
    assert_eq!(get(address).expect("an answer"), "200");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn it_serves_with_the_system_calls_of_the_unit() {
    let folder = folder();
    serve_confined(&write_profile(&folder, &profile_of_unit()));
}

/// Another user, without a capability, under the profile, and no file system that can be written.
#[test]
fn it_needs_no_privilege_and_writes_nowhere() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give everything up");
        return;
    }
    let place = folder();
    let (site, program) = (place.path().join("site"), place.path().join("corelane"));
    std::fs::create_dir(&site).expect("a folder");
    std::fs::copy(BINARY, &program).expect("a copy");
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).expect("a mode");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-ec"]).arg(
        "findmnt --noheadings --list --output TARGET | while read -r at; do
             mount -o remount,bind,ro \"$at\" 2>/dev/null || true
         done
         if touch \"$3/site/written\" 2>/dev/null; then exit 9; fi
         run=\"$1 $2 setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all\"
         program=$3/corelane
         shift 3
         exec $run --bounding-set=-all --no-new-privs \"$program\" \"$@\"",
    );
    let confined = confined().get_program().to_owned();
    command.arg("sh").arg(confined).arg(deploy("seccomp.json")).arg(place.path());
    let (server, address) = serve(command, &site);
    assert_eq!(get(address).expect("an answer"), "200");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}

/// Whether a Python expression of a system call is let through; by its errno where it is not.
fn errno_of(profile: &Path, call: &str) -> String {
    let program = format!(
        "import ctypes, errno; c = ctypes.CDLL(None, use_errno=True); r = {call}; \
         print('done' if r >= 0 else errno.errorcode[ctypes.get_errno()])"
    );
    let (is_run, text) = run(confined().arg(profile).args(["python3", "-c", &program]));
    assert!(is_run, "{call}: {text}");
    text.trim().to_owned()
}

#[test]
fn it_serves_under_the_seccomp_profile_and_others_can_do_little() {
    let profile = deploy("seccomp.json");
    serve_confined(&profile);
    for (call, expected) in [
        ("c.getpid()", "done"),
        ("c.socket(2, 1, 0)", "done"),
        // Packets as they are on the wire, network settings, new namespaces, tracing, mounts.
        ("c.socket(17, 3, 0)", "EPERM"),
        ("c.socket(16, 3, 0)", "EPERM"),
        ("c.unshare(0x10000000)", "EPERM"),
        ("c.ptrace(0, 0, 0, 0)", "EPERM"),
        ("c.mount(b'none', b'/', b'tmpfs', 0, None)", "EPERM"),
        ("c.personality(0x0040000)", "EPERM"),
    ] {
        assert_eq!(errno_of(&profile, call), expected, "{call}");
    }
}

#[test]
fn without_its_rings_it_says_what_denies_them() {
    let mut profile: Value = serde_json::from_str(&read("seccomp.json")).expect("JSON");
    for rule in profile["syscalls"].as_array_mut().expect("a list") {
        let names = rule["names"].as_array_mut().expect("a list");
        names.retain(|name| !name.as_str().expect("text").starts_with("io_uring"));
    }
    let folder = folder();
    let path = write_profile(&folder, &profile);
    let mut command = confined();
    command.arg(&path).args([BINARY, "serve", "--listen", "127.0.0.1:0"]).arg(folder.path());
    let (has_started, text) = run(&mut command);
    assert!(!has_started && text.contains("seccomp"), "{text}");
    let (is_healthy, report) = run(confined().arg(&path).args([BINARY, "doctor"]));
    assert!(!is_healthy && report.contains("a filter is active, and io_uring is denied"));
}

/// The rotation that is shipped, with another path and with the signal that systemd would send.
#[test]
fn a_rotated_log_goes_on_in_a_new_file() {
    let (site, folder) = (folder(), folder());
    let log = folder.path().join("access.log");
    let path = log.to_str().expect("a path");
    let (server, address) = serve_with(Command::new(BINARY), site.path(), &["--access-log", path]);
    let systemd = "systemctl kill --signal=HUP --kill-whom=main corelane.service";
    let rule = read("logrotate");
    assert!(rule.contains(systemd) && rule.contains("/var/log/corelane/access.log"), "{rule}");
    let rule = rule
        .replace("/var/log/corelane/access.log", path)
        .replace(systemd, &format!("kill -s HUP {}", server.0.id()));
    let config = folder.path().join("rule");
    std::fs::write(&config, rule).expect("a file");
    std::fs::set_permissions(&config, Permissions::from_mode(0o600)).expect("chmod");
    let lines = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        text.lines().count()
    };
    assert_eq!(get(address).expect("an answer"), "200");
    eventually("a line", || lines("access.log") == 1);
    let mut logrotate = Command::new("/usr/sbin/logrotate");
    let (is_fine, text) =
        run(logrotate.arg("--force").arg("--state").arg(folder.path().join("state")).arg(&config));
    assert!(is_fine && text.is_empty(), "{text}");
    eventually("a new file", || log.exists());
    assert_eq!(get(address).expect("an answer"), "200");
    eventually("a line in it", || lines("access.log") == 1);
    assert_eq!(lines("access.log.1"), 1);
}

/// What the container file and the manifests start is understood: an option that is spelled wrong
/// ends the program with 2 before it has looked at anything else.
#[test]
fn what_the_containers_start_is_understood() {
    for (name, marker) in [("Containerfile", "CMD ["), ("kubernetes.yaml", "args: [")] {
        let text = read(name).replace("\\\n", "");
        let list = text.split(marker).nth(1).and_then(|rest| rest.split(']').next());
        let words = list.unwrap_or_else(|| panic!("{name} starts nothing")).split(',');
        let arguments: Vec<_> = words.map(|word| word.trim().trim_matches('"')).collect();
        assert_eq!(&arguments[..2], ["serve", "/srv"], "{name}");
        // Only the directory is not there; that is said, and nothing else.
        let nowhere = |word: &&str| word.replace("/srv", "/there/is/none");
        let mut command = Command::new(BINARY);
        let (has_started, text) = run(command.args(arguments.iter().map(nowhere)));
        assert!(!has_started && text.contains("/there/is/none can not be served"), "{text}");
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("an address").port()
}

/// Requests by `CLIENTS` connections through a proxy in front of two servers, while one of them is
/// drained; every one of them has to be answered.
fn drain_behind(proxy: impl Fn(&Path, u16, [SocketAddr; 2]) -> Command) {
    const CLIENTS: u64 = 8;
    let (site, folder) = (folder(), folder());
    let (first, first_address) = serve(Command::new(BINARY), site.path());
    let (_second, second_address) = serve(Command::new(BINARY), site.path());
    let port = free_port();
    let mut proxy = proxy(folder.path(), port, [first_address, second_address]);
    let _proxy = Running(proxy.spawn().expect("the proxy starts"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let limit = Instant::now() + PATIENCE;
    while get(address).ok().as_deref() != Some("200") {
        assert!(Instant::now() < limit, "the proxy does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let wait_for = |count: u64| {
        let goal = answered.load(Ordering::Relaxed) + count;
        while answered.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < limit, "too few answers");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| {
        // Also when the test fails within: the clients would go on for ever.
        let end = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| ask_until(&is_over, address, &answered))).collect();
        wait_for(200);
        first.signal("TERM");
        assert_eq!(first.wait(), Some(0), "the drain cuts nothing off");
        wait_for(200);
        drop(end);
        for client in clients {
            client.join().expect("no panic");
        }
    });
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// One request after the other on a connection that is kept, as browsers do.
fn ask_until(is_over: &AtomicBool, address: SocketAddr, answered: &AtomicU64) {
    let connect = || {
        let socket = TcpStream::connect(address).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        BufReader::new(socket)
    };
    let mut input = connect();
    while !is_over.load(Ordering::Relaxed) {
        input.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("send");
        let (mut status, mut size, mut is_last) = (String::new(), 0, false);
        input.read_line(&mut status).expect("a status");
        loop {
            let mut line = String::new();
            input.read_line(&mut line).expect("a line");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            is_last |= line == "connection: close";
            if let Some(value) = line.strip_prefix("content-length: ") {
                size = value.parse().expect("a size");
            }
        }
        let mut body = vec![0; size];
        input.read_exact(&mut body).expect("the content");
        assert_eq!((status.trim_end(), &body[..]), ("HTTP/1.1 200 OK", &b"home"[..]));
        answered.fetch_add(1, Ordering::Relaxed);
        if is_last {
            // nginx ends a connection after a thousand requests.
            input = connect();
        }
    }
}

/// The page for newcomers: its blocks of `sh` are run as they stand there, in order.
#[test]
fn the_way_to_production_can_be_gone() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(repository.join("docs/getting-to-production.md"));
    let page = page.expect("the page");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script = ["8080", "9090"].iter().fold(blocks.collect::<String>(), |script, port| {
        assert!(script.contains(port), "the page has lost its port {port}: {script}");
        script.replace(port, &free_port().to_string())
    });
    assert!(script.matches("corelane ").count() >= 2, "the page has lost its commands: {script}");
    let folder = folder();
    std::os::unix::fs::symlink(repository.join("scripts"), folder.path().join("scripts"))
        .expect("a link");
    // The page builds the program; here it is built.
    std::fs::create_dir_all(folder.path().join("target/release")).expect("a folder");
    std::os::unix::fs::symlink(BINARY, folder.path().join("target/release/corelane"))
        .expect("a link");
    let mut bash = Command::new("bash");
    bash.args(["-euxo", "pipefail", "-c", &script]).current_dir(folder.path());
    let (is_gone, text) = run(&mut bash);
    assert!(is_gone, "{text}");
}

#[test]
fn nginx_in_front_loses_no_request_when_a_server_drains() {
    drain_behind(|folder, port, servers| {
        let servers = servers.map(|address| format!("server {address};")).join(" ");
        let snippet = read("nginx.conf")
            .replace("server 127.0.0.1:8080;", &servers)
            .replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
        std::fs::write(folder.join("corelane.conf"), snippet).expect("a file");
        let path = folder.display();
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};"))
            .join(" ");
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr warn; events {{}} \
             http {{ access_log off; {places} include {path}/corelane.conf; }}"
        );
        let config_path = folder.join("nginx.conf");
        std::fs::write(&config_path, config).expect("a file");
        let nginx = || {
            let mut nginx = Command::new("nginx");
            nginx.arg("-p").arg(folder).arg("-c").arg(&config_path);
            nginx
        };
        let (is_fine, text) = run(nginx().arg("-t"));
        assert!(is_fine && !text.contains("[warn]"), "{text}");
        nginx()
    });
}

#[test]
fn haproxy_in_front_loses_no_request_when_a_server_drains() {
    drain_behind(|folder, port, [first, second]| {
        let config =
            read("haproxy.cfg").replace("bind :80", &format!("bind 127.0.0.1:{port}")).replace(
                "server one 127.0.0.1:8080",
                &format!("server one {first}\n    server two {second}"),
            );
        let path = folder.join("haproxy.cfg");
        std::fs::write(&path, config).expect("a file");
        let haproxy = || {
            let mut haproxy = Command::new("haproxy");
            haproxy.arg("-f").arg(&path);
            haproxy
        };
        let (is_fine, text) = run(haproxy().arg("-c"));
        assert!(is_fine && !text.contains("[WARNING]"), "{text}");
        haproxy()
    });
}
