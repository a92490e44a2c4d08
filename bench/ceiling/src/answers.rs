//! Request heads in, responses out; no I/O.

use std::mem::MaybeUninit;
use std::time::SystemTime;

use httparse::{Error, Request, Status};

/// More header fields than this in one head close the connection.
const HEADERS_MAX: usize = 64;

/// The two responses, formatted once a second because of their `Date`.
pub(crate) struct Answers {
    plaintext: Vec<u8>,
    pipeline: Vec<u8>,
    /// Seconds since the epoch that `Date` in both responses says.
    second: u64,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let mut answers = Self { plaintext: Vec::new(), pipeline: Vec::new(), second: 0 };
        answers.refresh();
        answers
    }

    /// Brings `Date` up to the second; called once a turn.
    pub(crate) fn refresh(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.plaintext = response(now, "Hello, World!");
            self.pipeline = response(now, "ok");
        }
    }

    /// Appends a response to `output` for each complete head in `input`, and says how many bytes
    /// those heads were. What is left is the start of a head whose end has not arrived.
    pub(crate) fn answer(&self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Refused> {
        let mut parsed = 0;
        while parsed < input.len() {
            // Left uninitialised: clearing 2 KiB for each head would show in the profile.
            let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
            let mut request = Request::new(&mut []);
            match request.parse_with_uninit_headers(&input[parsed..], &mut headers)? {
                Status::Complete(length) => parsed += length,
                Status::Partial => break,
            }
            if request.method != Some("GET") {
                return Err(Refused);
            }
            output.extend_from_slice(match request.path {
                Some("/pipeline") => &self.pipeline,
                _ => &self.plaintext,
            });
        }
        Ok(parsed)
    }
}

/// The peer sent something other than a well-formed GET.
#[derive(Debug)]
pub(crate) struct Refused;

impl From<Error> for Refused {
    fn from(_: Error) -> Self {
        Self
    }
}

fn response(now: SystemTime, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n\
         Server: corelane\r\n\
         Date: {}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{body}",
        httpdate::fmt_http_date(now),
        body.len(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Checks how many bytes are taken and how many responses they make.
    fn check(input: &str, parsed: usize, responses: usize) {
        let mut output = Vec::new();
        let answers = Answers::new();
        assert_eq!(answers.answer(input.as_bytes(), &mut output).ok(), Some(parsed), "{input:?}");
        assert_eq!(output, answers.plaintext.repeat(responses), "{input:?}");
    }

    #[test]
    fn answers_complete_heads_and_leaves_the_rest() {
        check("", 0, 0);
        check("GET / HT", 0, 0);
        check(HEAD, HEAD.len(), 1);
        check(&HEAD.repeat(16), HEAD.len() * 16, 16);
        check(&format!("{HEAD}{HEAD}GET"), HEAD.len() * 2, 2);
    }

    #[test]
    fn refuses_what_is_not_a_well_formed_get() {
        for input in ["POST / HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0", "GET  /"] {
            let mut output = Vec::new();
            assert!(Answers::new().answer(input.as_bytes(), &mut output).is_err(), "{input:?}");
            assert!(output.is_empty());
        }
    }
}
