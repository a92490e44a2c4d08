//! The query, as a typed value.

use http::StatusCode;
use serde::de::DeserializeOwned;

use super::{Exchange, FromRequest};
use crate::problem::Problem;

/// The query's parameters: `?a=1&b=x` fills the fields `a` and `b` of a struct.
///
/// Values are percent-decoded and `+` is a blank, as in HTML forms. A value that does not fit its
/// type is answered with 400 and the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Rejection = Problem;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Query<T>, Problem> {
        let query = exchange.query().unwrap_or_default();
        read_pairs(query, StatusCode::BAD_REQUEST, "query").map(Query)
    }
}

/// Reads a typed value from `a=1&b=x`; the problem names the field that does not fit.
pub(super) fn read_pairs<T: DeserializeOwned>(
    text: &str,
    status: StatusCode,
    what: &str,
) -> Result<T, Problem> {
    serde_urlencoded::from_str(text).map_err(|_| {
        // Read once more, with an eye on where it goes wrong: only for what is refused.
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
        let problem = Problem::new(status);
        match serde_path_to_error::deserialize::<_, T>(pairs) {
            Ok(_) => problem,
            Err(error) => {
                let detail = format!("the {what} is wrong: {}", error.inner());
                problem.detail(detail.clone()).maybe_field(field_of(&error, &detail))
            }
        }
    })
}

fn field_of<E>(error: &serde_path_to_error::Error<E>, detail: &str) -> Option<String> {
    let path = error.path().to_string();
    if path != "." { Some(path) } else { crate::problem::named_field(detail) }
}
