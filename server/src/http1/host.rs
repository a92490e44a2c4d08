//! What may name a host: the Host field and the authority of an absolute target.

use std::net::Ipv6Addr;
use std::str;

use super::octets::HOST_NAME;

/// Whether `authority` is a host with an optional port, and the host is not empty.
///
/// RFC 9110 section 7.2: Host = uri-host [ ":" port ]. User information is refused, as RFC 9110
/// section 4.2.4 asks, because its "@" is no octet of a host.
#[inline]
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let size = HOST_NAME.first_stranger(authority).unwrap_or(authority.len());
    match &authority[size..] {
        [] => size > 0,
        [b':', ..] => size > 0 && is_port(&authority[size..]),
        _ => is_unusual(authority),
    }
}

/// What no request on the common path has: an address in brackets, an encoded name, or an offence.
#[cold]
fn is_unusual(authority: &[u8]) -> bool {
    if authority.first() == Some(&b'[') {
        return is_bracketed(authority);
    }
    let end = authority.iter().position(|octet| *octet == b':').unwrap_or(authority.len());
    let (host, port) = authority.split_at(end);
    !host.is_empty() && is_name(host) && is_port(port)
}

/// RFC 3986 section 3.2.2: reg-name = *( unreserved / pct-encoded / sub-delims ). An IPv4 address
/// is also a name by this grammar.
fn is_name(mut host: &[u8]) -> bool {
    loop {
        host = match host {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [octet, rest @ ..] if HOST_NAME.contain(*octet) => rest,
            _ => return false,
        };
    }
}

/// RFC 3986 section 3.2.2: IP-literal. IPvFuture and zone identifiers are refused: no client sends
/// them, and what is never sent is not worth a second grammar.
fn is_bracketed(authority: &[u8]) -> bool {
    let Some(end) = authority.iter().position(|octet| *octet == b']') else {
        return false;
    };
    let address = str::from_utf8(&authority[1..end]).unwrap_or_default();
    address.parse::<Ipv6Addr>().is_ok() && is_port(&authority[end + 1..])
}

/// Nothing, or a colon and a number of at most 16 bits; RFC 3986 section 3.2.3 lets it be empty.
fn is_port(port: &[u8]) -> bool {
    let [b':', digits @ ..] = port else {
        return port.is_empty();
    };
    if digits.len() > 5 {
        return false;
    }
    let mut number = 0;
    for octet in digits {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return false;
        }
        number = number * 10 + u32::from(digit);
    }
    number <= 65535
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authority: &str, expected: bool) {
        assert_eq!(is_authority(authority.as_bytes()), expected, "{authority:?}");
    }

    #[test]
    fn hosts() {
        for good in ["a", "a.example", "a:80", "a:", "127.0.0.1:65535", "%41b", "a_b", "[::1]"] {
            check(good, true);
        }
        check("[2001:db8::7]:8080", true);
        check("a:9", true);
        check("a:65536", false);
        for bad in ["", ":80", "a:x", "a:70000", "a:123456", "a:1:2", "u@a", "a/b", "a b", "a,b"] {
            check(bad, false);
        }
        for bad in ["%4g", "%g4", "a%4", "a%"] {
            check(bad, false);
        }
        for bad in ["[", "[]", "[::1", "::1", "[::1]x", "[::g]", "[fe80::1%25e]", "[v1.a]", "%4"] {
            check(bad, false);
        }
        check("a:-1", false);
        check("a\u{e9}", false);
        check("a?b", false);
        check("a#b", false);
    }
}
