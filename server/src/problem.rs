//! Errors for programs to read: problem details (RFC 9457).

use http::StatusCode;
use serde::Serialize;

use crate::content_type::ContentType;
use crate::http1::encode;
use crate::json::{Json, write_json};
use crate::response::{IntoResponse, Responder, Response};

/// An error response that says what is wrong, and where.
///
/// ```
/// use corelane::{Problem, StatusCode};
///
/// let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
///     .detail("the price must not be negative")
///     .field("price");
/// # let _ = problem;
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// RFC 9457 section 4.2.1: with this type the title is the status's own.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl Problem {
    /// A problem that says no more than its status.
    pub fn new(status: StatusCode) -> Problem {
        let title = match encode::reason(status) {
            "" => "Unknown",
            reason => reason,
        };
        Problem { r#type: "about:blank", title, status: status.as_u16(), detail: None, field: None }
    }

    /// What is wrong in this case, in a sentence for people.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    /// The name of the member, parameter or field that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Problem {
        self.field = Some(field.into());
        self
    }

    pub(crate) fn maybe_field(mut self, field: Option<String>) -> Problem {
        self.field = field.or(self.field);
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The field that an error of serde names: "missing field `a`".
pub(crate) fn named_field(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(" field `")?;
    let is_known = ["missing", "unknown", "duplicate"].iter().any(|word| before.ends_with(word));
    let (name, _) = rest.split_once('`')?;
    is_known.then(|| name.to_owned())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Json(&self).into_response();
        response.status = self.status();
        response.headers.insert(http::header::CONTENT_TYPE, ContentType::PROBLEM.value());
        response
    }

    fn respond(self, responder: &mut Responder<'_>) {
        responder.serialize(self.status(), ContentType::PROBLEM, 150, |out| write_json(out, &self));
    }
}
