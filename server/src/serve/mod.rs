//! A shard's server: it accepts, admits as many connections as fit, and drives each in a task.

mod answer;
mod call;
mod collect;
mod conversation;
mod drive;
mod ending;
mod finished;
mod logged;
mod lookup;
mod pace;
mod proxied;
mod stream_out;
mod unread;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use corelane_runtime::{Listener, Shard};

use crate::config::ServerConfig;
use crate::date::CommonFields;
use crate::http1::Fields;
use crate::overload::Overload;
use crate::proxy::ProxyConfig;
use crate::records::Recorder;
use crate::response::Responder;
use crate::router::Table;
use crate::stats::{Closed, ServerStats};
use conversation::Conversation;
pub(crate) use finished::Tally;

/// What the connections of one shard share, that were accepted with the same settings.
pub(crate) struct Site {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) table: Rc<Table>,
    pub(crate) stats: Arc<ServerStats>,
    /// What hears of each exchange that ends.
    pub(crate) tally: Rc<Tally>,
    /// Where the fields of the head that is being looked at lie. Scratch of one look.
    fields: RefCell<Fields>,
    common: RefCell<CommonFields>,
    room: Rc<Room>,
    overload: Rc<Overload>,
    proxy: Rc<ProxyConfig>,
}

impl Site {
    /// Answers a request that is one too many.
    #[cold]
    fn shed(&self, responder: &mut Responder<'_>) {
        self.stats.requests_shed.add(1);
        self.overload.refuse(responder);
    }
}

/// The sites of one shard, one for each set of settings that a listener has.
pub(crate) struct Sites {
    table: Rc<Table>,
    stats: Arc<ServerStats>,
    tally: Rc<Tally>,
    /// Where every connection of the shard has a place.
    house: Rc<Room>,
    sites: Vec<Rc<Site>>,
}

impl Sites {
    pub(crate) fn new(
        table: Rc<Table>,
        stats: Arc<ServerStats>,
        connections_max: usize,
        slow_threshold: Duration,
        recorder: Option<Recorder>,
    ) -> Sites {
        stats.set_routes(&table.names);
        let tally = Rc::new(Tally::new(Arc::clone(&stats), slow_threshold, recorder));
        let house = Rc::new(Room::new(connections_max, None));
        Sites { table, stats, tally, house, sites: Vec::new() }
    }

    pub(crate) fn tally(&self) -> &Rc<Tally> {
        &self.tally
    }

    /// The site of the listeners with these settings.
    pub(crate) fn of(&mut self, config: &Arc<ServerConfig>) -> Rc<Site> {
        if let Some(site) = self.sites.iter().find(|site| Arc::ptr_eq(&site.config, config)) {
            return Rc::clone(site);
        }
        let site = Rc::new(self.site(config));
        self.sites.push(Rc::clone(&site));
        site
    }

    fn site(&self, config: &Arc<ServerConfig>) -> Site {
        let own_room =
            |connections_max| Rc::new(Room::new(connections_max, Some(Rc::clone(&self.house))));
        Site {
            config: Arc::clone(config),
            table: Rc::clone(&self.table),
            stats: Arc::clone(&self.stats),
            tally: Rc::clone(&self.tally),
            fields: RefCell::new(Fields::new()),
            common: RefCell::new(CommonFields::new(config.server_name.as_deref())),
            room: config.connections_max.map_or_else(|| Rc::clone(&self.house), own_room),
            overload: Rc::new(Overload::new(&config.overload)),
            proxy: Rc::new(config.proxy.clone()),
        }
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

/// How many connections there may be, and who waits for one to end.
struct Room {
    connections_max: usize,
    open_count: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
    /// The room that this one is a part of: a place here is a place there.
    house: Option<Rc<Room>>,
}

impl Room {
    fn new(connections_max: usize, house: Option<Rc<Room>>) -> Room {
        let (open_count, waiting) = (Cell::new(0), RefCell::default());
        Room { connections_max, open_count, waiting, house }
    }

    /// This room and those that it is a part of.
    fn and_above(&self) -> impl Iterator<Item = &Room> {
        std::iter::successors(Some(self), |room| room.house.as_deref())
    }

    fn has_place(&self) -> bool {
        self.and_above().all(|room| room.open_count.get() < room.connections_max)
    }

    /// Waits until one more connection fits. The kernel's queue holds what comes meanwhile.
    async fn free(&self, stats: &ServerStats) {
        if self.has_place() {
            return;
        }
        stats.connections_full.add(1);
        poll_fn(|context| {
            if self.has_place() {
                return Poll::Ready(());
            }
            for room in self.and_above() {
                room.waiting.borrow_mut().push(context.waker().clone());
            }
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
        for room in site.room.and_above() {
            room.open_count.set(room.open_count.get() + 1);
        }
        site.stats.connections.add(1);
        Place { site: Rc::clone(site), closed: Closed::Aborted }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.site.stats.closed[self.closed as usize].add(1);
        for room in self.site.room.and_above() {
            room.open_count.set(room.open_count.get() - 1);
            for waiting in room.waiting.take() {
                waiting.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::conversation::Conversation;

    /// It is most of what an idle connection takes; a large state that is held across a wait shows
    /// here before it shows in memory.
    #[test]
    fn a_connection_is_small() {
        fn size_of_future<F>(_: impl FnOnce(&'static mut Conversation) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of::<Conversation>() + size_of_future(Conversation::drive);
        assert!(size <= 520, "{size} bytes");
    }
}
