//! The echo: says back what it was sent, for those who test servers and clients.
//!
//! ```text
//!   curl http://127.0.0.1:8080/                                 OK, with an entity tag
//!   curl --data hello http://127.0.0.1:8080/                    hello, with the type that it had
//!   curl http://127.0.0.1:8080/echo                             the request's fields, one a line
//!   curl --cookie 'a=b; c=d' http://127.0.0.1:8080/cookie       a=b and c=d, one a line
//!   curl http://127.0.0.1:8080/delay/250                        OK, a quarter of a second later
//! ```
//!
//! Each handler but the last takes the request's body, used or not: so a request is answered once
//! all of it has arrived and was found to be well formed.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use corelane::middleware::EntityTags;
use corelane::{
    App, Exchange, FromRequest, HeaderValue, Headers, IntoResponse, MethodRouter, Path, Problem,
    Response, StatusCode, get, header, sleep,
};
use corelane_examples::{Flags, read_flags, run};

/// The longest delay that can be asked for: a connection that waits is a connection that is held.
const DELAY_MILLIS_MAX: u64 = 10_000;

/// Says back what it was sent, over HTTP/1.1, one shard a core.
#[derive(Debug, Parser)]
#[command(name = "echo", max_term_width = 100)]
struct EchoFlags {
    #[command(flatten)]
    service: Flags,
}

fn main() -> ExitCode {
    run("echo", || {
        let EchoFlags { service } = read_flags("echo")?;
        Ok((app(), service.over_file(&[])?))
    })
}

fn app() -> App {
    App::new()
        .route("/", get(async |_body: Bytes| "OK").post(body).layer(EntityTags))
        .route("/echo", lines(async |lines: FieldLines, _body: Bytes| plain(lines.0)))
        .route("/cookie", get(cookies).post(cookies))
        .route("/delay/{millis}", get(delayed))
}

fn lines<A: 'static>(handler: impl corelane::Handler<A>) -> MethodRouter {
    get(handler.clone()).post(handler)
}

/// The body, with the type that it came with, if that is one.
async fn body(Headers(fields): Headers, body: Bytes) -> Response {
    let mut response = body.into_response();
    if let Some(content_type) = fields.get(header::CONTENT_TYPE).filter(|value| is_type(value)) {
        response.headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    response
}

/// RFC 9110 section 8.3.1: a media type is two tokens; what follows them is passed on as it is.
fn is_type(value: &HeaderValue) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_tchar);
    let essence = value.to_str().ok().and_then(|text| text.split(';').next());
    let parts = essence.and_then(|essence| essence.trim().split_once('/'));
    parts.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// The request's fields as `Name: value`, in the letter case and the order in which they came.
struct FieldLines(Vec<u8>);

impl FromRequest for FieldLines {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<FieldLines, Infallible> {
        let lines =
            exchange.headers().map(|(name, value)| [name.as_bytes(), value].join(&b": "[..]));
        Ok(FieldLines(join_lines(lines)))
    }
}

/// The cookies as `name=value`, in the order in which they came.
async fn cookies(Headers(fields): Headers, _body: Bytes) -> Response {
    let values = fields.get_all(header::COOKIE).iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let pairs = pairs.map(|pair| pair.trim_ascii().to_vec()).filter(|pair| pair.contains(&b'='));
    plain(join_lines(pairs))
}

/// Waits, as a handler does that has asked a database.
async fn delayed(Path(millis): Path<u64>) -> Result<&'static str, Problem> {
    if millis > DELAY_MILLIS_MAX {
        let detail = format!("the delay is {millis} ms; it must be at most {DELAY_MILLIS_MAX}");
        return Err(Problem::new(StatusCode::BAD_REQUEST).detail(detail).field("millis"));
    }
    sleep(Duration::from_millis(millis)).await;
    Ok("OK")
}

fn join_lines(lines: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    lines.flat_map(|line| [line, b"\n".to_vec()].concat()).collect()
}

/// Text whose encoding is whatever the client chose.
fn plain(text: Vec<u8>) -> Response {
    text.into_response().with_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
}
