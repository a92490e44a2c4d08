//! The open loop's clock: sends each request when it is due, as long as a connection is idle.
//!
//! ```text
//!            due                     none idle
//!   sending ◄──── looking every turn ◄─────────► waiting for a connection
//!                   ▲      │ nothing due for a while
//!                   └──────┘ sleeping
//! ```
//!
//! Where every connection is busy, what is due is sent by whichever is answered next.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corelane_runtime::{TICK, sleep};

use crate::shard_load::{Next, ShardLoad};

/// The last part of each wait, in which the clock is looked at in every turn. The shard's timers
/// are a tick or two late, which would add up to two milliseconds to every latency; so a shard
/// that sends more than some 500 requests a second never sleeps.
const LOOKING: Duration = TICK.saturating_mul(3);

/// Sends what is due until the run is over.
pub(crate) async fn dispatch(load: Rc<ShardLoad>) {
    loop {
        let next = poll_fn(|context| match load.dispatch() {
            Next::WhenIdle => {
                load.wait_for_idle(context);
                Poll::Pending
            }
            next => Poll::Ready(next),
        });
        let Next::At(due) = next.await else { return };
        let wait = due - load.shard.now();
        if wait > LOOKING {
            sleep(wait - LOOKING).await;
        } else {
            load.shard.yield_now().await;
        }
    }
}
