//! JSON in and out: parsed in place by simd-json, written straight into the send buffer by
//! serde_json, whose writer takes a sixth fewer instructions than simd-json's (`bench/micro`).

mod keys;

use std::cell::RefCell;

use http::{StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use simd_json::ErrorType;

use crate::body::Body;
use crate::content_type::ContentType;
use crate::extract::{BodyUse, Exchange, FromRequest};
use crate::problem::Problem;
use crate::response::{IntoResponse, Responder, Response};

/// How deeply arrays and objects may be nested in a request's JSON. Types that contain themselves
/// are read by recursion; this keeps a peer from choosing how deep the stack gets.
const DEPTH_MAX: usize = 128;

/// A member's name is told to the peer who sent it twice, unless it is longer.
const NAME_BYTES_MAX: usize = 64;

/// A value as JSON: as an extractor the request's body, as a response the content.
///
/// As an extractor it asks for `Content-Type: application/json` or a type that ends in `+json`
/// (415 otherwise), and answers 400 to what is not JSON, or has a member twice in one object,
/// and 422 to JSON that does not fit `T`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(
    /// The value.
    pub T,
);

thread_local! {
    /// simd-json's working memory, one a shard.
    static BUFFERS: RefCell<simd_json::Buffers> = RefCell::default();
    /// The size of the last JSON response of the shard: a guess at the digits of the next one's.
    static LAST_SIZE: std::cell::Cell<usize> = const { std::cell::Cell::new(100) };
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut content = Vec::new();
        if let Err(error) = write_json(&mut content, &self.0) {
            tracing::error!(%error, "a response can not be serialised");
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        }
        let response = Response { body: Body::from(content), ..Response::default() };
        response.with_header(header::CONTENT_TYPE, ContentType::JSON.value())
    }

    fn respond(self, responder: &mut Responder<'_>) {
        let size = responder.serialize(StatusCode::OK, ContentType::JSON, LAST_SIZE.get(), |out| {
            write_json(out, &self.0)
        });
        LAST_SIZE.set(size);
    }
}

pub(crate) fn write_json(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Rejection = Problem;

    const BODY: BodyUse = BodyUse::Whole;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Json<T>, Problem> {
        if !exchange.header("content-type").is_some_and(is_json) {
            let detail = "the body must be JSON; send it with Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail(detail));
        }
        parse(exchange.body_mut()).map(Json)
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends_with = |suffix: &[u8]| {
        let start = essence.len().checked_sub(suffix.len());
        start.is_some_and(|start| essence[start..].eq_ignore_ascii_case(suffix))
    };
    essence.eq_ignore_ascii_case(b"application/json")
        || essence.eq_ignore_ascii_case(b"text/json")
        || ends_with(b"+json")
}

/// Reads a value from JSON, using up the bytes: simd-json unescapes strings in place.
pub(crate) fn parse<T: DeserializeOwned>(json: &mut [u8]) -> Result<T, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST).detail(detail);
    if exceeds_depth(json, DEPTH_MAX) {
        return Err(bad(format!("the JSON is nested deeper than {DEPTH_MAX} levels")));
    }
    let tape = BUFFERS.with_borrow_mut(|buffers| simd_json::to_tape_with_buffers(json, buffers));
    let tape = tape.map_err(|error| bad(format!("the body is not valid JSON: {error}")))?;
    if let Some(name) = keys::repeated(&tape.0) {
        return Err(match name.len() {
            ..=NAME_BYTES_MAX => {
                bad(format!("duplicate field `{name}`")).maybe_field(Some(name.into()))
            }
            _ => bad("an object has two members of the same name".to_owned()),
        });
    }
    tape.deserialize().map_err(|error| {
        // The text is JSON; what it says does not fit the type.
        let detail = match error.error() {
            ErrorType::Serde(text) => text,
            ErrorType::ExpectedArray => "a value must be an array",
            ErrorType::ExpectedBoolean => "a value must be true or false",
            ErrorType::ExpectedEnum => "a value must name a variant",
            ErrorType::ExpectedFloat => "a value must be a number",
            ErrorType::ExpectedMap => "a value must be an object",
            ErrorType::ExpectedString => "a value must be a string",
            ErrorType::ExpectedSigned | ErrorType::ExpectedUnsigned => {
                "a value must be an integer that its type can hold"
            }
            _ => return bad(format!("the body is not valid JSON: {error}")),
        };
        let field = crate::problem::named_field(detail);
        // By two names that its type takes for the same, which is as ambiguous.
        let is_ambiguous = detail.starts_with("duplicate field");
        let status =
            if is_ambiguous { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
        Problem::new(status).detail(detail).maybe_field(field)
    })
}

/// Whether brackets are nested deeper than `depth_max`, outside of strings.
fn exceeds_depth(json: &[u8], depth_max: usize) -> bool {
    // Fewer brackets than that are the rule: most bodies are settled by this count alone.
    let opening = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opening <= depth_max {
        return false;
    }
    let (mut depth, mut is_in_string, mut is_escaped) = (0usize, false, false);
    for byte in json {
        match (is_in_string, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_in_string = !is_in_string,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Point {
        #[serde(alias = "X")]
        x: i32,
        y: Option<Box<Point>>,
    }

    fn check(json: &str, expected: Result<i32, StatusCode>) {
        let parsed = parse::<Point>(&mut json.as_bytes().to_vec());
        assert_eq!(parsed.map(|point| point.x).map_err(|p| p.status()), expected, "{json}");
    }

    #[test]
    fn what_is_read_and_what_is_refused() {
        check(r#"{"x":1}"#, Ok(1));
        check(r#" {"x":-7,"y":{"x":2},"z":[]} "#, Ok(-7));
        for text in ["", "{", "{\"x\":1", "[1", "{\"x\":NaN}", "{\"x\":1}}", "\u{1}", "{'x':1}"] {
            check(text, Err(StatusCode::BAD_REQUEST));
        }
        // What no standard text is, whatever it might be meant for.
        for text in ["{\"x\":1e400}", "{\"\\ud800\":1,\"x\":1}", "{\"x\":01}", "{\"x\":Infinity}"] {
            check(text, Err(StatusCode::BAD_REQUEST));
        }
        // Whatever reads it: a member, one that is skipped, a map of the type's own.
        let unread = r#"{"x":1,"z":{"a":1,"\u0061":2}}"#;
        for text in ["{\"x\":1,\"x\":2}", "{\"x\":1,\"z\":1,\"z\":2}", unread] {
            check(text, Err(StatusCode::BAD_REQUEST));
            let map = parse::<std::collections::HashMap<String, serde_json::Value>>(
                &mut text.as_bytes().to_vec(),
            );
            assert_eq!(map.map_err(|p| p.status()), Err(StatusCode::BAD_REQUEST), "{text}");
        }
        check("{\"x\":1,\"X\":2}", Err(StatusCode::BAD_REQUEST));
        for text in ["[1]", "{}", "{\"x\":\"1\"}", "{\"x\":1.5}", "{\"x\":3000000000}"] {
            check(text, Err(StatusCode::UNPROCESSABLE_ENTITY));
        }
        let invalid = parse::<Point>(&mut b"{\"x\":\"\xff\"}".to_vec());
        assert_eq!(invalid.map_err(|problem| problem.status()), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn a_value_of_another_type_is_understood_but_refused() {
        fn check<T: DeserializeOwned>(json: &str) {
            let parsed = parse::<T>(&mut json.as_bytes().to_vec()).map(|_| ());
            let status = parsed.map_err(|problem| problem.status());
            assert_eq!(status, Err(StatusCode::UNPROCESSABLE_ENTITY), "{json}");
        }
        for json in ["[\"1\"]", "[[]]", "[{}]", "[null]"] {
            check::<Vec<bool>>(json);
            check::<Vec<i64>>(json);
            check::<Vec<u8>>(json);
            check::<Vec<f64>>(json);
        }
        for json in ["[1]", "[[]]", "[{}]", "[null]", "[true]"] {
            check::<Vec<String>>(json);
            check::<Vec<Point>>(json);
        }
        check::<Vec<Vec<bool>>>("[{}]");
        check::<Vec<u8>>("[256]");
        check::<Vec<u8>>("[-1]");
        check::<Vec<u64>>("[1.5]");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            let (open, close) = ("{\"x\":1,\"y\":".repeat(depth), "}".repeat(depth));
            format!("{open}null{close}")
        };
        check(&nested(DEPTH_MAX), Ok(1));
        check(&nested(DEPTH_MAX + 1), Err(StatusCode::BAD_REQUEST));
        check(&"[".repeat(1 << 20), Err(StatusCode::BAD_REQUEST));
        let text = "[".repeat(1000);
        assert!(!exceeds_depth(format!("[\"{text}\\\"{text}\"]").as_bytes(), 2));
    }

    #[test]
    fn json_types() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/json", true),
            ("application/jsonp", false),
            ("text/plain", false),
            ("+json", true),
            ("", false),
        ] {
            assert_eq!(is_json(content_type.as_bytes()), expected, "{content_type}");
        }
    }
}
