//! The few fields that decide framing, persistence and expectations, or contradict themselves,
//! recognised in one pass.

use http::{Method, Version};

use super::error::ProtocolError;
use super::framing::{Sight, trimmed};

/// What the known fields of one head said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    pub(super) host: Sight<&'a [u8]>,
    pub(super) length: Sight<&'a [u8]>,
    pub(super) coding: Sight<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    contradiction: Option<ProtocolError>,
    says_close: bool,
    says_keep_alive: bool,
    says_upgrade: bool,
    says_continue: bool,
    says_other_expectation: bool,
    asks_for_web_socket: bool,
    has_other_web_socket: bool,
}

impl<'a> Known<'a> {
    /// Notes one field. The size of the name tells the candidates apart before any comparison.
    #[inline]
    pub(super) fn note(&mut self, name: &[u8], value: &'a [u8]) {
        match name.len() {
            4 if is(name, b"host") => self.host.see(value),
            6 if is(name, b"expect") => self.note_expectation(value),
            7 if is(name, b"upgrade") => self.note_upgrade(value),
            10 if is(name, b"connection") => self.note_connection(value),
            12 if is(name, b"content-type") => self.note_type(value),
            14 if is(name, b"content-length") => self.length.see(value),
            17 if is(name, b"transfer-encoding") => self.coding.see(value),
            21 if is(name, b"sec-websocket-version") => self.note_web_socket_version(value),
            14 if is(name, b"content_length") => self.note_lookalike(),
            17 if is(name, b"transfer_encoding") => self.note_lookalike(),
            _ => {}
        }
    }

    // Gateways to programs (CGI, WSGI) have one variable for both spellings, so the name is a way
    // past whoever is in front of one. No honest client sends it.
    #[cold]
    fn note_lookalike(&mut self) {
        self.contradiction.get_or_insert(ProtocolError::FramingLookalike);
    }

    // RFC 9110 section 5.3: a field that is no list must not be repeated. Which of two types counts
    // is each reader's own guess, so what one has found harmless another would run.
    fn note_type(&mut self, value: &'a [u8]) {
        if self.content_type.replace(value).is_some_and(|known| known != value) {
            self.contradiction.get_or_insert(ProtocolError::TypeContradicted);
        }
    }

    /// What no request may say, whatever it is for.
    #[inline]
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        self.contradiction.map_or(Ok(()), Err)
    }

    // RFC 9110 section 7.6.1: options are case-insensitive and come in a list. What else the list
    // names is none of our business: naming Content-Length there does not make it vanish.
    fn note_connection(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.says_keep_alive = true;
            return;
        }
        for option in value.split(|octet| *octet == b',').map(trimmed) {
            self.says_close |= option.eq_ignore_ascii_case(b"close");
            self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.says_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    #[cold]
    fn note_upgrade(&mut self, value: &[u8]) {
        let mut protocols = value.split(|octet| *octet == b',').map(trimmed);
        self.asks_for_web_socket |= protocols.any(|name| name.eq_ignore_ascii_case(b"websocket"));
    }

    #[cold]
    fn note_web_socket_version(&mut self, value: &[u8]) {
        self.has_other_web_socket |= value != b"13";
    }

    fn note_expectation(&mut self, value: &[u8]) {
        for expectation in value.split(|octet| *octet == b',').map(trimmed) {
            // RFC 9110 section 5.6.1.2: empty elements of a list are ignored.
            if expectation.eq_ignore_ascii_case(b"100-continue") {
                self.says_continue = true;
            } else if !expectation.is_empty() {
                self.says_other_expectation = true;
            }
        }
    }

    /// RFC 9112 section 9.3: close wins, then HTTP/1.1 persists, and HTTP/1.0 does when it asks to.
    #[inline]
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        !self.says_close && (version == Version::HTTP_11 || self.says_keep_alive)
    }

    /// RFC 6455 section 4.4: the handshake of another version than 13 is to be answered with the
    /// one that there is. Upgrade counts for nothing where Connection does not name it, and never
    /// in HTTP/1.0 (RFC 9110 section 7.8); a handshake is a GET (RFC 6455 section 4.1).
    #[inline]
    pub(super) fn asks_for_other_web_socket(&self, method: &Method, version: Version) -> bool {
        self.has_other_web_socket
            && self.asks_for_web_socket
            && self.says_upgrade
            && version == Version::HTTP_11
            && *method == Method::GET
    }

    /// RFC 9110 section 10.1.1: an expectation in HTTP/1.0 must be ignored; one that is not
    /// understood may be answered with 417.
    #[inline]
    pub(super) fn expects_continue(&self, version: Version) -> Result<bool, ProtocolError> {
        if version == Version::HTTP_10 {
            return Ok(false);
        }
        if self.says_other_expectation {
            return Err(ProtocolError::ExpectationUnknown);
        }
        Ok(self.says_continue)
    }
}

/// Whether a token is this one, in any letter case: the two cases of a letter differ in one bit.
/// What differs from `-` or `_` in that bit alone belongs to no token (RFC 9110 section 5.6.2).
#[inline(always)]
fn is<const SIZE: usize>(token: &[u8], known: &[u8; SIZE]) -> bool {
    let Some(token) = token.first_chunk::<SIZE>() else { return false };
    let pairs = token.iter().zip(known);
    pairs.fold(0, |others, (octet, known)| others | ((octet ^ known) & !0x20)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&str, &str)], version: Version, keeps: bool, expects: Result<bool, ()>) {
        let mut known = Known::default();
        for (name, value) in fields {
            known.note(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(known.keeps_alive(version), keeps, "{fields:?}");
        assert_eq!(known.expects_continue(version).map_err(|_| ()), expects, "{fields:?}");
    }

    #[test]
    fn persistence() {
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        check(&[], new, true, Ok(false));
        check(&[], old, false, Ok(false));
        check(&[("CONNECTION", "Keep-Alive")], old, true, Ok(false));
        check(&[("connection", "te, CLOSE")], new, false, Ok(false));
        check(&[("connection", "te"), ("connection", "close")], new, false, Ok(false));
        check(&[("connection", "keep-alive, close")], old, false, Ok(false));
        check(&[("connection", "closed, not-close, close;x")], new, true, Ok(false));
    }

    #[test]
    fn contradictions() {
        let check = |fields: &[(&str, &str)], expected| {
            let mut known = Known::default();
            for (name, value) in fields {
                known.note(name.as_bytes(), value.as_bytes());
            }
            assert_eq!(known.check(), expected, "{fields:?}");
        };
        let (alike, twice) =
            (Err(ProtocolError::FramingLookalike), Err(ProtocolError::TypeContradicted));
        check(&[("content-length", "5"), ("transfer-encoding", "chunked")], Ok(()));
        check(&[("Content_Length", "5")], alike);
        check(&[("TRANSFER_ENCODING", "")], alike);
        check(
            &[("content_type", "a/b"), ("content__length", "5"), ("content.length", "5")],
            Ok(()),
        );
        check(&[("content-type", "a/b"), ("Content-Type", "a/b")], Ok(()));
        check(&[("content-type", "a/b"), ("Content-Type", "a/c")], twice);
        check(&[("content-type", "a/b"), ("content-type", "a/c"), ("content-type", "a/b")], twice);
        check(&[("content-type", "a/b"), ("content-type", ""), ("content_length", "")], twice);
    }

    #[test]
    fn handshakes() {
        let check = |method, version, fields: &[(&str, &str)], expected| {
            let mut known = Known::default();
            for (name, value) in fields {
                known.note(name.as_bytes(), value.as_bytes());
            }
            assert_eq!(known.asks_for_other_web_socket(&method, version), expected, "{fields:?}");
        };
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        let (connection, upgrade) = (("Connection", "upgrade"), ("Upgrade", "websocket"));
        let other = ("Sec-WebSocket-Version", "8");
        check(Method::GET, new, &[connection, upgrade, other], true);
        let listed = [("connection", "keep-alive, UPGRADE"), ("upgrade", "h2c, WebSocket"), other];
        check(Method::GET, new, &listed, true);
        let thirteen = ("sec-websocket-version", "13");
        check(Method::GET, new, &[connection, upgrade, thirteen, other], true);
        check(Method::GET, new, &[connection, upgrade, other, thirteen], true);
        check(Method::GET, new, &[connection, upgrade, thirteen], false);
        check(Method::GET, new, &[connection, upgrade], false);
        check(Method::GET, new, &[connection, ("Upgrade", "websockets"), other], false);
        check(Method::GET, new, &[upgrade, other], false);
        check(Method::GET, new, &[("Connection", "keep-alive"), upgrade, other], false);
        check(Method::GET, new, &[connection, ("Referer", "websocket"), other], false);
        let variant = ("Sec-WebSocket-Variant", "8");
        check(Method::GET, new, &[connection, upgrade, variant], false);
        check(Method::POST, new, &[connection, upgrade, other], false);
        check(Method::GET, old, &[connection, upgrade, other], false);
    }

    #[test]
    fn expectations() {
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        check(&[("Expect", "100-Continue")], new, true, Ok(true));
        check(&[("expect", "100-continue,")], new, true, Ok(true));
        check(&[("expect", "")], new, true, Ok(false));
        check(&[("accept", "200-ok")], new, true, Ok(false));
        check(&[("expect", "200-ok")], new, true, Err(()));
        check(&[("expect", "100-continue, x")], new, true, Err(()));
        check(&[("expect", "200-ok")], old, false, Ok(false));
    }
}
