//! Which fields may follow a body.

use http::header::{self, HeaderName};

/// Whether a field may be a trailer.
///
/// RFC 9110 section 6.5.1: a recipient may have acted on the content when it sees a trailer, and
/// many drop them all. So what frames, routes, authenticates, asks under a condition, or says how
/// the content is to be read or kept, must come before it.
pub fn may_trail(name: &HeaderName) -> bool {
    const FRAMING: [HeaderName; 6] = [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
    ];
    const CONTROLS: [HeaderName; 12] = [
        header::HOST,
        header::EXPECT,
        header::MAX_FORWARDS,
        header::RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::CACHE_CONTROL,
        header::PRAGMA,
        header::LOCATION,
    ];
    const CREDENTIALS: [HeaderName; 6] = [
        header::AUTHORIZATION,
        header::WWW_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        header::COOKIE,
        header::SET_COOKIE,
    ];
    const CONTENT: [HeaderName; 8] = [
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::VARY,
        header::AGE,
        header::EXPIRES,
        header::DATE,
        header::RETRY_AFTER,
    ];
    let groups: [&[HeaderName]; 4] = [&FRAMING, &CONTROLS, &CREDENTIALS, &CONTENT];
    !groups.iter().any(|group| group.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_how_a_message_is_read_comes_before_it() {
        for (name, expected) in [
            ("x-checksum", true),
            ("server-timing", true),
            ("etag", true),
            ("content-length", false),
            ("transfer-encoding", false),
            ("host", false),
            ("authorization", false),
            ("content-encoding", false),
        ] {
            assert_eq!(may_trail(&HeaderName::from_static(name)), expected, "{name}");
        }
    }
}
