//! What stands between the router and a handler: it sees the request, and the response.
//!
//! ```text
//!   request ──► outermost ──► ... ──► innermost ──► handler
//!                  │             Reply ◄─────────────┘
//!   response ◄─────┘◄──── each may change it, or have answered itself
//! ```
//!
//! A route without middleware has no chain: its handler writes straight into the send buffer, and
//! nothing is allocated or called for what is not there. With middleware the response is a value
//! ([`Response`](crate::Response)) that each layer may change on its way out; what is ready at once
//! stays a plain call, and only what has to wait goes into a box.
//!
//! Most middleware is an asynchronous function, by [`from_fn`]. What must be cheap, or changes the
//! request's body, implements [`Middleware`].

mod authentication;
mod catch_panic;
mod chain;
#[cfg(feature = "compression")]
mod compression;
mod cors;
mod etag;
mod from_fn;
mod rate_limit;
mod reply;
mod request_id;
mod sampler;
mod security_headers;
mod time_limit;
mod trace_context;
mod vary;

pub use authentication::{Authenticate, BasicCredentials, BearerToken, Credentials, authenticate};
pub use catch_panic::CatchPanic;
pub(crate) use chain::layered;
pub use chain::{Inner, Layer, Middleware, per_shard};
#[cfg(feature = "compression")]
pub use compression::{Compression, Decompression, compression, decompression};
pub use cors::Cors;
pub use etag::EntityTags;
pub(crate) use etag::tagged;
pub use from_fn::{FromFn, FunctionOfNext, Next, from_fn};
pub use rate_limit::RateLimit;
pub use reply::Reply;
pub use request_id::{RequestId, RequestIds};
pub use sampler::Sampler;
pub use security_headers::SecurityHeaders;
pub use time_limit::TimeLimit;
#[cfg(feature = "otel")]
pub(crate) use trace_context::Tracer;
pub(crate) use trace_context::trace_of;
pub use trace_context::{TraceContext, TraceContexts};
