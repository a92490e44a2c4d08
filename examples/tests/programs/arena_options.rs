//! The arena's options: what they do, and the one sentence for those that can not be obeyed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use simd_json::prelude::*;

use crate::support::{Client, Program, Scratch, run};

const ARENA: &str = env!("CARGO_BIN_EXE_arena");

fn check_refused(arguments: &[&str], code: i32, parts: &[&str]) {
    let ended = run(ARENA, arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
    assert_eq!(ended.output, "", "{arguments:?}");
    let sentence = ended.log.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("arena: "), "{arguments:?}: {ended:?}");
    for part in parts {
        assert!(sentence.contains(part), "{arguments:?}: {sentence}");
    }
}

#[test]
fn flags_that_can_not_be_obeyed() {
    for (arguments, parts) in [
        (&["--liste", "127.0.0.1:0"][..], &["--liste", "arena --help"][..]),
        (&["extra"], &["extra"]),
        (&["--listen"], &["--listen"]),
        (&["--listen", "somewhere"], &["--listen", "somewhere", "IP:PORT"]),
        (&["--cores", "some"], &["--cores", "some", "physical"]),
        (&["--listen", "127.0.0.1:0", "--cores", "60000,"], &["cores", "CPU 60000"]),
        (&["--listen", "127.0.0.1:0", "--cores", "60000"], &["cores", "60000 shards"]),
        (&["--listen", "127.0.0.1:0", "--cores", "0,0"], &["cores", "twice"]),
        (&["--spin", "50"], &["--spin", "50"]),
        (&["--listen", "127.0.0.1:0", "--spin", "1m"], &["spin: 60s", "block_max"]),
        (&["--trusted-proxy", "x"], &["--trusted-proxy", "x", "10.0.0.0/8"]),
        (&["--proxy-field", "x-real-ip"], &["--proxy-field", "x-real-ip", "forwarded"]),
        (&["--listen", "127.0.0.1:0", "--proxy-protocol"], &["proxy", "trusted"]),
        (&["--dataset", "/nonexistent/a.json"], &["dataset", "/nonexistent/a.json", "No such"]),
        (&["--config", "/nonexistent/a.toml"], &["config", "/nonexistent/a.toml", "No such"]),
    ] {
        check_refused(arguments, 2, parts);
    }
}

#[test]
fn files_that_can_not_be_obeyed() {
    let scratch = Scratch::new("bad-files");
    for (text, parts) in [
        ("# A comment.\n\nport = 8080", &["line 3", "port", "known: listen, cores, dataset"][..]),
        ("cores = 1\nlisten = [\"localhost\"]", &["line 2", "listen", "localhost"]),
        ("\ncores = \"most\"", &["line 2", "cores", "most"]),
        ("\n\n\ncores = true", &["line 4", "cores", "boolean"]),
        ("dataset = 7.5", &["line 1", "dataset", "float"]),
        ("cores = 1\ncores = 2", &["line 2", "duplicate"]),
        ("listen =", &["line 1"]),
    ] {
        let path = scratch.write("arena.toml", text);
        check_refused(&["--config", &path], 2, &[&["config: ", path.as_str()], parts].concat());
    }
    for text in ["", "{}", "[]", r#"[{"id":1}]"#] {
        let path = scratch.write("items.json", text);
        check_refused(&["--dataset", &path], 2, &["dataset: ", &path]);
    }
}

#[test]
fn a_port_in_use_is_the_machines_problem() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_refused(&["--listen", &address], 1, &[&address, "another program"]);
    let arena = Program::arena(&[]);
    let address = arena.address().to_string();
    check_refused(&["--listen", &address], 1, &[&address, "another program"]);
}

#[test]
fn help_says_every_option() {
    let ended = run(ARENA, &["--help"]);
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""));
    for option in [
        "--listen",
        "--cores",
        "--balance",
        "--admin",
        "--spin",
        "--access-log",
        "--dataset",
        "--config",
    ] {
        assert!(ended.output.contains(option), "{}", ended.output);
    }
}

#[test]
fn the_ready_line_says_addresses_and_shards() {
    let arena = Program::arena(&["--cores", "1"]);
    let start = format!("corelane listens on http://{} with 1 shard on CPU ", arena.address());
    assert!(arena.ready_line.starts_with(&start), "{}", arena.ready_line);
    assert_eq!(arena.connect().get("/pipeline").text(), "ok");
}

#[test]
fn it_listens_everywhere_it_is_told_to() {
    let scratch = Scratch::new("socket");
    let path = scratch.path("socket");
    let arena = Program::arena(&["--listen", "[::1]:0", "--listen", &format!("unix:{path}")]);
    assert_eq!(arena.addresses().len(), 2, "{}", arena.ready_line);
    for address in arena.addresses() {
        assert_eq!(Client::connect(address).get("/pipeline").text(), "ok");
    }
    let mut socket = UnixStream::connect(&path).unwrap();
    socket.write_all(b"GET /pipeline HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
}

#[test]
fn the_admin_address_is_where_it_is_told() {
    let scratch = Scratch::new("admin");
    let path = scratch.path("admin");
    let config = scratch.write("arena.toml", format!("admin = 'unix:{path}'\ndataset = 'x.json'"));
    let dataset = r#"[{"id":9,"name":"Lamp","category":"lighting","price":3,"quantity":5,
        "active":true,"tags":[],"rating":{"score":4,"count":2}}]"#;
    scratch.write("x.json", dataset);
    let arena = Program::start(ARENA, &["--listen", "127.0.0.1:0", "--config", &config]);
    let ask = |target: &str| {
        let mut socket = UnixStream::connect(&path).unwrap();
        write!(socket, "GET {target} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/readyz").ends_with("\r\n\r\nready\n"));
    assert!(ask("/config").contains("\"dataset\": \"x.json\""), "{}", ask("/config"));
    assert_eq!(arena.connect().get("/pipeline").text(), "ok");
    let counted = "corelane_requests_total{shard=\"0\",route=\"/pipeline\",code=\"2xx\"} ";
    assert!(ask("/metrics").contains(counted));
    check_refused(&["--admin", "nowhere"], 2, &["--admin", "nowhere"]);
}

#[test]
fn requests_are_logged_where_it_is_told() {
    let scratch = Scratch::new("log");
    let text = "access_log = 'access.log'\naccess_log_format = 'json'\ncores = 1";
    let config = scratch.write("arena.toml", text);
    let arena = Program::arena(&["--config", &config]);
    assert_eq!(arena.connect().get("/pipeline").text(), "ok");
    arena.signal("TERM");
    assert_eq!(arena.wait().code, Some(0));
    let log = std::fs::read_to_string(scratch.path("access.log")).unwrap();
    assert!(log.contains(r#""target":"/pipeline","version":"1.1","status":200,"#), "{log}");
    assert_eq!(log.lines().count(), 1);
}

#[test]
fn a_file_says_what_flags_do_not() {
    let scratch = Scratch::new("files");
    scratch.write(
        "items.json",
        r#"[{"id":9,"name":"Lamp","category":"lighting","price":3,"quantity":5,"active":true,
            "tags":[],"rating":{"score":4,"count":2}}]"#,
    );
    let config = "cores = 1\nlisten = ['127.0.0.1:0', '127.0.0.1:0']\ndataset = 'items.json'";
    let config = scratch.write("arena.toml", config);

    let arena = Program::start(ARENA, &["--config", &config]);
    assert_eq!((arena.shard_count(), arena.addresses().len()), (1, 2));
    let response = arena.connect().get("/json/1?m=2").json();
    assert_eq!(response["items"][0].get_u64("total"), Some(30));
    assert_eq!(arena.connect().get("/json/2").status, 400);

    let arena = Program::arena(&["--config", &config]);
    assert_eq!((arena.shard_count(), arena.addresses().len()), (1, 1), "the flag wins");
    drop(arena);

    let config = scratch.write("bad.toml", "cores = 1\ndataset = 'missing.json'");
    check_refused(&["--config", &config], 2, &["dataset", &scratch.path("missing.json")]);
}
