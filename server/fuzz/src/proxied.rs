//! A second reading of the PROXY protocol, whole input at a time, and the server that it checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use corelane::{App, ClientAddress, ProxyConfig, ProxyField, ServerConfig};

use crate::{parts, world};

/// What the peer sends behind the input: so a head may end in it.
const REQUESTS: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";

/// Whoever connects in the simulated world.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// A connection that a trusted proxy has made: it begins with a head, or it is closed at once.
pub fn proxy(data: &[u8]) {
    let (seed, head) = parts(data);
    let bytes = [head, REQUESTS].concat();
    let everybody = "0.0.0.0/0".parse().expect("a network");
    let proxy =
        ProxyConfig { trusted: vec![everybody], field: ProxyField::None, has_protocol_head: true };
    let config = ServerConfig { proxy, ..ServerConfig::default() };
    let app = App::new().config(config).fallback(async |client: ClientAddress, _: Bytes| {
        client.0.map(|client| client.to_string()).unwrap_or_default()
    });
    let received = world::exchange(app, seed, &bytes);
    match read(&bytes) {
        None => assert!(received.is_empty(), "answered: {}", bytes.escape_ascii()),
        Some((size, client)) => {
            let client = client.map_or(PEER, |client| client.to_canonical()).to_string();
            world::check_answers(&received, &bytes[size..], |_| client.clone().into_bytes());
        }
    }
}

/// Where the head ends, and for whom it is; `None` where there is none, or not all of it.
fn read(bytes: &[u8]) -> Option<(usize, Option<IpAddr>)> {
    if bytes.starts_with(b"PROXY ") { line(bytes) } else { block(bytes) }
}

/// Version 1: section 2.1 of the specification.
fn line(bytes: &[u8]) -> Option<(usize, Option<IpAddr>)> {
    // 107 bytes at most, the end of the line included.
    let end = bytes.iter().take(106).position(|byte| *byte == b'\r')?;
    if bytes.get(end + 1) != Some(&b'\n') {
        return None;
    }
    let words: Vec<&[u8]> = bytes[..end].split(|byte| *byte == b' ').collect();
    let client = match words[..] {
        [_, b"UNKNOWN", ..] => None,
        [_, b"TCP4", source, target, source_port, target_port] => {
            text::<Ipv4Addr>(target)?;
            number(source_port).and(number(target_port))?;
            Some(IpAddr::V4(text(source)?))
        }
        [_, b"TCP6", source, target, source_port, target_port] => {
            text::<Ipv6Addr>(target)?;
            number(source_port).and(number(target_port))?;
            Some(IpAddr::V6(text(source)?))
        }
        _ => return None,
    };
    Some((end + 2, client))
}

fn text<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A port: digits, and no zero in front of others.
fn number(word: &[u8]) -> Option<u16> {
    let port: u16 = text(word)?;
    (port.to_string().as_bytes() == word).then_some(port)
}

/// Version 2: section 2.2.
fn block(bytes: &[u8]) -> Option<(usize, Option<IpAddr>)> {
    let rest = bytes.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n")?;
    let (&[command, family, high, low], rest) = rest.split_first_chunk::<4>()?;
    let size = usize::from(u16::from_be_bytes([high, low]));
    // Our own bound: docs/limits.md.
    let block = rest.get(..size).filter(|_| 16 + size <= 4096)?;
    let client = match (command, family) {
        // LOCAL: the proxy's own, whatever the rest says.
        (0x20, _) => None,
        (0x21, 0x00) => None,
        (0x21, 0x11) if size >= 12 => Some(IpAddr::from(*block.first_chunk::<4>()?)),
        (0x21, 0x21) if size >= 36 => Some(IpAddr::from(*block.first_chunk::<16>()?)),
        // Datagrams and Unix sockets: no address that we could use.
        (0x21, 0x12) if size >= 12 => None,
        (0x21, 0x22) if size >= 36 => None,
        (0x21, 0x31 | 0x32) if size >= 216 => None,
        _ => return None,
    };
    Some((16 + size, client))
}
