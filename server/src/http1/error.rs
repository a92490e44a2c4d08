//! What a peer can do wrong, one variant a kind, and the status that answers it.

use std::fmt;

use http::StatusCode;

/// Why a request was refused. The peer is at fault, and the connection closes after the answer.
///
/// After any of these the position of the next request is unknown or not to be trusted, so no
/// further byte of the connection is parsed (RFC 9112 section 9.3: a server that cannot tell where
/// a message ends must close).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// More than two empty lines came before a request line.
    BlankLines,
    /// The method is not a token.
    MethodInvalid,
    /// The method is longer than `method_bytes_max`, but ends.
    MethodTooLong,
    /// The method is CONNECT: this server opens no tunnels.
    ConnectUnsupported,
    /// The request target is missing or holds an octet that it must not.
    TargetInvalid,
    /// The request target is longer than `target_bytes_max`.
    TargetTooLong,
    /// The request target has none of the forms that its method allows.
    TargetForm,
    /// The request line does not end in a protocol version.
    VersionInvalid,
    /// The major protocol version is not 1.
    VersionUnsupported,
    /// A line ended in LF without CR.
    BareLineFeed,
    /// A CR was not followed by LF.
    BareCarriageReturn,
    /// A field line started with whitespace.
    FieldFolded,
    /// A field name is missing, is no token, or is not followed by a colon at once.
    FieldNameInvalid,
    /// A field value holds a control character.
    FieldValueInvalid,
    /// One field line is longer than `field_line_bytes_max`.
    FieldTooLarge,
    /// There are more fields than `field_count_max`.
    FieldsTooMany,
    /// The head is longer than `head_bytes_max`.
    HeadTooLarge,
    /// The head is malformed in a way that no other kind names.
    HeadInvalid,
    /// An HTTP/1.1 request has no Host.
    HostMissing,
    /// A request has more than one Host.
    HostRepeated,
    /// The Host, or the authority of the target, is not a host with an optional port.
    HostInvalid,
    /// Content-Length is not a plain decimal number.
    LengthInvalid,
    /// Content-Length came more than once.
    LengthRepeated,
    /// Content-Length and Transfer-Encoding came together.
    LengthWithCoding,
    /// Transfer-Encoding came in an HTTP/1.0 request.
    CodingInOldVersion,
    /// Transfer-Encoding came more than once.
    CodingRepeated,
    /// Transfer-Encoding is no list of codings that ends in one `chunked`.
    CodingInvalid,
    /// Transfer-Encoding names a coding besides `chunked`.
    CodingUnknown,
    /// A field is called as one of the two about framing, but with an underscore.
    FramingLookalike,
    /// Content-Type came more than once, with different values.
    TypeContradicted,
    /// The body is larger than the route takes.
    ContentTooLarge,
    /// Expect names something besides `100-continue`.
    ExpectationUnknown,
    /// A WebSocket handshake is for another version than 13.
    WebSocketVersion,
    /// A chunk size is not a plain hexadecimal number of at most 16 digits.
    ChunkSizeInvalid,
    /// A chunk size line is longer than `chunk_line_bytes_max`.
    ChunkLineTooLong,
    /// A chunk extension is malformed.
    ChunkExtensionInvalid,
    /// The chunk extensions of a body are longer than `chunk_extension_bytes_max`.
    ChunkExtensionsTooLarge,
    /// The data of a chunk is not followed by CRLF.
    ChunkEndInvalid,
    /// The trailer section is longer than `trailer_bytes_max`.
    TrailersTooLarge,
    /// There are more trailer fields than `trailer_count_max`.
    TrailersTooMany,
    /// The head did not arrive in time. Raised by the caller, who has the clock.
    HeadTooSlow,
    /// The body did not arrive in time. Raised by the caller, who has the clock.
    BodyTooSlow,
}

impl ProtocolError {
    /// Every kind, in the order of [`index`](Self::index).
    pub const ALL: [Self; 42] = [
        Self::BlankLines,
        Self::MethodInvalid,
        Self::MethodTooLong,
        Self::ConnectUnsupported,
        Self::TargetInvalid,
        Self::TargetTooLong,
        Self::TargetForm,
        Self::VersionInvalid,
        Self::VersionUnsupported,
        Self::BareLineFeed,
        Self::BareCarriageReturn,
        Self::FieldFolded,
        Self::FieldNameInvalid,
        Self::FieldValueInvalid,
        Self::FieldTooLarge,
        Self::FieldsTooMany,
        Self::HeadTooLarge,
        Self::HeadInvalid,
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostInvalid,
        Self::LengthInvalid,
        Self::LengthRepeated,
        Self::LengthWithCoding,
        Self::CodingInOldVersion,
        Self::CodingRepeated,
        Self::CodingInvalid,
        Self::CodingUnknown,
        Self::FramingLookalike,
        Self::TypeContradicted,
        Self::ContentTooLarge,
        Self::ExpectationUnknown,
        Self::WebSocketVersion,
        Self::ChunkSizeInvalid,
        Self::ChunkLineTooLong,
        Self::ChunkExtensionInvalid,
        Self::ChunkExtensionsTooLarge,
        Self::ChunkEndInvalid,
        Self::TrailersTooLarge,
        Self::TrailersTooMany,
        Self::HeadTooSlow,
        Self::BodyTooSlow,
    ];

    /// The place of this kind in [`ALL`](Self::ALL), for an array of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The status that answers this kind.
    pub const fn status(self) -> StatusCode {
        match self {
            // RFC 9112 section 3: a method longer than any implemented one, and RFC 9112 section
            // 6.1: a transfer coding that is not understood.
            Self::MethodTooLong | Self::ConnectUnsupported | Self::CodingUnknown => {
                StatusCode::NOT_IMPLEMENTED
            }
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::VersionUnsupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::ContentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ExpectationUnknown => StatusCode::EXPECTATION_FAILED,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::HeadTooSlow | Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            // RFC 6585 section 5.
            Self::FieldTooLarge
            | Self::FieldsTooMany
            | Self::HeadTooLarge
            | Self::TrailersTooLarge
            | Self::TrailersTooMany => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A short name for logs and metrics, in snake case.
    pub const fn label(self) -> &'static str {
        TEXTS[self.index()].1
    }

    /// One plain sentence for a person, which names the rule. It needs no escaping in JSON.
    pub const fn sentence(self) -> &'static str {
        TEXTS[self.index()].2
    }
}

/// Each kind with its label and its sentence, in the order of [`ProtocolError::ALL`].
const TEXTS: [(ProtocolError, &str, &str); ProtocolError::ALL.len()] = [
    (
        ProtocolError::BlankLines,
        "blank_lines",
        "At most two empty lines may come before a request.",
    ),
    (
        ProtocolError::MethodInvalid,
        "method_invalid",
        "The request must start with a method, which is a token followed by one space.",
    ),
    (
        ProtocolError::MethodTooLong,
        "method_too_long",
        "The method is longer than this server accepts.",
    ),
    (
        ProtocolError::ConnectUnsupported,
        "connect_unsupported",
        "This server opens no tunnels: CONNECT is not supported.",
    ),
    (
        ProtocolError::TargetInvalid,
        "target_invalid",
        "The request target must be visible ASCII without a fragment or a backslash, \
         followed by one space.",
    ),
    (
        ProtocolError::TargetTooLong,
        "target_too_long",
        "The request target is longer than this server accepts.",
    ),
    (
        ProtocolError::TargetForm,
        "target_form",
        "The request target must start with a slash, be an absolute http or https URI, \
         or be an asterisk for OPTIONS.",
    ),
    (
        ProtocolError::VersionInvalid,
        "version_invalid",
        "The request line must end in a protocol version such as HTTP/1.1, directly \
         followed by CR LF.",
    ),
    (
        ProtocolError::VersionUnsupported,
        "version_unsupported",
        "This server speaks HTTP/1.1 and HTTP/1.0 only.",
    ),
    (
        ProtocolError::BareLineFeed,
        "bare_line_feed",
        "Every line must end in CR LF: a bare LF is not accepted.",
    ),
    (ProtocolError::BareCarriageReturn, "bare_carriage_return", "A CR must be followed by LF."),
    (
        ProtocolError::FieldFolded,
        "field_folded",
        "A field line must not start with whitespace: line folding is not accepted.",
    ),
    (
        ProtocolError::FieldNameInvalid,
        "field_name_invalid",
        "A field name must be a token directly followed by a colon.",
    ),
    (
        ProtocolError::FieldValueInvalid,
        "field_value_invalid",
        "A field value must not contain control characters.",
    ),
    (
        ProtocolError::FieldTooLarge,
        "field_too_large",
        "A field line is longer than this server accepts.",
    ),
    (
        ProtocolError::FieldsTooMany,
        "fields_too_many",
        "The request has more fields than this server accepts.",
    ),
    (
        ProtocolError::HeadTooLarge,
        "head_too_large",
        "The request head is longer than this server accepts.",
    ),
    (ProtocolError::HeadInvalid, "head_invalid", "The request head is not well formed."),
    (ProtocolError::HostMissing, "host_missing", "An HTTP/1.1 request must have a Host field."),
    (
        ProtocolError::HostRepeated,
        "host_repeated",
        "A request must not have more than one Host field.",
    ),
    (
        ProtocolError::HostInvalid,
        "host_invalid",
        "The host must be a name or an address with an optional port.",
    ),
    (
        ProtocolError::LengthInvalid,
        "length_invalid",
        "Content-Length must be one decimal number of at most 64 bits, without a sign or \
         leading zeros.",
    ),
    (ProtocolError::LengthRepeated, "length_repeated", "Content-Length must not be repeated."),
    (
        ProtocolError::LengthWithCoding,
        "length_with_coding",
        "Content-Length and Transfer-Encoding must not come together.",
    ),
    (
        ProtocolError::CodingInOldVersion,
        "coding_in_old_version",
        "An HTTP/1.0 request must not have Transfer-Encoding.",
    ),
    (ProtocolError::CodingRepeated, "coding_repeated", "Transfer-Encoding must not be repeated."),
    (
        ProtocolError::CodingInvalid,
        "coding_invalid",
        "Transfer-Encoding must be a list of codings of which only the last is chunked.",
    ),
    (
        ProtocolError::CodingUnknown,
        "coding_unknown",
        "The only transfer coding that this server understands is chunked.",
    ),
    (
        ProtocolError::FramingLookalike,
        "framing_lookalike",
        "Content_Length and Transfer_Encoding are not accepted: some systems read them with \
         a hyphen.",
    ),
    (
        ProtocolError::TypeContradicted,
        "type_contradicted",
        "Content-Type must not be repeated with different values.",
    ),
    (
        ProtocolError::ContentTooLarge,
        "content_too_large",
        "The request body is larger than this resource accepts.",
    ),
    (
        ProtocolError::ExpectationUnknown,
        "expectation_unknown",
        "The only expectation that this server understands is 100-continue.",
    ),
    (
        ProtocolError::WebSocketVersion,
        "web_socket_version",
        "A WebSocket handshake must be for version 13.",
    ),
    (
        ProtocolError::ChunkSizeInvalid,
        "chunk_size_invalid",
        "A chunk size must be 1 to 16 hexadecimal digits followed by an extension or CR \
         LF.",
    ),
    (
        ProtocolError::ChunkLineTooLong,
        "chunk_line_too_long",
        "A chunk size line is longer than this server accepts.",
    ),
    (
        ProtocolError::ChunkExtensionInvalid,
        "chunk_extension_invalid",
        "A chunk extension must be a name with an optional token or quoted string.",
    ),
    (
        ProtocolError::ChunkExtensionsTooLarge,
        "chunk_extensions_too_large",
        "The chunk extensions of this body are longer than this server accepts.",
    ),
    (
        ProtocolError::ChunkEndInvalid,
        "chunk_end_invalid",
        "The data of a chunk must be as long as announced and be followed by CR LF.",
    ),
    (
        ProtocolError::TrailersTooLarge,
        "trailers_too_large",
        "The trailer section is longer than this server accepts.",
    ),
    (
        ProtocolError::TrailersTooMany,
        "trailers_too_many",
        "The trailer section has more fields than this server accepts.",
    ),
    (ProtocolError::HeadTooSlow, "head_too_slow", "The request head did not arrive in time."),
    (ProtocolError::BodyTooSlow, "body_too_slow", "The request body did not arrive in time."),
];

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.sentence())
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_place_in_all() {
        for (place, error) in ProtocolError::ALL.into_iter().enumerate() {
            assert_eq!(error.index(), place);
            assert_eq!(TEXTS[place].0, error);
        }
    }

    #[test]
    fn every_status_is_an_error() {
        for error in ProtocolError::ALL {
            assert!(error.status().is_client_error() || error.status().is_server_error());
        }
        for error in [ProtocolError::HeadTooSlow, ProtocolError::BodyTooSlow] {
            assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
        }
    }

    #[test]
    fn labels_differ_and_are_plain() {
        let mut labels: Vec<_> = ProtocolError::ALL.iter().map(|error| error.label()).collect();
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ProtocolError::ALL.len());
    }

    #[test]
    fn sentences_need_no_escaping() {
        for error in ProtocolError::ALL {
            let sentence = error.to_string();
            assert!(sentence.ends_with('.'), "{sentence}");
            assert!(sentence.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\'));
        }
    }
}
