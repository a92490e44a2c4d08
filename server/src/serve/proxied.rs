//! The start of a connection that a proxy has made for somebody else.

use std::future::poll_fn;

use super::conversation::Conversation;
use super::drive::Ended;
use crate::proxy::{NotProxied, ProxyHead};
use crate::stats::Deadline;

impl Conversation {
    /// Receives the head of the PROXY protocol; what came behind it is the first request.
    ///
    /// The deadlines are those of a request's head. Nothing is answered to what is no such head:
    /// whoever sent it does not speak HTTP, or is not who may.
    pub(super) async fn take_proxy_head(&mut self) -> Result<(), Ended> {
        let peer = self.stream.peer_address().map_err(|_| Ended::PeerGone)?;
        if !self.site.proxy.trusts(peer.map(|address| address.ip())) {
            return Err(Ended::NotProxied);
        }
        loop {
            let mut wait = self.next_wait();
            self.timer.arm(wait.deadline);
            let received = poll_fn(|context| self.poll_receive(&mut wait, context)).await;
            match received {
                Ok(received) => self.keep(&received),
                Err(Ended::PeerDone) => return Err(Ended::NotProxied),
                Err(Ended::TimedOut(_)) => return Err(Ended::TimedOut(Deadline::FirstByte)),
                Err(ended) => return Err(ended),
            }
            match ProxyHead::read(&self.input) {
                Ok(Some(head)) => {
                    self.begin_for(&head);
                    return Ok(());
                }
                Ok(None) => {}
                Err(NotProxied) => return Err(Ended::NotProxied),
            }
        }
    }

    fn begin_for(&mut self, head: &ProxyHead) {
        self.input.drain(..head.size);
        self.proxied = head.client.map(Box::new);
        (self.head_since, self.fresh_since) = (None, self.shard.now());
    }
}
