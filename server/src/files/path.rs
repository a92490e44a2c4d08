//! From the path of a request to the path of a file: decoded once, and nothing in it that climbs.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    /// 400: an escape that is none, a control character, or bytes that are no UTF-8.
    Malformed,
    /// 404: a name that is never served.
    Hidden,
}

/// Which names are served.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names {
    /// Whether names that begin with a dot are.
    pub(crate) with_dots: bool,
}

/// Reads what follows the prefix in the path of a request, still percent-encoded.
///
/// What comes out has no slash at its start, and one at its end where a directory is asked for; it
/// is empty for the root.
///
/// The kernel keeps the path below the root (`RESOLVE_BENEATH`); what is refused here is refused
/// so that each file has one address only, and so that no proxy in front can read the same bytes
/// as another path: `..`, `.`, empty segments, `%2F`, backslashes, control characters.
pub(crate) fn read(encoded: &str, names: Names) -> Result<Cow<'_, str>, PathError> {
    if encoded.is_empty() {
        return Ok(Cow::Borrowed(""));
    }
    check_escapes(encoded)?;
    let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| PathError::Malformed)?;
    if decoded.contains(char::is_control) {
        return Err(PathError::Malformed);
    }
    if !without_slash(&decoded).split('/').all(|name| is_served(name, names)) {
        return Err(PathError::Hidden);
    }
    Ok(decoded)
}

/// The path as the file system takes it.
pub(crate) fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// Whether a path asks for a directory.
pub(crate) fn is_directory(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// Whether a name in a directory is served at all.
pub(crate) fn is_served(name: &str, names: Names) -> bool {
    let is_dotted = name.starts_with('.');
    let climbs = name.is_empty() || name == "." || name == "..";
    !climbs && (names.with_dots || !is_dotted) && !name.chars().any(is_refused)
}

fn is_refused(character: char) -> bool {
    character == '\\' || character.is_control()
}

/// Every `%` must begin an escape, and none may hide a slash.
///
/// Once that is known of the path as it was sent, decoding what the router has normalised is
/// decoding once: of the escapes that the router undoes none can become part of a new one.
pub(crate) fn check_escapes(encoded: &str) -> Result<(), PathError> {
    let mut rest = encoded.as_bytes();
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest.get(at + 1..at + 3) {
            Some(b"2f" | b"2F") => return Err(PathError::Hidden),
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return Err(PathError::Malformed),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoded: &str, expected: Result<&str, PathError>) {
        let found = read(encoded, Names::default());
        assert_eq!(found.as_deref(), expected.as_ref().map(|path| &**path), "{encoded}");
    }

    #[test]
    fn plain_paths() {
        for (encoded, path) in [
            ("", ""),
            ("a", "a"),
            ("a/", "a/"),
            ("a/b.txt", "a/b.txt"),
            ("a%20b/%C3%A9.txt", "a b/é.txt"),
            ("a%3Fb%23c%25d", "a?b#c%d"),
            ("a..b/c...", "a..b/c..."),
            ("a. ", "a. "),
        ] {
            check(encoded, Ok(path));
        }
        assert!(is_directory("") && is_directory("a/") && !is_directory("a"));
        assert_eq!((without_slash("a/b/"), without_slash("a")), ("a/b", "a"));
    }

    #[test]
    fn nothing_climbs_and_nothing_has_two_addresses() {
        for path in [
            "..",
            "../x",
            "a/../b",
            "a/..",
            "%2e%2e/x",
            "%2E./x",
            "./a",
            "a/./b",
            ".",
            "a/.",
            "/",
            "//",
            "/a",
            "a//b",
            "a//",
            "%2e%2e%2fx",
            "a%2Fb",
            "a%2fb",
            "..%2f",
            "a%5cb",
            "..%5cx",
            "a\\b",
            ".git/config",
            "a/.env",
            ".",
            "%2eenv",
            ".../x",
        ] {
            check(path, Err(PathError::Hidden));
        }
    }

    #[test]
    fn what_is_no_text_is_malformed() {
        for path in ["%", "a%4", "a%zz", "%%34%31", "%00", "a%00.txt", "%c0%af", "%ff", "%ed%a0%80"]
        {
            check(path, Err(PathError::Malformed));
        }
        for path in ["a%0Ab", "%0d%0aX", "a%7F", "a%C2%85b", "a/%1b"] {
            check(path, Err(PathError::Malformed));
        }
    }

    #[test]
    fn it_is_decoded_once() {
        check("%252e%252e%252fx", Ok("%2e%2e%2fx"));
        check("%2541", Ok("%41"));
    }

    #[test]
    fn dotfiles_are_served_where_they_are_allowed() {
        let names = Names { with_dots: true };
        assert_eq!(read(".well-known/x", names).as_deref(), Ok(".well-known/x"));
        for path in ["..", ".", "a/../b"] {
            assert_eq!(read(path, names), Err(PathError::Hidden), "{path}");
        }
    }
}
