//! The same bytes read by hyper and by httparse: what we accept they must read alike.
//!
//! One way only: hyper takes much that we refuse (bare LF, both framings at once, ...). Where it
//! refuses what we take, the reason must be one of those listed in `is_beyond_hyper`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use crate::reference::Request;

/// One connection, as we and others read it.
pub fn differential(data: &[u8]) {
    let (seed, bytes) = crate::parts(data);
    let ours = crate::check(seed, bytes).requests;
    let theirs = hyper_requests(bytes);
    for (own, other) in ours.iter().zip(&theirs) {
        assert_eq!(own.method, other.method, "{}", crate::shown(bytes));
        assert_eq!(own.body, other.body, "{}", crate::shown(bytes));
        if own.target.starts_with(b"/") {
            assert_eq!(own.target, other.target, "{}", crate::shown(bytes));
        }
    }
    if let Some(own) = ours.get(theirs.len()) {
        let reason = "hyper refuses what we accept";
        assert!(is_beyond_hyper(own, bytes), "{reason}: {own:?} of {}", crate::shown(bytes));
    }
}

/// What hyper does not take, by design or by limits of its own.
fn is_beyond_hyper(request: &Request, bytes: &[u8]) -> bool {
    // The `http` crate's `Uri` knows fewer characters than browsers send.
    let is_uri = http::Uri::try_from(request.target.as_slice()).is_ok();
    // RFC 9110 section 2.5 lets a server take a later minor version; httparse does not.
    let is_later = bytes
        .windows(8)
        .any(|part| part.starts_with(b"HTTP/1.") && !matches!(part[7], b'0' | b'1'));
    !is_uri || is_later
}

fn hyper_requests(bytes: &[u8]) -> Vec<Request> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let place = Rc::clone(&seen);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let place = Rc::clone(&place);
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let target = head.uri.path_and_query().map(ToString::to_string);
                place.borrow_mut().push(Request {
                    method: head.method.as_str().as_bytes().to_vec(),
                    target: target.unwrap_or_default().into_bytes(),
                    body: body.to_bytes().to_vec(),
                    keeps_alive: true,
                });
            }
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let wire = Wire { rest: bytes.to_vec(), at: 0 };
    let mut builder = http1::Builder::new();
    builder.half_close(true).header_read_timeout(None);
    let connection = pin!(builder.serve_connection(wire, service));
    let mut context = Context::from_waker(Waker::noop());
    let mut connection = connection;
    // Everything is there: what is pending now stays so, unless hyper only yields.
    for _ in 0..64 {
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    seen.take()
}

/// A peer that has sent everything and takes everything.
struct Wire {
    rest: Vec<u8>,
    at: usize,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let size = buffer.remaining().min(self.rest.len() - self.at);
        buffer.put_slice(&self.rest[self.at..self.at + size]);
        self.at += size;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
