//! Direct descriptors: accepted sockets in their ring's own table, none of the process's.
//!
//! ```text
//!         accept begun            accepted                close submitted
//!   free ──────────────► awaited ──────────► a stream's ──────────────────► free
//!    ▲                      │ failed, cancelled
//!    └──────────────────────┘
//! ```
//!
//! A table may be as large as the process's open-file limit (io_uring_register_files(3)), and each
//! ring has one: the limit then bounds a shard and not all of them together. Where the table is
//! full, connections get ordinary descriptors, until those run out as well.
//!
//! A multishot accept is no use here: it tells no peer's address, and what it has accepted when
//! the table is full the kernel closes. So an accept is a number of single ones, each with a place
//! that is free and room for an address, that begin anew as they complete.
//!
//! `sendfile(2)`, `shutdown(2)` and a reset know ordinary descriptors alone. They get one for a
//! moment (`IORING_OP_FIXED_FD_INSTALL`), which is an errand: the ring's own `IORING_OP_SHUTDOWN`
//! would go to a worker thread. Whom a file was sent to will want more of it, or the next one: that
//! descriptor is kept until the socket is closed, or descriptors run out.
//!
//! Owns which places are taken, the single accepts, the errands, and the descriptors that are kept.
//! It never enters the ring: what is to be submitted waits in `entries`. Nobody above the ring
//! knows of any of this.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{IoUring, opcode, squeue};
use slab::Slab;
use socket2::SockAddr;

use super::entry::{poll_first, shut_down};
use super::operation::{Half, Token};
use super::places::{Peers, Places};
use super::{probe, sendfile};
use crate::stats::Stats;
use crate::world::{Completion, Descriptor};

/// What the upper half of `user_data` says of an entry of this file; the lower half is an index.
/// No [`Token`] has a kind of zero, and the ring's own entries have zero here.
const ACCEPT: u64 = 1 << 32;
const CANCEL: u64 = 2 << 32;
const ERRAND: u64 = 3 << 32;
const UNHEARD: u64 = 4 << 32;

/// Accepts that are in flight for one listener: as many clients are taken in one turn. Each awaits
/// one, in some 300 bytes of the kernel's.
const SINGLES_PER_LISTENER: usize = 16;

/// Ordinary descriptors that are kept: few beside the thousand that a process has by default.
const KEPT_COUNT_MAX: usize = 128;

/// The sockets of a ring's table.
pub(super) struct Direct {
    places: Places,
    peers: Rc<Peers>,
    acceptors: Vec<Acceptor>,
    /// By the index in `user_data`. As many as were ever in flight.
    singles: Vec<Single>,
    errands: Slab<Errand>,
    /// By place.
    kept: HashMap<u32, OwnedFd>,
    entries: VecDeque<squeue::Entry>,
    stats: Arc<Stats>,
}

/// One listener's accept, as those above the ring know it.
struct Acceptor {
    token: Token,
    listener: Descriptor,
    /// Of its single accepts, `0 < in_flight <= SINGLES_PER_LISTENER` until it is over.
    in_flight: usize,
    /// What the last completion will say; from then on none begins anew.
    end: Option<i32>,
}

/// A single accept.
struct Single {
    /// Whose it is, while it is in flight.
    token: Option<Token>,
    /// Where the socket goes; `None` where it gets an ordinary descriptor.
    place: Option<u32>,
    /// What the kernel writes to, while it is in flight.
    room: *mut AddressRoom,
}

/// Room for a peer's address and, before, its size (accept(2)).
struct AddressRoom {
    size: libc::socklen_t,
    address: libc::sockaddr_storage,
}

/// What an ordinary descriptor is wanted for.
struct Errand {
    /// `None` once the socket is closed: somebody else may be there.
    place: Option<u32>,
    purpose: Purpose,
}

enum Purpose {
    Shutdown(Half),
    /// The file's descriptor, where its range starts, and the range's size.
    SendFile(Token, (Descriptor, u64, u32)),
}

impl Direct {
    /// Gives the ring a table of `count_max` places at most; `None` where connections are to have
    /// ordinary descriptors. The one place where that is decided.
    pub(super) fn new(ring: &IoUring, count_max: u32, stats: Arc<Stats>) -> Option<Direct> {
        let count = probe::direct_descriptor_count(count_max);
        if count == 0 {
            return None;
        }
        if let Err(error) = ring.submitter().register_files_sparse(count) {
            tracing::warn!(%error, count, "no direct descriptors: ordinary ones are used");
            return None;
        }
        Some(Direct::with_table(count, stats))
    }

    fn with_table(count: u32, stats: Arc<Stats>) -> Direct {
        Direct {
            places: Places::new(count),
            peers: Rc::default(),
            acceptors: Vec::new(),
            singles: Vec::new(),
            errands: Slab::new(),
            kept: HashMap::new(),
            entries: VecDeque::new(),
            stats,
        }
    }

    pub(super) fn peers(&self) -> Rc<Peers> {
        Rc::clone(&self.peers)
    }

    /// What is to be submitted next.
    pub(super) fn next_entry(&mut self) -> Option<squeue::Entry> {
        self.entries.pop_front()
    }

    /// Accepts until it is cancelled or fails, as a multishot accept does.
    pub(super) fn accept(&mut self, listener: Descriptor, token: Token) {
        self.acceptors.push(Acceptor { token, listener, in_flight: 0, end: None });
        for _ in 0..SINGLES_PER_LISTENER {
            self.begin_single(token);
        }
    }

    /// Ends an accept; `false` where it is none of these.
    pub(super) fn cancel_accept(&mut self, token: Token) -> bool {
        let is_known = self.acceptor(token).is_some();
        if is_known {
            self.end(token, -libc::ECANCELED);
        }
        is_known
    }

    /// The socket is about to be closed; whoever comes next may have its place.
    pub(super) fn close(&mut self, place: u32) {
        for (_, errand) in &mut self.errands {
            errand.place = errand.place.filter(|other| *other != place);
        }
        if !self.kept.is_empty() {
            self.kept.remove(&place);
        }
        // Free already: what is submitted later is executed later.
        self.places.give_back(place);
    }

    pub(super) fn shut_down(&mut self, place: u32, half: Half) {
        match self.kept(place) {
            Some(socket) => shut_down(socket, half),
            None => self.begin_errand(place, Purpose::Shutdown(half)),
        }
    }

    /// The socket's ordinary descriptor, where it has one.
    pub(super) fn kept(&self, place: u32) -> Option<RawFd> {
        self.kept.get(&place).map(AsRawFd::as_raw_fd)
    }

    pub(super) fn send_file(&mut self, place: u32, token: Token, file: (Descriptor, u64, u32)) {
        self.begin_errand(place, Purpose::SendFile(token, file));
    }

    /// An entry of this file has completed.
    pub(super) fn complete(&mut self, user_data: u64, result: i32, done: &mut Vec<Completion>) {
        let index = user_data as u32 as usize;
        match user_data & !u64::from(u32::MAX) {
            ACCEPT => self.on_accept(index, result, done),
            CANCEL => self.on_cancel(index),
            ERRAND => self.on_errand(index, result, done),
            _ => {}
        }
    }

    fn acceptor(&mut self, token: Token) -> Option<&mut Acceptor> {
        self.acceptors.iter_mut().find(|acceptor| acceptor.token == token)
    }

    fn begin_single(&mut self, token: Token) {
        let Some(acceptor) = self.acceptor(token) else { return };
        acceptor.in_flight += 1;
        let listener = Fd(acceptor.listener.0);
        let (place, index) = (self.places.take(), self.idle_single());
        let single = &mut self.singles[index];
        (single.token, single.place) = (Some(token), place);
        let (address, size) = single.room();
        let accept = match place {
            // A socket in the table is never inherited: the kernel refuses the flag.
            Some(place) => opcode::Accept::new(listener, address, size)
                .file_index(DestinationSlot::try_from_slot_target(place).ok())
                .flags(libc::SOCK_NONBLOCK),
            None => opcode::Accept::new(listener, address, size)
                .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK),
        };
        self.entries.push_back(poll_first(accept.build()).user_data(ACCEPT | index as u64));
    }

    fn idle_single(&mut self) -> usize {
        let idle = self.singles.iter().position(|single| single.token.is_none());
        idle.unwrap_or_else(|| {
            self.singles.push(Single::new());
            self.singles.len() - 1
        })
    }

    fn on_accept(&mut self, index: usize, result: i32, done: &mut Vec<Completion>) {
        let single = &mut self.singles[index];
        let token = single.token.take().expect("it was in flight");
        let place = single.place.take();
        let mut completion = Completion { token, result, buffer: None, more: true };
        if result >= 0 {
            if let Some(place) = place {
                completion.result = Descriptor::in_table(place).0;
                self.peers.set(place, single.peer());
                self.stats.direct_accepts.add(1);
            }
            done.push(completion);
        } else {
            place.inspect(|place| self.places.give_back(*place));
            // Descriptors may be what it lacked.
            self.kept.clear();
        }
        let acceptor = self.acceptor(token).expect("it has an accept in flight");
        acceptor.in_flight -= 1;
        let end = acceptor.end;
        match end {
            None if result >= 0 => return self.begin_single(token),
            None => self.end(token, result),
            Some(_) => {}
        }
        let is_over = |acceptor: &Acceptor| acceptor.token == token && acceptor.in_flight == 0;
        if let Some(index) = self.acceptors.iter().position(is_over) {
            let result = self.acceptors.swap_remove(index).end.unwrap_or(-libc::ECANCELED);
            done.push(Completion { result, more: false, ..completion });
        }
    }

    /// The acceptor is over once none of its accepts is in flight; they are told to end.
    fn end(&mut self, token: Token, result: i32) {
        let Some(acceptor) = self.acceptor(token).filter(|acceptor| acceptor.end.is_none()) else {
            return;
        };
        acceptor.end = Some(result);
        for index in 0..self.singles.len() {
            if self.singles[index].token == Some(token) {
                self.cancel_single(index);
            }
        }
    }

    fn cancel_single(&mut self, index: usize) {
        let cancel = opcode::AsyncCancel::new(ACCEPT | index as u64).build();
        let cancel = cancel.user_data(CANCEL | index as u64);
        self.entries.push_back(cancel.flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// An accept was not found: it has completed, or was just about to look for a client. In that
    /// case it waits again now.
    fn on_cancel(&mut self, index: usize) {
        let token = self.singles[index].token;
        let is_over = token.and_then(|token| self.acceptor(token)?.end).is_some();
        if is_over {
            self.cancel_single(index);
        }
    }

    fn begin_errand(&mut self, place: u32, purpose: Purpose) {
        let index = self.errands.insert(Errand { place: Some(place), purpose });
        let install = opcode::FixedFdInstall::new(Fixed(place), 0).build();
        self.entries.push_back(install.user_data(ERRAND | index as u64));
    }

    /// The ordinary descriptor is there, until this is over; or there is none to be had.
    fn on_errand(&mut self, index: usize, result: i32, done: &mut Vec<Completion>) {
        let Errand { place, purpose } = self.errands.remove(index);
        // SAFETY: the kernel has just made the descriptor for us.
        let installed = (result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(result) });
        // Those that are kept may be what it lacked.
        if let (None, Some(place), false) = (&installed, place, self.kept.is_empty()) {
            self.kept.clear();
            return self.begin_errand(place, purpose);
        }
        match (purpose, installed) {
            (Purpose::Shutdown(half), Some(socket)) => shut_down(socket.as_raw_fd(), half),
            (Purpose::Shutdown(half), None) => {
                place.inspect(|place| self.shut_down_within(Fixed(*place), half));
            }
            (Purpose::SendFile(token, file), installed) => {
                let send = |socket: &OwnedFd| sendfile::send(Descriptor(socket.as_raw_fd()), file);
                let result = installed.as_ref().map_or(result, send);
                done.push(Completion { token, result, buffer: None, more: false });
                if let (Some(place), Some(socket)) = (place, installed)
                    && self.kept.len() < KEPT_COUNT_MAX
                {
                    self.kept.insert(place, socket);
                }
            }
        }
    }

    /// Without an ordinary descriptor: slower, and a reset waits for the close.
    #[cold]
    fn shut_down_within(&mut self, socket: Fixed, half: Half) {
        static NO_LINGER: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let entry = match half {
            Half::Write => opcode::Shutdown::new(socket, libc::SHUT_WR).build(),
            // Looks through all that is in flight, which is why it is not done always.
            Half::Both => opcode::AsyncCancel2::new(CancelBuilder::fd(socket).all()).build(),
            Half::Reset => opcode::SetSockOpt::new(
                socket,
                libc::SOL_SOCKET as u32,
                libc::SO_LINGER as u32,
                (&raw const NO_LINGER).cast(),
                size_of::<libc::linger>() as u32,
            )
            .build(),
        };
        self.entries.push_back(entry.user_data(UNHEARD));
    }
}

impl Single {
    fn new() -> Single {
        // SAFETY: all zeros are an address of no family.
        let address = unsafe { std::mem::zeroed() };
        let room = Box::into_raw(Box::new(AddressRoom { size: 0, address }));
        Single { token: None, place: None, room }
    }

    /// Where the kernel is to write an address, and its size.
    fn room(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        // SAFETY: the room is this value's alone while no accept is in flight, as now.
        unsafe {
            (*self.room).size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            ((&raw mut (*self.room).address).cast(), &raw mut (*self.room).size)
        }
    }

    /// The address that the kernel has written; `None` of a Unix socket.
    fn peer(&self) -> Option<SocketAddr> {
        // SAFETY: the accept has completed, so the room is this value's alone again.
        let AddressRoom { size, address } = unsafe { &*self.room };
        // SAFETY: an address of this size, as accept(2) has written it, over zeros. The kernel
        // says the whole size also where it had to cut the address off.
        let copied = unsafe {
            SockAddr::try_init(|storage, storage_size| {
                storage.cast::<libc::sockaddr_storage>().write(*address);
                *storage_size = (*size).min(*storage_size);
                Ok(())
            })
        };
        copied.ok()?.1.as_socket()
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        // Where the ring was closed under the accept, the kernel may still write: leaked then.
        if self.token.is_none() {
            // SAFETY: made by `Box::into_raw` in `new`, and nobody else knows of it any more.
            drop(unsafe { Box::from_raw(self.room) });
        }
    }
}

#[cfg(test)]
mod tests;
