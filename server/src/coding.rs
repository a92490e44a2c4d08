//! Content codings, and which of them a client takes (RFC 9110 section 12.5.3).

/// A content coding that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Coding {
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// Every coding, in the order of their declaration.
    pub(crate) const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// The name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The coding with a name, in any letter case.
    // RFC 9110 section 8.4.1.3: a recipient should consider "x-gzip" to be equivalent to "gzip".
    pub(crate) fn named(name: &[u8]) -> Option<Coding> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        Coding::ALL
            .into_iter()
            .find(|coding| is(coding.name()))
            .or_else(|| is("x-gzip").then_some(Coding::Gzip))
    }
}

/// What one `Accept-Encoding` says: a weight in thousandths for each coding and for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acceptable {
    codings: [u16; Coding::ALL.len()],
    identity: u16,
}

impl Acceptable {
    /// Reads the values of all `Accept-Encoding` lines.
    ///
    /// Without the field, and with an empty one, the content goes out as it is: the first allows
    /// every coding, but comes from clients that decode none.
    pub(crate) fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Acceptable {
        let mut codings = [None; Coding::ALL.len()];
        let (mut identity, mut others) = (None, None);
        for element in values.flat_map(|value| value.split(|octet| *octet == b',')) {
            let mut parts = element.split(|octet| *octet == b';');
            let name = parts.next().unwrap_or_default().trim_ascii();
            // What can not be read is not asked for.
            let Some(weight) = weight(parts.next(), parts.next().is_some()) else { continue };
            if let Some(coding) = Coding::named(name) {
                codings[coding as usize] = Some(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                identity = Some(weight);
            } else if name == b"*" {
                others = Some(weight);
            }
        }
        Acceptable {
            codings: codings.map(|weight| weight.or(others).unwrap_or(0)),
            // Without being named, no coding at all is what is always acceptable, if least wanted.
            identity: identity.or(others.filter(|weight| *weight == 0)).unwrap_or(1),
        }
    }

    /// The coding to use of those that there are, best first; `None` for none.
    ///
    /// Of equal weights the first in `available` wins. Where nothing is acceptable, not even no
    /// coding, there is none: RFC 9110 section 12.4.1 allows to disregard the field then, and a
    /// client that gets content can still be content.
    pub(crate) fn choose(&self, available: impl Iterator<Item = Coding>) -> Option<Coding> {
        let mut best: Option<(Coding, u16)> = None;
        for coding in available {
            let weight = self.codings[coding as usize];
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        best.filter(|(_, weight)| *weight >= self.identity).map(|(coding, _)| coding)
    }

    /// Whether content without a coding is refused (`identity;q=0`, or `*;q=0`).
    #[cfg(feature = "compression")]
    pub(crate) fn refuses_identity(&self) -> bool {
        self.identity == 0
    }
}

/// A weight in thousandths (RFC 9110 section 12.4.2); `None` where it is none.
fn weight(parameter: Option<&[u8]>, has_more: bool) -> Option<u16> {
    let Some(parameter) = parameter else { return Some(1000) };
    let (name, value) = parameter.trim_ascii().split_at_checked(2)?;
    if has_more || !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, fraction) = match value {
        [whole, b'.', fraction @ ..] => (*whole, fraction),
        [whole] => (*whole, &b""[..]),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| u16::from(digit - b'0'));
    let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2);
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip, Zstd};

    fn check(value: &str, expected: Option<Coding>) {
        let acceptable = Acceptable::read([value.as_bytes()].into_iter());
        assert_eq!(acceptable.choose(Coding::ALL.into_iter()), expected, "{value}");
    }

    #[test]
    fn the_heaviest_wins_and_then_our_order() {
        check("gzip, deflate, br, zstd", Some(Brotli));
        check("gzip", Some(Gzip));
        check("X-GZip", Some(Gzip));
        check("gzip;q=1.0, br;q=0.9", Some(Gzip));
        check("gzip;q=0.8, br;q=0.8, zstd;q=0.801", Some(Zstd));
        check(" GZIP ; Q=0.5 ,, zstd\t;q=0.4,", Some(Gzip));
        check("*", Some(Brotli));
        check("br;q=0, *", Some(Zstd));
        check("br;q=0, *;q=0.1", Some(Zstd));
        for (lighter, heavier) in
            [("0.09", "0.1"), ("0.25", "0.26"), ("0.199", "0.2"), ("0", "0.001")]
        {
            check(&format!("br;q={lighter}, gzip;q={heavier}"), Some(Gzip));
            check(&format!("br;q={heavier}, gzip;q={lighter}"), Some(Brotli));
        }
    }

    #[test]
    fn no_coding_where_it_is_preferred_or_nothing_else_is_known() {
        check("", None);
        check("deflate, compress", None);
        check("identity", None);
        check("identity, gzip;q=0.5", None);
        check("gzip;q=0", None);
        check("gzip;q=0.000, br;q=0", None);
        check("*;q=0", None);
        // Equally wanted: the smaller one.
        check("identity;q=0.5, gzip;q=0.5", Some(Gzip));
    }

    #[test]
    fn identity_can_be_refused() {
        let identity = |value: &str| {
            let acceptable = Acceptable::read([value.as_bytes()].into_iter());
            #[cfg(feature = "compression")]
            assert_eq!(acceptable.refuses_identity(), acceptable.identity == 0, "{value}");
            acceptable.identity
        };
        assert_eq!(identity("identity;q=0"), 0);
        assert_eq!(identity("gzip, *;q=0"), 0);
        assert_eq!(identity("identity;q=0.1, *;q=0"), 100);
        assert_eq!(identity("gzip"), 1);
        check("identity;q=0, gzip;q=0.001", Some(Gzip));
        check("gzip;q=0.1, *;q=0", Some(Gzip));
    }

    #[test]
    fn what_is_malformed_is_not_asked_for() {
        for value in [
            "gzip;q=1.001",
            "gzip;q=2",
            "gzip;q=0.1234",
            "gzip;q=.5",
            "gzip;q=",
            "gzip;q",
            "gzip;",
            "gzip;q=0.x",
            "gzip;level=9",
            "gzip;q=1;q=1",
            "gzip;q=-1",
            "gz ip",
            "gzip;q=01",
            "gzip;q=1.",
            "gzip;é",
        ] {
            // "1." and "0." are in the grammar: up to three digits, so none as well.
            check(value, (value == "gzip;q=1.").then_some(Gzip));
        }
    }

    #[test]
    fn lines_are_one_list_and_no_line_is_no_wish() {
        let lines = [&b"br;q=0.1"[..], b"zstd"];
        let acceptable = Acceptable::read(lines.into_iter());
        assert_eq!(acceptable.choose(Coding::ALL.into_iter()), Some(Zstd));
        assert_eq!(acceptable.choose([Brotli].into_iter()), Some(Brotli));
        assert_eq!(Acceptable::read([].into_iter()).choose(Coding::ALL.into_iter()), None);
    }
}
