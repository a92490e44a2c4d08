//! Connected streams, TCP or Unix, as tasks see them.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockAddr;

use crate::driver::buffers::Received;
use crate::driver::operation::SlotKey;
use crate::driver::send::SendBuffer;
use crate::shard::Shard;
use crate::timeout::timeout;

/// A connected stream. Dropping it closes the connection at once; what is unsent is lost.
///
/// To end a connection so that the peer gets everything: send, [`shutdown_write`], receive until
/// the empty message, drop.
///
/// [`shutdown_write`]: Stream::shutdown_write
#[derive(Debug)]
pub struct Stream {
    shard: Rc<Shard>,
    key: SlotKey,
    /// Whether it counts where listeners balance.
    is_counted: bool,
}

impl Stream {
    pub(crate) fn new(shard: Rc<Shard>, key: SlotKey) -> Stream {
        Stream { shard, key, is_counted: false }
    }

    /// A connection that was counted for this shard when it was accepted.
    pub(crate) fn counted(shard: Rc<Shard>, key: SlotKey) -> Stream {
        Stream { shard, key, is_counted: true }
    }

    /// Connects to an address over TCP, with `TCP_NODELAY`. Dropping the future gives up.
    ///
    /// # Errors
    /// As `connect(2)`: refused, unreachable, timed out by the kernel (about two minutes).
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        Stream::connect_to(SockAddr::from(address)).await
    }

    /// As [`connect`](Stream::connect), for `patience` at most.
    ///
    /// # Errors
    /// As `connect(2)`, and [`TimedOut`](io::ErrorKind::TimedOut).
    pub async fn connect_timeout(address: SocketAddr, patience: Duration) -> io::Result<Stream> {
        timeout(patience, Stream::connect(address)).await?
    }

    /// Connects to a Unix socket by its path.
    ///
    /// # Errors
    /// As `connect(2)`, and a path that is longer than 107 bytes.
    pub async fn connect_unix(path: impl AsRef<Path>) -> io::Result<Stream> {
        Stream::connect_to(SockAddr::unix(path)?).await
    }

    async fn connect_to(address: SockAddr) -> io::Result<Stream> {
        let shard = Shard::current();
        let socket = shard.host.open_socket(&address)?;
        let key = shard.driver.connect(socket, address);
        // From here on dropping the stream, with this future or alone, closes the socket.
        let stream = Stream::new(shard, key);
        poll_fn(|context| stream.shard.driver.poll_connected(key, context)).await?;
        Ok(stream)
    }

    /// The shard that owns the stream.
    pub fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    /// Receives what has arrived, at most one buffer of it; empty is end of file.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// As `recv(2)`, most often `ECONNRESET`. Bytes that arrived before are delivered first. The
    /// kernel reports a reset once: where a send met it, the receive finds end of file, and
    /// [`sent`](Stream::sent) has the error.
    pub async fn recv(&mut self) -> io::Result<Received> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`recv`](Stream::recv), for hand-written futures.
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<io::Result<Received>> {
        self.poll_recv_shared(context)
    }

    pub(crate) fn poll_recv_shared(&self, context: &Context<'_>) -> Poll<io::Result<Received>> {
        self.shard.driver.poll_recv(self.key, context)
    }

    /// Queues bytes behind those that are queued already, and returns at once: they go out with
    /// the shard's next ring call. Whether they did is what [`sent`](Stream::sent) tells.
    pub fn send(&mut self, buffer: SendBuffer) {
        self.send_shared(buffer);
    }

    pub(crate) fn send_shared(&self, buffer: SendBuffer) {
        self.shard.driver.send(self.key, buffer);
    }

    /// Waits until at most `unsent_bytes_max` bytes are still to be sent; zero waits for all.
    ///
    /// # Errors
    /// As `send(2)`, most often `EPIPE` or `ECONNRESET`: nothing more will be sent.
    pub async fn sent(&mut self, unsent_bytes_max: usize) -> io::Result<()> {
        poll_fn(|context| self.poll_sent(unsent_bytes_max, context)).await
    }

    /// As [`sent`](Stream::sent), for hand-written futures.
    pub fn poll_sent(
        &mut self,
        unsent_bytes_max: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_sent_shared(unsent_bytes_max, context)
    }

    pub(crate) fn poll_sent_shared(
        &self,
        unsent_bytes_max: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.shard.driver.poll_sent(self.key, unsent_bytes_max, context)
    }

    /// Ready once a send has failed; for hand-written futures that wait for something else.
    ///
    /// A reset is told of once. Where a send has met it, receiving sees an end of file that looks
    /// like a peer who has finished sending and still waits for its answer.
    pub fn poll_broken(&mut self, context: &Context<'_>) -> Poll<()> {
        self.shard.driver.poll_broken(self.key, context)
    }

    /// Bytes that are queued and not sent yet.
    pub fn unsent_bytes(&self) -> usize {
        self.shard.driver.send_progress(self.key).0
    }

    /// Bytes sent since the stream was opened.
    pub fn sent_bytes(&self) -> u64 {
        self.shard.driver.send_progress(self.key).1
    }

    /// Sends a FIN once everything queued so far is sent (`shutdown(2)` with `SHUT_WR`).
    ///
    /// # Errors
    /// `ENOTCONN` where the stream is not open.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown_write_shared()
    }

    pub(crate) fn shutdown_write_shared(&self) -> io::Result<()> {
        self.shard.driver.shutdown_write(self.key)
    }

    /// Ends the connection with a reset, so that the peer can not take what it has received for
    /// all there is. What is unsent is lost; a Unix socket, which knows no reset, is shut down.
    pub fn abort(&mut self) {
        self.abort_shared();
    }

    pub(crate) fn abort_shared(&self) {
        self.shard.driver.abort(self.key);
    }

    /// The peer's address; `None` for a Unix socket. A system call at most.
    ///
    /// # Errors
    /// `ENOTCONN` where the peer has reset the connection already, and its address was not kept.
    pub fn peer_address(&self) -> io::Result<Option<SocketAddr>> {
        let descriptor = self.shard.driver.descriptor(self.key)?;
        self.shard.host.peer_address(descriptor)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_counted {
            self.shard.remote.load.connection_ended();
        }
        self.shard.driver.release_stream(self.key);
    }
}
