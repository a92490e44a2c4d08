//! An HTTP/1.1 server on a thread-per-core io_uring runtime.
//!
//! ```no_run
//! use corelane::{App, Json, Path, State, get};
//! use serde::Serialize;
//! use std::cell::Cell;
//!
//! #[derive(Serialize)]
//! struct Greeting { name: String, count: u64 }
//!
//! fn main() -> corelane::Result<()> {
//!     App::new()
//!         .state(|_shard| async { Cell::new(0u64) }) // one on every shard; need not be Send
//!         .route("/plaintext", get(async || "Hello, World!"))
//!         .route("/hello/{name}", get(async |Path(name): Path<String>, count: State<Cell<u64>>| {
//!             count.set(count.get() + 1);
//!             Json(Greeting { name, count: count.get() })
//!         }))
//!         .serve("0.0.0.0:8080")
//! }
//! ```
//!
//! Each CPU runs one shard: a pinned thread with its own ring, listeners, connections, handlers
//! and state. Handlers are asynchronous functions; they need not be `Send` and may hold `Rc` and
//! `RefCell`. What another shard owns is reached with [`runtime::Shard::call`].
#![forbid(unsafe_code)]

mod addresses;
mod admin;
mod app;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod body;
mod coding;
mod config;
mod content_type;
mod date;
mod error;
mod events;
pub mod extract;
mod faults;
mod files;
mod handler;
pub mod http1;
mod into_response;
mod json;
pub mod log;
pub mod middleware;
#[cfg(feature = "otel")]
pub mod otel;
mod overload;
mod pid_file;
mod problem;
mod process;
mod proxy;
mod records;
mod response;
mod router;
mod same;
mod serve;
mod server;
mod state;
mod stats;

pub use addresses::IntoAddresses;
pub use admin::Admin;
pub use app::App;
pub use body::{Body, BodyStream};
pub use coding::Coding;
pub use config::ServerConfig;
pub use cookie;
pub use corelane_runtime as runtime;
pub use corelane_runtime::{Address, ConfigError, Cores, RuntimeError, Shard, ShardId};
pub use corelane_runtime::{interval, offload, sleep, timeout, try_offload, yield_if_needed};
pub use error::{BoxError, Error, Result};
pub use events::{Event, Events, LastEventId};
pub use extract::{
    BodyChunk, BodyUse, ClientAddress, Cookies, Exchange, Extension, Form, FromRequest, Headers,
    Path, PeerAddress, Query, Request, RequestBody, RequestBodyError, Scope, State, Trailers,
};
#[cfg(feature = "multipart")]
pub use extract::{Multipart, MultipartError, Part};
pub use files::{FileCache, Files, files};
pub use handler::Handler;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use into_response::IntoHeaders;
pub use json::Json;
pub use overload::{Concurrency, OverloadConfig};
pub use problem::Problem;
pub use proxy::{IpNet, ProxyConfig, ProxyField};
pub use response::{IntoResponse, Responder, Response};
pub use router::{
    LinkError, MethodRouter, RoutePath, Router, TrailingSlash, any, delete, get, head, options,
    patch, post, put,
};
pub use server::Server;
pub use stats::{Closed, Deadline, RouteStats, ServerStats};
