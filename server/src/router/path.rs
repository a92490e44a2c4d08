//! The path of a request, as routes are looked up by it.

use std::borrow::Cow;

/// The path with those escapes undone that need not be there, so that `/%70ing` finds `/ping`.
///
/// RFC 3986 section 6.2.2.2: an escaped unreserved character is equivalent to the character.
/// Others stay: `%2F` is not a separator. A path with a `%` that begins no escape stays as it is:
/// what is left of `%%34%31` must not become an escape, to be undone a second time.
pub(crate) fn normalize(path: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', path.as_bytes()).is_none() || has_broken_escape(path) {
        return Cow::Borrowed(path);
    }
    decode_unreserved(path)
}

#[cold]
fn has_broken_escape(path: &str) -> bool {
    let escape = |at| path.as_bytes().get(at + 1..at + 3);
    let is_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    memchr::memchr_iter(b'%', path.as_bytes()).any(|at| !escape(at).is_some_and(is_hex))
}

/// Undoes the escapes of unreserved characters: letters, digits, `-`, `.`, `_`, `~`.
#[cold]
fn decode_unreserved(path: &str) -> Cow<'_, str> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        decoded.push_str(before);
        match escape.get(1..3).and_then(unreserved) {
            Some(character) => {
                decoded.push(character);
                rest = &escape[3..];
            }
            None => {
                decoded.push('%');
                rest = &escape[1..];
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// Whether the path has an escaped control character: `%00`, `%0d%0a`.
#[cold]
pub(super) fn escapes_control(path: &str) -> bool {
    let is_control = |digits: &[u8]| match digits {
        [b'0' | b'1', low] => low.is_ascii_hexdigit(),
        [b'7', low] => low.eq_ignore_ascii_case(&b'f'),
        _ => false,
    };
    path.as_bytes().windows(3).any(|octets| octets[0] == b'%' && is_control(&octets[1..]))
}

fn unreserved(digits: &str) -> Option<char> {
    let character = char::from(u8::from_str_radix(digits, 16).ok()?);
    (character.is_ascii_alphanumeric() || "-._~".contains(character)).then_some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_control_characters_are_found() {
        for path in ["/%00", "/a%0d%0aX:1", "/%1F", "/%7f", "/%7Fa", "/%%00"] {
            assert!(escapes_control(path), "{path}");
        }
        for path in ["/", "/%20", "/%2500", "/%0", "/%0g", "/00", "/%70", "/%80", "/a%"] {
            assert!(!escapes_control(path), "{path}");
        }
    }

    #[test]
    fn only_what_is_unreserved_is_decoded() {
        for (path, expected) in [
            ("/%70ing", "/ping"),
            ("/a%2Fb%2f%41%7E", "/a%2Fb%2fA~"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%+1", "/%zz%+1"),
            ("/%2541", "/%2541"),
            ("/%C3%A9", "/%C3%A9"),
            ("/%%34%31", "/%%34%31"),
            ("/%41/%%32%65", "/%41/%%32%65"),
        ] {
            assert_eq!(normalize(path), expected, "{path}");
        }
    }
}
