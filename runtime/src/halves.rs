//! A stream in two: one task reads, another writes.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::driver::buffers::Received;
use crate::driver::send::SendBuffer;
use crate::net::Stream;

impl Stream {
    /// Divides the stream so that two tasks can use it at once. It is closed when both halves are
    /// dropped; the writer's end is the peer's end of file.
    pub fn split(self) -> (StreamReader, StreamWriter) {
        let stream = Rc::new(self);
        (StreamReader(Rc::clone(&stream)), StreamWriter(stream))
    }
}

/// The receiving half of a stream. From [`Stream::split`].
#[derive(Debug)]
pub struct StreamReader(Rc<Stream>);

impl StreamReader {
    /// As [`Stream::recv`].
    ///
    /// # Errors
    /// As [`Stream::recv`].
    pub async fn recv(&mut self) -> io::Result<Received> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`recv`](StreamReader::recv), for hand-written futures.
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<io::Result<Received>> {
        self.0.poll_recv_shared(context)
    }
}

/// The sending half of a stream. From [`Stream::split`].
///
/// Dropping it half-closes the connection behind everything that was queued, as
/// [`shutdown_write`](Stream::shutdown_write) does; but when the reader is gone as well, the
/// connection is closed at once, and what is unsent is lost: wait for [`sent`](StreamWriter::sent).
#[derive(Debug)]
pub struct StreamWriter(Rc<Stream>);

impl StreamWriter {
    /// As [`Stream::send`].
    pub fn send(&mut self, buffer: SendBuffer) {
        self.0.send_shared(buffer);
    }

    /// As [`Stream::sent`].
    ///
    /// # Errors
    /// As [`Stream::sent`].
    pub async fn sent(&mut self, unsent_bytes_max: usize) -> io::Result<()> {
        poll_fn(|context| self.0.poll_sent_shared(unsent_bytes_max, context)).await
    }

    /// Breaks the whole connection off, as [`Stream::abort`] does.
    pub fn abort(self) {
        self.0.abort_shared();
    }

    /// Bytes that are queued and not sent yet.
    pub fn unsent_bytes(&self) -> usize {
        self.0.unsent_bytes()
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        // Fails only where the connection is gone already.
        let _ = self.0.shutdown_write_shared();
    }
}
