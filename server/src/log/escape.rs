//! Text of peers, made harmless: no byte of it can end a line, or be a command to a terminal.

use crate::http1::sixteen::first_unquotable;

/// The two digits of every byte.
static HEX: [[u8; 2]; 256] = {
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = [digit(byte as u8 >> 4), digit(byte as u8 & 15)];
        byte += 1;
    }
    digits
};

/// Whether all of `bytes` is visible ASCII or blank, but for quote and backslash: what stands as it
/// is between quotes. Most texts are, and are copied in one piece then.
fn is_plain(bytes: &[u8]) -> bool {
    let (sixteens, rest) = bytes.as_chunks();
    let mut last = [b' '; 16];
    last[..rest.len()].copy_from_slice(rest);
    sixteens.iter().chain([&last]).all(|octets| first_unquotable(octets).is_none())
}

/// Writes `bytes` as the Common Log Format has them between quotes: a quote or backslash is
/// preceded by a backslash, and every byte that is no visible ASCII or blank is `\xHH`.
pub(super) fn quotable(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}

/// Writes `bytes` as a JSON string (RFC 8259 section 7) in ASCII. What is no UTF-8 becomes
/// U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        escaped(out, bytes);
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                ' '..='~' => out.push(character as u8),
                _ => unicode(out, character),
            }
        }
        if !chunk.invalid().is_empty() {
            unicode(out, char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Writes `bytes` as a value of logfmt: as it is where that is unmistakable, else in quotes.
pub(super) fn logfmt(out: &mut Vec<u8>, bytes: &[u8]) {
    let ends_value = |byte: &u8| matches!(byte, b' ' | b'=');
    if !bytes.is_empty() && is_plain(bytes) && !bytes.iter().any(ends_value) {
        out.extend_from_slice(bytes);
    } else {
        json(out, bytes);
    }
}

/// Writes 32 digits.
pub(super) fn hex(out: &mut Vec<u8>, number: u128) {
    let mut digits = [[0; 2]; 16];
    for (pair, byte) in digits.iter_mut().zip(number.to_be_bytes()) {
        *pair = HEX[usize::from(byte)];
    }
    out.extend_from_slice(digits.as_flattened());
}

fn unicode(out: &mut Vec<u8>, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let [high, low] = unit.to_be_bytes();
        out.extend_from_slice(b"\\u");
        out.extend([high >> 4, high & 15, low >> 4, low & 15].map(digit));
    }
}

/// `value < 16`
const fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[value as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
        out.push(b'"');
        quotable(out, bytes);
        out.push(b'"');
    }

    fn check(bytes: &[u8], expected: [&str; 3]) {
        for (write, expected) in [quoted, json, logfmt].into_iter().zip(expected) {
            let mut out = Vec::new();
            write(&mut out, bytes);
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_plain_stays() {
        check(b"/a?b", ["\"/a?b\"", "\"/a?b\"", "/a?b"]);
        check(b"", ["\"\"", "\"\"", "\"\""]);
        check(b"a b", ["\"a b\"", "\"a b\"", "\"a b\""]);
        let long = "x".repeat(100);
        let quoted = format!("\"{long}\"");
        check(long.as_bytes(), [&quoted, &quoted, &long]);
        check(b"a=b", ["\"a=b\"", "\"a=b\"", "\"a=b\""]);
    }

    #[test]
    fn what_could_mislead_is_escaped() {
        check(b"a\"", ["\"a\\\"\"", "\"a\\\"\"", "\"a\\\"\""]);
        check(b"a\\", ["\"a\\\\\"", "\"a\\\\\"", "\"a\\\\\""]);
        check(b"\"\\", ["\"\\\"\\\\\"", "\"\\\"\\\\\"", "\"\\\"\\\\\""]);
        let json = "\"\\u000d\\u000a\\u001b\\u0000\\u007f\"";
        check(b"\r\n\x1b\0\x7f", ["\"\\x0d\\x0a\\x1b\\x00\\x7f\"", json, json]);
        // A control character of Latin-1, a line separator, one beyond the first plane.
        let json = "\"\\u0085\\u2028\\ud83d\\ude00\"";
        let quoted = "\"\\xc2\\x85\\xe2\\x80\\xa8\\xf0\\x9f\\x98\\x80\"";
        check("\u{85}\u{2028}\u{1f600}".as_bytes(), [quoted, json, json]);
        check(b"a\xffb", ["\"a\\xffb\"", "\"a\\ufffdb\"", "\"a\\ufffdb\""]);
    }

    #[test]
    fn every_byte_comes_out_as_visible_ascii() {
        for byte in 0..=255u8 {
            for write in [quoted, json, logfmt] {
                // At each place, before and behind what is looked at in one go.
                for at in 0..40 {
                    let (mut text, mut out) = ([b'x'; 40], Vec::new());
                    text[at] = byte;
                    write(&mut out, &text);
                    assert!(out.iter().all(|byte| matches!(byte, b' '..=b'~')), "{byte}: {out:?}");
                }
            }
        }
    }
}
