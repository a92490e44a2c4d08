//! Which octets may stand where: the character classes of the grammar, as tables.

/// A set of octets, looked up by index.
pub(super) struct Octets([bool; 256]);

impl Octets {
    /// Whether `octet` belongs to this set.
    #[inline]
    pub(super) fn contain(&self, octet: u8) -> bool {
        self.0[octet as usize]
    }

    /// Where the first octet of `bytes` stands that does not belong to this set.
    ///
    /// Eight at a time: the loop over an array is unrolled, and most names are about as long.
    #[inline]
    pub(super) fn first_stranger(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(octets) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            for (index, octet) in octets.iter().enumerate() {
                if !self.contain(*octet) {
                    return Some(at + index);
                }
            }
            at += octets.len();
        }
        let index = bytes[at..].iter().position(|octet| !self.contain(*octet))?;
        Some(at + index)
    }
}

// RFC 9110 section 5.6.2: token = 1*tchar.
pub(super) static TOKEN: Octets = Octets(table(b"!#$%&'*+-.^_`|~", b"", Class::Alphanumeric));

// RFC 9112 section 3.2 with RFC 3986: a request target has no whitespace, no control character, no
// fragment and nothing beyond ASCII. Of the visible characters RFC 3986 leaves out, only the
// backslash is refused: browsers and old clients send `[`, `|` and their like unencoded in queries,
// while a backslash has no honest use and some systems read it as a slash.
pub(super) static TARGET: Octets = Octets(table(b"", b"#\\\x7f", Class::Visible));

// RFC 3986 section 3.4: the first "?" ends the path.
pub(super) static PATH: Octets = Octets(table(b"", b"#\\\x7f?", Class::Visible));

// RFC 9110 section 5.5: field-value holds VCHAR, obs-text, SP and HTAB.
pub(super) static FIELD_VALUE: Octets = Octets(table(b"\t", b"\x7f", Class::Text));

// RFC 9110 section 5.6.4: qdtext is what a quoted string holds but the quote and the backslash.
pub(super) static QUOTED: Octets = Octets(table(b"\t", b"\"\\\x7f", Class::Text));

// RFC 3986 section 3.2.2: reg-name is unreserved and sub-delims ("%" is looked at apart). The comma
// is left out by our own ruling: `Host: a,b` is two hosts folded together more often than a name.
pub(super) static HOST_NAME: Octets = Octets(table(b"-._~!$&'()*+;=", b"", Class::Alphanumeric));

#[derive(Clone, Copy)]
enum Class {
    Alphanumeric,
    Visible,
    Text,
}

const fn table(with: &[u8], without: &[u8], class: Class) -> [bool; 256] {
    let mut set = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        set[octet] = match class {
            Class::Alphanumeric => (octet as u8).is_ascii_alphanumeric(),
            Class::Visible => octet > 0x20 && octet < 0x80,
            Class::Text => octet >= 0x20,
        };
        octet += 1;
    }
    marked(marked(set, with, true), without, false)
}

const fn marked(mut set: [bool; 256], octets: &[u8], to: bool) -> [bool; 256] {
    let mut index = 0;
    while index < octets.len() {
        set[octets[index] as usize] = to;
        index += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(set: &Octets, inside: &[u8], outside: &[u8]) {
        assert!(inside.iter().all(|octet| set.contain(*octet)));
        assert!(!outside.iter().any(|octet| set.contain(*octet)));
    }

    #[test]
    fn strangers_are_found_wherever_they_stand() {
        for size in 0..20 {
            let mut bytes = vec![b'a'; size];
            assert_eq!(TOKEN.first_stranger(&bytes), None);
            for at in 0..size {
                bytes[at] = b' ';
                assert_eq!(TOKEN.first_stranger(&bytes), Some(at));
                bytes[at] = b'a';
            }
        }
    }

    #[test]
    fn classes_hold_what_the_grammar_says() {
        check(&TOKEN, b"azAZ09!#$%&'*+-.^_`|~", b" \t()<>@,;:\\\"/[]?={}\x00\x7f\x80\xff");
        check(&TARGET, b"/a?b=[c]|d%20*:@", b" \t#\\\r\n\x00\x7f\x80\xff");
        check(&PATH, b"/ab=[c]|d%20*:@", b"? \t#\\\r\n\x00\x7f\x80\xff");
        check(&FIELD_VALUE, b"a \t\x80\xff\"\\", b"\r\n\x00\x0b\x0c\x1f\x7f");
        check(&QUOTED, b"a \t;=\x80\xff", b"\"\\\r\n\x00\x7f");
        check(&HOST_NAME, b"a.b-c_d~1", b",/@: []%\\\x80");
    }
}
