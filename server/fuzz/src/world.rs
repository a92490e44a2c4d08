//! The whole server in a simulated world.

use std::cell::RefCell;
use std::net::SocketAddr;

use bytes::Bytes;
use corelane::runtime::simulation::{Faults, Simulation, SimulationConfig};
use corelane::{App, Path, Query, get};
use percent_encoding::percent_decode;

use crate::reference::Request;
use crate::{cut, parts, shown};

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 80))
}

/// Serves one peer that sends `bytes` in pieces; gives back what it received.
pub(crate) fn exchange(app: App, seed: u64, bytes: &[u8]) -> Vec<u8> {
    let faults = if seed % 2 == 0 { Faults::default() } else { Faults::harmless() };
    let config = SimulationConfig { faults, ..SimulationConfig::default() };
    let mut simulation = Simulation::new(seed, config);
    app.simulate(&mut simulation, 1, address()).expect("it starts");
    let peer = simulation.connect(address()).expect("somebody listens");
    cut(seed, bytes).for_each(|piece| peer.send(piece));
    peer.finish();
    simulation.run_until_idle();
    simulation.drain_and_check();
    assert!(peer.ending().is_some(), "a connection is left open: {}", shown(bytes));
    peer.take_received()
}

/// Anything that a peer can send: nothing breaks, and each request has its answer.
pub fn serve(data: &[u8]) {
    let (seed, bytes) = parts(data);
    let app = App::new().fallback(async |body: Bytes| body);
    let received = exchange(app, seed, bytes);
    check_answers(&received, bytes, |request| request.body.clone());
}

/// Each request of these bytes has its answer: 200 with the content that is expected of it.
pub(crate) fn check_answers(received: &[u8], bytes: &[u8], expected: impl Fn(&Request) -> Vec<u8>) {
    let seen = crate::core::run([bytes]);
    let mut rest = received;
    for request in &seen.requests {
        // What asks for the server as a whole has an answer of its own.
        let is_whole_server = request.target == b"*";
        let (status, content) = answer(&mut rest, request, bytes);
        assert!(is_whole_server || status == 200, "{status}: {}", shown(bytes));
        let has_content = !is_whole_server && request.method != b"HEAD";
        assert!(!has_content || content == expected(request), "another body: {}", shown(bytes));
    }
    skip_interim(&mut rest);
    let asked_count = bytes.windows(10).filter(|ten| ten == b"OPTIONS * ").count();
    let answered_count = seen.requests.iter().filter(|request| request.target == b"*").count();
    let is_early = asked_count > answered_count && skip_early(&mut rest);
    let Some(refusal) = seen.refusal.filter(|_| !is_early) else {
        return assert!(rest.is_empty(), "{} more: {}", shown(rest), shown(bytes));
    };
    let line = format!("HTTP/1.1 {refusal} ");
    assert!(rest.starts_with(line.as_bytes()), "no {refusal}: {}: {}", shown(rest), shown(bytes));
}

/// What asks for the server as a whole needs no body: it is answered before it has come, and what
/// is wrong with the body is not told any more.
fn skip_early(rest: &mut &[u8]) -> bool {
    let is_early = rest.starts_with(b"HTTP/1.1 204 ");
    if is_early {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        *rest = &rest[end.map_or(rest.len(), |at| at + 4)..];
    }
    is_early
}

/// A body may have been asked for, and never have come.
fn skip_interim(rest: &mut &[u8]) {
    while let Some(behind) = rest.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n") {
        *rest = behind;
    }
}

/// Takes one answer off.
fn answer(rest: &mut &[u8], request: &Request, bytes: &[u8]) -> (u16, Vec<u8>) {
    skip_interim(rest);
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(size)) = response.parse(rest) else {
        panic!("no answer to {request:?}: {}: {}", shown(rest), shown(bytes))
    };
    let length = response.headers.iter().find(|field| field.name == "content-length");
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    let length: usize = if request.method == b"HEAD" { 0 } else { length.unwrap_or(0) };
    let content = rest[size..size + length].to_vec();
    let status = response.code.expect("a status");
    *rest = &rest[size + length..];
    (status, content)
}

thread_local! {
    static DECODED: RefCell<(Option<String>, Vec<(String, String)>)> = RefCell::default();
}

/// A path parameter and a query, as a handler sees them, are decoded once.
pub fn decode(data: &[u8]) {
    let (seed, bytes) = parts(data);
    let is_target = |byte: &u8| matches!(byte, 0x21..0x7f) && !b"#\\/".contains(byte);
    let text: Vec<u8> = bytes.iter().copied().filter(is_target).collect();
    let at = text.iter().position(|byte| *byte == b'?').unwrap_or(text.len());
    let (path, query) = (&text[..at], text.get(at + 1..).unwrap_or_default());
    let app = App::new().route("/p/{name}", get(look));
    let mut request = b"GET /p/".to_vec();
    request.extend_from_slice(&text);
    request.extend_from_slice(b" HTTP/1.1\r\nHost: h\r\n\r\n");
    DECODED.take();
    let received = exchange(app, seed & !1, &request);
    let (name, pairs) = DECODED.take();
    let expected = percent_decode(path).decode_utf8().ok();
    let is_found = received.starts_with(b"HTTP/1.1 200");
    assert_eq!(is_found, expected.is_some() && !path.is_empty(), "{}", shown(&text));
    if is_found {
        assert_eq!(name.as_deref(), expected.as_deref(), "{}", shown(&text));
        assert_eq!(pairs, plain_pairs(query), "{}", shown(&text));
    }
}

async fn look(Path(name): Path<String>, Query(pairs): Query<Vec<(String, String)>>) {
    DECODED.set((Some(name), pairs));
}

/// The `application/x-www-form-urlencoded` parser of the URL standard, section 5.1.
fn plain_pairs(query: &[u8]) -> Vec<(String, String)> {
    let pairs = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let decoded = |part: &[u8]| {
        let blanks: Vec<u8> = part.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        percent_decode(&blanks).decode_utf8_lossy().into_owned()
    };
    let split = |pair: &[u8]| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (decoded(&pair[..at]), decoded(pair.get(at + 1..).unwrap_or_default()))
    };
    pairs.map(split).collect()
}
