//! The kernel's ring: set-up and probing, the one call a turn, and the clock.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use io_uring::{IoUring, opcode, squeue, types};

use super::buffer_ring::BufferRing;
use super::buffers::{BufferId, BufferPool};
use super::direct::Direct;
use super::enter::Entrance;
use super::entry::{entry_of, shut_down};
use super::operation::{Half, Kind, Operation, Token};
use super::places::Peers;
use super::probe::{self, Features};
use super::sendfile;
use crate::clock::Moment;
use crate::config::ShardConfig;
use crate::error::RuntimeError;
use crate::stats::Stats;
use crate::world::{Completion, Descriptor, Wait, World};

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
    /// Accepted sockets that are in the ring's own table; `None` where all are the process's.
    direct: Option<Direct>,
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
        let direct = Direct::new(&ring, config.direct_descriptors_max, Arc::clone(&stats));
        features.has_direct_descriptors = direct.is_some();
        let mut uring = Uring {
            ring,
            entrance,
            buffers,
            _pool: Rc::clone(pool),
            direct,
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

    /// Whose sockets are in the ring's own table.
    pub(crate) fn peers(&self) -> Rc<Peers> {
        self.direct.as_ref().map_or_else(Rc::default, Direct::peers)
    }

    /// Reads the pipe by which other threads wake the shard.
    fn watch_alarm(&mut self) {
        let bytes = self.alarm_bytes.cast();
        let read = opcode::Read::new(types::Fd(self.alarm), bytes, ALARM_BYTES as u32);
        self.push(read.build().user_data(ALARM));
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) {
        while self.ring.submission().is_full() {
            self.make_room();
        }
        // SAFETY: every entry is built by `entry_of` from an operation whose memory its slot keeps
        // until the last completion, or refers to memory that is not freed before its completion
        // (the alarm's bytes, room for a peer's address) or lives as long as the ring (the
        // timeout's time).
        let pushed = unsafe { self.ring.submission().push(&entry) };
        debug_assert!(pushed.is_ok(), "there is room");
    }

    /// The queue is full: what is in it is submitted, which empties it. A kernel that is out of
    /// memory takes fewer; the entries stay queued and are offered again.
    #[cold]
    fn make_room(&mut self) {
        let _ = self.enter_ring(0);
    }

    fn cancel_accept(&mut self, target: Token, token: Token) {
        if self.direct.as_mut().is_some_and(|direct| direct.cancel_accept(target)) {
            self.done.push(Completion { token, result: 0, buffer: None, more: false });
            return self.push_direct();
        }
        self.push(entry_of(Operation::Cancel { target }).user_data(token.user_data()));
    }

    fn send_file(&mut self, mut socket: Descriptor, file: (Descriptor, u64, u32), token: Token) {
        if let (Some(direct), Some(place)) = (&mut self.direct, socket.place()) {
            let Some(kept) = direct.kept(place) else {
                direct.send_file(place, token, file);
                return self.push_direct();
            };
            socket = Descriptor(kept);
        }
        let result = sendfile::send(socket, file);
        self.done.push(Completion { token, result, buffer: None, more: false });
    }

    /// Queues what direct descriptors need done.
    fn push_direct(&mut self) {
        while let Some(entry) = self.direct.as_mut().and_then(Direct::next_entry) {
            self.push(entry);
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
                None => {
                    if let Some(direct) = &mut self.direct {
                        direct.complete(entry.user_data(), entry.result(), completions);
                    }
                    // Else a timeout that could not be moved: it has just fired.
                }
            }
        }
        if has_sends {
            self.note_posted_sends(&completions[first..]);
        }
        if !self.silent_sends.is_empty() {
            self.settle_silent_sends(completions);
        }
        // Only now: what is queued and not submitted would leave sends unsettled.
        self.push_direct();
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
                return self.send_file(socket, (file, offset, size), token);
            }
            Operation::Accept { listener, hands_over: false } => {
                if let Some(direct) = &mut self.direct {
                    direct.accept(listener, token);
                    return self.push_direct();
                }
            }
            Operation::Cancel { target } if target.kind() == Kind::Accept => {
                return self.cancel_accept(target, token);
            }
            Operation::Close { socket } => {
                if let (Some(direct), Some(place)) = (&mut self.direct, socket.place()) {
                    direct.close(place);
                }
            }
            _ => {}
        }
        self.push(entry_of(operation).user_data(token.user_data()));
    }

    fn provide(&mut self, pool: &BufferPool, buffers: &[BufferId]) {
        self.buffers.provide(pool, buffers);
    }

    fn shutdown(&mut self, socket: Descriptor, half: Half) {
        match (&mut self.direct, socket.place()) {
            (Some(direct), Some(place)) => {
                direct.shut_down(place, half);
                self.push_direct();
            }
            _ => shut_down(socket.0, half),
        }
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
