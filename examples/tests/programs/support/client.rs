//! A raw client: what is sent is what the test wrote, and answers are read by their framing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// One answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> simd_json::OwnedValue {
        simd_json::to_owned_value(&mut self.body.clone()).unwrap()
    }
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, received: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the server may refuse to take.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn send_by_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        bytes.as_ref().chunks(1).for_each(|byte| self.send(byte));
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.response()
    }

    /// Sends JSON and reads the answer.
    pub(crate) fn json(&mut self, method: &str, target: &str, body: &str) -> Response {
        let size = body.len();
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
             Content-Length: {size}\r\n\r\n{body}"
        ));
        self.response()
    }

    /// Sends a request without a body and reads the answer.
    pub(crate) fn request(&mut self, method: &str, target: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        if method == "HEAD" { self.head() } else { self.response() }
    }

    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.head();
        if response.header("transfer-encoding") == Some("chunked") {
            response.body = self.chunks();
        } else if let Some(size) = response.header("content-length") {
            response.body = self.take(size.parse().unwrap());
        }
        response
    }

    /// The head of an answer alone, as to `HEAD`.
    pub(crate) fn head(&mut self) -> Response {
        let text = self.take_until(b"\r\n\r\n");
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Response { status, headers: lines.map(header).collect(), body: Vec::new() }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.take_until(b"\r\n")).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let chunk = self.take(size + 2);
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Whether the server has closed the connection, with nothing more to read.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.received.is_empty() && self.receive() == 0
    }

    fn take(&mut self, size: usize) -> Vec<u8> {
        while self.received.len() < size {
            assert_ne!(self.receive(), 0, "closed after {:?}", self.received);
        }
        self.received.drain(..size).collect()
    }

    fn take_until(&mut self, end: &[u8]) -> Vec<u8> {
        let find = |bytes: &[u8]| bytes.windows(end.len()).position(|window| window == end);
        loop {
            if let Some(at) = find(&self.received) {
                return self.take(at + end.len());
            }
            let received = self.receive();
            assert_ne!(received, 0, "closed after {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    fn receive(&mut self) -> usize {
        let mut bytes = [0; 16 * 1024];
        let size = match self.stream.read(&mut bytes) {
            Ok(size) => size,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("nothing came: {error}"),
        };
        self.received.extend_from_slice(&bytes[..size]);
        size
    }
}

/// A body in chunks of these sizes, over and over.
pub(crate) fn chunked(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut rest, mut coded) = (body, Vec::new());
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
        rest = after;
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}
