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
        serde_urlencoded::from_str(query).map(Query).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST).detail(format!("the query is wrong: {error}"))
        })
    }
}
