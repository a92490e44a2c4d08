//! The end of an exchange: its bytes on their way, and whether the connection goes on.

use std::mem;

use corelane_runtime::SendBuffer;

use super::conversation::Conversation;

impl Conversation {
    pub(super) fn end_exchange(&mut self, keeps_alive: bool) {
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

    /// A send buffer to append to: an idle connection has none.
    pub(super) fn ready_out(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.shard.send_buffer();
        }
    }

    /// Hands what was answered to the stream.
    pub(super) fn flush(&mut self) {
        let out = mem::take(&mut self.out);
        if out.is_empty() {
            self.shard.recycle(out);
        } else {
            self.stream.send(SendBuffer::Owned(out));
        }
    }
}
