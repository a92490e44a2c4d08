//! Faults of the application: caught, counted, and logged with the route that they are of.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corelane_runtime::Shard;
use http::StatusCode;

use crate::http1::encode::BodyRule;
use crate::response::Responder;
use crate::stats::ShardStats;

/// Runs the application's code; a panic in it becomes a 500, and `false`.
pub(crate) fn guard(responder: &mut Responder<'_>, run: impl FnOnce(&mut Responder<'_>)) -> bool {
    let ended = catch(|| run(responder));
    if ended.is_none() {
        responder.fail();
    }
    ended.is_some()
}

/// Runs the application's code; `None` where it panicked, which is logged and counted.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).inspect_err(|panic| note_panic(&**panic)).ok()
}

#[cold]
fn note_panic(panic: &(dyn Any + Send)) {
    let text = corelane_runtime::panic_text(panic);
    tracing::error!(panic = text, route = route(), "a handler panicked");
    let stats = Shard::try_current().and_then(|shard| shard.local::<ShardStats>());
    if let Some(ShardStats(stats)) = stats.as_deref() {
        stats.handler_panics.add(1);
    }
}

/// Content that a status forbids is not sent; whoever made it should know. HEAD has none by rule.
#[cold]
pub(crate) fn note_unsent(rule: BodyRule, status: StatusCode) {
    if matches!(rule, BodyRule::Nothing | BodyRule::Empty) {
        tracing::error!(%status, route = route(), "a handler gave content to a status without any");
    }
}

/// The route whose handler or stream runs, for log lines.
#[cold]
pub(crate) fn route() -> String {
    let activity = Shard::try_current().and_then(|shard| shard.activity());
    activity.unwrap_or_default()
}
