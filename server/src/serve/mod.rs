//! A shard's server: it accepts, admits as many connections as fit, and drives each in a task.

mod call;
mod collect;
mod conversation;
mod drive;
mod finished;
mod logged;
mod pace;
mod stream_out;
mod unread;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use corelane_runtime::{Listener, Shard};

use crate::config::ServerConfig;
use crate::date::CommonFields;
use crate::http1::Fields;
use crate::log::Recorder;
use crate::router::Table;
use crate::stats::{Closed, ServerStats};
use conversation::Conversation;
pub(crate) use finished::Tally;

/// What the connections of one shard share.
pub(crate) struct Site {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) table: Table,
    pub(crate) stats: Arc<ServerStats>,
    /// What hears of each exchange that ends.
    pub(crate) tally: Rc<Tally>,
    /// Where the fields of the head that is being looked at lie. Scratch of one look.
    fields: RefCell<Fields>,
    common: RefCell<CommonFields>,
    room: Room,
}

impl Site {
    pub(crate) fn new(
        config: Arc<ServerConfig>,
        table: Table,
        stats: Arc<ServerStats>,
        connections_max: usize,
        log: Option<Recorder>,
    ) -> Site {
        let common = RefCell::new(CommonFields::new(config.server_name.as_deref()));
        let fields = RefCell::new(Fields::new());
        stats.set_routes(&table.names);
        let tally = Rc::new(Tally::new(Arc::clone(&stats), config.slow_threshold, log));
        Site { config, table, stats, tally, fields, common, room: Room::new(connections_max) }
    }
}

/// Accepts from one listener until the shard drains.
///
/// The gate is entered before the future is polled: a drain that begins before must find it there,
/// or nobody would accept what is in the kernel's queue already.
pub(crate) fn accept(
    shard: Rc<Shard>,
    site: Rc<Site>,
    listener: Listener,
) -> impl Future<Output = ()> {
    let pass = shard.enter_gate();
    async move {
        let _pass = pass;
        accept_all(shard, site, listener).await;
    }
}

async fn accept_all(shard: Rc<Shard>, site: Rc<Site>, mut listener: Listener) {
    loop {
        site.room.free(&site.stats).await;
        let Some(stream) = listener.accept().await else { return };
        let mut place = Place::take(&site);
        let pass = shard.enter_gate();
        let mut conversation = Conversation::new(&shard, &site, stream);
        // By reference: passed on by value, the future would hold the conversation three times.
        shard.spawn(async move {
            place.closed = conversation.drive().await;
            drop((pass, place));
        });
    }
}

/// How many connections a shard may have, and who waits for one to end.
struct Room {
    connections_max: usize,
    open_count: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

impl Room {
    fn new(connections_max: usize) -> Room {
        Room { connections_max, open_count: Cell::new(0), waiting: RefCell::default() }
    }

    /// Waits until one more connection fits. The kernel's queue holds what comes meanwhile.
    async fn free(&self, stats: &ServerStats) {
        if self.open_count.get() < self.connections_max {
            return;
        }
        stats.connections_full.add(1);
        poll_fn(|context| {
            if self.open_count.get() < self.connections_max {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// One connection's place in the room, given back when it ends.
struct Place {
    site: Rc<Site>,
    /// Why it ended.
    closed: Closed,
}

impl Place {
    fn take(site: &Rc<Site>) -> Place {
        site.room.open_count.set(site.room.open_count.get() + 1);
        site.stats.connections.add(1);
        Place { site: Rc::clone(site), closed: Closed::Aborted }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.site.stats.closed[self.closed as usize].add(1);
        let room = &self.site.room;
        room.open_count.set(room.open_count.get() - 1);
        for waiting in room.waiting.take() {
            waiting.wake();
        }
    }
}
