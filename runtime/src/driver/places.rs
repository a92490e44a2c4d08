//! The places of a ring's own table of sockets: which are free, and whose address is whose.

use std::cell::RefCell;
use std::net::SocketAddr;

use crate::world::Descriptor;

/// The process's descriptors are below: nobody's `fs.nr_open` (proc(5)) comes near it.
const FIRST_DIRECT: i32 = 1 << 30;

impl Descriptor {
    /// The socket in a place of its ring's table.
    pub(super) fn in_table(place: u32) -> Descriptor {
        Descriptor(FIRST_DIRECT + place as i32)
    }

    /// The place in its ring's table; `None` for a descriptor of the process's.
    pub(super) fn place(self) -> Option<u32> {
        (self.0 >= FIRST_DIRECT).then_some((self.0.wrapping_sub(FIRST_DIRECT)) as u32)
    }
}

/// Which places are free.
#[derive(Debug)]
pub(super) struct Places {
    count: u32,
    /// Those from here on have never been taken.
    untouched: u32,
    /// A stack: what the kernel knows of the last one lies in a cache yet.
    free: Vec<u32>,
}

impl Places {
    /// The most that a ring's table can have (`IORING_MAX_FIXED_FILES`).
    pub(super) const COUNT_MAX: u32 = 1 << 20;

    pub(super) fn new(count: u32) -> Places {
        assert!(count <= Self::COUNT_MAX, "no table is larger");
        Places { count, untouched: 0, free: Vec::new() }
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let place = self.untouched;
            self.untouched += u32::from(place < self.count);
            (place < self.count).then_some(place)
        })
    }

    pub(super) fn give_back(&mut self, place: u32) {
        debug_assert!(place < self.untouched && !self.free.contains(&place), "it was taken");
        self.free.push(place);
    }
}

/// Who is at the other end of the sockets of a ring's table: the kernel says it with the accept,
/// and to ask later would take a descriptor of the process's.
#[derive(Debug, Default)]
pub(crate) struct Peers(RefCell<Vec<Option<SocketAddr>>>);

impl Peers {
    pub(super) fn set(&self, place: u32, address: Option<SocketAddr>) {
        let (mut peers, place) = (self.0.borrow_mut(), place as usize);
        if place >= peers.len() {
            peers.resize(place + 1, None);
        }
        peers[place] = address;
    }

    /// The address of whoever is connected to the socket; `None` for a Unix socket.
    pub(super) fn of(&self, place: u32) -> Option<SocketAddr> {
        self.0.borrow().get(place as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_in_one_table_alone() {
        for place in [0, 7, Places::COUNT_MAX - 1] {
            assert_eq!(Descriptor::in_table(place).place(), Some(place));
        }
        for number in [-1, 0, 3, 1 << 20] {
            assert_eq!(Descriptor(number).place(), None);
        }
    }

    #[test]
    fn what_was_used_last_is_used_next() {
        let mut places = Places::new(3);
        let taken: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        assert_eq!(taken, [0, 1, 2]);
        places.give_back(1);
        places.give_back(0);
        assert_eq!([places.take(), places.take(), places.take()], [Some(0), Some(1), None]);
    }

    #[test]
    fn an_address_belongs_to_whoever_is_there_now() {
        let peers = Peers::default();
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        peers.set(2, Some(address));
        assert_eq!((peers.of(2), peers.of(0), peers.of(9)), (Some(address), None, None));
        peers.set(2, None);
        assert_eq!(peers.of(2), None);
    }
}
