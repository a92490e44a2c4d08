//! Answers, appended to the bytes that wait to be sent.

use std::time::SystemTime;

/// How often the clock is read: once in so many answers or whenever the caller waits.
const ANSWERS_PER_CLOCK: u32 = 64;

/// Writes answers with a `Date` that is at most a second old on a busy server.
pub(crate) struct Answers {
    date: [u8; 29],
    second: u64,
    age: u32,
    /// Whether the next answer is the connection's last.
    pub(crate) closes: bool,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let mut answers = Self { date: [b' '; 29], second: 0, age: 0, closes: false };
        answers.refresh();
        answers
    }

    fn refresh(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.date.copy_from_slice(httpdate::fmt_http_date(now).as_bytes());
        }
        self.age = 0;
    }

    pub(crate) fn text(&mut self, body: &[u8], output: &mut Vec<u8>) {
        self.append(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", body, output);
    }

    pub(crate) fn json(&mut self, body: &[u8], output: &mut Vec<u8>) {
        self.append(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", body, output);
    }

    pub(crate) fn number(&mut self, number: i64, output: &mut Vec<u8>) {
        self.text(itoa::Buffer::new().format(number).as_bytes(), output);
    }

    pub(crate) fn not_found(&mut self, output: &mut Vec<u8>) {
        self.append(b"HTTP/1.1 404 Not Found\r\n", b"", output);
    }

    pub(crate) fn bad_request(&mut self, output: &mut Vec<u8>) {
        self.append(b"HTTP/1.1 400 Bad Request\r\n", b"", output);
    }

    fn append(&mut self, head: &[u8], body: &[u8], output: &mut Vec<u8>) {
        self.age += 1;
        if self.age >= ANSWERS_PER_CLOCK {
            self.refresh();
        }
        output.extend_from_slice(head);
        output.extend_from_slice(b"Date: ");
        output.extend_from_slice(&self.date);
        if self.closes {
            output.extend_from_slice(b"\r\nConnection: close");
        }
        output.extend_from_slice(b"\r\nContent-Length: ");
        output.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
        output.extend_from_slice(b"\r\n\r\n");
        output.extend_from_slice(body);
    }
}
