//! The complete answer to a request that was refused.

use http::{StatusCode, Version};

use super::{CONNECTION_CLOSE, LengthSlot, connection_to_upgrade, reason, status_line};
use crate::http1::ProtocolError;

/// Appends the whole response to a refused request: status, fields, and an RFC 9457 problem.
///
/// `date` and `server` are ready field lines with their line ends; either may be empty. The
/// response says `Connection: close`: nothing may be written behind it. To `HEAD` it has the same
/// fields and no content (RFC 9110 section 9.3.2).
#[cold]
pub fn refusal(
    out: &mut Vec<u8>,
    error: ProtocolError,
    date: &[u8],
    server: &[u8],
    is_to_head: bool,
) {
    let status = error.status();
    status_line(out, status);
    out.extend_from_slice(date);
    out.extend_from_slice(server);
    out.extend_from_slice(b"content-type: application/problem+json\r\n");
    if error == ProtocolError::WebSocketVersion {
        // RFC 9110 section 15.5.22, RFC 6455 section 4.4.
        out.extend_from_slice(b"upgrade: websocket\r\nsec-websocket-version: 13\r\n");
        connection_to_upgrade(out, Version::HTTP_11, false);
    } else {
        out.extend_from_slice(CONNECTION_CLOSE);
    }
    let slot = LengthSlot::reserve(out, 100);
    problem(out, status, error.sentence());
    let size = slot.fill(out);
    if is_to_head {
        out.truncate(out.len() - size);
    }
}

// RFC 9457 section 4.2.1: with the type `about:blank` the title is the reason of the status. The
// sentences need no escaping: a test beside them holds them to that.
fn problem(out: &mut Vec<u8>, status: StatusCode, detail: &str) {
    out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":\"");
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\",\"status\":");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b",\"detail\":\"");
    out.extend_from_slice(detail.as_bytes());
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8] = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

    #[test]
    fn every_refusal_parses_back() {
        for error in ProtocolError::ALL {
            let mut out = Vec::new();
            refusal(&mut out, error, DATE, b"server: corelane\r\n", false);
            let mut fields = [httparse::EMPTY_HEADER; 8];
            let mut response = httparse::Response::new(&mut fields);
            let httparse::Status::Complete(size) = response.parse(&out).unwrap() else {
                panic!("the head is whole")
            };
            let names: Vec<_> = response.headers.iter().map(|field| field.name).collect();
            let values: Vec<_> = response.headers.iter().map(|field| field.value).collect();
            let (first, rest) =
                (["date", "server", "content-type"], ["connection", "content-length"]);
            let length = (out.len() - size).to_string();
            if error == ProtocolError::WebSocketVersion {
                assert_eq!(names[3..5], ["upgrade", "sec-websocket-version"]);
                assert_eq!(values[3..6], [&b"websocket"[..], b"13", b"close, upgrade"]);
            } else {
                assert_eq!((names.len(), values[3]), (5, &b"close"[..]));
            }
            assert!(names.starts_with(&first) && names.ends_with(&rest), "{names:?}");
            assert_eq!(response.code, Some(error.status().as_u16()));
            assert_eq!(*values.last().unwrap(), length.as_bytes());
            assert!(String::from_utf8_lossy(&out[size..]).contains(error.sentence()));
        }
    }

    #[test]
    fn a_refusal_is_a_problem_in_json() {
        let mut out = Vec::new();
        refusal(&mut out, ProtocolError::HostMissing, b"", b"", false);
        let expected = "HTTP/1.1 400 Bad Request\r\n\
            content-type: application/problem+json\r\n\
            connection: close\r\n\
            content-length: 112\r\n\r\n\
            {\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\
            \"detail\":\"An HTTP/1.1 request must have a Host field.\"}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let mut to_head = Vec::new();
        refusal(&mut to_head, ProtocolError::HostMissing, b"", b"", true);
        assert_eq!(to_head, out[..out.len() - 112]);
    }
}
