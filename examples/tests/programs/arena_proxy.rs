//! The arena behind a proxy, as its options say; one of them is HAProxy itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use simd_json::prelude::*;

use crate::support::{PATIENCE, Program, Scratch};

/// The settings in force, from the admin address.
fn proxy_settings(path: &str) -> simd_json::OwnedValue {
    let mut socket = UnixStream::connect(path).unwrap();
    socket.write_all(b"GET /config HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let config = simd_json::to_owned_value(&mut body.to_owned().into_bytes()).unwrap();
    config["server"]["proxy"].clone()
}

#[test]
fn flags_win_over_the_file() {
    let scratch = Scratch::new("proxies");
    let admin = scratch.path("admin");
    let text = format!(
        "admin = 'unix:{admin}'\ntrusted_proxies = ['10.0.0.0/8', '::1']\nproxy_field = 'forwarded'"
    );
    let config = scratch.write("arena.toml", text);
    let start = |flags: &[&str]| {
        let arguments = [&["--listen", "127.0.0.1:0", "--config", &config], flags].concat();
        Program::start(env!("CARGO_BIN_EXE_arena"), &arguments)
    };
    let check = |trusted: &[&str], field: &str, has_head: bool| {
        let settings = proxy_settings(&admin);
        let found: Vec<&str> =
            settings["trusted"].as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
        assert_eq!(found, trusted);
        assert_eq!(settings.get_str("field"), Some(field));
        assert_eq!(settings.get_bool("has_protocol_head"), Some(has_head));
    };
    let arena = start(&[]);
    check(&["10.0.0.0/8", "::1/128"], "forwarded", false);
    drop(arena);
    let flags = ["--trusted-proxy", "192.0.2.1", "--proxy-field", "none", "--proxy-protocol"];
    let arena = start(&flags);
    check(&["192.0.2.1/32"], "none", true);
    drop(arena);
}

/// What a connection gets that begins like this; empty where it is closed without an answer.
fn answer(address: SocketAddr, head: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = b"GET /pipeline HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // Whoever is closed at once may find that out while it sends.
    let _ = socket.write_all(&[head, request].concat());
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn only_a_trusted_proxy_with_its_head_is_answered() {
    let head = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 80\r\n";
    let arena = Program::arena(&["--proxy-protocol", "--trusted-proxy", "127.0.0.0/8"]);
    assert!(answer(arena.address(), head).ends_with("\r\n\r\nok"));
    assert_eq!(answer(arena.address(), b""), "");
    let arena = Program::arena(&["--proxy-protocol", "--trusted-proxy", "10.0.0.0/8"]);
    assert_eq!(answer(arena.address(), head), "");
}

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn haproxy_says_for_whom_it_connects() {
    let arena = Program::arena(&["--proxy-protocol", "--trusted-proxy", "127.0.0.1"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scratch = Scratch::new("haproxy");
    // The snippet for operators, with the one change that its comment names.
    let snippet = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/deploy/haproxy.cfg");
    let text = std::fs::read_to_string(snippet).unwrap();
    let server = format!("server one {} send-proxy-v2", arena.address());
    let config = text
        .replace("bind :80", &format!("bind 127.0.0.1:{port}"))
        .replace("server one 127.0.0.1:8080", &server);
    assert!(config.contains(&server) && text.contains("send-proxy-v2"), "{text}");
    let config = scratch.write("haproxy.cfg", config);
    let mut haproxy = Command::new("haproxy");
    haproxy.args(["-f", &config]).stdout(Stdio::null()).stderr(Stdio::null());
    let _haproxy = Running(haproxy.spawn().expect("haproxy is there: scripts/test packages"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let limit = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() || !answer(address, b"").contains("200 OK") {
        assert!(Instant::now() < limit, "no answer through HAProxy");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its health checks have come through with a head of their own: none was turned away.
    let through = answer(address, b"");
    assert!(through.ends_with("\r\n\r\nok"), "{through}");
    drop(arena);
}
