//! Drives our protocol core over the pieces of one connection.

use corelane::http1::{Connection, EndOfInput, Fields, Limits, Step};

use crate::reference::{BODY_BYTES_MAX, End, Request};

/// What was seen of one stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<Request>,
    pub(crate) end: End,
    /// The status of the refusal.
    pub(crate) refusal: Option<u16>,
}

/// Reads the pieces one after the other.
pub(crate) fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let (mut connection, mut fields) = (Connection::new(), Fields::new());
    let limits = Limits::default();
    let (mut pending, mut requests, mut current) = (Vec::new(), Vec::new(), Request::default());
    for piece in pieces {
        pending.extend_from_slice(piece);
        loop {
            let consumed = match connection.step(&pending, &limits, &mut fields) {
                Step::NeedMore { consumed } => {
                    pending.drain(..consumed);
                    break;
                }
                Step::Refused(_) | Step::Closed => break,
                Step::Head(head) => {
                    let (target, size) = (head.target, head.size);
                    for (name, value) in fields.iter(&pending) {
                        assert!(!name.is_empty() && !value.contains(&b'\n'));
                    }
                    current = Request {
                        method: head.method.as_str().as_bytes().to_vec(),
                        target: target.of(&pending).to_vec(),
                        body: Vec::new(),
                        keeps_alive: head.keeps_alive,
                    };
                    assert!(head.path(&pending[..size]).len() <= target.size().max(1));
                    let is_within_limit = connection.limit_body(BODY_BYTES_MAX).is_ok();
                    if is_within_limit && !head.framing.has_body() {
                        requests.push(std::mem::take(&mut current));
                    }
                    size
                }
                Step::Data { skip, size } => {
                    current.body.extend_from_slice(&pending[skip..skip + size]);
                    skip + size
                }
                Step::End { consumed } => {
                    requests.push(std::mem::take(&mut current));
                    consumed
                }
            };
            pending.drain(..consumed);
        }
    }
    let end = match connection.end_of_input(&pending) {
        _ if connection.refusal().is_some() => End::Refused,
        _ if connection.is_closing() && !connection.is_in_body() => End::Closed,
        EndOfInput::Clean => End::Open,
        EndOfInput::TruncatedHead | EndOfInput::TruncatedBody => End::Waiting,
    };
    Seen { requests, end, refusal: connection.refusal().map(|error| error.status().as_u16()) }
}
