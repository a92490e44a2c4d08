//! The request's fields, as an owned map.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Exchange, FromRequest};

/// All fields of the request. To look at one or two, [`Exchange::header`] copies nothing.
#[derive(Clone, Debug, Default)]
pub struct Headers(
    /// The fields, by name.
    pub HeaderMap,
);

impl FromRequest for Headers {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Headers, Infallible> {
        let mut map = HeaderMap::with_capacity(exchange.fields.len());
        for (name, value) in exchange.headers() {
            let name = HeaderName::from_bytes(name.as_bytes());
            // The protocol core has accepted both; its grammar is no wider than this one.
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        Ok(Headers(map))
    }
}
