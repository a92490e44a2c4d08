//! What the access log hears of a conversation: the request when its handler was called, the answer
//! when it is written.

use std::net::SocketAddr;
use std::rc::Rc;

use corelane_runtime::{Activity, Moment};
use http::{StatusCode, Version};

use super::Site;
use super::conversation::Conversation;
use crate::extract::Exchange;
use crate::log::{Chosen, Draft, Entry, Outcome, Recorder};
use crate::middleware::trace_id;

/// What nginx made usual for a client that went away before it was answered.
const CLIENT_GONE: u16 = 499;

impl Site {
    /// Copies what is known of a request, where the log may want it: `status` is that of its answer
    /// where there is one already.
    #[inline]
    pub(super) fn draft(
        &self,
        status: Option<StatusCode>,
        exchange: &Exchange<'_>,
        route: Activity,
    ) -> Option<Draft> {
        let log = self.tally.log.as_ref()?;
        let chosen = log.choose(status)?;
        let route = self.table.names.get(route.index()).map_or("", String::as_str);
        Some(draft(log, chosen, exchange, route))
    }
}

fn draft(log: &Recorder, chosen: Chosen, exchange: &Exchange<'_>, route: &str) -> Draft {
    let (mut referer, mut user_agent) = (&b""[..], &b""[..]);
    for (name, value) in exchange.headers() {
        if name.eq_ignore_ascii_case("referer") {
            referer = value;
        } else if name.eq_ignore_ascii_case("user-agent") {
            user_agent = value;
        }
    }
    let trace_id = trace_id(exchange).map(|id| format!("{id:032x}")).unwrap_or_default();
    let entry = Entry {
        peer: exchange.peer.address().ok().flatten().map(|address| address.ip()),
        minor_version: u8::from(exchange.version() != Version::HTTP_10),
        method: exchange.method().as_str().as_bytes(),
        target: exchange.head.target.of(exchange.bytes),
        route: route.as_bytes(),
        referer,
        user_agent,
        trace_id: trace_id.as_bytes(),
        ..Entry::default()
    };
    log.draft(chosen, &entry)
}

impl Conversation {
    /// The answer to the drafted request is whole.
    pub(super) fn log_answer(&mut self, status: StatusCode, bytes: u64) {
        if let Some(draft) = self.draft.take() {
            self.log(draft, status, bytes, self.began);
        }
    }

    /// The connection ends: what is drafted was not answered, or not wholly.
    pub(super) fn log_end(&mut self) {
        let answered = self.streamed.as_ref().map(|finished| (finished.status, finished.bytes));
        let gone = || StatusCode::from_u16(CLIENT_GONE).ok().map(|status| (status, 0));
        if let Some((status, bytes)) = answered.or_else(gone) {
            self.log_answer(status, bytes);
        }
    }

    /// A request was refused: all that is known of it is who sent it.
    #[cold]
    pub(super) fn log_refusal(&mut self, status: StatusCode, bytes: u64) {
        let site = Rc::clone(&self.site);
        let Some(log) = &site.tally.log else { return };
        // What was drafted of it, if anything, is more than that.
        if self.draft.is_some() {
            return self.log_answer(status, bytes);
        }
        let Some(chosen) = log.choose(Some(status)) else { return };
        let peer = self.stream.peer_address().ok().flatten().as_ref().map(SocketAddr::ip);
        let draft = log.draft(chosen, &Entry { peer, ..Entry::default() });
        self.log(draft, status, bytes, self.shard.now());
    }

    fn log(&self, draft: Draft, status: StatusCode, bytes: u64, began: Moment) {
        let Some(log) = &self.site.tally.log else { return };
        self.shard.ask_turn_end();
        let wall_seconds = self.shard.wall_seconds();
        log.finish(draft, &Outcome { wall_seconds, began, status, bytes });
    }
}
