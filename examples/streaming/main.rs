//! Streams: a body that is read while it arrives, and content that is made while it is sent.
//!
//! ```text
//!   curl --data-binary @FILE http://127.0.0.1:8080/lines    counts the lines of a file
//!   curl http://127.0.0.1:8080/countdown/5                  a line every 100 ms
//!   curl --no-buffer http://127.0.0.1:8080/ticks            server-sent events
//!   curl --data-binary @FILE http://127.0.0.1:8080/echo     the file, while it is sent
//!   curl http://127.0.0.1:8080/zeros/1000000000             a size that is known beforehand
//! ```
//!
//! Neither side runs ahead of the other: while a handler does not ask, the client's socket is not
//! read; while a client does not read, the stream is not polled.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use corelane::runtime::{ShardConfig, sleep};
use corelane::{
    App, BodyChunk, BodyStream, Event, Events, IntoResponse, LastEventId, Path, RequestBody,
    RequestBodyError, get, header, post,
};
use futures_util::{StreamExt, stream};

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    // The kernel fills receive buffers in turn, so all of them are in memory after a long upload:
    // 4 MiB a shard instead of the default of 16.
    let shard = ShardConfig { buffer_count: 256, ..ShardConfig::default() };
    App::new()
        .shard(shard)
        // 10 GiB of any file may pass: no more than 64 KiB of it are here at any time.
        .route("/lines", post(lines).body_bytes_max(10 << 30))
        .route("/echo", post(echo).body_bytes_max(10 << 30))
        .route("/countdown/{from}", get(countdown))
        .route("/ticks", get(ticks))
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

/// The answer is made of the body: each piece goes back before the next one is received.
async fn echo(body: RequestBody) -> impl IntoResponse {
    typed(
        "application/octet-stream",
        BodyStream::new(body.map(|chunk| chunk.map(BodyChunk::into_bytes))),
    )
}

/// What a stream is made of only its handler knows (RFC 9110 section 8.3).
fn typed(media: &'static str, content: BodyStream) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media)], content)
}

/// Events that a browser takes up again where it lost them.
async fn ticks(LastEventId(last): LastEventId) -> impl IntoResponse {
    let first = last.and_then(|id| id.parse().ok()).map_or(0, |id: u64| id + 1);
    Events::new(stream::unfold(first, |number| async move {
        sleep(Duration::from_secs(1)).await;
        Some((Event::data(format!("tick {number}")).id(number.to_string()), number + 1))
    }))
    .retry(Duration::from_secs(3))
}

/// Without a size: chunked. The stream need not be `Send`; it runs on its connection's shard.
async fn countdown(Path(from): Path<u16>) -> impl IntoResponse {
    let lines = stream::unfold(Some(from), |left| async move {
        let left = left?;
        let line = Bytes::from(format!("{left}\n"));
        if left > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        Some((Ok::<_, Infallible>(line), left.checked_sub(1)))
    });
    typed("text/plain", BodyStream::new(lines))
}

/// With a size: `Content-Length`, and the client can show how far it is.
async fn zeros(Path(size): Path<u64>) -> impl IntoResponse {
    static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
    let pieces = stream::unfold(size, |left| async move {
        let piece = &ZEROS[..ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let rest = left - piece.len() as u64;
        (left > 0).then(|| (Ok::<_, Infallible>(Bytes::from_static(piece)), rest))
    });
    typed("application/octet-stream", BodyStream::new(pieces).with_size(size))
}
