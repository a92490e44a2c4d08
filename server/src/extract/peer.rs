//! Who sent the request.

use std::net::SocketAddr;

use http::StatusCode;

use super::{Exchange, FromRequest};
use crate::problem::Problem;

/// The address at the other end of the connection; `None` for a Unix socket.
///
/// It is asked for with a system call (`getpeername(2)`) when a handler takes it, so that those
/// that do not pay nothing. Behind a proxy it is the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(
    /// The address.
    pub Option<SocketAddr>,
);

impl FromRequest for PeerAddress {
    type Rejection = Problem;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<PeerAddress, Problem> {
        let address = exchange.peer.address().map(PeerAddress);
        // The peer has reset the connection: nobody will read this answer.
        address.map_err(|_| Problem::new(StatusCode::BAD_REQUEST).detail("the peer is gone"))
    }
}
