//! The request target: its form, its path and its query.

use http::Method;

use super::error::ProtocolError;
use super::fields::Span;
use super::host::is_authority;

/// The form of a request target that this server takes (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `*`, with OPTIONS only: the server as a whole is meant, not a resource.
    Asterisk,
}

/// The parts of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) form: TargetForm,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) authority: Option<Span>,
}

/// Splits the target into its parts; its octets were looked at before. `path_end` is where its
/// first `?` stands, or else its end.
#[inline(always)]
pub(super) fn read(
    bytes: &[u8],
    span: Span,
    path_end: u32,
    method: &Method,
) -> Result<Target, ProtocolError> {
    Ok(match bytes[span.start as usize] {
        b'/' => with_path(TargetForm::Origin, None, span, path_end),
        // RFC 9112 section 3.2.4: asterisk-form is for OPTIONS only.
        b'*' if span.size() == 1 && *method == Method::OPTIONS => {
            Target { form: TargetForm::Asterisk, path: span, query: None, authority: None }
        }
        _ => absolute(bytes, span, path_end)?,
    })
}

// RFC 9112 section 3.2.2: a server must accept the absolute form, though only proxies are sent it.
#[cold]
fn absolute(bytes: &[u8], span: Span, path_end: u32) -> Result<Target, ProtocolError> {
    let target = span.of(bytes);
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else {
        return Err(ProtocolError::TargetForm);
    };
    let rest = &target[scheme.len()..];
    let size = rest.iter().position(|octet| matches!(octet, b'/' | b'?')).unwrap_or(rest.len());
    // RFC 9110 section 4.2.1: an http URI with an empty host is invalid and must be rejected.
    if !is_authority(&rest[..size]) {
        return Err(ProtocolError::HostInvalid);
    }
    let start = span.start as usize + scheme.len();
    let authority = Span::new(start, start + size);
    let path = Span { start: authority.end, end: span.end };
    Ok(with_path(TargetForm::Absolute, Some(authority), path, path_end))
}

#[inline(always)]
fn with_path(form: TargetForm, authority: Option<Span>, span: Span, path_end: u32) -> Target {
    let query = (path_end < span.end).then_some(Span { start: path_end + 1, ..span });
    Target { form, path: Span { end: path_end, ..span }, query, authority }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `target` and shows it as `authority path query`.
    fn check(method: &str, target: &str, expected: Result<&str, ProtocolError>) {
        let bytes = target.as_bytes();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let show = |span: Option<Span>| {
            span.map_or("-".into(), |span| String::from_utf8(span.of(bytes).to_vec()).unwrap())
        };
        let path_end = bytes.iter().position(|octet| *octet == b'?').unwrap_or(bytes.len());
        let read = read(bytes, Span::new(0, bytes.len()), path_end as u32, &method).map(|target| {
            let (path, query) = (show(Some(target.path)), show(target.query));
            format!("{} {path} {query}", show(target.authority))
        });
        assert_eq!(read, expected.map(str::to_owned), "{method} {target}");
    }

    #[test]
    fn origin_form() {
        check("GET", "/", Ok("- / -"));
        check("GET", "/a/b?c=d?e", Ok("- /a/b c=d?e"));
        check("GET", "/?", Ok("- / "));
        check("GET", "//a", Ok("- //a -"));
    }

    #[test]
    fn absolute_form() {
        check("GET", "http://h/x?y", Ok("h /x y"));
        check("GET", "HTTPS://h:1", Ok("h:1  -"));
        check("GET", "http://h?y", Ok("h  y"));
        check("GET", "http:///x", Err(ProtocolError::HostInvalid));
        check("GET", "http://u@h/x", Err(ProtocolError::HostInvalid));
        check("GET", "ftp://h/x", Err(ProtocolError::TargetForm));
        check("GET", "http:/h", Err(ProtocolError::TargetForm));
    }

    #[test]
    fn other_forms() {
        check("OPTIONS", "*", Ok("- * -"));
        check("GET", "*", Err(ProtocolError::TargetForm));
        check("OPTIONS", "*a", Err(ProtocolError::TargetForm));
        check("GET", "h:80", Err(ProtocolError::TargetForm));
        check("GET", "a/b", Err(ProtocolError::TargetForm));
        check("GET", "?a", Err(ProtocolError::TargetForm));
    }
}
