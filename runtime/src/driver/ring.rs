//! The kernel's ring: set-up and probing, the one call a turn, and the clock.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use io_uring::{IoUring, opcode, squeue, types};

use super::buffers::{BufferId, BufferPool};
use super::enter::Entrance;
use super::operation::{Half, Kind, Operation, Token};
use super::probe::{self, Features};
use super::sendfile;
use crate::clock::Moment;
use crate::config::ShardConfig;
use crate::error::RuntimeError;
use crate::stats::Stats;
use crate::world::{Completion, Descriptor, Wait, World};

/// The one buffer group of a ring.
const BUFFER_GROUP: u16 = 0;

/// `user_data` of what the ring itself keeps in flight; no [`Token`] has a kind of zero.
const ALARM: u64 = 1;
const TIMEOUT: u64 = 2;
const TIMEOUT_UPDATE: u64 = 3;

/// More than ever wait in the pipe: each sleep of the shard is ended by one byte.
const ALARM_BYTES: usize = 64;

/// A shard's io_uring instance. Fields are in the order in which they must be dropped: the ring
/// first, which ends every access of the kernel, then the memory that it knew.
pub(crate) struct Uring {
    ring: IoUring,
    entrance: Entrance,
    buffers: BufferRing,
    /// Held so that the pool outlives the ring.
    _pool: Rc<BufferPool>,
    features: Features,
    alarm: RawFd,
    /// Where the alarm is read to. Leaked: the kernel ends the read some time after the ring is
    /// closed. Nobody looks at what it wrote.
    alarm_bytes: *mut [u8; ALARM_BYTES],
    origin: Instant,
    spin: std::time::Duration,
    stats: Arc<Stats>,
    /// Sends that do not wait and were queued since the last `enter`: their tokens and sizes.
    silent_sends: Vec<(Token, u32)>,
    /// The deadline of the timeout that is in flight.
    timeout: Option<Moment>,
    /// Completions of operations that were done as they were submitted.
    done: Vec<Completion>,
    /// Where the kernel reads the deadline when it takes the entry.
    timeout_time: Box<types::Timespec>,
}

impl Uring {
    /// Sets a ring up on the calling thread, which is the only one that may use it.
    pub(crate) fn new(
        config: &ShardConfig,
        pool: &Rc<BufferPool>,
        alarm: RawFd,
        origin: Instant,
        stats: Arc<Stats>,
    ) -> Result<Uring, RuntimeError> {
        let (ring, mut features) = probe::set_up(config.ring_entries)?;
        let entrance = Entrance::new(ring.as_raw_fd());
        features.has_registered_fd = entrance.is_registered();
        let buffers = BufferRing::new(pool.count());
        buffers.register(&ring).map_err(RuntimeError::Ring)?;
        let mut uring = Uring {
            ring,
            entrance,
            buffers,
            _pool: Rc::clone(pool),
            features,
            alarm,
            alarm_bytes: Box::leak(Box::new([0; ALARM_BYTES])),
            origin,
            spin: config.spin,
            stats,
            silent_sends: Vec::new(),
            timeout: None,
            done: Vec::new(),
            timeout_time: Box::default(),
        };
        uring.watch_alarm();
        Ok(uring)
    }

    /// What this kernel offers and the ring uses.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// Reads the pipe by which other threads wake the shard.
    fn watch_alarm(&mut self) {
        let bytes = self.alarm_bytes.cast();
        let read = opcode::Read::new(types::Fd(self.alarm), bytes, ALARM_BYTES as u32);
        self.push(read.build().user_data(ALARM));
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: every entry is built by `entry_of` from an operation whose memory its slot
            // keeps until the last completion, or refers to memory that is never freed (the
            // alarm's bytes) or lives as long as the ring (the timeout's time).
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: what is in it is submitted, which empties it. A kernel that is
            // out of memory takes fewer; the entries stay queued and are offered again.
            let _ = self.enter_ring(0);
        }
    }

    /// One `io_uring_enter`: submits what is queued, and waits for `want` completions.
    fn enter_ring(&mut self, want: u32) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        self.stats.submissions.add(u64::from(queued));
        match self.entrance.enter(queued, want) {
            Ok(()) => Ok(()),
            // A signal, the end of the wait; a completion queue to be emptied first; too little
            // memory for the submission just now. What was not submitted stays queued.
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether completions are there, or would be after an `enter`: looks at memory only.
    fn has_events(&mut self) -> bool {
        let submission = self.ring.submission();
        let is_pending = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        is_pending || !self.ring.completion().is_empty()
    }

    fn enter_and_wait(
        &mut self,
        deadline: Moment,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        if !self.spin.is_zero() && self.spin_until_event(deadline)? {
            self.enter_ring(0)?;
            self.reap(completions);
            return Ok(());
        }
        loop {
            let is_over = deadline <= self.now();
            if !is_over && self.timeout.is_none_or(|armed| deadline < armed) {
                self.set_timeout(deadline);
            }
            self.enter_ring(u32::from(!is_over))?;
            let has_alarm = self.reap(completions);
            if is_over || has_alarm || !completions.is_empty() {
                return Ok(());
            }
        }
    }

    /// Submits, then looks for completions without a system call, for as long as configured.
    fn spin_until_event(&mut self, deadline: Moment) -> io::Result<bool> {
        if !self.ring.submission().is_empty() {
            self.enter_ring(0)?;
        }
        let now = self.now();
        let end = deadline.min(now + self.spin);
        let mut latest = now;
        let mut has_events = self.has_events();
        while !has_events && latest < end {
            std::hint::spin_loop();
            latest = self.now();
            has_events = self.has_events();
        }
        self.stats.spinning_nanos.add((latest - now).as_nanos() as u64);
        Ok(has_events)
    }

    /// Takes what has completed; says whether another thread has rung the alarm.
    fn reap(&mut self, completions: &mut Vec<Completion>) -> bool {
        let mut is_alarm_over = false;
        if self.ring.submission().cq_overflow() {
            self.stats.overflows.add(1);
        }
        let first = completions.len();
        completions.append(&mut self.done);
        let mut has_sends = false;
        for entry in self.ring.completion() {
            let flags = entry.flags();
            let more = io_uring::cqueue::more(flags);
            match Token::from_user_data(entry.user_data()) {
                Some(token) => {
                    has_sends |= token.kind() == Kind::Send;
                    let result = entry.result();
                    let buffer = io_uring::cqueue::buffer_select(flags).map(BufferId);
                    completions.push(Completion { token, result, buffer, more });
                }
                None if entry.user_data() == ALARM => is_alarm_over = true,
                None if entry.user_data() == TIMEOUT => self.timeout = None,
                // A timeout that could not be moved: it has just fired.
                None => {}
            }
        }
        if has_sends {
            self.note_posted_sends(&completions[first..]);
        }
        if !self.silent_sends.is_empty() {
            self.settle_silent_sends(completions);
        }
        if is_alarm_over {
            self.watch_alarm();
        }
        is_alarm_over
    }

    /// A send that does not wait posts a completion only where it has not sent everything.
    #[cold]
    fn note_posted_sends(&mut self, completions: &[Completion]) {
        let posted: HashSet<Token> =
            completions.iter().map(|completion| completion.token).collect();
        self.silent_sends.retain(|(token, _)| !posted.contains(token));
    }

    /// It posts it before the `enter` that submits it returns: all others have succeeded.
    fn settle_silent_sends(&mut self, completions: &mut Vec<Completion>) {
        let submission = self.ring.submission();
        // Not submitted after all, or a completion may lie outside the queue: the next turn knows.
        let is_unsettled = !submission.is_empty() || submission.cq_overflow();
        drop(submission);
        if is_unsettled {
            return;
        }
        completions.extend(self.silent_sends.drain(..).map(|(token, size)| Completion {
            token,
            result: size as i32,
            buffer: None,
            more: false,
        }));
    }

    /// Has `bell` signalled by every completion, while it is enabled.
    pub(crate) fn register_bell(&mut self, bell: &OwnedFd) -> io::Result<()> {
        self.ring.completion().disable_eventfd();
        self.ring.submitter().register_eventfd(bell.as_raw_fd())
    }

    /// Prepares for a wait outside the ring: from now on completions ring the bell, one of them
    /// at `deadline`. `false` where something has completed already.
    pub(crate) fn enable_bell(&mut self, deadline: Option<Moment>) -> io::Result<bool> {
        // One that is in flight for an earlier deadline would wake the shard for nothing.
        if let Some(deadline) = deadline
            && self.timeout != Some(deadline)
        {
            self.set_timeout(deadline);
        }
        // Nothing may stay behind, the alarm least of all: it is read again after each ring.
        if !self.ring.submission().is_empty() {
            self.enter_ring(0)?;
        }
        let is_told = self.silent_sends.is_empty() && self.done.is_empty();
        let is_submitted = self.ring.submission().is_empty() && is_told;
        self.ring.completion().enable_eventfd();
        // Pairs with the kernel's: it posts a completion and then looks at the flag.
        std::sync::atomic::fence(Ordering::SeqCst);
        Ok(is_submitted && !self.has_events())
    }

    /// One timeout at most, moved where it is in flight (Linux 5.11): a new one for each wait would
    /// pile up in the kernel, as many as a long deadline lasts.
    ///
    /// A busy shard leaves it alone from one wait to the next, and when it fires too early for the
    /// wait of the day it is armed anew: to start and cancel a timer of the kernel for each wait
    /// costs more than to wake up once in a while for nothing.
    fn set_timeout(&mut self, deadline: Moment) {
        *self.timeout_time = types::Timespec::from(deadline - self.now());
        let time: *const types::Timespec = &*self.timeout_time;
        let entry = if self.timeout.is_none() {
            opcode::Timeout::new(time).build().user_data(TIMEOUT)
        } else {
            let update = opcode::TimeoutUpdate::new(TIMEOUT, time).build();
            let flags = squeue::Flags::SKIP_SUCCESS;
            update.user_data(TIMEOUT_UPDATE).flags(flags)
        };
        self.push(entry);
        self.timeout = Some(deadline);
    }

    pub(crate) fn disable_bell(&mut self) {
        self.ring.completion().disable_eventfd();
    }
}

impl World for Uring {
    fn submit(&mut self, operation: Operation, token: Token) {
        match operation {
            Operation::Send { bytes, waits: false, .. } => {
                self.silent_sends.push((token, bytes.size()));
            }
            Operation::SendFile { socket, file, offset, size } => {
                let result = sendfile::send(socket, file, offset, size);
                return self.done.push(Completion { token, result, buffer: None, more: false });
            }
            _ => {}
        }
        self.push(entry_of(operation).user_data(token.user_data()));
    }

    fn provide(&mut self, pool: &BufferPool, buffers: &[BufferId]) {
        self.buffers.provide(pool, buffers);
    }

    fn shutdown(&mut self, socket: Descriptor, half: Half) {
        let how = match half {
            Half::Write => libc::SHUT_WR,
            Half::Both => libc::SHUT_RDWR,
            Half::Reset => {
                // SAFETY: the kernel reads as many bytes of the address as it is told.
                unsafe {
                    // connect(2): with AF_UNSPEC it dissolves the connection, which for TCP sends
                    // a reset. Unlike SO_LINGER it need not wait for the descriptor's close.
                    let mut nobody: libc::sockaddr = std::mem::zeroed();
                    nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
                    libc::connect(socket.0, &raw const nobody, size_of_val(&nobody) as _);
                }
                libc::SHUT_RDWR
            }
        };
        // ENOTCONN, where the peer was faster, is as good as success.
        // SAFETY: a system call on a number; no memory is involved.
        unsafe { libc::shutdown(socket.0, how) };
    }

    fn enter(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let has_done = !self.done.is_empty();
        let entered = match wait {
            Wait::Until(deadline) if !has_done => {
                return self.enter_and_wait(deadline, completions);
            }
            _ if self.ring.submission().is_empty() && !self.has_events() => Ok(()),
            _ => self.enter_ring(0),
        };
        self.reap(completions);
        entered
    }

    fn now(&mut self) -> Moment {
        let nanos = self.origin.elapsed().as_nanos();
        Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn wall_seconds(&mut self) -> u64 {
        // A clock before 1970 counts as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// Whether the next call may well succeed.
fn is_passing(error: &io::Error) -> bool {
    use libc::{EAGAIN, EBUSY, EINTR, ENOMEM, ETIME};
    matches!(error.raw_os_error(), Some(EINTR | ETIME | EBUSY | EAGAIN | ENOMEM))
}

/// One switch from our operations to the kernel's.
fn entry_of(operation: Operation) -> squeue::Entry {
    match operation {
        Operation::Accept { listener } => {
            opcode::AcceptMulti::new(types::Fd(listener.0)).flags(libc::SOCK_CLOEXEC).build()
        }
        Operation::Connect { socket, address } => {
            opcode::Connect::new(types::Fd(socket.0), address.start.as_ptr(), address.size).build()
        }
        Operation::Recv { socket } => {
            opcode::RecvMulti::new(types::Fd(socket.0), BUFFER_GROUP).build()
        }
        Operation::Send { socket, bytes, waits, more } => {
            let send = opcode::Send::new(types::Fd(socket.0), bytes.as_ptr(), bytes.size());
            // MSG_NOSIGNAL: a peer that has gone must not raise SIGPIPE.
            if waits {
                return send.flags(libc::MSG_NOSIGNAL).build();
            }
            // MSG_DONTWAIT fails the request where there is no room, instead of arming a poll.
            // MSG_WAITALL makes a short send a failure, so that only a whole one is silent
            // (io_uring_prep_send(3), IOSQE_CQE_SKIP_SUCCESS in io_uring_enter(2)).
            let more = if more { libc::MSG_MORE } else { 0 };
            send.flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL | more)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
        }
        Operation::Writable { socket } => {
            opcode::PollAdd::new(types::Fd(socket.0), libc::POLLOUT as u32).build()
        }
        Operation::SendFile { .. } => unreachable!("it is done as it is submitted"),
        Operation::Close { socket } => opcode::Close::new(types::Fd(socket.0)).build(),
        Operation::Cancel { target } => opcode::AsyncCancel::new(target.user_data()).build(),
    }
}

/// The ring of provided buffers (`io_uring_register_buf_ring(3)`, Linux 5.19): the pool's buffers
/// by address, in memory that is shared with the kernel.
struct BufferRing {
    entries: std::ptr::NonNull<types::BufRingEntry>,
    layout: std::alloc::Layout,
    count: u16,
    /// Entries ever added; the kernel sees it in `provide`.
    tail: u16,
}

impl BufferRing {
    fn new(count: u16) -> BufferRing {
        let size = usize::from(count) * size_of::<types::BufRingEntry>();
        // The kernel wants the ring on a page of its own.
        let layout = std::alloc::Layout::from_size_align(size, 4096).expect("count is bounded");
        // SAFETY: the layout's size is not zero: `count` is at least one.
        let entries = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(entries) = std::ptr::NonNull::new(entries.cast()) else {
            std::alloc::handle_alloc_error(layout)
        };
        BufferRing { entries, layout, count, tail: 0 }
    }

    fn register(&self, ring: &IoUring) -> io::Result<()> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: the memory holds `count` entries and lives until this value is dropped, which
        // is after the ring: see the order of `Uring`'s fields.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(address, self.count, BUFFER_GROUP, 0)
        }
    }

    fn provide(&mut self, pool: &BufferPool, buffers: &[BufferId]) {
        for buffer in buffers {
            let index = self.tail & (self.count - 1);
            // SAFETY: `index < count`. The kernel reads entries from its head up to the published
            // tail; this one is beyond, since at most `count` buffers exist and each is provided
            // once at a time.
            let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(index)) };
            entry.set_addr(pool.address(*buffer).as_ptr() as u64);
            entry.set_len(pool.buffer_bytes());
            entry.set_bid(buffer.0);
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the tail lies in the first entry, which is valid; it is aligned to two bytes.
        // Nobody else in this process touches it, and the kernel reads it with acquire.
        let tail = unsafe {
            AtomicU16::from_ptr(types::BufRingEntry::tail(self.entries.as_ptr()).cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the ring is closed already.
        unsafe { std::alloc::dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
