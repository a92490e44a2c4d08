//! What holds for every response on the wire, whatever a test is about.

use std::time::SystemTime;

use super::Response;

/// Fields that are no lists: RFC 9110 section 5.3 has each of them once at most.
const SINGLE: [&str; 18] = [
    "age",
    "allow",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "transfer-encoding",
    "vary",
];

/// Asserts the rules that need no knowledge of the resource.
pub fn check(response: &Response, method: &str) {
    for name in SINGLE {
        // Panics where there are two.
        response.field(name);
    }
    if response.status < 200 {
        // RFC 9110 section 15.2: the end of the head is the end of an interim response.
        assert_eq!(response.fields, [], "an interim response with fields: {response:?}");
        return;
    }
    check_date(response);
    check_framing(response, method);
    check_status(response);
    check_answers_of_the_server(response, method);
    if let Some(content_type) = response.field("content-type") {
        assert!(is_media_type(content_type), "no media type: {response:?}");
    }
}

// RFC 9110 section 6.6.1: with a clock, Date is in every final response; 5.6.7: in one form.
fn check_date(response: &Response) {
    let date = response.field("date").unwrap_or_else(|| panic!("no date: {response:?}"));
    let time: SystemTime = httpdate::parse_http_date(date).expect("a date");
    assert_eq!(httpdate::fmt_http_date(time), date, "no IMF-fixdate: {response:?}");
}

fn check_framing(response: &Response, method: &str) {
    let length = response.field("content-length");
    let coding = response.field("transfer-encoding");
    // RFC 9110 section 8.6, RFC 9112 section 6.1.
    assert!(length.is_none() || coding.is_none(), "two framings: {response:?}");
    assert!(coding.is_none_or(|coding| coding == "chunked"), "{response:?}");
    if matches!(response.status, 204 | 304) {
        assert_eq!((length, coding), (None, None), "framing without content: {response:?}");
    }
    if matches!(response.status, 204 | 205 | 304) || method == "HEAD" {
        assert!(response.body.is_empty(), "content: {response:?}");
    }
    if let Some(length) = length
        && method != "HEAD"
    {
        assert_eq!(length, response.body.len().to_string(), "{response:?}");
    }
}

/// What a status obliges to.
fn check_status(response: &Response) {
    let needed: &[&str] = match response.status {
        // RFC 9110 sections 15.5.2, 15.5.6, 15.5.17 and 15.5.22.
        401 => &["www-authenticate"],
        405 => &["allow"],
        416 => &["content-range"],
        426 => &["upgrade"],
        _ => &[],
    };
    for name in needed {
        let is_there = response.fields.iter().any(|(known, _)| known == name);
        assert!(is_there, "no {name}: {response:?}");
    }
    // RFC 9110 section 15.4.5: what describes content has no place where there is none.
    if response.status == 304 {
        for name in ["content-type", "content-encoding", "content-language", "content-range"] {
            assert_eq!(response.field(name), None, "{response:?}");
        }
    }
    // RFC 9110 section 15.5.9: a server that did not wait longer closes.
    assert!(response.status != 408 || response.says_close(), "{response:?}");
}

/// What the server says itself, and so can not leave to an application.
fn check_answers_of_the_server(response: &Response, method: &str) {
    let has = |wanted: &str| response.fields.iter().any(|(name, _)| name == wanted);
    // RFC 9110 section 9.3.7; where it is asked about other origins, the answer is about them.
    if method == "OPTIONS" && response.status == 204 {
        assert!(has("allow") || has("access-control-allow-origin"), "no allow: {response:?}");
    }
    // RFC 9110 section 8.3: whoever says what went wrong knows in which form.
    if response.status >= 400 && !response.body.is_empty() {
        assert!(has("content-type"), "an error of no type: {response:?}");
    }
    // RFC 9110 section 7.8.
    if has("upgrade") {
        let options = response.field("connection").unwrap_or_default();
        assert!(options.split(", ").any(|option| option == "upgrade"), "{response:?}");
    }
}

// RFC 9110 section 8.3.1: type "/" subtype, then parameters.
fn is_media_type(value: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let is_token = |text: &str| {
        let is_tchar =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(is_tchar)
    };
    let is_type = |text: &str| {
        text.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
    };
    let is_parameter = |text: &str| {
        text.split_once('=').is_some_and(|(name, value)| is_token(name) && !value.is_empty())
    };
    parts.next().is_some_and(is_type) && parts.all(is_parameter)
}
