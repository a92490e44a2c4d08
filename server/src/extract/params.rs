//! The values of a path's parameters, in the request or kept beyond it.

/// Names and values of the parameters that a path matched, still percent-encoded.
pub(crate) enum Params<'a> {
    /// As the routing table found them in the path.
    Matched(matchit::Params<'a, 'a>),
    /// Of a request that was kept for later.
    Kept(&'a [(String, String)]),
}

impl<'a> Params<'a> {
    /// For a path that no pattern matched.
    pub(crate) const NONE: Params<'static> = Params::Kept(&[]);

    pub(crate) fn len(&self) -> usize {
        match self {
            Params::Matched(params) => params.len(),
            Params::Kept(params) => params.len(),
        }
    }

    pub(crate) fn at(&self, index: usize) -> Option<(&'a str, &'a str)> {
        match self {
            Params::Matched(params) => params.iter().nth(index),
            Params::Kept(params) => {
                params.get(index).map(|(name, value)| (name.as_str(), value.as_str()))
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        (0..self.len()).filter_map(|index| self.at(index))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}
