//! Credentials in `Authorization`: who asks is the application's business, the protocol is ours.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};

use super::{Inner, Middleware, Next, Reply};
use crate::extract::Exchange;
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// A user's name and password (RFC 7617).
#[derive(Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    /// The name.
    pub user: String,
    /// The password. Compare it in constant time, or better, a slow hash of it.
    pub password: String,
}

impl fmt::Debug for BasicCredentials {
    /// Without the password: what is printed ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicCredentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A token (RFC 6750).
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(
    /// The token. Look it up by its hash, or verify its signature.
    pub String,
);

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken")
    }
}

/// A kind of credentials.
pub trait Credentials: Sized + 'static {
    /// The scheme in `Authorization`, in any letter case there.
    const SCHEME: &'static str;

    /// Reads what stands behind the scheme.
    fn read(text: &str) -> Option<Self>;
}

impl Credentials for BasicCredentials {
    const SCHEME: &'static str = "Basic";

    fn read(text: &str) -> Option<BasicCredentials> {
        let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        // RFC 7617 section 2: the first colon ends the name; the password may have more of them.
        let (user, password) = decoded.split_once(':')?;
        Some(BasicCredentials { user: user.to_owned(), password: password.to_owned() })
    }
}

impl Credentials for BearerToken {
    const SCHEME: &'static str = "Bearer";

    fn read(text: &str) -> Option<BearerToken> {
        // RFC 6750 section 2.1: b64token.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let is_token = !text.is_empty() && text.bytes().all(is_plain);
        is_token.then(|| BearerToken(text.to_owned()))
    }
}

/// Lets a request in whose credentials `check` knows; others get 401 with a challenge.
///
/// `check` returns whoever the credentials belong to; handlers take it as
/// [`Extension`](crate::Extension).
///
/// ```
/// use corelane::middleware::{BearerToken, authenticate};
/// use corelane::{App, Extension, get};
///
/// struct User(&'static str);
///
/// async fn check(token: BearerToken) -> Option<User> {
///     (token.0 == "secret").then_some(User("ada")) // a look into a database, more likely
/// }
///
/// let app = App::new()
///     .route("/me", get(async |user: Extension<User>| user.0.0))
///     .route_layer(authenticate("example", check));
/// # let _ = app;
/// ```
pub fn authenticate<C, T, F, R>(realm: &'static str, check: F) -> Authenticate<F, C>
where
    C: Credentials,
    T: 'static,
    F: Fn(C) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Option<T>> + 'static,
{
    Authenticate { realm, check, credentials: PhantomData }
}

/// Middleware made by [`authenticate`].
pub struct Authenticate<F, C> {
    realm: &'static str,
    check: F,
    credentials: PhantomData<fn(C)>,
}

impl<F: Clone, C> Clone for Authenticate<F, C> {
    fn clone(&self) -> Authenticate<F, C> {
        Authenticate { realm: self.realm, check: self.check.clone(), credentials: PhantomData }
    }
}

impl<F, C> fmt::Debug for Authenticate<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticate").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl<C, T, F, R> Middleware for Authenticate<F, C>
where
    C: Credentials,
    T: 'static,
    F: Fn(C) -> R + 'static,
    R: Future<Output = Option<T>> + 'static,
{
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let realm = self.realm;
        let Some(credentials) = credentials::<C>(exchange) else {
            return Reply::ready(challenge::<C>(realm));
        };
        let known = (self.check)(credentials);
        let mut next = Next::new(exchange, &inner);
        Reply::waiting(async move {
            let Some(known) = known.await else { return challenge::<C>(realm) };
            next.insert(Rc::new(known));
            next.run().await
        })
    }
}

fn credentials<C: Credentials>(exchange: &Exchange<'_>) -> Option<C> {
    let mut fields =
        exchange.headers().filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let (_, value) = fields.next()?;
    // Two are none: who could say which of them another server would take?
    if fields.next().is_some() {
        return None;
    }
    let (scheme, text) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(C::SCHEME).then(|| C::read(text.trim_start_matches(' ')))?
}

// RFC 9110 section 15.5.2: a 401 must have a challenge.
fn challenge<C: Credentials>(realm: &str) -> Response {
    let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
    let value = HeaderValue::try_from(format!("{} realm=\"{realm}\"", C::SCHEME));
    let value = value.unwrap_or(HeaderValue::from_static(C::SCHEME));
    let response = Problem::new(StatusCode::UNAUTHORIZED).into_response();
    response.with_header(header::WWW_AUTHENTICATE, value)
}
