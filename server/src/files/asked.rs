//! The fields of a request that select, validate or cut a representation, found in one pass.

/// The values of one field: no line, one line, or several.
#[derive(Clone, Debug, Default)]
pub(crate) enum Values<'a> {
    #[default]
    None,
    One(&'a [u8]),
    Many(Vec<&'a [u8]>),
}

impl<'a> Values<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match std::mem::take(self) {
            Values::None => Values::One(value),
            Values::One(first) => Values::Many(vec![first, value]),
            Values::Many(mut values) => {
                values.push(value);
                Values::Many(values)
            }
        };
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Values::None)
    }

    /// The value of a field that may come only once: what comes twice means nothing.
    pub(crate) fn single(&self) -> Option<&'a [u8]> {
        match self {
            Values::One(value) => Some(value),
            Values::None | Values::Many(_) => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let (one, many) = match self {
            Values::None => (None, &[][..]),
            Values::One(value) => (Some(*value), &[][..]),
            Values::Many(values) => (None, &values[..]),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

/// What a request says about the representation that it wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) if_match: Values<'a>,
    pub(crate) if_none_match: Values<'a>,
    pub(crate) if_modified_since: Values<'a>,
    pub(crate) if_unmodified_since: Values<'a>,
    pub(crate) if_range: Values<'a>,
    pub(crate) range: Values<'a>,
    pub(crate) accept_encoding: Values<'a>,
}

impl<'a> Asked<'a> {
    pub(crate) fn read(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Asked<'a> {
        let mut asked = Asked::default();
        for (name, value) in fields {
            if let Some(values) = asked.values_mut(name) {
                values.add(value);
            }
        }
        asked
    }

    /// Where a field's values go. The size of the name tells the candidates apart.
    fn values_mut(&mut self, name: &str) -> Option<&mut Values<'a>> {
        let (known, values) = match name.len() {
            5 => ("range", &mut self.range),
            8 if name.as_bytes()[3] | 0x20 == b'r' => ("if-range", &mut self.if_range),
            8 => ("if-match", &mut self.if_match),
            13 => ("if-none-match", &mut self.if_none_match),
            15 => ("accept-encoding", &mut self.accept_encoding),
            17 => ("if-modified-since", &mut self.if_modified_since),
            19 => ("if-unmodified-since", &mut self.if_unmodified_since),
            _ => return None,
        };
        name.eq_ignore_ascii_case(known).then_some(values)
    }

    /// The same as a value that outlives the request's bytes.
    pub(crate) fn to_owned(&self) -> AskedOwned {
        let named = [
            ("if-match", &self.if_match),
            ("if-none-match", &self.if_none_match),
            ("if-modified-since", &self.if_modified_since),
            ("if-unmodified-since", &self.if_unmodified_since),
            ("if-range", &self.if_range),
            ("range", &self.range),
            ("accept-encoding", &self.accept_encoding),
        ];
        let lines = named
            .into_iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, value.to_vec())));
        AskedOwned(lines.collect())
    }
}

/// What [`Asked`] borrows, for requests that have to wait for the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskedOwned(Vec<(&'static str, Vec<u8>)>);

impl AskedOwned {
    pub(crate) fn borrow(&self) -> Asked<'_> {
        Asked::read(self.0.iter().map(|(name, value)| (*name, &value[..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_found_in_any_letter_case_and_survives_a_copy() {
        let fields: [(&str, &[u8]); 10] = [
            ("Host", b"h"),
            ("Range", b"1"),
            ("IF-RANGE", b"2"),
            ("if-match", b"3"),
            ("If-None-Match", b"4"),
            ("if-none-match", b"5"),
            ("Accept-Encoding", b"6"),
            ("If-Modified-Since", b"7"),
            ("If-Unmodified-Since", b"8"),
            ("if-other", b"9"),
        ];
        let kept = Asked::read(fields.into_iter()).to_owned();
        let asked = kept.borrow();
        let all = |values: &Values<'_>| values.iter().collect::<Vec<_>>().concat();
        assert_eq!(all(&asked.range), b"1");
        assert_eq!(all(&asked.if_range), b"2");
        assert_eq!(all(&asked.if_match), b"3");
        assert_eq!(all(&asked.if_none_match), b"45");
        assert_eq!(all(&asked.accept_encoding), b"6");
        assert_eq!(all(&asked.if_modified_since), b"7");
        assert_eq!(all(&asked.if_unmodified_since), b"8");
        assert_eq!(asked.range.single(), Some(&b"1"[..]));
        assert_eq!(asked.if_none_match.single(), None);
        assert!(Asked::default().range.is_absent());
    }
}
