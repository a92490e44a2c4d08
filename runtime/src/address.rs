//! Where to listen, and how that is written.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::ConfigError;

/// Where to listen: `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, or `systemd`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address. Port zero is any free port, the same for all shards.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// The sockets that systemd passes: those of this name (`FileDescriptorName=` of the socket
    /// unit), or all where the name is empty. Written `systemd` and `systemd:NAME`.
    Systemd(String),
}

impl FromStr for Address {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Address, ConfigError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        if text == "systemd" {
            return Ok(Address::Systemd(String::new()));
        }
        if let Some(name) = text.strip_prefix("systemd:").filter(|name| !name.is_empty()) {
            return Ok(Address::Systemd(name.to_owned()));
        }
        // A name would need a resolver; the one that everybody types needs none.
        let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        numeric.as_deref().unwrap_or(text).parse().map(Address::Tcp).map_err(|_| {
            let problem = format!(
                "{text:?} is no address to listen on; write IP:PORT such as 127.0.0.1:8080 or \
                 [::1]:8080, or unix:PATH, or systemd[:NAME]"
            );
            ConfigError::new("listen", problem)
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Systemd(name) if name.is_empty() => f.write_str("systemd"),
            Address::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        let local = ["127.0.0.1:8080", "[::1]:80", "0.0.0.0:0", "unix:/run/app.sock"];
        for text in local.into_iter().chain(["systemd", "systemd:http"]) {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        let local = "localhost:80".parse::<Address>().map(|address| address.to_string());
        assert_eq!(local, Ok("127.0.0.1:80".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_explained() {
        let others = ["unix:", "systemd:", "1.2.3.4:99999"];
        for text in ["", "8080", ":8080", "127.0.0.1", "example.com:80"].into_iter().chain(others) {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("write IP:PORT"), "{text}: {error}");
        }
    }
}
