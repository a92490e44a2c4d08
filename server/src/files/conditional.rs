//! Conditional requests: which preconditions hold, and in which order they count (RFC 9110
//! section 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::asked::{Asked, Values};

/// What tells one state of a representation from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    /// The whole entity tag, as in the field: `"..."` or `W/"..."`.
    pub(crate) etag: String,
    /// When it was last changed, in whole seconds since the Unix epoch.
    pub(crate) modified_seconds: u64,
}

/// What the preconditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD, in the order of RFC 9110 section 13.2.2.
pub(crate) fn verdict(asked: &Asked<'_>, validators: &Validators) -> Verdict {
    // Step 1, and step 2 only without If-Match.
    if !asked.if_match.is_absent() {
        if !matches_any(&asked.if_match, &validators.etag, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if let Some(date) = date(&asked.if_unmodified_since)
        && validators.modified_seconds > date
    {
        return Verdict::Failed;
    }
    // Step 3, and step 4 only without If-None-Match: a tag tells more than a date.
    if !asked.if_none_match.is_absent() {
        if matches_any(&asked.if_none_match, &validators.etag, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if let Some(date) = date(&asked.if_modified_since)
        && validators.modified_seconds <= date
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Step 5: whether `Range` counts, given `If-Range` and the time in seconds since the epoch.
pub(crate) fn range_applies(asked: &Asked<'_>, validators: &Validators, now_seconds: u64) -> bool {
    if asked.if_range.is_absent() {
        return true;
    }
    let Some(value) = asked.if_range.single() else { return false };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return is_same(value, validators.etag.as_bytes(), Comparison::Strong);
    }
    // RFC 9110 section 13.1.5: a date must match exactly, and only one that is strong counts.
    // Section 8.8.2.2: what was changed within this second may be changed again within it.
    let is_strong = validators.modified_seconds < now_seconds;
    is_strong && date(&asked.if_range) == Some(validators.modified_seconds)
}

/// How entity tags are compared (RFC 9110 section 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    /// Neither may be weak.
    Strong,
    /// Weakness does not matter.
    Weak,
}

fn is_same(one: &[u8], other: &[u8], comparison: Comparison) -> bool {
    match comparison {
        Comparison::Strong => one == other && !one.starts_with(b"W/"),
        Comparison::Weak => opaque(one) == opaque(other),
    }
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether one of the listed tags is `etag`, or the list is `*`.
fn matches_any(values: &Values<'_>, etag: &str, comparison: Comparison) -> bool {
    values.iter().any(|value| {
        value == b"*" || tags(value).any(|tag| is_same(tag, etag.as_bytes(), comparison))
    })
}

/// The entity tags of a list. A tag may have a comma in it; behind what is no tag the list ends.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        // RFC 9110 section 5.6.1.2: empty elements are skipped.
        let is_between = |octet: &u8| matches!(octet, b' ' | b'\t' | b',');
        let start = rest.iter().position(|octet| !is_between(octet))?;
        rest = &rest[start..];
        let opening = if rest.starts_with(b"W/") { 2 } else { 0 };
        if rest.get(opening) != Some(&b'"') {
            return None;
        }
        let size = memchr::memchr(b'"', &rest[opening + 1..])?;
        let (tag, behind) = rest.split_at(opening + 1 + size + 1);
        rest = behind;
        Some(tag)
    })
}

/// The date of a field in seconds since the epoch; `None` where it is absent, repeated or no date,
/// which makes the field count for nothing (RFC 9110 sections 13.1.3 and 13.1.4).
fn date(values: &Values<'_>) -> Option<u64> {
    let text = std::str::from_utf8(values.single()?).ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).ok()
}

/// A date for `Last-Modified`. What the format can not write becomes its last second.
pub(crate) fn format_date(seconds: u64) -> String {
    httpdate::fmt_http_date(at(seconds))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn validators(etag: &str) -> Validators {
        Validators { etag: etag.to_owned(), modified_seconds: 784_111_777 }
    }

    fn asked<'a>(fields: &[(&'a str, &'a str)]) -> Asked<'a> {
        Asked::read(fields.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    fn check(fields: &[(&str, &str)], expected: Verdict) {
        assert_eq!(verdict(&asked(fields), &validators("\"a\"")), expected, "{fields:?}");
    }

    fn check_weak(fields: &[(&str, &str)], expected: Verdict) {
        assert_eq!(verdict(&asked(fields), &validators("W/\"a\"")), expected, "{fields:?}");
    }

    #[test]
    fn if_none_match() {
        let name = "if-none-match";
        check(&[], Verdict::Proceed);
        for value in ["\"a\"", "*", "W/\"a\"", "\"b\", \"a\"", ",, \"b,\",\"a\",", "\"b\"\"a\""] {
            check(&[(name, value)], Verdict::NotModified);
            check_weak(&[(name, value)], Verdict::NotModified);
        }
        for value in ["\"b\"", "a", "", "\"a", "a\"", "w/\"a\"", "\"A\"", "\"b\" x \"a\"", "**"] {
            check(&[(name, value)], Verdict::Proceed);
        }
        check(&[(name, "\"b\""), (name, "\"a\"")], Verdict::NotModified);
    }

    #[test]
    fn if_match_compares_strongly() {
        let name = "if-match";
        for value in ["\"a\"", "*", "\"b\", \"a\""] {
            check(&[(name, value)], Verdict::Proceed);
        }
        for value in ["\"b\"", "W/\"a\"", "", "a"] {
            check(&[(name, value)], Verdict::Failed);
        }
        check_weak(&[(name, "W/\"a\"")], Verdict::Failed);
        check_weak(&[(name, "*")], Verdict::Proceed);
    }

    #[test]
    fn dates() {
        let since = "if-modified-since";
        check(&[(since, SAME)], Verdict::NotModified);
        check(&[(since, LATER)], Verdict::NotModified);
        check(&[(since, EARLIER)], Verdict::Proceed);
        // The two obsolete formats must be read as well (RFC 9110 section 5.6.7).
        check(&[(since, "Sunday, 06-Nov-94 08:49:37 GMT")], Verdict::NotModified);
        check(&[(since, "Sun Nov  6 08:49:37 1994")], Verdict::NotModified);
        for value in ["", "0", "yesterday", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994"] {
            check(&[(since, value)], Verdict::Proceed);
            check(&[("if-unmodified-since", value)], Verdict::Proceed);
        }
        check(&[(since, SAME), (since, SAME)], Verdict::Proceed);
        check(&[("if-unmodified-since", SAME)], Verdict::Proceed);
        check(&[("if-unmodified-since", LATER)], Verdict::Proceed);
        check(&[("if-unmodified-since", EARLIER)], Verdict::Failed);
    }

    #[test]
    fn tags_count_before_dates_and_failures_before_304() {
        check(&[("if-none-match", "\"b\""), ("if-modified-since", SAME)], Verdict::Proceed);
        check(&[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)], Verdict::NotModified);
        check(&[("if-match", "\"a\""), ("if-unmodified-since", EARLIER)], Verdict::Proceed);
        check(&[("if-match", "\"b\""), ("if-unmodified-since", LATER)], Verdict::Failed);
        check(&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Verdict::Failed);
        check(&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], Verdict::NotModified);
        let unmodified = ("if-unmodified-since", EARLIER);
        check(&[unmodified, ("if-none-match", "\"a\"")], Verdict::Failed);
        check(&[("if-unmodified-since", SAME), ("if-modified-since", SAME)], Verdict::NotModified);
    }

    #[test]
    fn if_range() {
        let check = |value: &str, etag: &str, now: u64, expected: bool| {
            let fields = [("if-range", value)];
            let applies = range_applies(&asked(&fields), &validators(etag), now);
            assert_eq!(applies, expected, "{value} against {etag} at {now}");
        };
        let (modified, later) = (784_111_777, 784_111_778);
        check("\"a\"", "\"a\"", later, true);
        check("\"b\"", "\"a\"", later, false);
        check("W/\"a\"", "W/\"a\"", later, false);
        check("W/\"a\"", "\"a\"", later, false);
        check("\"a\"", "W/\"a\"", later, false);
        check("*", "\"a\"", later, false);
        check("\"a\", \"b\"", "\"a\"", later, false);
        check("", "\"a\"", later, false);
        check(SAME, "\"a\"", later, true);
        check(SAME, "\"a\"", modified, false);
        check(LATER, "\"a\"", later, false);
        check(EARLIER, "\"a\"", later, false);
        assert!(range_applies(&asked(&[]), &validators("\"a\""), 0));
        let twice = [("if-range", "\"a\""), ("if-range", "\"a\"")];
        assert!(!range_applies(&asked(&twice), &validators("\"a\""), later));
    }

    #[test]
    fn dates_are_written_as_the_format_wants() {
        assert_eq!(format_date(784_111_777), SAME);
        assert_eq!(format_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
