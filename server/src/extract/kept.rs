//! A request that outlives the turn in which it was received: for middleware that has to wait.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use corelane_runtime::{Shard, Stream};
use http::HeaderMap;

use super::scope::{Scope, States};
use super::{Exchange, Extensions, Params, Source};
use crate::http1::{Field, Head};
use crate::middleware::TraceContext;
use crate::proxy::ProxyConfig;

/// Who is at the other end of the connection.
pub(crate) struct Peer<'a> {
    pub(crate) source: PeerSource<'a>,
    /// For whom a proxy has connected, where it has said so in a head of the PROXY protocol.
    pub(crate) proxied: Option<&'a SocketAddr>,
    pub(crate) proxy: &'a Rc<ProxyConfig>,
}

/// Where the peer's address comes from.
pub(crate) enum PeerSource<'a> {
    /// Asked for when it is wanted.
    Stream(&'a Stream),
    /// Asked for when the request was kept.
    Known(Option<SocketAddr>),
}

impl Peer<'_> {
    pub(crate) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self.source {
            PeerSource::Stream(stream) => stream.peer_address(),
            PeerSource::Known(address) => Ok(address),
        }
    }
}

/// An [`Exchange`] whose parts are its own: everything that lay in the receive buffer is copied.
pub(crate) struct Kept {
    head: Head,
    bytes: Vec<u8>,
    fields: Vec<Field>,
    params: Vec<(String, String)>,
    path_rest: usize,
    body: Source<'static>,
    body_bytes_max: u64,
    /// `None` where the peer had gone by then: its address is not known any more.
    peer: Option<SocketAddr>,
    proxied: Option<SocketAddr>,
    proxy: Rc<ProxyConfig>,
    shard: Rc<Shard>,
    states: Rc<States>,
    trace: Option<TraceContext>,
    pub(crate) extensions: Extensions,
}

impl Kept {
    /// Copies what is borrowed, and takes the rest.
    pub(crate) fn new(exchange: &mut Exchange<'_>) -> Kept {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Kept {
            head: exchange.head.clone(),
            bytes: exchange.bytes.to_vec(),
            fields: exchange.fields.to_vec(),
            params: exchange.params.iter().map(own).collect(),
            path_rest: exchange.path_rest,
            body: std::mem::replace(&mut exchange.body, Source::None).into_owned(),
            body_bytes_max: exchange.body_bytes_max,
            peer: exchange.peer.address().unwrap_or_default(),
            proxied: exchange.peer.proxied.copied(),
            proxy: Rc::clone(exchange.peer.proxy),
            shard: Rc::clone(exchange.scope.shard),
            states: Rc::clone(exchange.scope.states),
            trace: exchange.trace,
            extensions: std::mem::take(&mut exchange.extensions),
        }
    }

    /// Puts a body that was received since in its place.
    pub(crate) fn set_body(&mut self, bytes: Vec<u8>, trailers: Option<Box<HeaderMap>>) {
        self.body = Source::Owned { bytes, trailers };
    }

    /// Hands the request to `take`, once: body and extensions are gone from here afterwards.
    pub(crate) fn with<T>(&mut self, take: impl FnOnce(&mut Exchange<'_>) -> T) -> T {
        let source = PeerSource::Known(self.peer);
        let params = Params::Kept(&self.params);
        let mut exchange = Exchange {
            head: &self.head,
            bytes: &self.bytes,
            fields: Cow::Borrowed(&self.fields),
            params: &params,
            path_rest: self.path_rest,
            body: std::mem::replace(&mut self.body, Source::None),
            body_bytes_max: self.body_bytes_max,
            peer: Peer { source, proxied: self.proxied.as_ref(), proxy: &self.proxy },
            scope: Scope { shard: &self.shard, states: &self.states },
            trace: self.trace,
            extensions: std::mem::take(&mut self.extensions),
        };
        take(&mut exchange)
    }
}
