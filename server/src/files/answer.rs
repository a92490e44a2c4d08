//! The answer to a request for a file that is there: whole, in part, unchanged, or not as wanted.

use std::ops::Range;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::asked::Asked;
use super::byteranges::{Piece, boundary, content_range, pieces};
use super::conditional::{Verdict, range_applies, verdict};
use super::content::FileStream;
use super::range::{Selection, select};
use super::stored::{Content, Stored};
use crate::body::{Body, BodyStream};
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// What is sent of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Whole,
    NotModified,
    Failed,
    Part(Range<u64>),
    Parts(Vec<Range<u64>>),
    Unsatisfiable,
}

/// Decides what is sent, in the order of RFC 9110 section 13.2.2.
pub(super) fn outcome(
    stored: &Stored,
    asked: &Asked<'_>,
    method: &Method,
    now_seconds: u64,
) -> Outcome {
    match verdict(asked, &stored.validators) {
        Verdict::NotModified => return Outcome::NotModified,
        Verdict::Failed => return Outcome::Failed,
        Verdict::Proceed => {}
    }
    // RFC 9110 section 14.2: Range is for GET alone.
    let range = asked.range.single().filter(|_| *method == Method::GET);
    let Some(range) = range else { return Outcome::Whole };
    if !range_applies(asked, &stored.validators, now_seconds) {
        return Outcome::Whole;
    }
    match select(range, stored.stamp.size) {
        Selection::Whole => Outcome::Whole,
        Selection::One(range) => Outcome::Part(range),
        Selection::Many(ranges) => Outcome::Parts(ranges),
        Selection::Unsatisfiable => Outcome::Unsatisfiable,
    }
}

/// The outcome as a response.
pub(super) fn response(stored: &Rc<Stored>, outcome: Outcome) -> Response {
    let size = stored.stamp.size;
    match outcome {
        Outcome::NotModified => Response {
            status: StatusCode::NOT_MODIFIED,
            headers: stored.headers_unmodified(),
            body: Body::Empty,
        },
        Outcome::Failed => Problem::new(StatusCode::PRECONDITION_FAILED).into_response(),
        Outcome::Whole => whole(stored, StatusCode::OK),
        Outcome::Part(range) => {
            let mut headers = stored.headers.clone();
            insert(&mut headers, header::CONTENT_RANGE, content_range(&range, size));
            let body = body(stored, vec![Piece::File(range)]);
            Response { status: StatusCode::PARTIAL_CONTENT, headers, body }
        }
        Outcome::Parts(ranges) => parts(stored, &ranges),
        Outcome::Unsatisfiable => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let detail = format!("the content has {size} bytes");
            let mut response = Problem::new(status).detail(detail).into_response();
            // RFC 9110 section 15.5.17.
            insert(&mut response.headers, header::CONTENT_RANGE, format!("bytes */{size}"));
            response
        }
    }
}

/// All of a file, with a status of the caller's.
pub(super) fn whole(stored: &Rc<Stored>, status: StatusCode) -> Response {
    let body = match &stored.content {
        Content::Memory(bytes) => Body::Bytes(bytes.clone()),
        Content::Disk(_) => body(stored, vec![Piece::File(0..stored.stamp.size)]),
    };
    Response { status, headers: stored.headers.clone(), body }
}

/// A file as the page of an error: nothing in it is the state of what was asked for, and how long
/// the page may be kept says nothing about how long that is not there.
pub(super) fn error_page(stored: &Rc<Stored>, status: StatusCode) -> Response {
    let mut response = whole(stored, status);
    let of_the_page =
        [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES, header::CACHE_CONTROL];
    for name in of_the_page {
        response.headers.remove(name);
    }
    response
}

// RFC 9110 section 15.3.7.2: no Content-Range in the head, but one in each part.
fn parts(stored: &Rc<Stored>, ranges: &[Range<u64>]) -> Response {
    let boundary = boundary();
    let mut headers = stored.headers.clone();
    let media = headers.remove(header::CONTENT_TYPE);
    let media = media.as_ref().and_then(|media| media.to_str().ok()).unwrap_or_default();
    let body = body(stored, pieces(ranges, stored.stamp.size, media, &boundary));
    let multipart = format!("multipart/byteranges; boundary={boundary}");
    insert(&mut headers, header::CONTENT_TYPE, multipart);
    Response { status: StatusCode::PARTIAL_CONTENT, headers, body }
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: String) {
    // Numbers, media types and boundaries are visible ASCII.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn body(stored: &Stored, pieces: Vec<Piece>) -> Body {
    match &stored.content {
        Content::Memory(bytes) => Body::Bytes(assemble(bytes, pieces)),
        Content::Disk(file) => {
            let size = pieces.iter().map(Piece::size).sum();
            let stream = FileStream::new(Rc::clone(file), stored.stamp, &stored.path, pieces);
            Body::Stream(BodyStream::of_file(stream, size))
        }
    }
}

fn assemble(content: &Bytes, mut pieces: Vec<Piece>) -> Bytes {
    let cut = |range: &Range<u64>| content.slice(range.start as usize..range.end as usize);
    if let [Piece::File(range)] = &mut pieces[..] {
        return cut(range);
    }
    let mut assembled = BytesMut::new();
    for piece in &pieces {
        match piece {
            Piece::Bytes(bytes) => assembled.extend_from_slice(bytes),
            Piece::File(range) => assembled.extend_from_slice(&cut(range)),
        }
    }
    assembled.freeze()
}
