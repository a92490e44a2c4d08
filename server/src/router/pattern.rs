//! Route patterns: `/static`, `/{name}`, `/{*rest}`.

use std::borrow::Cow;

/// What is wrong with a pattern, before the routing table looks at it.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.starts_with('/') {
        return Ok(());
    }
    Err(format!("\"{pattern}\" must begin with a slash"))
}

/// What the routing table had against a pattern, in a sentence with the fix.
pub(super) fn explain(pattern: &str, error: &matchit::InsertError) -> String {
    match error {
        matchit::InsertError::Conflict { with } if with == pattern => {
            format!("\"{pattern}\" is routed twice; add the second method to the first route")
        }
        matchit::InsertError::Conflict { with } => {
            format!("\"{pattern}\" and \"{with}\" match the same paths; rename one")
        }
        error => format!(
            "\"{pattern}\" is no route ({error}); write parameters as /{{name}}, and a rest as \
             /{{*name}} at the end"
        ),
    }
}

/// Undoes the escapes of unreserved characters: letters, digits, `-`, `.`, `_`, `~`.
#[cold]
pub(super) fn decode_unreserved(path: &str) -> Cow<'_, str> {
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

fn unreserved(digits: &str) -> Option<char> {
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let character = char::from(u8::from_str_radix(digits, 16).ok()?);
    (character.is_ascii_alphanumeric() || "-._~".contains(character)).then_some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(decode_unreserved(path), expected, "{path}");
        }
    }

    #[test]
    fn patterns_that_can_not_be_routed_are_explained() {
        let mut table = matchit::Router::new();
        table.insert("/a/{b}", ()).expect("route");
        let mut check = |pattern: &str, part: &str| {
            let problem = check(pattern)
                .and_then(|()| table.insert(pattern, ()).map_err(|error| explain(pattern, &error)));
            assert!(problem.clone().unwrap_err().contains(part), "{problem:?}");
        };
        check("a", "must begin with a slash");
        check("/a/{b}", "routed twice");
        check("/a/{c}", "\"/a/{c}\" and \"/a/{b}\" match the same paths");
        check("/{*rest}/x", "is no route");
        check("/{", "is no route");
    }
}
