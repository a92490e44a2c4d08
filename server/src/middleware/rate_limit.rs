//! A bound on how often one client may ask.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use corelane_runtime::{Moment, Shard};
use http::{HeaderName, HeaderValue, StatusCode, header};
use quick_cache::unsync::Cache;

use super::{Inner, Layer, Middleware, Reply};
use crate::extract::Exchange;
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// Answers 429 with `Retry-After` to a client that asks more often than its bucket allows, and
/// says with every answer how much is left.
///
/// A client's bucket holds a number of requests and fills up again in a time, evenly. The fields
/// are `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10.
///
/// Each shard has buckets of its own, so that no request waits for another core: a client with
/// connections on several shards has as many buckets. Memory is bounded by
/// [`clients_max`](RateLimit::clients_max): beyond it the clients that have not asked for longest
/// are forgotten, which gives them a full bucket.
///
/// ```
/// use std::time::Duration;
/// use corelane::middleware::RateLimit;
/// use corelane::{App, get};
///
/// let limit = RateLimit::new(100, Duration::from_secs(60));
/// let app = App::new().route("/", get(async || "hello")).layer(limit);
/// # let _ = app;
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit {
    quota: u32,
    window: Duration,
    clients_max: usize,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Client,
    Header(HeaderName),
}

/// The most bytes of a field that names a client; what is longer shares one bucket.
const KEY_BYTES_MAX: usize = 128;

impl RateLimit {
    /// A bucket for each client's address, with `quota` requests (at least one), that is full again
    /// after `window` (at least a millisecond).
    ///
    /// The address is the client's where a trusted proxy says it, else the peer's. All of an IPv6
    /// network of 64 bits share a bucket: one client has that many addresses. So do all clients of
    /// a Unix socket.
    pub fn new(quota: u32, window: Duration) -> RateLimit {
        let window = window.max(Duration::from_millis(1));
        RateLimit { quota: quota.max(1), window, clients_max: 10_000, source: Source::Client }
    }

    /// A bucket for each value of a field, such as an API key. Requests without it share one.
    ///
    /// Whoever may choose the value may choose a new bucket: authenticate first.
    #[must_use]
    pub fn by_header(mut self, name: HeaderName) -> RateLimit {
        self.source = Source::Header(name);
        self
    }

    /// Clients that a shard remembers. Default 10,000, about a megabyte.
    #[must_use]
    pub fn clients_max(mut self, count: usize) -> RateLimit {
        self.clients_max = count.max(1);
        self
    }

    fn key(&self, exchange: &Exchange<'_>) -> Key {
        match &self.source {
            Source::Client => Key::Address(exchange.client_address().map(network)),
            Source::Header(name) => {
                let value = exchange.header(name.as_str()).unwrap_or_default();
                Key::Value(value[..value.len().min(KEY_BYTES_MAX)].into())
            }
        }
    }
}

/// What is one client: an address, or a network of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(Option<IpAddr>),
    Value(Box<[u8]>),
}

impl Layer for RateLimit {
    fn on_shard(&self, _: &Rc<Shard>) -> Rc<dyn Middleware> {
        let policy = format!("\"default\";q={};w={}", self.quota, seconds(self.window));
        Rc::new(Limiter {
            limit: self.clone(),
            buckets: RefCell::new(Cache::new(self.clients_max)),
            policy: HeaderValue::from_str(&policy).expect("digits and punctuation"),
        })
    }
}

/// One shard's buckets.
struct Limiter {
    limit: RateLimit,
    buckets: RefCell<Cache<Key, Bucket>>,
    policy: HeaderValue,
}

impl Middleware for Limiter {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let key = self.limit.key(exchange);
        let taken = self.take(key, exchange.shard().now());
        let (policy, state) = (self.policy.clone(), taken.field());
        if taken.is_allowed {
            return inner.call(exchange).map(|response| with_fields(response, policy, state));
        }
        let detail = "this client has asked too often; Retry-After says when to ask again";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS).detail(detail);
        let retry_after = HeaderValue::from(seconds(taken.next));
        let response = problem.into_response().with_header(header::RETRY_AFTER, retry_after);
        Reply::ready(with_fields(response, policy, state))
    }
}

impl Limiter {
    fn take(&self, key: Key, now: Moment) -> Taken {
        let mut buckets = self.buckets.borrow_mut();
        if let Some(bucket) = buckets.get(&key) {
            return bucket.take(&self.limit, now);
        }
        let bucket = Bucket::default();
        let taken = bucket.take(&self.limit, now);
        buckets.insert(key, bucket);
        taken
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The moment at which the bucket will be full again: all that a token bucket has to know (it is
/// the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
struct Bucket {
    full_at: Cell<Moment>,
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    is_allowed: bool,
    left: u64,
    /// How long until the next request is allowed.
    next: Duration,
    /// How long until the bucket is full.
    full: Duration,
}

impl Bucket {
    fn take(&self, limit: &RateLimit, now: Moment) -> Taken {
        let share = (limit.window / limit.quota).max(Duration::from_nanos(1));
        let full_at = self.full_at.get().max(now);
        let missing = full_at - now;
        let is_allowed = missing + share <= limit.window;
        let missing = if is_allowed { missing + share } else { missing };
        self.full_at.set(now + missing);
        let room = limit.window.saturating_sub(missing);
        let left = room.as_nanos().checked_div(share.as_nanos()).unwrap_or_default();
        let next = if left > 0 { Duration::ZERO } else { share.saturating_sub(room) };
        Taken { is_allowed, left: u64::try_from(left).unwrap_or(u64::MAX), next, full: missing }
    }
}

impl Taken {
    /// The value of `RateLimit`: what is left, and when there is more (section 4 of the draft).
    fn field(&self) -> HeaderValue {
        let text = format!("\"default\";r={};t={}", self.left, seconds(self.full));
        HeaderValue::from_str(&text).expect("digits and punctuation")
    }
}

fn with_fields(mut response: Response, policy: HeaderValue, state: HeaderValue) -> Response {
    response.headers.insert(HeaderName::from_static("ratelimit-policy"), policy);
    response.headers.insert(HeaderName::from_static("ratelimit"), state);
    response
}

/// Whole seconds, never too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Three requests in three seconds; each step is a moment in milliseconds, whether it is
    /// allowed, what is left, and when the next one is allowed.
    #[test]
    fn a_bucket_empties_and_fills_evenly() {
        let limit = RateLimit::new(3, Duration::from_secs(3));
        let bucket = Bucket::default();
        let start = Moment::default() + Duration::from_secs(10);
        let steps = [
            (0, true, 2, 0),
            (0, true, 1, 0),
            (0, true, 0, 1000),
            (0, false, 0, 1000),
            (999, false, 0, 1),
            (1000, true, 0, 1000),
            (3000, true, 1, 0),
            (60_000, true, 2, 0),
        ];
        for (at, is_allowed, left, next) in steps {
            let taken = bucket.take(&limit, start + milliseconds(at));
            let found = (taken.is_allowed, taken.left, taken.next);
            assert_eq!(found, (is_allowed, left, milliseconds(next)), "at {at} ms");
        }
    }

    #[test]
    fn seconds_are_never_too_early() {
        assert_eq!([0, 1, 1000, 1001].map(|time| seconds(milliseconds(time))), [0, 1, 1, 2]);
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        let check = |address: &str, expected: &str| {
            let address = address.parse().expect("an address");
            assert_eq!(network(address).to_string(), expected);
        };
        check("192.0.2.1", "192.0.2.1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    }

    #[test]
    fn memory_is_bounded() {
        let limit = RateLimit::new(1, Duration::from_secs(60)).clients_max(100);
        let buckets = RefCell::new(Cache::new(limit.clients_max));
        let policy = HeaderValue::from_static("");
        let limiter = Limiter { limit, buckets, policy };
        for number in 0..10_000u32 {
            let key = Key::Address(Some(IpAddr::from(number.to_be_bytes())));
            assert!(limiter.take(key, Moment::default()).is_allowed);
        }
        assert!(limiter.buckets.borrow().len() <= 100);
    }
}
