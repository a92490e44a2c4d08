//! A name for each request, for logs and for the client.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;

use corelane_runtime::Shard;
use http::{HeaderName, HeaderValue};

use super::{Inner, Layer, Middleware, Reply};
use crate::extract::Exchange;

/// Bytes of an id that is taken from the client: a UUID has 36.
const TAKEN_BYTES_MAX: usize = 64;

/// Gives each request an id: handlers take it as `Extension<RequestId>`, the client gets it in
/// `X-Request-Id`.
///
/// An id is 32 hexadecimal digits that nobody outside can guess or make collide; it is no secret.
/// With [`taking_ids`](RequestIds::taking_ids), one that came with the request is used instead.
#[derive(Clone, Debug, Default)]
pub struct RequestIds {
    takes_ids: bool,
}

/// The id of a request, attached by [`RequestIds`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(
    /// The id: visible ASCII without blanks.
    pub String,
);

impl RequestIds {
    /// A new id for each request.
    pub fn new() -> RequestIds {
        RequestIds::default()
    }

    /// Uses the id in the request's `X-Request-Id`, where it is at most 64 letters, digits, `-`,
    /// `_` and `.`: for servers behind a proxy that gives ids. Others can not be trusted.
    #[must_use]
    pub fn taking_ids(mut self) -> RequestIds {
        self.takes_ids = true;
        self
    }
}

impl Layer for RequestIds {
    fn on_shard(&self, _: &Rc<Shard>) -> Rc<dyn Middleware> {
        // The keys are random, so the ids of shards, processes and machines differ.
        let keys = [RandomState::new(), RandomState::new()];
        Rc::new(Giver { takes_ids: self.takes_ids, keys, count: Cell::new(0) })
    }
}

struct Giver {
    takes_ids: bool,
    keys: [RandomState; 2],
    count: Cell<u64>,
}

const NAME: HeaderName = HeaderName::from_static("x-request-id");

impl Giver {
    fn next(&self) -> String {
        self.count.set(self.count.get().wrapping_add(1));
        let [first, second] = &self.keys;
        format!(
            "{:016x}{:016x}",
            first.hash_one(self.count.get()),
            second.hash_one(self.count.get())
        )
    }
}

fn taken(value: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let is_usable = (1..=TAKEN_BYTES_MAX).contains(&value.len()) && value.iter().all(is_plain);
    is_usable.then(|| String::from_utf8_lossy(value).into_owned())
}

impl Middleware for Giver {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let brought = exchange.header(NAME.as_str()).filter(|_| self.takes_ids).and_then(taken);
        let id = brought.unwrap_or_else(|| self.next());
        let value = HeaderValue::from_str(&id);
        exchange.insert(Rc::new(RequestId(id)));
        inner.call(exchange).map(|mut response| {
            if let Ok(value) = value {
                response.headers.insert(NAME, value);
            }
            response
        })
    }
}
