//! A server on one shard, and a raw client that reads whole responses and nothing else.
//!
//! Nothing here sleeps for a guessed time. The time limits only end a test that has failed.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
// Clippy knows test functions, but not what they are made of.
#![allow(clippy::unwrap_used)]

mod lint;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane::runtime::{Stats, Topology};
use corelane::{Address, App, Cores, Server, ServerConfig, ServerStats};
use serde::Deserialize;
use socket2::SockRef;

/// How long anything may take before the test counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server with a single shard, so that its counters are all there are.
pub struct TestServer {
    pub server: Server,
    pub address: SocketAddr,
}

impl TestServer {
    pub fn start(app: App) -> TestServer {
        let cpu = Topology::detect().cpus()[0];
        let server = app.cores(Cores::List(vec![cpu])).start("127.0.0.1:0").expect("start");
        let address = tcp_address(&server);
        TestServer { server, address }
    }

    pub fn start_with(app: App, change: impl FnOnce(&mut ServerConfig)) -> TestServer {
        let mut config = ServerConfig::default();
        change(&mut config);
        TestServer::start(app.config(config))
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends one whole request on a connection of its own.
    pub fn request(&self, request: impl AsRef<[u8]>) -> Response {
        let mut client = self.connect();
        client.send(request.as_ref());
        client.response_to(method_of(request.as_ref()))
    }

    pub fn get(&self, path: &str) -> Response {
        self.request(get(path))
    }

    pub fn stats(&self) -> &ServerStats {
        &self.server.stats()[0]
    }

    pub fn runtime_stats(&self) -> &Arc<Stats> {
        &self.server.runtime_stats()[0]
    }

    /// Waits until every connection's descriptor is closed again.
    pub fn wait_until_quiet(&self) {
        eventually("all connections are closed", || self.runtime_stats().streams_open() == 0);
    }

    /// Ends the server at once. What a test leaves behind must not hide in an orderly end.
    pub fn stop(self) {
        assert_eq!(self.runtime_stats().panics.value(), 0, "tasks panicked");
        assert_eq!(self.runtime_stats().stale_completions.value(), 0, "stale completions");
        self.server.stopper().stop();
        self.server.join().expect("join");
    }
}

pub fn tcp_address(server: &Server) -> SocketAddr {
    match &server.addresses()[0] {
        Address::Tcp(address) => *address,
        other => panic!("not TCP: {other}"),
    }
}

/// A request without a body.
pub fn get(path: &str) -> String {
    request("GET", path, "")
}

/// A request without a body; each line of `fields` ends in CRLF.
pub fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

/// A POST with a body and its length.
pub fn post(path: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let size = body.len();
    let fields = format!("Content-Type: {content_type}\r\nContent-Length: {size}\r\n");
    [request("POST", path, &fields).as_bytes(), body].concat()
}

/// `body` in chunks of `size` bytes, with the last chunk.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

pub fn method_of(request: &[u8]) -> &str {
    let end = request.iter().position(|byte| *byte == b' ').expect("a method");
    std::str::from_utf8(&request[..end]).expect("a method")
}

/// Waits for a state that another thread brings about.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field that comes once, or not at all.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(known, _)| known == name);
        let value = named.next().map(|(_, value)| std::str::from_utf8(value).expect("text"));
        assert!(named.next().is_none(), "{name} is repeated: {self:?}");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn says_close(&self) -> bool {
        let options = self.field("connection").unwrap_or_default();
        options.split(", ").any(|option| option == "close")
    }

    /// The `detail` of a problem body (RFC 9457).
    pub fn detail(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"));
        let problem: Problem = simd_json::serde::from_slice(&mut self.body.clone()).expect("JSON");
        assert_eq!(problem.status, self.status);
        problem.detail
    }
}

#[derive(Deserialize)]
struct Problem {
    status: u16,
    #[serde(default)]
    detail: String,
}

/// Why no response can be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server closed before the first byte of a response.
    Clean,
    /// The connection was reset before the first byte of a response.
    Reset,
    /// The connection ended within a response.
    Within,
}

/// The other end of a connection, byte by byte.
pub struct Client {
    pub socket: TcpStream,
    /// Received and not yet part of a response.
    unread: Vec<u8>,
    /// The lines behind the last chunked body.
    pub trailers: Vec<String>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::new(TcpStream::connect(address).expect("connect"))
    }

    pub fn new(socket: TcpStream) -> Client {
        socket.set_nodelay(true).expect("nodelay");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("timeout");
        Client { socket, unread: Vec::new(), trailers: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("send");
    }

    /// Sends, unless the server has closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// One write per byte; stops where the server has closed already.
    pub fn send_bytewise(&mut self, bytes: &[u8]) {
        self.send_pieces(bytes.chunks(1));
    }

    /// One write per piece; stops where the server has closed already.
    pub fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            if self.socket.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// Sends and receives one response.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request.as_ref());
        self.response_to(method_of(request.as_ref()))
    }

    /// The response to a request that was not HEAD.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub fn response_to(&mut self, method: &str) -> Response {
        self.try_response_to(method).unwrap_or_else(|end| panic!("no response: {end:?}"))
    }

    /// The next final response, or how the connection ended instead.
    pub fn try_response_to(&mut self, method: &str) -> Result<Response, End> {
        loop {
            let response = self.any_response_to(method)?;
            if response.status >= 200 {
                return Ok(response);
            }
            assert_eq!(response.status, 100, "an interim response of another kind");
        }
    }

    /// The next response, interim or final.
    pub fn any_response_to(&mut self, method: &str) -> Result<Response, End> {
        let head_size = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.receive_more()?;
        };
        let head: Vec<u8> = self.unread.drain(..head_size).collect();
        let mut response = parse_head(&head);
        response.body = self.body(&response, method)?;
        lint::check(&response, method);
        Ok(response)
    }

    // RFC 9112 section 6.3, as a client.
    fn body(&mut self, response: &Response, method: &str) -> Result<Vec<u8>, End> {
        let length = response.field("content-length");
        let coding = response.field("transfer-encoding");
        assert!(length.is_none() || coding.is_none(), "two framings: {response:?}");
        if matches!(response.status, 100..=199 | 204 | 304) {
            assert!(length.is_none() && coding.is_none(), "framing without content: {response:?}");
            return Ok(Vec::new());
        }
        if method == "HEAD" {
            return Ok(Vec::new());
        }
        match (length, coding) {
            (Some(size), _) => self.take(size.parse().expect("a length")),
            (None, Some(coding)) => {
                assert_eq!(coding, "chunked");
                self.chunks()
            }
            (None, None) => {
                assert!(response.says_close(), "content without an end: {response:?}");
                Ok(self.rest())
            }
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).expect("a chunk size");
            if size == 0 {
                self.take_trailers()?;
                return Ok(body);
            }
            body.extend_from_slice(&self.take(size)?);
            assert_eq!(self.line()?, "", "behind a chunk of {size} bytes");
        }
    }

    fn take_trailers(&mut self) -> Result<(), End> {
        self.trailers.clear();
        loop {
            match self.line()? {
                line if line.is_empty() => return Ok(()),
                line => self.trailers.push(line),
            }
        }
    }

    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(String::from_utf8(line[..at].to_vec()).expect("text"));
            }
            self.receive_more().map_err(|_| End::Within)?;
        }
    }

    fn take(&mut self, size: usize) -> Result<Vec<u8>, End> {
        while self.unread.len() < size {
            self.receive_more().map_err(|_| End::Within)?;
        }
        Ok(self.unread.drain(..size).collect())
    }

    /// Everything up to the end of the connection, which must be an orderly one.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.receive_more() {
                Ok(()) => {}
                Err(End::Reset) => panic!("reset after {} bytes", self.unread.len()),
                Err(_) => return std::mem::take(&mut self.unread),
            }
        }
    }

    /// The server closes, and sends nothing more.
    pub fn expect_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }

    /// The connection ends, orderly or not, and nothing more comes.
    pub fn expect_ended(&mut self) {
        // A receive that a signal has interrupted brought nothing, and ended nothing.
        let end = loop {
            match self.receive_more() {
                Ok(()) if self.unread.is_empty() => {}
                end => break end,
            }
        };
        let rest = String::from_utf8_lossy(&self.unread);
        assert!(matches!(end, Err(End::Clean | End::Reset)) && rest.is_empty(), "{end:?} {rest:?}");
    }

    /// A head, and no byte of what is behind it.
    pub fn receive_head(&mut self) -> String {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            assert_eq!(self.receive_raw(&mut byte), 1, "ended within a head");
            head.push(byte[0]);
        }
        String::from_utf8(head).expect("a head is text")
    }

    /// Receives raw bytes, at least one unless the connection has ended.
    pub fn receive_raw(&mut self, bytes: &mut [u8]) -> usize {
        self.try_receive_raw(bytes).expect("receive")
    }

    pub fn try_receive_raw(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.socket.read(bytes) {
                // A signal of glommio's may land on any thread.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }

    /// Receives what is there, at least a byte.
    fn receive_more(&mut self) -> Result<(), End> {
        let mut bytes = [0; 64 * 1024];
        let is_within = !self.unread.is_empty();
        let end = |orderly| if is_within { End::Within } else { orderly };
        match self.try_receive_raw(&mut bytes) {
            Ok(0) => Err(end(End::Clean)),
            Ok(size) => {
                self.unread.extend_from_slice(&bytes[..size]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(end(End::Reset)),
            Err(error) => panic!("receive: {error}; so far {} bytes", self.unread.len()),
        }
    }

    /// Sends no more, and still receives.
    pub fn half_close(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("linger");
    }
}

fn parse_head(head: &[u8]) -> Response {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(head);
    assert_eq!(status, Ok(httparse::Status::Complete(head.len())), "{head:?}");
    assert_eq!(parsed.version, Some(1), "always HTTP/1.1");
    let field =
        |field: &httparse::Header<'_>| (field.name.to_ascii_lowercase(), field.value.to_vec());
    Response {
        status: parsed.code.expect("a status"),
        fields: parsed.headers.iter().map(field).collect(),
        body: Vec::new(),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
