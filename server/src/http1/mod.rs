//! HTTP/1.1 without I/O: bytes in, steps out; responses in, bytes out.
//!
//! This module owns the grammar and the framing of HTTP/1.1 and 1.0: where a request starts and
//! ends, what in it is refused, and how a response is written down. It has no socket, no clock, no
//! `async` and no runtime, and it keeps no byte: the caller holds the input and drops what a step
//! consumed. `docs/http.md` lists which rule of RFC 9110 and RFC 9112 is obeyed in which file.
//!
//! ```text
//!  new ──> Between ── whole head ────────────────────┬─ Content-Length > 0 ──> Length ──┐
//!           │ ^ └─ partial head ─> Head ── its end ──┤                                  │
//!           │ │                    │  ^              ├─ Transfer-Encoding ──> Chunked ──┤
//!           │ │                    └──┘ more bytes   └─ no body ────────────────────────┤
//!           │ │                                                                         │
//!           │ └──────────────────────── keeps alive ────────────────────────────────────┤
//!           └─ close() ────────> Closed <── closes ─────────────────────────────────────┘
//!
//!  any offence, in any state ──> Refused              Closed and Refused are never left.
//! ```
//!
//! One pipelined pair of requests, the second of them refused:
//!
//! ```
//! use corelane::http1::{Connection, Fields, Limits, ProtocolError, Step, encode};
//!
//! let (mut connection, mut fields) = (Connection::new(), Fields::new());
//! let limits = Limits::default();
//! let input = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
//!
//! let Step::Head(head) = connection.step(input, &limits, &mut fields) else { unreachable!() };
//! assert_eq!(head.path(input), b"/a");
//! assert_eq!(fields.find(input, "host"), Some(&b"h"[..]));
//!
//! let rest = &input[head.size..];
//! let step = connection.step(rest, &limits, &mut fields);
//! assert_eq!(step, Step::Refused(ProtocolError::HostMissing));
//!
//! let mut out = Vec::new();
//! encode::refusal(&mut out, ProtocolError::HostMissing, b"date: ...\r\n", b"", false);
//! assert!(out.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
//! ```

mod chunked;
mod connection;
pub mod encode;
mod error;
mod field_section;
mod fields;
mod framing;
mod head;
mod host;
mod known;
mod limits;
mod octets;
mod scan;
pub(crate) mod sixteen;
mod target;
#[cfg(test)]
mod tests;

pub use connection::{Connection, EndOfInput, Step};
pub use error::ProtocolError;
pub use fields::{Field, Fields, Span};
pub use framing::Framing;
pub use head::Head;
pub use limits::{FIELD_COUNT_CAP, HEAD_BYTES_CAP, Limits};
pub use target::TargetForm;
