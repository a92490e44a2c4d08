//! A form, as a typed value.

use http::StatusCode;
use serde::de::DeserializeOwned;

use super::query::read_pairs;
use super::{BodyUse, Exchange, FromRequest};
use crate::problem::Problem;

/// The body of a form that was sent as `application/x-www-form-urlencoded`: 415 for another type,
/// 422 where a value does not fit its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned> FromRequest for Form<T> {
    type Rejection = Problem;

    const BODY: BodyUse = BodyUse::Whole;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Form<T>, Problem> {
        let is_form = exchange.header("content-type").is_some_and(|value| {
            let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        });
        if !is_form {
            let detail = "the body must be a form; send it with \
                          Content-Type: application/x-www-form-urlencoded";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail(detail));
        }
        let text = std::str::from_utf8(exchange.body_mut()).map_err(|error| {
            let detail = format!("the form is not UTF-8: {error}");
            Problem::new(StatusCode::BAD_REQUEST).detail(detail)
        })?;
        read_pairs(text, StatusCode::UNPROCESSABLE_ENTITY, "form").map(Form)
    }
}
