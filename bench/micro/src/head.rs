//! From bytes to a request: the protocol core, httparse alone, and httparse with the `http` crate.

use std::hint::black_box;

use corelane::http1::{Connection, Fields, Limits, Step};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { group: "head, 2 fields", name: "Corelane", run: |count| corelane(SHORT, count) },
    Case { group: "head, 2 fields", name: "httparse", run: |count| httparse(SHORT, count) },
    Case { group: "head, 2 fields", name: "httparse + http", run: |count| http(SHORT, count) },
    Case { group: "head, 12 fields", name: "Corelane", run: |count| corelane(LONG, count) },
    Case { group: "head, 12 fields", name: "httparse", run: |count| httparse(LONG, count) },
    Case { group: "head, 12 fields", name: "httparse + http", run: |count| http(LONG, count) },
];

const SHORT: &[u8] =
    b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: bench/1.0\r\n\r\n";

/// As a browser asks.
const LONG: &[u8] = b"GET /items/42?sort=price HTTP/1.1\r\nHost: shop.example.org\r\n\
    Connection: keep-alive\r\nCache-Control: max-age=0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Referer: https://shop.example.org/items\r\nSec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\nUpgrade-Insecure-Requests: 1\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

const FIELD_COUNT_MAX: usize = 64;

/// Also finds the framing, and refuses what is ambiguous.
fn corelane(input: &[u8], count: u64) -> u64 {
    let (limits, mut fields) = (Limits::default(), Fields::new());
    let mut connection = Connection::new();
    (0..count).fold(0, |sum, _| {
        let input = black_box(input);
        let Step::Head(head) = connection.step(input, &limits, &mut fields) else {
            return sum;
        };
        sum + (head.path(input).len() + fields.spans().len()) as u64
    })
}

/// Finds where things are, and no more.
fn httparse(input: &[u8], count: u64) -> u64 {
    (0..count).fold(0, |sum, _| {
        let mut fields = [httparse::EMPTY_HEADER; FIELD_COUNT_MAX];
        let mut request = httparse::Request::new(&mut fields);
        if request.parse(black_box(input)).is_err() {
            return sum;
        }
        let target = request.path.unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        sum + (path.len() + request.headers.len()) as u64
    })
}

/// Into owned parts, as servers with the types of the `http` crate have to.
fn http(input: &[u8], count: u64) -> u64 {
    (0..count).fold(0, |sum, _| {
        let mut fields = [httparse::EMPTY_HEADER; FIELD_COUNT_MAX];
        let mut request = httparse::Request::new(&mut fields);
        if request.parse(black_box(input)).is_err() {
            return sum;
        }
        let mut built = http::Request::builder()
            .method(request.method.unwrap_or_default())
            .uri(request.path.unwrap_or_default());
        for field in request.headers.iter() {
            built = built.header(field.name, field.value);
        }
        let Ok(built) = built.body(()) else { return sum };
        sum + (built.uri().path().len() + built.headers().len()) as u64
    })
}
