//! Who sent the request.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use http::StatusCode;

use super::{Exchange, FromRequest};
use crate::problem::Problem;

/// The address at the other end of the connection; `None` for a Unix socket.
///
/// It is asked for with a system call (`getpeername(2)`) when a handler takes it, so that those
/// that do not pay nothing. Behind a proxy it is the proxy's; [`ClientAddress`] is the client's.
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

/// The address of the client, as far as the proxies before the server are trusted
/// ([`ProxyConfig`](crate::ProxyConfig)): the nearest one that is not. Where nobody is trusted that
/// is the peer. `None` for a Unix socket whose peer says nothing.
///
/// It is found out when a handler takes it: those that do not pay nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(
    /// The address.
    pub Option<IpAddr>,
);

impl FromRequest for ClientAddress {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<ClientAddress, Infallible> {
        Ok(ClientAddress(exchange.client_address()))
    }
}
