//! How long the body of a request is: Content-Length against Transfer-Encoding.

use http::Version;

use super::error::ProtocolError;
use super::octets::TOKEN;

/// How the body of a request ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The request has neither Content-Length nor Transfer-Encoding, so no body.
    None,
    /// The body has exactly this many bytes.
    Length(u64),
    /// The body is chunked and says itself where it ends.
    Chunked,
}

impl Framing {
    /// Whether a body follows the head, so that steps yield its data and its end.
    #[inline]
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// A field that may come once: what was seen of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Sight<T> {
    #[default]
    Never,
    Once(T),
    Again,
}

impl<T> Sight<T> {
    pub(super) fn see(&mut self, value: T) {
        *self = match self {
            Self::Never => Self::Once(value),
            _ => Self::Again,
        };
    }
}

/// Judges the values of Content-Length and Transfer-Encoding.
#[inline(always)]
pub(super) fn judge(
    length: &Sight<&[u8]>,
    coding: &Sight<&[u8]>,
    version: Version,
) -> Result<Framing, ProtocolError> {
    Ok(match (length, coding) {
        (Sight::Never, Sight::Never) => Framing::None,
        (Sight::Once(length), Sight::Never) => Framing::Length(self::length(length)?),
        (length, coding) => judge_unusual(length, coding, version)?,
    })
}

#[inline(never)]
fn judge_unusual(
    length: &Sight<&[u8]>,
    coding: &Sight<&[u8]>,
    version: Version,
) -> Result<Framing, ProtocolError> {
    match (length, coding) {
        // RFC 9112 section 6.3, rule 3, would let Transfer-Encoding win and the connection close
        // afterwards. Section 6.1 says what both together usually are: an attempt at smuggling.
        (Sight::Once(_) | Sight::Again, Sight::Once(_) | Sight::Again) => {
            Err(ProtocolError::LengthWithCoding)
        }
        // RFC 9112 section 6.3, rule 5, would let equal values be folded into one.
        (Sight::Again, _) => Err(ProtocolError::LengthRepeated),
        // RFC 9112 section 6.1: with Transfer-Encoding in HTTP/1.0 the framing is to be treated as
        // faulty, because a proxy on the way may not have understood it.
        (_, Sight::Once(_) | Sight::Again) if version == Version::HTTP_10 => {
            Err(ProtocolError::CodingInOldVersion)
        }
        (_, Sight::Again) => Err(ProtocolError::CodingRepeated),
        (_, Sight::Once(coding)) => self::coding(coding).map(|()| Framing::Chunked),
        (_, Sight::Never) => Ok(Framing::None),
    }
}

// RFC 9110 section 8.6: Content-Length = 1*DIGIT, and a recipient must expect large numbers. One
// beyond 64 bits is the length of nothing: whoever sends it hopes for an overflow. A leading zero
// is refused by our own ruling: some parsers read it as octal, and no honest client sends it.
fn length(value: &[u8]) -> Result<u64, ProtocolError> {
    match value {
        [b'0'] => Ok(0),
        [b'1'..=b'9', ..] if value.iter().all(u8::is_ascii_digit) => {
            value.iter().try_fold(0u64, decimal).ok_or(ProtocolError::LengthInvalid)
        }
        _ => Err(ProtocolError::LengthInvalid),
    }
}

fn decimal(sum: u64, digit: &u8) -> Option<u64> {
    sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
}

// RFC 9112 section 6.3, rule 4: when chunked is not the final coding, the length cannot be
// determined: 400. Section 6.1: a coding that is not understood: 501. Section 7.1: chunked must not
// be applied twice. We answer 501 only where everything but the foreign coding is in order.
fn coding(value: &[u8]) -> Result<(), ProtocolError> {
    // RFC 9112 section 7: coding names are case-insensitive.
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.split(|octet| *octet == b',').map(trimmed).rev();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends_chunked = codings.next().is_some_and(is_chunked);
    let others_fit = codings.all(|coding| is_token(coding) && !is_chunked(coding));
    Err(if ends_chunked && others_fit {
        ProtocolError::CodingUnknown
    } else {
        ProtocolError::CodingInvalid
    })
}

fn is_token(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(|octet| TOKEN.contain(*octet))
}

/// `octets` without the whitespace of RFC 9110 section 5.6.3 around it: SP and HTAB, nothing else.
pub(super) fn trimmed(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight<'a>(values: &[&'a str]) -> Sight<&'a [u8]> {
        let mut sight = Sight::Never;
        values.iter().for_each(|value| sight.see(value.as_bytes()));
        sight
    }

    fn check(lengths: &[&str], codings: &[&str], expected: Result<Framing, ProtocolError>) {
        let verdict = judge(&sight(lengths), &sight(codings), Version::HTTP_11);
        assert_eq!(verdict, expected, "{lengths:?} {codings:?}");
    }

    #[test]
    fn lengths() {
        check(&[], &[], Ok(Framing::None));
        check(&["0"], &[], Ok(Framing::Length(0)));
        check(&["5"], &[], Ok(Framing::Length(5)));
        check(&["18446744073709551615"], &[], Ok(Framing::Length(u64::MAX)));
        for bad in ["18446744073709551616", "18446744073709551620", "99999999999999999999"] {
            check(&[bad], &[], Err(ProtocolError::LengthInvalid));
        }
        for bad in ["", "+5", "-1", "-0", "0x5", "5_0", "5 0", "5abc", "005", "00", "5, 5", "５"] {
            check(&[bad], &[], Err(ProtocolError::LengthInvalid));
        }
        check(&["5", "5"], &[], Err(ProtocolError::LengthRepeated));
        check(&["5", "6", "7"], &[], Err(ProtocolError::LengthRepeated));
    }

    #[test]
    fn codings() {
        check(&[], &["chunked"], Ok(Framing::Chunked));
        check(&[], &["ChUnKeD"], Ok(Framing::Chunked));
        for unknown in ["gzip, chunked", "gzip,chunked", "a ,\tb, Chunked"] {
            check(&[], &[unknown], Err(ProtocolError::CodingUnknown));
        }
        for bad in ["", "xchunked", "chunke d", "\"chunked\"", "identity", "chunked, gzip"] {
            check(&[], &[bad], Err(ProtocolError::CodingInvalid));
        }
        for bad in [",chunked", "chunked,", "chunked, chunked", "gzip;q=1, chunked", "a b, chunked"]
        {
            check(&[], &[bad], Err(ProtocolError::CodingInvalid));
        }
        check(&[], &["chunked", "chunked"], Err(ProtocolError::CodingRepeated));
    }

    #[test]
    fn both() {
        check(&["5"], &["chunked"], Err(ProtocolError::LengthWithCoding));
        check(&["5", "5"], &["gzip", "chunked"], Err(ProtocolError::LengthWithCoding));
    }

    #[test]
    fn old_version_has_no_codings() {
        let judge = |coding| judge(&Sight::Never, &sight(&[coding]), Version::HTTP_10);
        assert_eq!(judge("chunked"), Err(ProtocolError::CodingInOldVersion));
        assert_eq!(judge("gzip"), Err(ProtocolError::CodingInOldVersion));
    }
}
