//! Cookies: those of the request, and those that the response sets.

use std::convert::Infallible;
use std::ops::{Deref, DerefMut};

use cookie::{Cookie, CookieJar};
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};

use super::{Exchange, FromRequest};
use crate::into_response::IntoHeaders;

/// Cookies of one request in, changes to them out: a [`cookie::CookieJar`].
///
/// What was added or removed becomes `Set-Cookie` fields where the jar is returned with the
/// response. Signed cookies go through [`CookieJar::signed`](cookie::CookieJar::signed) and
/// [`signed_mut`](cookie::CookieJar::signed_mut) with a [`cookie::Key`] of the application's own.
///
/// ```
/// use corelane::cookie::Cookie;
/// use corelane::{Cookies, get};
///
/// let count = get(async |mut cookies: Cookies| {
///     let seen = cookies.get("seen").and_then(|seen| seen.value().parse().ok()).unwrap_or(0);
///     let cookie = Cookie::build(("seen", (seen + 1).to_string())).http_only(true).path("/");
///     cookies.add(cookie);
///     (cookies, format!("seen {seen} times"))
/// });
/// # let _ = count;
/// ```
///
/// A pair that is no cookie is left out. Values are taken as they are, not percent-decoded.
#[derive(Clone, Debug, Default)]
pub struct Cookies(
    /// The cookies.
    pub CookieJar,
);

impl Deref for Cookies {
    type Target = CookieJar;

    fn deref(&self) -> &CookieJar {
        &self.0
    }
}

impl DerefMut for Cookies {
    fn deref_mut(&mut self) -> &mut CookieJar {
        &mut self.0
    }
}

impl FromRequest for Cookies {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Cookies, Infallible> {
        let mut jar = CookieJar::new();
        // RFC 9113 section 8.2.3 lets proxies split the field, so all of them count.
        let fields = exchange.headers().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        for text in fields.filter_map(|(_, value)| std::str::from_utf8(value).ok()) {
            for cookie in Cookie::split_parse(text).flatten() {
                jar.add_original(cookie.into_owned());
            }
        }
        Ok(Cookies(jar))
    }
}

impl IntoHeaders for Cookies {
    fn into_headers(self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for cookie in self.0.delta() {
            match HeaderValue::try_from(cookie.to_string()) {
                Ok(value) => drop(fields.append(SET_COOKIE, value)),
                Err(_) => {
                    tracing::error!(name = cookie.name(), "a cookie can not be a field's value");
                }
            }
        }
        fields
    }
}
