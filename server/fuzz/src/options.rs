//! What operators write: the options of the services, as flags and as a file.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use clap::Parser;
use corelane::Address;
use corelane_examples::{Flags, Options};

use crate::parts;

/// The keys that a file may have.
const KEYS: [&str; 13] = [
    "listen",
    "cores",
    "balance",
    "admin",
    "limit_concurrency",
    "spin",
    "pid_file",
    "trusted_proxies",
    "proxy_field",
    "proxy_protocol",
    "access_log",
    "access_log_format",
    "dataset",
];

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    service: Flags,
}

/// A file in TOML, and behind a NUL the flags, each on a line of its own.
pub fn config(data: &[u8]) {
    let (_, bytes) = parts(data);
    let mut sides = bytes.splitn(2, |byte| *byte == 0);
    let (text, flags) = (sides.next().unwrap_or_default(), sides.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (path, parsed) = with_file(text, |path| (path.to_owned(), obey(path, &[])));
    match parsed {
        Ok(options) => check(&options),
        Err(problem) => explained(&problem, &path, text),
    }
    let flags: Vec<&OsStr> = flags.split(|byte| *byte == b'\n').map(OsStr::from_bytes).collect();
    // Flags win, so with them there is less to be wrong, or something else.
    if let Ok(options) = with_file(text, |path| obey(path, &flags)) {
        check(&options);
    }
}

/// As a service starts.
fn obey(path: &str, flags: &[&OsStr]) -> Result<Options, String> {
    let start = [OsStr::new("service"), OsStr::new("--config"), OsStr::new(path)];
    let program = Program::try_parse_from(start.into_iter().chain(flags.iter().copied()));
    let program = program.map_err(|error| error.to_string())?;
    program.service.over_file(&["dataset"])
}

/// What is obeyed is written as it is read.
fn check(options: &Options) {
    assert!(!options.listen.is_empty());
    for address in &options.listen {
        assert_eq!(address.to_string().parse::<Address>().as_ref(), Ok(address));
    }
    assert_eq!(options.cores.to_string().parse().as_ref(), Ok(&options.cores));
    assert_eq!(options.balance.to_string().parse().as_ref(), Ok(&options.balance));
    let limit = &options.limit_concurrency;
    assert_eq!(limit.to_string().parse().as_ref(), Ok(limit));
    let (field, format) = (options.proxy.field, options.access_log_format);
    assert_eq!(field.to_string().parse(), Ok(field));
    assert_eq!(format.to_string().parse(), Ok(format));
}

/// One line that names the file's line, and the key where there is one.
fn explained(problem: &str, path: &str, text: &str) {
    assert!(!problem.contains(char::is_control), "{problem:?}");
    let problem = problem.strip_prefix(&format!("config: {path}, line ")).expect(problem);
    let (line, problem) = problem.split_once(": ").expect(problem);
    let line: usize = line.parse().expect("a number");
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "line {line} of {}", lines.len());
    // What is no TOML has no keys.
    let Ok(table) = text.parse::<toml::Table>() else { return };
    let unknown = problem.strip_prefix("the key ").and_then(|rest| rest.split_once(" is unknown"));
    let key = match unknown {
        Some((key, _)) => key,
        None => {
            let (key, _) = problem.split_once(": ").expect("a key");
            assert!(KEYS.contains(&key) && table.contains_key(key), "{problem}");
            key
        }
    };
    // A key may be written with escapes, and a table has lines of its own.
    let is_plain = !text.contains(['\\', '[', '{']) && !key.contains('\\');
    assert!(!is_plain || lines[line - 1].contains(key), "line {line}: {problem}: {text:?}");
}

thread_local! {
    static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Calls `read` with the path of a file in memory that has this text.
fn with_file<R>(text: &str, read: impl FnOnce(&str) -> R) -> R {
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(|| {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            File::from(rustix::fs::memfd_create("config", flags).expect("a file in memory"))
        });
        file.set_len(0).and_then(|()| file.rewind()).expect("it is ours");
        file.write_all(text.as_bytes()).expect("it fits");
        read(&format!("/proc/self/fd/{}", file.as_raw_fd()))
    })
}
