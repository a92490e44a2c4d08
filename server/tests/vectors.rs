//! Runs every wire vector against the protocol core, however its bytes are cut into reads.

mod vector;

use corelane::http1::{Connection, EndOfInput, Fields, Head, Limits, Step};
use vector::{After, Request, Vector};

/// The default limit of a route.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

const BEFORE: &[u8] = b"GET /before HTTP/1.1\r\nHost: h\r\n\r\n";
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n";

/// Inputs above this size are not split at every offset, which would take the square of their size.
const SPLIT_ALL_BYTES_MAX: usize = 2048;

/// What was seen of one stream.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    statuses: Vec<u16>,
    after: After,
    refusal: Option<&'static str>,
    requests: Vec<Request>,
}

/// A connection, the bytes that it has not consumed, and the request whose body it is receiving.
struct Peer {
    connection: Connection,
    fields: Fields,
    pending: Vec<u8>,
    current: Request,
    requests: Vec<Request>,
}

impl Peer {
    fn new() -> Self {
        Self {
            connection: Connection::new(),
            fields: Fields::new(),
            pending: Vec::new(),
            current: Request::default(),
            requests: Vec::new(),
        }
    }

    /// Takes one read from the socket.
    fn receive(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
        let limits = Limits::default();
        loop {
            let consumed = match self.connection.step(&self.pending, &limits, &mut self.fields) {
                Step::NeedMore { consumed } => return drop(self.pending.drain(..consumed)),
                Step::Refused(_) | Step::Closed => return,
                Step::Head(head) => self.head(&head),
                Step::Data { skip, size } => {
                    self.current.body += &text(&self.pending[skip..skip + size]);
                    skip + size
                }
                Step::End { consumed } => self.end(consumed),
            };
            self.pending.drain(..consumed);
        }
    }

    fn head(&mut self, head: &Head) -> usize {
        self.current = Request {
            method: head.method.to_string(),
            path: text(head.path(&self.pending)),
            query: head.query.map(|query| text(query.of(&self.pending))),
            authority: head.authority.map(|authority| text(authority.of(&self.pending))),
            expects_continue: head.expects_continue,
            ..Request::default()
        };
        let is_within_limit = self.connection.limit_body(BODY_BYTES_MAX).is_ok();
        if is_within_limit && !head.framing.has_body() {
            self.requests.push(std::mem::take(&mut self.current));
        }
        head.size
    }

    fn end(&mut self, consumed: usize) -> usize {
        let trailers = self.fields.trailers(&self.pending);
        let trailers = trailers.map(|(name, value)| format!("{}: {}", text(name), text(value)));
        self.current.trailers = trailers.collect();
        self.requests.push(std::mem::take(&mut self.current));
        consumed
    }

    fn seen(self) -> Seen {
        let refusal = self.connection.refusal();
        let statuses = self.requests.iter().map(|_| 200);
        Seen {
            statuses: statuses.chain(refusal.map(|error| error.status().as_u16())).collect(),
            after: match self.connection.end_of_input(&self.pending) {
                _ if self.connection.is_closing() && !self.connection.is_in_body() => After::Closed,
                EndOfInput::Clean => After::Open,
                EndOfInput::TruncatedHead | EndOfInput::TruncatedBody => After::Waiting,
            },
            refusal: refusal.map(|error| error.label()),
            requests: self.requests,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut peer = Peer::new();
    pieces.into_iter().for_each(|piece| peer.receive(piece));
    peer.seen()
}

/// Runs `input` whole, byte by byte and split in two; all must be seen alike.
fn run_however_cut(name: &str, input: &[u8]) -> Seen {
    let whole = run([input]);
    assert_eq!(run(input.chunks(1)), whole, "{name}: byte by byte");
    for middle in splits(input.len()) {
        let (first, second) = input.split_at(middle);
        assert_eq!(run([first, second]), whole, "{name}: split at {middle}");
    }
    whole
}

/// Every offset of a small input; of a large one those near its ends and one in 61 between.
fn splits(size: usize) -> impl Iterator<Item = usize> {
    let is_near_end = move |at: usize| at < 64 || at + 64 > size;
    (0..=size)
        .filter(move |at| size <= SPLIT_ALL_BYTES_MAX || is_near_end(*at) || at.is_multiple_of(61))
}

/// Compares what was seen with the vector, whose own requests start at `first`.
fn check(vector: &Vector, seen: &Seen, before: usize, behind: usize) {
    let (name, expected) = (&vector.name, &vector.expected);
    let answered = [vec![200; before], expected.statuses.clone(), vec![200; behind]].concat();
    assert_eq!(seen.statuses, answered, "{name}: statuses");
    assert_eq!(seen.after, expected.after, "{name}: what the connection does then");
    assert_eq!(seen.refusal, expected.refusal.as_deref(), "{name}: reason");
    let requests = &seen.requests[before..seen.requests.len() - behind];
    assert_eq!(requests.len(), expected.requests.len(), "{name}: number of requests");
    for (seen, expected) in requests.iter().zip(&expected.requests) {
        check_request(name, seen, expected);
    }
}

fn check_request(name: &str, seen: &Request, expected: &Request) {
    let authority = expected.authority.as_ref().and(seen.authority.clone());
    let seen = Request {
        method: seen.method.clone(),
        path: seen.path.clone(),
        query: seen.query.clone(),
        body: seen.body.clone(),
        trailers: seen.trailers.clone(),
        authority,
        ..*seen
    };
    assert_eq!(seen, *expected, "{name}: request");
}

/// The vectors are split between tests by family, so that they run side by side.
fn check_family(family: &str) {
    let vectors = vector::all();
    let own: Vec<_> = vectors.iter().filter(|v| v.name.starts_with(family)).collect();
    assert!(!own.is_empty(), "no vector in {family}");
    for vector in own {
        check(vector, &run_however_cut(&vector.name, &vector.input), 0, 0);
        let second = [BEFORE, &vector.input].concat();
        check(vector, &run_however_cut(&vector.name, &second), 1, 0);
        // Behind an unfinished request the bytes of another would become a part of it.
        if vector.expected.after != After::Waiting {
            let followed = [&vector.input, BEHIND].concat();
            let behind = usize::from(vector.expected.after == After::Open);
            check(vector, &run_however_cut(&vector.name, &followed), 0, behind);
        }
    }
}

#[test]
fn framing() {
    check_family("framing/");
}

#[test]
fn chunked() {
    check_family("chunked/");
}

#[test]
fn start_line() {
    check_family("start_line/");
}

#[test]
fn fields() {
    check_family("fields/");
}

#[test]
fn host() {
    check_family("host/");
}

#[test]
fn connection() {
    check_family("connection/");
}

#[test]
fn expect() {
    check_family("expect/");
}

#[test]
fn every_family_is_run() {
    const FAMILIES: [&str; 7] =
        ["chunked", "connection", "expect", "fields", "framing", "host", "start_line"];
    let vectors = vector::all();
    let mut families: Vec<_> = vectors.iter().filter_map(|v| v.name.split('/').next()).collect();
    families.dedup();
    assert_eq!(families, FAMILIES);
}
