//! Streams: a body that is read while it arrives, and content that is made while it is sent.
//!
//! ```text
//!   curl --data-binary @FILE http://127.0.0.1:8080/lines    counts the lines of a file
//!   curl http://127.0.0.1:8080/countdown/5                  a line every 100 ms
//!   curl http://127.0.0.1:8080/zeros/1000000000             a size that is known beforehand
//! ```
//!
//! Neither side runs ahead of the other: while a handler does not ask, the client's socket is not
//! read; while a client does not read, the stream is not polled.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use corelane::runtime::sleep;
use corelane::{App, BodyStream, Path, RequestBody, RequestBodyError, get, post};
use futures_util::stream;

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    App::new()
        // 10 GiB of any file may pass: no more than 64 KiB of it are here at any time.
        .route("/lines", post(lines).body_bytes_max(10 << 30))
        .route("/countdown/{from}", get(countdown))
        .route("/zeros/{size}", get(zeros))
        .serve(&address)
}

async fn lines(mut body: RequestBody) -> Result<String, RequestBodyError> {
    let mut count = 0;
    while let Some(chunk) = body.chunk().await {
        count += chunk?.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(format!("{count} lines\n"))
}

/// Without a size: chunked. The stream need not be `Send`; it runs on its connection's shard.
async fn countdown(Path(from): Path<u16>) -> BodyStream {
    BodyStream::new(stream::unfold(Some(from), |left| async move {
        let left = left?;
        let line = Bytes::from(format!("{left}\n"));
        if left > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        Some((Ok::<_, Infallible>(line), left.checked_sub(1)))
    }))
}

/// With a size: `Content-Length`, and the client can show how far it is.
async fn zeros(Path(size): Path<u64>) -> BodyStream {
    static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
    let pieces = stream::unfold(size, |left| async move {
        let piece = &ZEROS[..ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let rest = left - piece.len() as u64;
        (left > 0).then(|| (Ok::<_, Infallible>(Bytes::from_static(piece)), rest))
    });
    BodyStream::new(pieces).with_size(size)
}
