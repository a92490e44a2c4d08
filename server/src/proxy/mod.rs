//! What stands in front of the server: whom it believes, and what about.
//!
//! ```text
//!   client ──► proxy ──► ... ──► proxy ──► here
//!     ▲          believed as far as each one from here on is trusted
//!     └── ClientAddress: the first one that is not
//! ```

mod forwarded;
mod head;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use corelane_runtime::ConfigError;
pub use ipnet::IpNet;

pub(crate) use head::{NotProxied, ProxyHead};

/// Whom a listener believes about the addresses of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The addresses of the proxies, as networks: `10.0.0.0/8`, `2001:db8::1/128`. Default: none,
    /// so that nobody is believed. Whoever connects to a Unix socket is trusted as soon as anybody
    /// is: the socket file's permissions have let it in.
    pub trusted: Vec<IpNet>,
    /// The field in which they say for whom they ask. Default `X-Forwarded-For`, which is what
    /// proxies write unless told otherwise. Only one: a proxy passes on what it does not write
    /// itself, so the other one would be the client's own word.
    pub field: ProxyField,
    /// Whether each connection begins with a PROXY protocol head, version 1 or 2. Default `false`.
    /// With it, whoever is not trusted, or does not send one, is closed: the specification (section
    /// 2) has a receiver never guess whether there is a head.
    pub has_protocol_head: bool,
}

/// The field in which a proxy says for whom it asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyField {
    /// `X-Forwarded-For`, a list of addresses.
    #[default]
    XForwardedFor,
    /// `Forwarded` of RFC 7239.
    Forwarded,
    /// Neither: the PROXY protocol alone, or nothing.
    None,
}

impl FromStr for ProxyField {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<ProxyField, ConfigError> {
        match text {
            "x-forwarded-for" => Ok(ProxyField::XForwardedFor),
            "forwarded" => Ok(ProxyField::Forwarded),
            "none" => Ok(ProxyField::None),
            _ => {
                let problem =
                    format!("{text:?} is not read; write x-forwarded-for, forwarded or none");
                Err(ConfigError::new("proxy_field", problem))
            }
        }
    }
}

impl fmt::Display for ProxyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyField::XForwardedFor => "x-forwarded-for",
            ProxyField::Forwarded => "forwarded",
            ProxyField::None => "none",
        })
    }
}

impl ProxyConfig {
    /// A network as operators write it: `10.0.0.0/8`, or one address.
    ///
    /// # Errors
    /// The text is neither.
    pub fn network(text: &str) -> Result<IpNet, ConfigError> {
        let address = || text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
        text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
            let problem = format!("{text:?} is no network; write 10.0.0.0/8 or 2001:db8::1");
            ConfigError::new("trusted_proxies", problem)
        })
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.has_protocol_head && self.trusted.is_empty() {
            let problem = "a PROXY protocol head is believed only of trusted addresses; name them";
            return Err(ConfigError::new("proxy.trusted", problem));
        }
        Ok(())
    }

    /// Whether the peer may say for whom it asks; `None` is the peer of a Unix socket.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer.map(|address| address.to_canonical()) {
            Some(address) => self.trusted.iter().any(|network| network.contains(&address)),
            None => !self.trusted.is_empty(),
        }
    }

    /// The client's address: that of the peer, or of the nearest one before it who is not trusted.
    /// `fields` are all fields of the request, in their order.
    pub(crate) fn client<'a>(
        &self,
        peer: Option<IpAddr>,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<IpAddr> {
        let peer = peer.map(|address| address.to_canonical());
        if self.trusted.is_empty() || self.field == ProxyField::None || !self.trusts(peer) {
            return peer;
        }
        let name = match self.field {
            ProxyField::Forwarded => "forwarded",
            _ => "x-forwarded-for",
        };
        let values = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let values: Vec<&[u8]> = values.map(|(_, value)| value).collect();
        let mut client = peer;
        for value in values.into_iter().rev() {
            let hops = match self.field {
                ProxyField::Forwarded => forwarded::hops(value),
                _ => forwarded::listed(value),
            };
            // What can not be read was not written by a proxy to be trusted, nor what is before it.
            let Some(hops) = hops else { return client };
            for hop in hops.into_iter().rev() {
                // "unknown", or a name that hides the address (RFC 7239 section 6.3).
                let Some(hop) = hop else { return client };
                client = Some(hop);
                if !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(field: ProxyField) -> ProxyConfig {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        ProxyConfig { trusted: trusted.to_vec(), field, has_protocol_head: false }
    }

    fn check(config: &ProxyConfig, peer: &str, fields: &[(&str, &str)], expected: &str) {
        let peer = (!peer.is_empty()).then(|| peer.parse().expect("an address"));
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        let client = config.client(peer, fields).map(|client| client.to_string());
        assert_eq!(client.unwrap_or_default(), expected);
    }

    #[test]
    fn the_client_is_the_first_one_who_is_not_trusted() {
        let listed = config(ProxyField::XForwardedFor);
        let check = |peer: &str, values: &[&str], expected: &str| {
            let fields: Vec<_> = values.iter().map(|value| ("X-Forwarded-For", *value)).collect();
            check(&listed, peer, &fields, expected);
        };
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("10.0.0.1", &["1.1.1.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7");
        check("10.0.0.1", &["1.1.1.1, 192.0.2.7", "10.0.0.2"], "192.0.2.7");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("2001:db8::1", &["2001:db9::2"], "2001:db9::2");
        // The peer of a Unix socket.
        check("", &["192.0.2.7"], "192.0.2.7");
        // Not from whoever likes to.
        check("192.0.2.1", &["1.1.1.1"], "192.0.2.1");
        // Nothing is believed beyond what can not be read.
        check("10.0.0.1", &["1.1.1.1, nonsense, 10.0.0.2"], "10.0.0.1");
        check("10.0.0.1", &["1.1.1.1, nonsense", "10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2");
    }

    #[test]
    fn only_the_field_that_the_proxy_writes_is_read() {
        let fields = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=192.0.2.7")];
        check(&config(ProxyField::Forwarded), "10.0.0.1", &fields, "192.0.2.7");
        check(&config(ProxyField::XForwardedFor), "10.0.0.1", &fields, "1.1.1.1");
        check(&config(ProxyField::None), "10.0.0.1", &fields, "10.0.0.1");
        check(&ProxyConfig::default(), "10.0.0.1", &fields, "10.0.0.1");
        check(&ProxyConfig::default(), "", &fields, "");
    }

    #[test]
    fn settings_are_written_as_they_are_read() {
        for text in ["x-forwarded-for", "forwarded", "none"] {
            assert_eq!(text.parse::<ProxyField>().map(|field| field.to_string()), Ok(text.into()));
        }
        let error = "x-real-ip".parse::<ProxyField>().unwrap_err().to_string();
        assert!(error.contains("proxy_field: ") && error.contains("write"), "{error}");
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("127.0.0.1", "127.0.0.1/32"),
            ("::1", "::1/128"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ] {
            let network = ProxyConfig::network(text).map(|network| network.to_string());
            assert_eq!(network, Ok(expected.to_owned()), "{text}");
        }
        for text in ["", "proxy", "10.0.0.0/33", "10.0.0.1:80", "10.0.0"] {
            let error = ProxyConfig::network(text).unwrap_err().to_string();
            assert!(error.contains("trusted_proxies: ") && error.contains("write"), "{error}");
        }
    }

    #[test]
    fn a_head_needs_somebody_to_trust() {
        let alone = ProxyConfig { has_protocol_head: true, ..ProxyConfig::default() };
        assert!(alone.check().unwrap_err().to_string().contains("proxy.trusted"));
        assert_eq!(
            ProxyConfig { has_protocol_head: true, ..config(ProxyField::None) }.check(),
            Ok(())
        );
    }
}
