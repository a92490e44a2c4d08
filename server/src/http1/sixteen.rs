//! Sixteen octets at once: where the first one stands that does not belong to a class.
//!
//! Most octets of a head are values, targets and names.

use wide::u8x16;

/// The first octet that no field value holds: a control character, HTAB among them, though a value
/// may hold that (RFC 9110 section 5.5).
#[inline(always)]
pub(super) fn first_control(octets: &[u8; 16]) -> Option<usize> {
    let octets = u8x16::new(*octets);
    first(at_most(octets, 0x1f) | is(octets, 0x7f))
}

/// The first octet that no path of a request target holds: see [`PATH`](super::octets::PATH).
#[inline(always)]
pub(super) fn first_stranger_to_path(octets: &[u8; 16]) -> Option<usize> {
    let octets = u8x16::new(*octets);
    let marks = is(octets, b'#') | is(octets, b'?') | is(octets, b'\\');
    first(at_most(octets, b' ') | at_least(octets, 0x7f) | marks)
}

/// The first octet that is neither a letter nor `-`: of those most field names consist.
#[inline(always)]
pub(super) fn first_unusual_in_name(octets: &[u8; 16]) -> Option<usize> {
    let octets = u8x16::new(*octets);
    // The case bit makes letters of letters alone.
    let lower = octets | u8x16::splat(0x20);
    let letters = at_least(lower, b'a') & at_most(lower, b'z');
    first(!(letters | is(octets, b'-')))
}

/// The first octet that can not stand as it is between quotes in a log: all but visible ASCII and
/// the blank, the quote, and the backslash.
#[inline(always)]
pub(crate) fn first_unquotable(octets: &[u8; 16]) -> Option<usize> {
    let octets = u8x16::new(*octets);
    let marks = is(octets, b'"') | is(octets, b'\\');
    first(at_most(octets, 0x1f) | at_least(octets, 0x7f) | marks)
}

#[inline(always)]
fn at_most(octets: u8x16, bound: u8) -> u8x16 {
    octets.min(u8x16::splat(bound)).simd_eq(octets)
}

#[inline(always)]
fn at_least(octets: u8x16, bound: u8) -> u8x16 {
    octets.max(u8x16::splat(bound)).simd_eq(octets)
}

#[inline(always)]
fn is(octets: u8x16, octet: u8) -> u8x16 {
    octets.simd_eq(u8x16::splat(octet))
}

#[inline(always)]
fn first(found: u8x16) -> Option<usize> {
    match found.to_bitmask() {
        0 => None,
        mask => Some(mask.trailing_zeros() as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::octets::{FIELD_VALUE, PATH};

    fn check(found: fn(&[u8; 16]) -> Option<usize>, is_stranger: impl Fn(u8) -> bool) {
        for octet in 0..=255 {
            for at in 0..16 {
                for behind in [b'a', 0, 0xff] {
                    let mut octets = [b'a'; 16];
                    octets[at] = octet;
                    octets[at + 1..].fill(behind);
                    let expected = octets.iter().position(|octet| is_stranger(*octet));
                    assert_eq!(found(&octets), expected, "{octets:?}");
                }
            }
        }
    }

    #[test]
    fn the_first_stranger_is_found_wherever_it_stands() {
        check(first_control, |octet| !FIELD_VALUE.contain(octet) || octet == b'\t');
        check(first_stranger_to_path, |octet| !PATH.contain(octet));
        let is_plain = |octet| matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\';
        check(first_unquotable, |octet| !is_plain(octet));
        check(first_unusual_in_name, |octet| !octet.is_ascii_alphabetic() && octet != b'-');
    }
}
