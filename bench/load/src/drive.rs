//! The life of one connection: connect, send and receive until it is over, and again.
//!
//! ```text
//!              connected                    over, lost, done
//!   connecting ─────────► sending, receiving ───────────────► connecting
//!       │ ▲ failed                                                │
//!       ▼ │                                                       │ unanswered
//!     pausing ◄───────────────────────────────────────────────────┘
//! ```

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use corelane_runtime::{Moment, Stream, Timer, sleep};

use crate::connection::Flow;
use crate::failure::Failure;
use crate::shard_load::ShardLoad;

/// The pause after a connection that came to nothing; doubles with each in a row.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_DOUBLINGS_MAX: u32 = 7;
/// Connections that a shard opens in each millisecond of the start. All at once would overflow
/// the server's accept queue, and a dropped SYN is only sent again a second later.
const CONNECTS_PER_MILLI: usize = 64;

/// Keeps one connection busy for as long as the run lasts.
pub(crate) async fn drive(load: Rc<ShardLoad>, index: usize) {
    if index >= CONNECTS_PER_MILLI {
        sleep(Duration::from_millis((index / CONNECTS_PER_MILLI) as u64)).await;
    }
    let mut session = Session { timer: Timer::new(&load.shard), armed: Moment::NEVER, load, index };
    let mut failed_count = 0;
    while session.load.is_sending.get() {
        let has_answered = match session.connect().await {
            Ok(stream) => session.exchange(stream).await,
            Err(failure) => {
                session.load.state.borrow_mut().tally.fail(failure, 1);
                false
            }
        };
        failed_count = if has_answered { 0 } else { failed_count + 1 };
        if failed_count > 0 {
            sleep(PAUSE_MIN * (1 << failed_count.min(PAUSE_DOUBLINGS_MAX))).await;
        }
    }
}

/// A connection and what watches over it.
struct Session {
    load: Rc<ShardLoad>,
    index: usize,
    timer: Timer,
    /// What the timer is set to.
    armed: Moment,
}

impl Session {
    async fn connect(&mut self) -> Result<Stream, Failure> {
        let plan = &self.load.plan;
        let mut connecting = pin!(Stream::connect(plan.address));
        self.armed = self.load.shard.now() + plan.timeout;
        self.timer.arm(self.armed);
        poll_fn(|context| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(context) {
                return Poll::Ready(connected.map_err(|error| Failure::of_connect(&error)));
            }
            self.timer.poll_expired(context).map(|()| Err(Failure::ConnectTimeout))
        })
        .await
    }

    /// Sends and receives until the connection is over; says whether it was answered at all.
    async fn exchange(&mut self, stream: Stream) -> bool {
        let load = Rc::clone(&self.load);
        {
            let mut link = load.links[self.index].borrow_mut();
            link.connection.open(load.plan.requests_per_connection);
            link.stream = Some(stream);
            load.state.borrow_mut().tally.connections += 1;
        }
        poll_fn(|context| self.poll_exchange(context)).await;
        let mut link = load.links[self.index].borrow_mut();
        link.stream = None;
        link.connection.has_answered()
    }

    fn poll_exchange(&mut self, context: &Context<'_>) -> Poll<()> {
        let load = Rc::clone(&self.load);
        let mut link = load.links[self.index].borrow_mut();
        let link = &mut *link;
        let mut state = load.state.borrow_mut();
        let state = &mut *state;
        loop {
            let Some(stream) = &mut link.stream else {
                return Poll::Ready(());
            };
            let Poll::Ready(received) = stream.poll_recv(context) else {
                break;
            };
            let mut ledger = load.ledger(state);
            match received {
                Ok(bytes) if bytes.is_empty() => link.connection.finish(&mut ledger),
                Ok(bytes) => {
                    if link.connection.feed(&bytes, &mut ledger) == Flow::Open {
                        continue;
                    }
                }
                Err(error) => {
                    let failure = Failure::of_transport(&error);
                    link.connection.lose(failure, &mut ledger);
                }
            }
            return Poll::Ready(());
        }
        if link.connection.is_done() {
            return Poll::Ready(());
        }
        load.refill(self.index, link, state);
        // Without a request in flight the timer runs all the same: the dispatcher sends without
        // this task, which then looks in time for the request to be overdue.
        let now = load.shard.now();
        let oldest = link.connection.oldest();
        let deadline = oldest.map_or(now, |oldest| oldest.sent) + load.plan.timeout;
        if now >= deadline {
            let mut ledger = load.ledger(state);
            link.connection.lose(Failure::Timeout, &mut ledger);
            return Poll::Ready(());
        }
        self.watch(deadline, context);
        Poll::Pending
    }

    /// Has the connection looked at when its oldest request is overdue. A timer that fires for a
    /// request that has been answered since is only set again.
    fn watch(&mut self, deadline: Moment, context: &Context<'_>) {
        if self.armed != deadline {
            self.armed = deadline;
            self.timer.arm(deadline);
        }
        // Registers this task; whether it is expired is looked at by the clock.
        let _ = self.timer.poll_expired(context);
    }
}
