//! What a handler asks for, taken from its request.
//!
//! Extraction is synchronous: the server has received what the handler's arguments need before it
//! calls the handler, so the request is read where it lies in the receive buffer, and JSON is
//! parsed in place. Which of the three it is, the argument's type says ([`BodyUse`]). Middleware is
//! called before: it decides whether the rest of a body is received at all.

mod body;
mod cookies;
mod extension;
mod form;
mod headers;
mod kept;
#[cfg(feature = "multipart")]
mod multipart;
mod params;
mod path;
mod peer;
mod query;
mod request;
mod scope;
mod state;
mod trailers;

pub use body::{BodyChunk, RequestBody, RequestBodyError};
pub(crate) use body::{Channel, Source};
pub use cookies::Cookies;
pub use extension::Extension;
pub(crate) use extension::Extensions;
pub use form::Form;
pub use headers::Headers;
pub(crate) use kept::{Kept, Peer, PeerSource};
#[cfg(feature = "multipart")]
pub use multipart::{Multipart, MultipartError, Part};
pub(crate) use params::Params;
pub use path::Path;
pub use peer::{ClientAddress, PeerAddress};
pub use query::Query;
pub use request::Request;
pub use scope::Scope;
pub(crate) use scope::States;
pub use state::State;
pub use trailers::Trailers;
pub(crate) use trailers::trailing;

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;

use corelane_runtime::{ConfigError, Shard};
use http::{HeaderMap, Method, Version};

use crate::http1::{Field, Head};
use crate::middleware::TraceContext;
use crate::response::IntoResponse;

/// What a handler does with the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyUse {
    /// Nothing: it is received and thrown away after the answer.
    Unused,
    /// It is received whole, up to the limit, before the handler is called, and after middleware.
    Whole,
    /// It is handed over piece by piece while the handler runs.
    Stream,
}

impl BodyUse {
    /// What two arguments of one handler want together.
    ///
    /// # Panics
    /// Where both want the body. In a constant, that is an error at compile time.
    pub const fn and(self, other: BodyUse) -> BodyUse {
        match (self, other) {
            (BodyUse::Unused, other) => other,
            (this, BodyUse::Unused) => this,
            _ => panic!("two arguments of one handler take the request's body; only one can"),
        }
    }
}

/// A handler's argument: taken from the request before the handler is called.
pub trait FromRequest: Sized {
    /// The answer where it can not be taken.
    type Rejection: IntoResponse;

    /// What the argument needs of the request's body.
    const BODY: BodyUse = BodyUse::Unused;

    /// Takes the argument from the request.
    ///
    /// # Errors
    /// The response that is sent instead of calling the handler.
    fn from_request(exchange: &mut Exchange<'_>) -> Result<Self, Self::Rejection>;

    /// Checks once, when a shard starts, what every request will need.
    ///
    /// # Errors
    /// What is missing: the server does not start then.
    fn check(scope: &Scope<'_>) -> Result<(), ConfigError> {
        let _ = scope;
        Ok(())
    }
}

/// One request and what belongs to it, as middleware and extractors see it.
pub struct Exchange<'a> {
    pub(crate) head: &'a Head,
    /// The bytes of the head, to which the spans refer.
    pub(crate) bytes: &'a [u8],
    pub(crate) fields: Cow<'a, [Field]>,
    pub(crate) params: &'a Params<'a>,
    /// Where in the path the part behind the prefix of a nested router starts.
    pub(crate) path_rest: usize,
    pub(crate) body: Source<'a>,
    pub(crate) body_bytes_max: u64,
    pub(crate) peer: Peer<'a>,
    pub(crate) scope: Scope<'a>,
    /// Its place in a trace, where the recorder or middleware has seen to that. Not among the
    /// extensions until one asks for it there: every request may have one, and few are asked.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) extensions: Extensions,
}

impl<'a> Exchange<'a> {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The path as it was sent: still percent-encoded.
    pub fn path(&self) -> &'a str {
        text(self.head.path(self.bytes))
    }

    /// What of the path is behind the prefix under which a nested router's fallback was found; the
    /// whole path for every other handler.
    pub fn path_rest(&self) -> &'a str {
        self.path().get(self.path_rest..).unwrap_or_default()
    }

    /// The query behind the `?`, as it was sent.
    pub fn query(&self) -> Option<&'a str> {
        self.head.query.map(|query| text(query.of(self.bytes)))
    }

    /// The host and port that the request is for.
    pub fn authority(&self) -> Option<&'a str> {
        self.head.authority.map(|authority| text(authority.of(self.bytes)))
    }

    /// The value of the first field with this name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut named = self.headers().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    /// Names and values of all fields, in the order in which they came.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let bytes = self.bytes;
        let fields = self.fields.iter();
        fields.map(move |field| (text(field.name.of(bytes)), field.value.of(bytes)))
    }

    /// Hides every field with this name, in any letter case, from whoever looks next: for
    /// middleware that has used it up, such as the coding of a body that it decodes.
    pub fn remove_header(&mut self, name: &str) {
        let bytes = self.bytes;
        let is_named = |field: &Field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes());
        if self.fields.iter().any(is_named) {
            self.fields.to_mut().retain(|field| !is_named(field));
        }
    }

    /// A path parameter by its name, still percent-encoded.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.find(name)
    }

    /// How the body is there: whole, for [`body_mut`](Exchange::body_mut), or still to be received,
    /// by [`take_stream`](Exchange::take_stream). In middleware the latter may be so for a handler
    /// that takes it whole: [`Inner::with_body`](crate::middleware::Inner::with_body) waits for it.
    pub fn body_use(&self) -> BodyUse {
        match self.body {
            Source::None => BodyUse::Unused,
            Source::Whole(_) | Source::Owned { .. } => BodyUse::Whole,
            Source::Stream(_) => BodyUse::Stream,
        }
    }

    /// Bytes that the route takes of a body: also the bound of one that middleware decodes.
    pub fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    /// The whole body; empty unless an argument asked for it ([`BodyUse::Whole`]) and it has been
    /// received. It may be changed in place.
    pub fn body_mut(&mut self) -> &mut [u8] {
        match &mut self.body {
            Source::Whole(bytes) => bytes,
            Source::Owned { bytes, .. } => bytes,
            _ => &mut [],
        }
    }

    /// Puts another body in the place of a whole one, such as the decoded one.
    pub fn set_body(&mut self, body: Vec<u8>) {
        let trailers = match &mut self.body {
            Source::Owned { trailers, .. } => trailers.take(),
            _ => None,
        };
        self.body = Source::Owned { bytes: body, trailers };
    }

    /// The fields behind a whole body; `None` where there are none, or the body is a stream.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        match &self.body {
            Source::Owned { trailers, .. } => trailers.as_deref(),
            _ => None,
        }
    }

    /// The body as a stream, while it is to be received ([`BodyUse::Stream`]). Middleware that
    /// takes it gives the handler another one by [`set_stream`](Exchange::set_stream).
    pub fn take_stream(&mut self) -> Option<RequestBody> {
        match std::mem::replace(&mut self.body, Source::None) {
            Source::Stream(body) => Some(body),
            other => {
                self.body = other;
                None
            }
        }
    }

    /// The stream that the handler will read, or that is collected for it.
    pub fn set_stream(&mut self, body: RequestBody) {
        self.body = Source::Stream(body);
    }

    /// Attaches a value to the request, for inner middleware and for the handler, who take it as
    /// [`Extension`]. The last one of a type counts.
    pub fn insert<T: 'static>(&mut self, value: Rc<T>) {
        self.extensions.insert(TypeId::of::<T>(), value);
    }

    /// A value that outer middleware has attached.
    pub fn extension<T: 'static>(&self) -> Option<Rc<T>> {
        self.extensions.find().or_else(|| self.trace_as())
    }

    /// Its place in a trace, whoever gave it that.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace.or_else(|| self.extensions.find().map(|trace| *trace))
    }

    fn trace_as<T: 'static>(&self) -> Option<Rc<T>> {
        let trace = self.trace.filter(|_| TypeId::of::<T>() == TypeId::of::<TraceContext>())?;
        let trace: Rc<dyn Any> = Rc::new(trace);
        trace.downcast().ok()
    }

    /// The state of this type: of the innermost group that has one, else the application's.
    pub fn state<T: 'static>(&self) -> Option<Rc<T>> {
        self.scope.state()
    }

    /// The client's address: see [`ClientAddress`].
    pub fn client_address(&self) -> Option<IpAddr> {
        let peer = self.peer.proxied.copied().or_else(|| self.peer.address().unwrap_or_default());
        self.peer.proxy.client(peer.map(|peer| peer.ip()), self.headers())
    }

    /// The shard that handles the request.
    pub fn shard(&self) -> &Rc<Shard> {
        self.scope.shard
    }
}

/// Tokens, targets and authorities are ASCII: the protocol core has refused everything else.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl FromRequest for () {
    type Rejection = Infallible;

    fn from_request(_: &mut Exchange<'_>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// `None` where the argument can not be taken, instead of an answer.
impl<T: FromRequest> FromRequest for Option<T> {
    type Rejection = Infallible;

    const BODY: BodyUse = T::BODY;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Option<T>, Infallible> {
        Ok(T::from_request(exchange).ok())
    }

    fn check(scope: &Scope<'_>) -> Result<(), ConfigError> {
        T::check(scope)
    }
}

/// The error where the argument can not be taken, for the handler to answer itself.
impl<T: FromRequest> FromRequest for Result<T, T::Rejection> {
    type Rejection = Infallible;

    const BODY: BodyUse = T::BODY;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Self, Infallible> {
        Ok(T::from_request(exchange))
    }

    fn check(scope: &Scope<'_>) -> Result<(), ConfigError> {
        T::check(scope)
    }
}

impl FromRequest for Method {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Method, Infallible> {
        Ok(exchange.method().clone())
    }
}

/// The shard that handles the request: for its number, its tasks, its clock, and the mesh.
impl FromRequest for Rc<Shard> {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Rc<Shard>, Infallible> {
        Ok(Rc::clone(exchange.shard()))
    }
}
