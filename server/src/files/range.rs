//! Which bytes of a representation a request wants (RFC 9110 section 14).

use std::ops::Range;

/// Ranges in one request; more of them are no range at all: the whole content goes out. A reader
/// of a document asks for a handful, an attacker for a thousand (CVE-2011-3192).
pub(crate) const RANGE_COUNT_MAX: usize = 16;

/// What of a representation is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it: 200.
    Whole,
    /// One part: 206 with `Content-Range`.
    One(Range<u64>),
    /// Several parts, which do not overlap: 206 with `multipart/byteranges`.
    Many(Vec<Range<u64>>),
    /// None of what is wanted is there: 416.
    Unsatisfiable,
}

/// Reads a `Range` field against the size of the representation in bytes.
///
/// What is malformed, has another unit or too many ranges counts for nothing (RFC 9110 section
/// 14.2). Ranges that overlap or touch become one, in the order of their starts then, so that no
/// request gets more bytes than there are (section 14.2 again).
pub(crate) fn select(value: &[u8], size: u64) -> Selection {
    // RFC 9110 section 14.2 lets Range be ignored where there is nothing. Clients that ask for the
    // first bytes of whatever there is then learn that there are none, and not that they erred.
    if size == 0 {
        return Selection::Whole;
    }
    let Some(set) = range_set(value) else { return Selection::Whole };
    let (mut count, mut ranges) = (0, Vec::new());
    for spec in set.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue;
        }
        count += 1;
        match parse(spec, size) {
            _ if count > RANGE_COUNT_MAX => return Selection::Whole,
            Spec::Malformed => return Selection::Whole,
            Spec::Unsatisfiable => {}
            Spec::Range(range) => ranges.push(range),
        }
    }
    if count == 0 {
        return Selection::Whole;
    }
    let mut ranges = coalesce(ranges);
    match ranges.len() {
        0 => Selection::Unsatisfiable,
        1 => Selection::One(ranges.remove(0)),
        _ => Selection::Many(ranges),
    }
}

// RFC 9110 section 14.1: range units are case-insensitive.
fn range_set(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

enum Spec {
    Malformed,
    Unsatisfiable,
    Range(Range<u64>),
}

/// One `first-last`, `first-` or `-suffix` (RFC 9110 section 14.1.2).
fn parse(spec: &[u8], size: u64) -> Spec {
    let Some(dash) = memchr::memchr(b'-', spec) else { return Spec::Malformed };
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    match (number(first), number(last)) {
        (Number::Absent, Number::Value(suffix)) => match suffix.min(size) {
            0 => Spec::Unsatisfiable,
            suffix => Spec::Range(size - suffix..size),
        },
        (Number::Value(first), Number::Absent) if first < size => Spec::Range(first..size),
        (Number::Value(first), Number::Value(last)) if last < first => Spec::Malformed,
        (Number::Value(first), Number::Value(last)) if first < size => {
            Spec::Range(first..last.saturating_add(1).min(size))
        }
        (Number::Value(_), Number::Absent | Number::Value(_)) => Spec::Unsatisfiable,
        _ => Spec::Malformed,
    }
}

enum Number {
    Absent,
    /// Larger ones than fit are the largest: no representation has as many bytes.
    Value(u64),
    Malformed,
}

fn number(digits: &[u8]) -> Number {
    if digits.is_empty() {
        return Number::Absent;
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Number::Malformed;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Number::Value(digits.iter().fold(0, add))
}

/// The same bytes without repeating any; the order stays where nothing has to be joined.
fn coalesce(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = ranges.clone();
    sorted.sort_by_key(|range| range.start);
    let touches = |pair: &[Range<u64>]| pair[1].start <= pair[0].end;
    if !sorted.windows(2).any(touches) {
        return ranges;
    }
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use Selection::{Many, One, Unsatisfiable, Whole};

    fn check(value: &str, expected: Selection) {
        assert_eq!(select(value.as_bytes(), 1000), expected, "{value}");
    }

    #[test]
    fn single_ranges() {
        check("bytes=0-0", One(0..1));
        check("bytes=0-499", One(0..500));
        check("bytes=500-999", One(500..1000));
        check("bytes=500-", One(500..1000));
        check("bytes=-500", One(500..1000));
        check("bytes=-1", One(999..1000));
        check("bytes=-5000", One(0..1000));
        check("bytes=0-5000", One(0..1000));
        check("bytes=999-18446744073709551615", One(999..1000));
        check("bytes=0-99999999999999999999999", One(0..1000));
        check("BYTES=0-0", One(0..1));
        check("bytes= 0-0 ,,", One(0..1));
        check("bytes=007-008", One(7..9));
    }

    #[test]
    fn what_is_not_there() {
        for value in ["1000-", "1000-2000", "99999999999999999999999-", "-0", "-0,1000-"] {
            check(&format!("bytes={value}"), Unsatisfiable);
        }
        // One that can be satisfied is enough.
        check("bytes=-0,5-6,1000-", One(5..7));
        for value in ["bytes=0-", "bytes=-1", "bytes=0-0", "bytes=-0"] {
            assert_eq!(select(value.as_bytes(), 0), Whole, "{value} of nothing");
        }
    }

    #[test]
    fn what_is_malformed_counts_for_nothing() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=x",
            "bytes=1",
            "bytes=1-0",
            "bytes=0-0,2-1",
            "bytes=0-0,x",
            "bytes=--1",
            "bytes=1--2",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=0x0-1",
            "bytes=1 - 2",
            "bytes =0-1",
            "items=0-1",
            "bytes:0-1",
            "bytes=0-1;x",
            "bytes=\u{661}-",
            "bytes=1.0-2",
            "bytes=0-a,b-1000",
        ] {
            check(value, Whole);
        }
    }

    #[test]
    fn several_ranges_keep_their_order_unless_they_touch() {
        check("bytes=0-0,2-2", Many(vec![0..1, 2..3]));
        check("bytes=900-,0-1", Many(vec![900..1000, 0..2]));
        check("bytes=-1,0-0", Many(vec![999..1000, 0..1]));
        check("bytes=0-1,2-3", One(0..4));
        check("bytes=5-9,0-6", One(0..10));
        check("bytes=0-999,0-999,0-999", One(0..1000));
        check("bytes=900-950,0-10,5-20", Many(vec![0..21, 900..951]));
    }

    #[test]
    fn a_flood_of_ranges_gets_the_whole_once() {
        let list = |count: usize| {
            let specs: Vec<String> = (0..count).map(|at| format!("{0}-{0}", at * 2)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert!(matches!(select(list(RANGE_COUNT_MAX).as_bytes(), 1000), Many(_)));
        check(&list(RANGE_COUNT_MAX + 1), Whole);
        check(&format!("bytes={}", "0-,".repeat(1300)), Whole);
        check(&format!("bytes={}", "5000-,".repeat(1300)), Whole);
    }

    /// Against every pair of ends: no byte twice, none that is not there.
    #[test]
    fn no_selection_has_more_than_there_is() {
        for size in 0..6u64 {
            for value in 0..6 * 6 * 6 * 6u64 {
                let ends = [value % 6, value / 6 % 6, value / 36 % 6, value / 216];
                let text = format!("bytes={}-{},{}-{}", ends[0], ends[1], ends[2], ends[3]);
                let mut sent: Vec<u64> = match select(text.as_bytes(), size) {
                    Whole | Unsatisfiable => Vec::new(),
                    One(range) => range.collect(),
                    Many(ranges) => ranges.into_iter().flatten().collect(),
                };
                assert!(sent.iter().all(|at| *at < size), "{text} of {size}");
                let count = sent.len();
                sent.sort_unstable();
                sent.dedup();
                assert_eq!(sent.len(), count, "{text} of {size}");
            }
        }
    }
}
