//! What a response was chosen by: one `Vary` in all, whoever adds to it.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Adds the name of a field of the request to `Vary`, unless it is there.
pub(super) fn add_vary(headers: &mut HeaderMap, name: &'static str) {
    let has = |token| contains_token(headers, &header::VARY, token);
    if has("*") || has(name) {
        return;
    }
    let known = headers.get_all(header::VARY).iter().map(HeaderValue::as_bytes);
    let all: Vec<&[u8]> = known.chain([name.as_bytes()]).collect();
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(all.join(&b", "[..]))) {
        headers.insert(header::VARY, value);
    }
}

/// Whether a list has the token, in any letter case.
pub(super) fn contains_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values =
        headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|o| *o == b','));
    values.map(<[u8]>::trim_ascii).any(|one| one.eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_field_with_each_name_once() {
        let check = |vary: &[&'static str], expected: &str| {
            let mut headers = HeaderMap::new();
            for value in vary {
                headers.append(header::VARY, HeaderValue::from_static(value));
            }
            add_vary(&mut headers, "accept-encoding");
            add_vary(&mut headers, "accept-encoding");
            let values: Vec<_> = headers.get_all(header::VARY).iter().collect();
            assert_eq!(values, [expected]);
        };
        check(&[], "accept-encoding");
        check(&["origin"], "origin, accept-encoding");
        check(&["origin", "cookie"], "origin, cookie, accept-encoding");
        check(&["origin, Accept-Encoding"], "origin, Accept-Encoding");
        check(&["*"], "*");
    }
}
