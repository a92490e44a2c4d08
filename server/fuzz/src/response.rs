//! What was encoded parses back, by somebody else's parser.

use corelane::http1::encode;
use http::{HeaderMap, Method, StatusCode, Version};

/// A status, fields and content of the input's choice.
pub fn response(data: &[u8]) {
    let [first, second, flags, rest @ ..] = data else { return };
    let code = 100 + (u16::from(*first) * 256 + u16::from(*second)) % 900;
    let Ok(status) = StatusCode::from_u16(code) else { return };
    let method = if flags & 1 == 0 { Method::GET } else { Method::HEAD };
    let version = if flags & 2 == 0 { Version::HTTP_11 } else { Version::HTTP_10 };
    let (fields, content) = rest.split_at(rest.iter().position(|b| *b == 0).unwrap_or(rest.len()));
    let mut out = Vec::new();
    encode::status_line(&mut out, status);
    encode::connection(&mut out, version, flags & 4 == 0);
    let mut written = Vec::new();
    for line in fields.split(|byte| *byte == b'\n').take(20) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let size = out.len();
        match encode::raw_field(&mut out, name, value) {
            Ok(()) => written.push((name.to_vec(), value.to_vec())),
            Err(_) => assert_eq!(out.len(), size, "nothing is written of what is refused"),
        }
    }
    let rule = encode::BodyRule::of(method == Method::HEAD, status, version);
    let is_chunked = rule.may_chunk() && flags & 8 != 0;
    let content = if rule.sends_content() { content } else { b"" };
    if is_chunked {
        encode::transfer_encoding(&mut out);
    } else if rule.may_have_length() {
        encode::content_length(&mut out, content.len() as u64);
    }
    encode::end_head(&mut out);
    let head_size = out.len();
    if is_chunked && rule.sends_content() {
        content.chunks(1 + usize::from(*flags)).for_each(|piece| encode::chunk(&mut out, piece));
        encode::last_chunk(&mut out, &HeaderMap::new());
    } else {
        out.extend_from_slice(content);
    }
    parse_back(&out, head_size, code, &written);
    if is_chunked && rule.sends_content() {
        assert_eq!(dechunk(&out[head_size..]), content);
    } else {
        assert_eq!(&out[head_size..], content);
    }
}

fn parse_back(out: &[u8], head_size: usize, code: u16, written: &[(Vec<u8>, Vec<u8>)]) {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut headers);
    let status = parsed.parse(out).unwrap_or_else(|error| panic!("{error}: {}", crate::shown(out)));
    assert_eq!(status, httparse::Status::Complete(head_size), "{}", crate::shown(out));
    assert_eq!(parsed.code, Some(code));
    let is_ours =
        |name: &str| ["connection", "content-length", "transfer-encoding"].contains(&name);
    let known = parsed.headers.iter().map(|field| (field.name, field.value));
    let own: Vec<_> = written
        .iter()
        .map(|(name, value)| (std::str::from_utf8(name).expect("a token"), trim(value)))
        .filter(|(name, _)| !is_ours(name))
        .collect();
    let seen: Vec<_> = known.filter(|(name, _)| !is_ours(name)).collect();
    assert_eq!(seen, own, "{}", crate::shown(out));
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(rest) else {
            panic!("no chunk: {}", crate::shown(rest))
        };
        let end = at + size as usize;
        content.extend_from_slice(&rest[at..end]);
        assert_eq!(&rest[end..end + 2], b"\r\n");
        rest = &rest[end + 2..];
        if size == 0 {
            assert!(rest.is_empty(), "{} behind the end", crate::shown(rest));
            return content;
        }
    }
}
