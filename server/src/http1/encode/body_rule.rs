//! What a response may carry, by the method and version of its request and by its status.

use http::{StatusCode, Version};

/// What a response may carry behind and in its head (RFC 9112 section 6.3, RFC 9110 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// Content of a known size with Content-Length, of an unknown size in chunks.
    Content,
    /// As `Content`, but never in chunks: HTTP/1.0 does not know them (RFC 9112 section 6.1).
    /// Content of an unknown size ends with the connection.
    ContentUnchunked,
    /// The fields that GET would have, and not one byte of content (RFC 9110 section 9.3.2).
    FieldsOnly,
    /// As `FieldsOnly`, but never Transfer-Encoding: the peer speaks HTTP/1.0.
    FieldsOnlyUnchunked,
    /// Content-Length of zero, no content (RFC 9110 section 15.3.6).
    Empty,
    /// No content, no Content-Length, no Transfer-Encoding.
    ///
    /// RFC 9110 section 8.6: 1xx and 204 must have none. A 304 may say the length that GET would
    /// have had; we leave it out, since a wrong one is worse than none.
    Nothing,
}

impl BodyRule {
    /// The rule for the response with `status` to a request of `version`, made with HEAD or not.
    #[inline]
    pub fn of(is_head: bool, status: StatusCode, version: Version) -> Self {
        let is_old = version == Version::HTTP_10;
        match status.as_u16() {
            100..=199 | 204 | 304 => Self::Nothing,
            205 => Self::Empty,
            _ if is_head && is_old => Self::FieldsOnlyUnchunked,
            _ if is_head => Self::FieldsOnly,
            _ if is_old => Self::ContentUnchunked,
            _ => Self::Content,
        }
    }

    /// Whether bytes of content may follow the head.
    #[inline]
    pub fn sends_content(self) -> bool {
        matches!(self, Self::Content | Self::ContentUnchunked)
    }

    /// Whether the head may have Content-Length. For [`BodyRule::Empty`] it is zero.
    #[inline]
    pub fn may_have_length(self) -> bool {
        self != Self::Nothing
    }

    /// Whether the head may have `Transfer-Encoding: chunked`.
    #[inline]
    pub fn may_chunk(self) -> bool {
        matches!(self, Self::Content | Self::FieldsOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn check(method: Method, status: u16, version: Version, expected: BodyRule) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            BodyRule::of(method == Method::HEAD, status, version),
            expected,
            "{method} {status}"
        );
    }

    #[test]
    fn rules() {
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        check(Method::GET, 200, new, BodyRule::Content);
        check(Method::GET, 500, new, BodyRule::Content);
        check(Method::GET, 200, old, BodyRule::ContentUnchunked);
        check(Method::HEAD, 200, new, BodyRule::FieldsOnly);
        check(Method::HEAD, 404, old, BodyRule::FieldsOnlyUnchunked);
        for status in [100, 101, 103, 204, 304] {
            check(Method::GET, status, new, BodyRule::Nothing);
            check(Method::HEAD, status, old, BodyRule::Nothing);
        }
        check(Method::POST, 205, new, BodyRule::Empty);
    }

    #[test]
    fn what_a_rule_allows() {
        let all = |rule: BodyRule| (rule.sends_content(), rule.may_have_length(), rule.may_chunk());
        assert_eq!(all(BodyRule::Content), (true, true, true));
        assert_eq!(all(BodyRule::ContentUnchunked), (true, true, false));
        assert_eq!(all(BodyRule::FieldsOnly), (false, true, true));
        assert_eq!(all(BodyRule::FieldsOnlyUnchunked), (false, true, false));
        assert_eq!(all(BodyRule::Empty), (false, true, false));
        assert_eq!(all(BodyRule::Nothing), (false, false, false));
    }
}
