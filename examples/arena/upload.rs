//! `POST /upload`: counts the bytes of a body that is never held whole.

use corelane::{MethodRouter, RequestBody, RequestBodyError, post};

/// 25 MiB. Beyond it: 413.
const BODY_BYTES_MAX: u64 = 25 * 1024 * 1024;

pub(crate) fn routes() -> MethodRouter {
    post(count).body_bytes_max(BODY_BYTES_MAX)
}

async fn count(mut body: RequestBody) -> Result<String, RequestBodyError> {
    let mut size = 0u64;
    while let Some(chunk) = body.chunk().await {
        size += chunk?.len() as u64;
    }
    Ok(size.to_string())
}
