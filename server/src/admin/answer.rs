//! What the admin address answers, by path.

use http::{Method, StatusCode};

use super::View;
use super::exposition::Format;
use super::families;

/// What the page may do: be itself, and ask where it came from. It needs no other address.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src \
                           'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

/// A request, as far as an answer depends on it.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) accept: String,
    pub(super) host: Option<String>,
    /// Whether only this machine can connect.
    pub(super) is_local: bool,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: &'static str,
    pub(super) body: Body,
}

pub(super) enum Body {
    Whole(Vec<u8>),
    /// Server-sent events, until either side ends.
    Events,
}

impl Answer {
    pub(super) fn text(status: StatusCode, text: impl Into<Vec<u8>>) -> Answer {
        Answer::whole(status, "text/plain; charset=utf-8", text)
    }

    fn whole(
        status: StatusCode,
        content_type: &'static str,
        content: impl Into<Vec<u8>>,
    ) -> Answer {
        Answer { status, content_type, body: Body::Whole(content.into()) }
    }

    fn json(text: impl Into<Vec<u8>>) -> Answer {
        Answer::whole(StatusCode::OK, "application/json", text)
    }

    /// The fields that are not about framing.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let policy = self.content_type.starts_with("text/html").then_some(PAGE_POLICY);
        let allow = (self.status == StatusCode::METHOD_NOT_ALLOWED).then_some("GET, HEAD");
        let always = [
            ("content-type", self.content_type),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ];
        let policy = policy.map(|policy| ("content-security-policy", policy));
        always.into_iter().chain(policy).chain(allow.map(|allow| ("allow", allow)))
    }
}

/// Answers a request.
pub(super) fn answer(question: &Question, view: &View) -> Answer {
    if !is_host_ours(question) {
        let text = "this address answers for localhost and IP addresses only\n";
        return Answer::text(StatusCode::MISDIRECTED_REQUEST, text);
    }
    if !matches!(question.method, Method::GET | Method::HEAD) {
        return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are allowed here\n");
    }
    match question.path.as_str() {
        "/" => {
            let page = include_str!("page.html");
            Answer::whole(StatusCode::OK, "text/html; charset=utf-8", page)
        }
        "/metrics" => metrics(&question.accept, view),
        // It answers, so it lives: whether it should get requests is another question.
        "/healthz" => Answer::text(StatusCode::OK, "ok\n"),
        "/readyz" => match view.why_not_ready() {
            None => Answer::text(StatusCode::OK, "ready\n"),
            Some(reason) => {
                Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
            }
        },
        "/config" => Answer::json(view.config()),
        "/build" => Answer::json(super::settings::build()),
        "/events" => {
            let content_type = "text/event-stream";
            Answer { status: StatusCode::OK, content_type, body: Body::Events }
        }
        _ => {
            let paths = "/, /metrics, /healthz, /readyz, /config, /build, /events\n";
            Answer::text(StatusCode::NOT_FOUND, format!("there are: {paths}"))
        }
    }
}

fn metrics(accept: &str, view: &View) -> Answer {
    let format = Format::accepted(accept);
    Answer::whole(StatusCode::OK, format.content_type(), families::expose(view, format))
}

/// Whether the request's host can be meant for us. A name that somebody lets point to a loopback
/// address, so that a page of theirs may read what is here (DNS rebinding), can not.
fn is_host_ours(question: &Question) -> bool {
    let Some(host) = question.host.as_deref().filter(|_| question.is_local) else { return true };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_points_here_is_not_ours() {
        let check = |host: Option<&str>, is_local: bool, expected: bool| {
            let host = host.map(str::to_owned);
            let (method, path, accept) = (Method::GET, String::new(), String::new());
            let question = Question { method, path, accept, host, is_local };
            assert_eq!(is_host_ours(&question), expected, "{:?}", question.host);
        };
        for ours in
            ["localhost", "LocalHost:9090", "127.0.0.1:9090", "[::1]:9090", "[::1]", "10.0.0.1"]
        {
            check(Some(ours), true, true);
        }
        check(None, true, true);
        for theirs in
            ["evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.nip.io"]
        {
            check(Some(theirs), true, false);
            check(Some(theirs), false, true);
        }
    }
}
