//! The head of the PROXY protocol, versions 1 and 2, with which a proxy begins a connection.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

/// The most bytes of a head. Version 1 has at most 107 (section 2.1 of the specification), version
/// 2 has 232 for the longest addresses; the rest is for extensions, of which certificates are
/// longest.
const HEAD_BYTES_MAX: usize = 4096;

/// The most bytes of a head of version 1.
const LINE_BYTES_MAX: usize = 107;

/// A whole head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProxyHead {
    /// Its size in bytes; the request begins behind it.
    pub(crate) size: usize,
    /// For whom the proxy has connected; `None` where that is for itself, or it does not know.
    pub(crate) client: Option<SocketAddr>,
}

/// The connection does not begin with a head that is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotProxied;

impl ProxyHead {
    /// Reads the head that `bytes` begin with; `None` where more of it is needed.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<ProxyHead>, NotProxied> {
        check_start(bytes)?;
        if is_local(bytes) {
            let size = size_max(bytes);
            return Ok((bytes.len() >= size).then_some(ProxyHead { size, client: None }));
        }
        let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
        match ProxyHeader::parse(bytes, config) {
            Ok((head, size)) => {
                check_line(&bytes[..size])?;
                let client = head.proxied_address();
                let client = client.filter(|client| client.protocol == Protocol::Stream);
                Ok(Some(ProxyHead { size, client: client.map(|client| client.source) }))
            }
            // It asks for more of a version 2 head that is whole, and has too short addresses.
            Err(Error::BufferTooShort) if bytes.len() < size_max(bytes) => Ok(None),
            Err(_) => Err(NotProxied),
        }
    }
}

/// The parser waits for as many bytes as the shortest head has; what begins otherwise is none at
/// once. It takes a version 2 head of any length that the length field can say.
fn check_start(bytes: &[u8]) -> Result<(), NotProxied> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, expected)| byte == expected);
    if !begins(b"PROXY ") && !begins(b"\r\n\r\n\0\r\nQUIT\n") {
        return Err(NotProxied);
    }
    if size_max(bytes) > HEAD_BYTES_MAX { Err(NotProxied) } else { Ok(()) }
}

/// The most bytes that a head has which begins so: version 2 says how many.
fn size_max(bytes: &[u8]) -> usize {
    match bytes {
        [b'P', ..] => LINE_BYTES_MAX,
        [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => {
            16 + usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => HEAD_BYTES_MAX,
    }
}

/// Whether this is a version 2 head for the proxy itself, such as a health check's: section 2.2 has
/// all that it says besides ignored, the family included, which the parser would refuse.
fn is_local(bytes: &[u8]) -> bool {
    bytes.len() >= 16 && bytes.starts_with(b"\r") && bytes[12] == 0x20
}

/// What the parser takes in a version 1 head and the specification (section 2.1) does not allow.
fn check_line(head: &[u8]) -> Result<(), NotProxied> {
    let Some(rest) = head.strip_prefix(b"PROXY ") else { return Ok(()) };
    let is_plain = match rest.strip_prefix(b"UNKNOWN") {
        // Whatever follows the word is ignored.
        Some(rest) => matches!(rest.first(), Some(b' ' | b'\r')),
        // Ports are decimal numbers without a sign, and without zeros in front.
        None => rest
            .split(|byte| matches!(byte, b' ' | b'\r'))
            .skip(3)
            .take(2)
            .all(|port| port == b"0" || matches!(port.first(), Some(b'1'..=b'9'))),
    };
    if is_plain && head.len() <= LINE_BYTES_MAX { Ok(()) } else { Err(NotProxied) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let size = u16::try_from(rest.len()).expect("a short head").to_be_bytes();
        [V2, &[command, family], &size, rest].concat()
    }

    fn client_4() -> Vec<u8> {
        version_2(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0, 80])
    }

    /// Each head whole, with a request behind it, and cut off at every byte.
    fn check(head: &[u8], expected: Option<&str>) {
        let client = expected.map(|text| text.parse().expect("an address"));
        let whole = ProxyHead { size: head.len(), client };
        let shown = String::from_utf8_lossy(head);
        assert_eq!(ProxyHead::read(&[head, b"GET / "].concat()), Ok(Some(whole)), "{shown}");
        for end in 0..head.len() {
            assert_eq!(ProxyHead::read(&head[..end]), Ok(None), "{shown} up to {end}");
        }
    }

    #[test]
    fn heads_of_both_versions() {
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 80\r\n", Some("192.0.2.1:12345"));
        check(b"PROXY TCP6 2001:db8::1 ::1 12345 80\r\n", Some("[2001:db8::1]:12345"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN anything at all, 1+1 = 02\r\n", None);
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 0 65535\r\n", Some("192.0.2.1:0"));
        check(&client_4(), Some("192.0.2.1:12345"));
        let addresses = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 7, 0, 80]];
        check(&version_2(0x21, 0x21, &addresses.concat()), Some("[2001:db8::1]:7"));
        // The proxy's own: a health check.
        check(&version_2(0x20, 0x00, b""), None);
        check(&version_2(0x20, 0x11, &[0; 12]), None);
        check(&version_2(0x20, 0x11, b""), None);
        check(&version_2(0x20, 0x4f, &[0; 3]), None);
        // A Unix socket, and extensions behind the addresses.
        check(&version_2(0x21, 0x31, &[0; 216]), None);
        let extended = [&[192, 0, 2, 1, 10, 0, 0, 1, 0, 7, 0, 80][..], &[4, 0, 1, 0]].concat();
        check(&version_2(0x21, 0x11, &extended), Some("192.0.2.1:7"));
    }

    #[test]
    fn what_is_no_head_is_refused_as_early_as_it_shows() {
        let refused =
            |bytes: &[u8]| assert_eq!(ProxyHead::read(bytes), Err(NotProxied), "{bytes:?}");
        refused(b"G");
        refused(b"PROXX");
        refused(b"\r\n\r\nX");
        refused(b"PROXYxTCP4 192.0.2.1 10.0.0.1 1 80\r\n");
        refused(b"PROXY TCP5 192.0.2.1 10.0.0.1 1 80\r\n");
        refused(b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 80\r\n");
        refused(b"PROXY TCP4 192.0.2.1 10.0.0.1 99999 80\r\n");
        refused(b"PROXY TCP4 192.0.2.1 10.0.0.1 1 080\r\n");
        refused(b"PROXY TCP6 ::1 ::1 00 80\r\n");
        refused(b"PROXY TCP4 192.0.2.256 10.0.0.1 1 80\r\n");
        refused(b"PROXY TCP4 ::1 ::1 1 80\r\n");
        refused(b"PROXY TCP4  192.0.2.1 10.0.0.1 1 80\r\n");
        refused(b"PROXY TCP4 192.0.2.1 10.0.0.1 1 80\rX");
        refused(b"PROXY UNKNOWNX\r\n");
        refused(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).as_bytes());
        refused(&[b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat());
        refused(&version_2(0x31, 0x11, &[0; 12]));
        refused(&version_2(0x22, 0x11, &[0; 12]));
        refused(&version_2(0x21, 0x41, &[0; 12]));
        refused(&version_2(0x21, 0x11, &[0; 11]));
        // Longer than any that is needed: refused by its length, not by its end.
        refused(&[V2, &[0x21, 0x11, 0xff, 0xff]].concat());
        refused(&[V2, &[0x21, 0x11, 0xff, 0xff, 0, 0]].concat());
    }
}
