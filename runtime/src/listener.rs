//! A listening socket of one shard: accepting, pausing, and the end of it in a drain.

use std::future::poll_fn;
use std::io;
use std::os::fd::IntoRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::address::Address;
use crate::balance::{Balance, Balancing};
use crate::bind::BoundSocket;
use crate::driver::operation::SlotKey;
use crate::net::Stream;
use crate::shard::Shard;
use crate::timer::{TICK, Timer, sleep};
use crate::world::Descriptor;

/// How long accepting pauses when the process or the machine is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that a drain takes from a queue that another process has too, at most: with more
/// than that the other one is awake.
const QUEUE_LOOKS_MAX: usize = 1024;

/// How long a drain waits for the handshakes that are under way: some round trips of most clients.
const HANDSHAKE_PATIENCE: Duration = Duration::from_millis(250);

/// A listening socket of one shard. Dropping it closes the socket.
///
/// ```text
///             drain                    a quarter of a second            queue empty
///   accepts ─────────► last call, no more SYNs ─────────► takes the queue ─────────► None
///      │
///      └── drain, and another process has the socket too ──► looks into the queue once ──► None
/// ```
#[derive(Debug)]
pub struct Listener {
    shard: Rc<Shard>,
    key: SlotKey,
    address: Address,
    /// Whether systemd keeps the socket, and with it the queue.
    is_kept: bool,
    /// Present from the begin of a drain on: handshakes that are under way may end.
    last_call: Option<Timer>,
    /// While draining: how often the queue is still looked into that another process has too.
    queue_looks_left: usize,
    /// When a pause was last logged: two lines a second at most, however long it lasts.
    has_logged_pause: bool,
    /// Present where connections go to the shard that has the fewest.
    balancing: Option<Balancing>,
}

impl Listener {
    pub(crate) fn new(shard: &Rc<Shard>, bound: BoundSocket, balance: Balance) -> Listener {
        let descriptor = Descriptor(bound.socket.into_raw_fd());
        let mut listener = Listener::from_descriptor(shard, descriptor, bound.address, balance);
        listener.is_kept = bound.is_kept;
        listener
    }

    pub(crate) fn from_descriptor(
        shard: &Rc<Shard>,
        descriptor: Descriptor,
        address: Address,
        balance: Balance,
    ) -> Listener {
        let balancing = match balance {
            Balance::Hash | Balance::Cpu => None,
            Balance::LeastConnections => Some(Balancing::new(shard, &address)),
        };
        let key = shard.driver.listen(descriptor, balancing.is_some());
        Listener {
            shard: Rc::clone(shard),
            key,
            address,
            is_kept: false,
            last_call: None,
            queue_looks_left: QUEUE_LOOKS_MAX,
            has_logged_pause: false,
            balancing,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection; `None` once the shard drains and the queue is empty, or is another
    /// process's.
    ///
    /// Out of descriptors or memory it pauses for 100 ms at a time, counted and logged, and goes
    /// on: the connections wait in the kernel's queue meanwhile.
    pub async fn accept(&mut self) -> Option<Stream> {
        loop {
            match poll_fn(|context| self.poll_accepted(context)).await {
                Some(Ok(accepted)) => {
                    self.has_logged_pause = false;
                    if let Some(stream) = self.admit(accepted) {
                        return Some(stream);
                    }
                }
                Some(Err(errno)) => self.recover(errno).await,
                None => return self.accept_queued().await,
            }
        }
    }

    /// `None` once nothing shall be accepted any more that the kernel does not have already.
    fn poll_accepted(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Accepted, i32>>> {
        if self.shard.is_draining() && self.poll_last_call(context).is_ready() {
            return Poll::Ready(None);
        }
        if self.balancing.is_some()
            && let Poll::Ready(key) = self.shard.poll_handed(&self.address, context)
        {
            return Poll::Ready(Some(Ok(Accepted::Elsewhere(key))));
        }
        let accepted = self.shard.driver.poll_accept(self.key, context);
        accepted.map(|accepted| Some(accepted.map(Accepted::Here)))
    }

    /// While draining: whether no handshake is under way any more.
    ///
    /// Closing a listener resets the clients that think they are connected already, and those are
    /// not in its queue before their handshake's last segment has come. So new handshakes are
    /// refused first, and the others have some round trips to end.
    #[cold]
    fn poll_last_call(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.is_elsewhere() || !matches!(self.address, Address::Tcp(_)) {
            return Poll::Ready(());
        }
        if self.last_call.is_none() {
            let descriptor = self.shard.driver.descriptor(self.key);
            if let Ok(descriptor) = descriptor
                && let Err(error) = self.shard.host.refuse_handshakes(descriptor)
            {
                tracing::debug!(%error, "clients that connect during the drain may be reset");
            }
            let timer = Timer::new(&self.shard);
            timer.arm(self.shard.now() + HANDSHAKE_PATIENCE);
            self.last_call = Some(timer);
        }
        self.last_call.as_ref().map_or(Poll::Ready(()), |timer| timer.poll_expired(context))
    }

    /// Whether another process has the socket too, so that its queue outlives this listener.
    fn is_elsewhere(&self) -> bool {
        self.is_kept || self.shard.remote.leaving_queues.is_any()
    }

    /// The stream of an accepted connection, unless another shard is to serve it.
    fn admit(&self, accepted: Accepted) -> Option<Stream> {
        let shard = Rc::clone(&self.shard);
        match accepted {
            Accepted::Elsewhere(key) => Some(Stream::counted(shard, key)),
            Accepted::Here(key) if self.balancing.is_none() => Some(Stream::new(shard, key)),
            Accepted::Here(key) => {
                let key = shard.hand_over(key, &self.address)?;
                Some(Stream::counted(shard, key))
            }
        }
    }

    /// What an accept's errno calls for; one place for all of them.
    async fn recover(&mut self, errno: i32) {
        let stats = self.shard.stats();
        match errno {
            // The peer was gone before it was accepted (accept(2): treat like EAGAIN).
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::EINTR
            | libc::EAGAIN
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP => stats.accepts_aborted.add(1),
            _ => {
                stats.accepts_paused.add(1);
                self.log_pause(errno);
                sleep(PAUSE).await;
            }
        }
    }

    /// While draining: what other shards had sent before they knew.
    async fn accept_handed(&mut self) -> Option<Stream> {
        self.balancing.as_ref()?;
        loop {
            // In this order: what comes between the two looks is seen by the next round.
            let is_expecting = self.shard.expects_handed();
            let context = Context::from_waker(Waker::noop());
            if let Poll::Ready(key) = self.shard.poll_handed(&self.address, &context) {
                return Some(Stream::counted(Rc::clone(&self.shard), key));
            }
            if !is_expecting {
                return None;
            }
            sleep(TICK).await;
        }
    }

    #[cold]
    fn log_pause(&mut self, errno: i32) {
        if std::mem::replace(&mut self.has_logged_pause, true) {
            return;
        }
        let error = io::Error::from_raw_os_error(errno);
        tracing::warn!(
            shard = self.shard.id().0,
            address = %self.address,
            %error,
            "accepting pauses until it works again; raise the open-file limit if that is the cause"
        );
    }

    /// While draining: what the ring had accepted, and what waits in the kernel's queue. Closing
    /// the listener would reset the latter, unless another process has it too; so errors are waited
    /// out as at any other time. The drain's deadline bounds it.
    async fn accept_queued(&mut self) -> Option<Stream> {
        let driver = &self.shard.driver;
        driver.disarm_accept(self.key);
        if let Some(key) = poll_fn(|context| driver.poll_disarmed(self.key, context)).await {
            return Some(Stream::new(Rc::clone(&self.shard), key));
        }
        if self.is_elsewhere() {
            // Not all of it, but once: the kernel wakes one of those who wait at a socket, and may
            // have woken this accept just before it was cancelled. Nobody else would then look
            // before the next client comes.
            self.queue_looks_left = self.queue_looks_left.saturating_sub(1);
            if self.queue_looks_left == 0 {
                return self.accept_handed().await;
            }
        }
        loop {
            let descriptor = self.shard.driver.descriptor(self.key).ok()?;
            match self.shard.host.accept_now(descriptor) {
                Ok(Some(accepted)) => {
                    let key = self.shard.driver.adopt_descriptor(accepted);
                    return Some(Stream::new(Rc::clone(&self.shard), key));
                }
                Ok(None) => return self.accept_handed().await,
                Err(error) => self.recover(error.raw_os_error().unwrap_or(0)).await,
            }
        }
    }
}

/// Who accepted a connection.
enum Accepted {
    Here(SlotKey),
    Elsewhere(SlotKey),
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shard.driver.release_listener(self.key);
    }
}
