//! The end of an exchange, and whether the connection goes on.

use http::StatusCode;

use super::conversation::Conversation;

impl Conversation {
    pub(super) fn end_exchange(&mut self, status: StatusCode, keeps_alive: bool) {
        self.site.stats.count_response(status);
        self.has_served = true;
        self.quiet_since = self.shard.now();
        if !keeps_alive {
            self.protocol.close();
        } else if self.shard.is_draining() {
            self.drain_answers_left = self.drain_answers_left.saturating_sub(1);
        }
    }

    /// Whether a drain makes the present answer the connection's last one. Requests that had come
    /// with it are answered as well, as far as that has an end.
    pub(super) fn is_last(&self) -> bool {
        self.shard.is_draining() && !(self.is_followed && self.drain_answers_left > 0)
    }
}
