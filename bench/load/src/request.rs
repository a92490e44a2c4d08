//! Whole requests as bytes: framed once where they never change, rendered into a buffer where
//! they do.

use bytes::Bytes;

use crate::error::LoadError;
use crate::target::check_path;
use crate::template::{Numbers, Template};

/// From this size on a request that never changes is sent from where it lies, without a copy.
/// Below, the copy is cheaper, and lets pipelined requests share a send.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// What a request is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestParts {
    /// The method; a token.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Name and value of each field that the user gave.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub(crate) body: Option<Vec<u8>>,
    /// The size of each chunk where the body is sent chunked.
    pub(crate) chunk_bytes: Option<usize>,
    /// Whether the request asks the server to keep the connection open.
    pub(crate) keeps_alive: bool,
}

/// A request that is sent again and again.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// RFC 9112 section 6.3, rule 1: a response to HEAD has no body, whatever its fields say.
    pub(crate) is_head: bool,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// The same bytes each time.
    Fixed(Bytes),
    /// Rendered each time. The head lacks its last fields, which depend on the body.
    Rendered {
        head: Template,
        body: Template,
        framing: Framing,
        /// The body of the request that is being rendered.
        scratch: Vec<u8>,
    },
}

/// How the receiver learns where the body ends: RFC 9112 section 6.
#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    Length,
    Chunks { bytes_max: usize },
}

/// What is to be sent: already in the buffer, or bytes of their own.
#[derive(Debug)]
pub(crate) enum Rendered {
    /// Appended to the buffer.
    Appended,
    /// Too large to copy.
    Shared(Bytes),
}

impl Request {
    /// Puts a request together.
    ///
    /// # Errors
    /// A part that cannot be sent.
    pub(crate) fn new(parts: &RequestParts, authority: &str) -> Result<Request, LoadError> {
        check_path("--request", &parts.path)?;
        check_method(&parts.method)?;
        let framing = match (&parts.body, parts.chunk_bytes) {
            (None, _) => Framing::None,
            (Some(_), None) => Framing::Length,
            (Some(_), Some(bytes_max)) => Framing::Chunks { bytes_max },
        };
        let head = template("--request", write_head(parts, authority)?)?;
        let body = template("--body", parts.body.clone().unwrap_or_default())?;
        let form = if let (Some(head), Some(body)) = (head.literal(), body.literal()) {
            let mut bytes = head.to_vec();
            append_body(framing, body, &mut bytes);
            Form::Fixed(bytes.into())
        } else {
            Form::Rendered { head, body, framing, scratch: Vec::new() }
        };
        Ok(Request { is_head: parts.method == "HEAD", form })
    }

    /// Appends the request to `output`, or hands it over where copying would be a waste.
    pub(crate) fn render(&mut self, numbers: &mut Numbers, output: &mut Vec<u8>) -> Rendered {
        match &mut self.form {
            Form::Fixed(bytes) if bytes.len() >= SHARED_BYTES_MIN => {
                return Rendered::Shared(bytes.clone());
            }
            Form::Fixed(bytes) => output.extend_from_slice(bytes),
            Form::Rendered { head, body, framing, scratch } => {
                scratch.clear();
                body.render(numbers, scratch);
                head.render(numbers, output);
                append_body(*framing, scratch, output);
            }
        }
        Rendered::Appended
    }
}

/// The request line and every field that does not depend on the body.
fn write_head(parts: &RequestParts, authority: &str) -> Result<Vec<u8>, LoadError> {
    let mut head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.path);
    let has_host = has_header(parts, "host");
    // RFC 9112 section 3.2: a client MUST send a Host header field.
    if !has_host {
        head += &format!("Host: {authority}\r\n");
    }
    for (name, value) in &parts.headers {
        check_header(name, value)?;
        head += &format!("{name}: {value}\r\n");
    }
    // RFC 9112 section 9.6: a client that will send no further request SHOULD say so.
    if !parts.keeps_alive && !has_header(parts, "connection") {
        head += "Connection: close\r\n";
    }
    Ok(head.into_bytes())
}

/// Ends the head with the fields that frame the body, and appends the body.
fn append_body(framing: Framing, body: &[u8], output: &mut Vec<u8>) {
    match framing {
        Framing::None => output.extend_from_slice(b"\r\n"),
        Framing::Length => {
            output.extend_from_slice(b"Content-Length: ");
            output.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
            output.extend_from_slice(b"\r\n\r\n");
            output.extend_from_slice(body);
        }
        Framing::Chunks { bytes_max } => {
            output.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(bytes_max) {
                append_hex(chunk.len(), output);
                output.extend_from_slice(b"\r\n");
                output.extend_from_slice(chunk);
                output.extend_from_slice(b"\r\n");
            }
            output.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

fn append_hex(number: usize, output: &mut Vec<u8>) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        output.push(b"0123456789abcdef"[number >> (place * 4) & 15]);
    }
}

fn has_header(parts: &RequestParts, wanted: &str) -> bool {
    let is_wanted = |(name, _): &(String, String)| name.eq_ignore_ascii_case(wanted);
    parts.headers.iter().any(is_wanted)
}

fn check_method(method: &str) -> Result<(), LoadError> {
    http::Method::from_bytes(method.as_bytes())
        .map(drop)
        .map_err(|_| LoadError::argument("--method", format!("\"{method}\" is no method")))
}

fn check_header(name: &str, value: &str) -> Result<(), LoadError> {
    let refuse = |problem: &str| LoadError::argument("--header", format!("\"{name}\" {problem}"));
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(refuse("is no field name"));
    }
    if http::HeaderValue::from_bytes(value.as_bytes()).is_err() {
        return Err(refuse("has a value with a control character"));
    }
    // Framing that contradicts the body would measure how errors are handled, not the server.
    if ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str()) {
        return Err(refuse("is written by the tool itself; see --body and --chunked"));
    }
    Ok(())
}

fn template(name: &'static str, text: Vec<u8>) -> Result<Template, LoadError> {
    Template::parse(text).map_err(|problem| LoadError::argument(name, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> RequestParts {
        RequestParts {
            method: "GET".to_owned(),
            path: path.to_owned(),
            keeps_alive: true,
            ..RequestParts::default()
        }
    }

    fn check(parts: &RequestParts, expected: &[&str]) {
        let mut request = Request::new(parts, "a:1").expect("request");
        let mut numbers = Numbers::new(0, 1, 0);
        for expected in expected {
            let mut output = Vec::new();
            if let Rendered::Shared(bytes) = request.render(&mut numbers, &mut output) {
                output = bytes.to_vec();
            }
            assert_eq!(String::from_utf8_lossy(&output), *expected);
        }
    }

    #[test]
    fn requests_are_whole() {
        check(&get("/"), &["GET / HTTP/1.1\r\nHost: a:1\r\n\r\n"; 2]);
        let closing = RequestParts {
            keeps_alive: false,
            headers: vec![("hOST".to_owned(), "b".to_owned())],
            ..get("/")
        };
        check(&closing, &["GET / HTTP/1.1\r\nhOST: b\r\nConnection: close\r\n\r\n"]);
    }

    #[test]
    fn bodies_are_framed_by_what_was_rendered() {
        let fixed = RequestParts { body: Some(b"hello".to_vec()), ..get("/") };
        check(&fixed, &["GET / HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\nhello"]);
        let counted = RequestParts { body: Some(b"x{seq:9}".to_vec()), ..get("/{seq:1}") };
        check(
            &counted,
            &[
                "GET /1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 2\r\n\r\nx9",
                "GET /2 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nx10",
            ],
        );
        let chunked =
            RequestParts { body: Some(vec![b'y'; 20]), chunk_bytes: Some(17), ..get("/") };
        check(
            &chunked,
            &["GET / HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n\
               11\r\nyyyyyyyyyyyyyyyyy\r\n3\r\nyyy\r\n0\r\n\r\n"],
        );
    }

    #[test]
    fn large_requests_are_not_copied() {
        let large = RequestParts { body: Some(vec![0; SHARED_BYTES_MIN]), ..get("/") };
        let mut request = Request::new(&large, "a").expect("request");
        let rendered = request.render(&mut Numbers::new(0, 1, 0), &mut Vec::new());
        assert!(matches!(rendered, Rendered::Shared(_)));
    }

    #[test]
    fn parts_that_cannot_be_sent_are_refused() {
        let with_header = |name: &str, value: &str| RequestParts {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..get("/")
        };
        let with_method = RequestParts { method: "G T".to_owned(), ..get("/") };
        for (parts, expected) in [
            (get("/a b"), "%20"),
            (get("/{rand:1}"), "{rand:1}"),
            (with_method, "G T"),
            (with_header("a b", ""), "field name"),
            (with_header("a", "b\r\nc: d"), "control character"),
            (with_header("Content-Length", "3"), "--body"),
        ] {
            let error = Request::new(&parts, "a").expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
