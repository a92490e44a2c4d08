//! The hops in `Forwarded` and `X-Forwarded-For`, from the client's side to ours.

use std::net::{IpAddr, SocketAddr};

/// Who asked whom; `None` for one who hides.
type Hops = Vec<Option<IpAddr>>;

/// The addresses of an `X-Forwarded-For`; `None` where it is something else.
pub(super) fn listed(value: &[u8]) -> Option<Hops> {
    let text = std::str::from_utf8(value).ok()?;
    // RFC 9110 section 5.6.1.2: empty elements of a list are ignored.
    let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
    elements.map(node).collect()
}

/// The `for` of each element of a `Forwarded` (RFC 7239 section 4); `None` where it is malformed.
pub(super) fn hops(value: &[u8]) -> Option<Hops> {
    let text = std::str::from_utf8(value).ok()?;
    let elements = split(text, ',')?.into_iter().filter(|element| !element.trim().is_empty());
    elements.map(hop).collect()
}

/// The `for` of one element; one without it hides whom it asks for.
fn hop(element: &str) -> Option<Option<IpAddr>> {
    let mut found = None;
    for pair in split(element, ';')? {
        // An empty pair is allowed by the grammar.
        if pair.trim().is_empty() {
            continue;
        }
        let (name, value) = pair.trim().split_once('=')?;
        if !name.eq_ignore_ascii_case("for") {
            continue;
        }
        // Section 4: each parameter at most once.
        if found.is_some() {
            return None;
        }
        // An address has nothing to be escaped, so a value with an escape is none.
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        found = Some(node(quoted.unwrap_or(value))?);
    }
    Some(found.flatten())
}

/// A node: an address with or without a port, "unknown", or a name that begins with an underscore
/// (RFC 7239 section 6). The outer `None`: none of these.
fn node(text: &str) -> Option<Option<IpAddr>> {
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Some(None);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Some(address.to_canonical()));
    }
    let address = text.parse::<SocketAddr>().ok()?;
    Some(Some(address.ip().to_canonical()))
}

/// The parts between separators that are not within quotes; `None` where a quote stays open.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => {
                parts.push(&text[start..index]);
                start = index + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(read: impl Fn(&[u8]) -> Option<Hops>, value: &str, expected: Option<&[&str]>) {
        let shown = |hop: Option<IpAddr>| hop.map_or("-".to_owned(), |hop| hop.to_string());
        let found: Option<Vec<String>> =
            read(value.as_bytes()).map(|hops| hops.into_iter().map(shown).collect());
        let expected = expected.map(|hops| hops.iter().map(|&hop| hop.to_owned()).collect());
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn lists_of_addresses() {
        check(listed, "", Some(&[]));
        check(listed, "192.0.2.1", Some(&["192.0.2.1"]));
        check(listed, " 192.0.2.1 ,, 2001:db8::1", Some(&["192.0.2.1", "2001:db8::1"]));
        check(listed, "192.0.2.1:80, [2001:db8::1]:80", Some(&["192.0.2.1", "2001:db8::1"]));
        check(listed, "[2001:db8::1], unknown", Some(&["2001:db8::1", "-"]));
        check(listed, "::ffff:192.0.2.1", Some(&["192.0.2.1"]));
        for value in ["x", "192.0.2", "192.0.2.1 192.0.2.2", "192.0.2.1;", "\u{e9}", "host:80"] {
            check(listed, value, None);
        }
        assert_eq!(listed(b"\xff"), None);
    }

    #[test]
    fn elements_with_pairs() {
        check(hops, "", Some(&[]));
        check(hops, "for=192.0.2.1", Some(&["192.0.2.1"]));
        check(hops, "For=192.0.2.1;proto=https;by=203.0.113.43", Some(&["192.0.2.1"]));
        check(hops, "for=192.0.2.1, for=198.51.100.17", Some(&["192.0.2.1", "198.51.100.17"]));
        check(hops, "for=\"[2001:db8::1]:4711\"", Some(&["2001:db8::1"]));
        check(hops, "for=\"192.0.2.1:80\";host=\"a,b;c\\\"\"", Some(&["192.0.2.1"]));
        check(hops, "for=_hidden, for=unknown, proto=http;", Some(&["-", "-", "-"]));
        for value in ["for", "for=", "for=x", "for=1.1.1.1;for=1.1.1.1", "for=\"1.1.1.1", "1.1.1.1"]
        {
            check(hops, value, None);
        }
    }
}
