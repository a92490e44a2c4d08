//! A stub server on threads, answering as it is told, and the tool run against it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A request as the stub has read it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which connection it came on, by the order of accepting.
    pub connection: usize,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().expect("a method")
    }

    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).expect("a path")
    }

    pub fn header(&self, wanted: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(value)
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Next,
    Close,
}

/// A server with a thread for each connection. Its threads end with the process.
pub struct Stub {
    pub address: SocketAddr,
    pub connection_count: Arc<AtomicUsize>,
    pub requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Answers each request as `answer` does.
    pub fn start<F>(answer: F) -> Stub
    where
        F: Fn(&Request, &mut TcpStream) -> io::Result<Then> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let stub = Stub {
            address: listener.local_addr().expect("address"),
            connection_count: Arc::default(),
            requests: Arc::default(),
        };
        let (count, requests) = (Arc::clone(&stub.connection_count), Arc::clone(&stub.requests));
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("accept");
                let connection = count.fetch_add(1, Ordering::Relaxed);
                let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
                std::thread::spawn(move || serve(connection, stream, &requests, &*answer));
            }
        });
        stub
    }

    /// Answers everything with [`OK`].
    pub fn ok() -> Stub {
        Stub::start(|_, stream| write(stream, OK))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("lock").clone()
    }
}

pub fn write(stream: &mut TcpStream, text: &str) -> io::Result<Then> {
    io::Write::write_all(stream, text.as_bytes())?;
    Ok(Then::Next)
}

fn serve<F>(
    connection: usize,
    mut stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    answer: &F,
) -> io::Result<()>
where
    F: Fn(&Request, &mut TcpStream) -> io::Result<Then>,
{
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(connection, &mut reader)? {
        requests.lock().expect("lock").push(request.clone());
        if answer(&request, &mut stream)? == Then::Close {
            break;
        }
    }
    Ok(())
}

fn read_request(
    connection: usize,
    reader: &mut BufReader<TcpStream>,
) -> io::Result<Option<Request>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let mut request = Request { connection, head, body: Vec::new() };
    if let Some(length) = request.header("content-length") {
        request.body = vec![0; length.parse().expect("a length")];
        reader.read_exact(&mut request.body)?;
    } else if request.header("transfer-encoding") == Some("chunked") {
        read_chunks(reader, &mut request.body)?;
    }
    Ok(Some(request))
}

fn read_chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).expect("a size");
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk's end");
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(());
        }
    }
}

/// The tool, not started yet.
pub fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane-bench"));
    command.arg("load").args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the tool to its end.
pub fn run(arguments: &[&str]) -> Output {
    tool(arguments).output().expect("the binary was built")
}

/// Runs the tool, and gives back its JSON report: `runs[0]` of it, and the exit code.
pub fn measure(url: &str, arguments: &[&str]) -> (Value, i32) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("report.json");
    let path = path.to_str().expect("UTF-8");
    let arguments: Vec<_> = [url, "--json", path].iter().chain(arguments).copied().collect();
    let output = run(&arguments);
    let code = output.status.code().expect("an exit code");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (report["runs"][0].clone(), code)
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
