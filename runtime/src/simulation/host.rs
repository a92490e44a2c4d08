//! The calls that a shard makes without its ring, answered by the simulated network.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockAddr;

use super::network::Network;
use crate::clock::Moment;
use crate::world::{Descriptor, Host};

pub(super) struct SimulatedHost(pub(super) Rc<RefCell<Network>>);

impl Host for SimulatedHost {
    fn peer_address(&self, descriptor: Descriptor) -> io::Result<Option<SocketAddr>> {
        let remote = self.0.borrow().peer_address(descriptor);
        remote.map(Some).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTCONN))
    }

    fn accept_now(&self, listener: Descriptor) -> io::Result<Option<Descriptor>> {
        let mut network = self.0.borrow_mut();
        if network.has_queued(listener) && network.roll(|faults| faults.accept_failure) {
            let errnos = [libc::EMFILE, libc::ECONNABORTED, libc::EINTR];
            let errno = errnos[network.random.usize(0..errnos.len())];
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(network.accept(listener))
    }

    /// Here a client is in the queue as soon as it connects.
    fn refuse_handshakes(&self, _listener: Descriptor) -> io::Result<()> {
        Ok(())
    }

    fn open_socket(&self, _address: &SockAddr) -> io::Result<Descriptor> {
        Ok(self.0.borrow_mut().open_fresh())
    }

    /// Whoever asks has computed meanwhile: each look at the clock finds it up to 20 us later.
    fn now(&self) -> Moment {
        let mut network = self.0.borrow_mut();
        let passed = network.random.u64(0..20_000);
        network.now = network.now + Duration::from_nanos(passed);
        network.now
    }

    fn is_machine(&self) -> bool {
        false
    }
}
