//! Where the load goes: the URL taken apart, resolved and tried once.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::uri::Authority;

use crate::error::LoadError;

/// A reachable target answers within this; a run against a slower one would measure little.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A URL of the scheme `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Host and port as written; the value of the `Host` field.
    pub(crate) authority: String,
    /// The path and query, at least `/`. May hold placeholders.
    pub(crate) path: String,
    host: String,
    port: u16,
}

impl Target {
    /// Takes a URL apart.
    pub(crate) fn parse(url: &str) -> Result<Target, LoadError> {
        let refuse = |problem: &str| LoadError::argument("URL", format!("\"{url}\" {problem}"));
        if url.starts_with("https://") {
            return Err(refuse("needs TLS, which is not supported; use http://"));
        }
        let rest =
            url.strip_prefix("http://").ok_or_else(|| refuse("does not start with http://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // A fragment is never sent: RFC 9110 section 4.1.
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        check_path("URL", &path)?;
        let parsed: Authority = authority.parse().map_err(|_| refuse("names no valid host"))?;
        if parsed.as_str().contains('@') {
            return Err(refuse("holds credentials; send them with --header"));
        }
        let port = match parsed.as_str().strip_prefix(parsed.host()) {
            Some("") => 80,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| refuse("names no valid port"))?,
            None => return Err(refuse("names no valid host")),
        };
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refuse("names no host"));
        }
        Ok(Target { authority: authority.to_owned(), path, host: host.to_owned(), port })
    }

    /// Resolves the host, and connects once: the first address that accepts is the one to load.
    pub(crate) fn reach(&self) -> Result<SocketAddr, LoadError> {
        self.find_reachable().map_err(|source| {
            let target = self.authority.clone();
            LoadError::Unreachable { target, source }
        })
    }

    fn find_reachable(&self) -> io::Result<SocketAddr> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
                Ok(_) => return Ok(address),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// Refuses what would end the request line early (RFC 9112 section 3.2).
pub(crate) fn check_path(name: &'static str, path: &str) -> Result<(), LoadError> {
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        let problem = format!("\"{path}\" holds a space or a control character; write %20");
        return Err(LoadError::argument(name, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Result<(&str, u16, &str, &str), &str>) {
        match (Target::parse(url), expected) {
            (Ok(target), Ok((host, port, authority, path))) => {
                assert_eq!(target.host, host, "{url}");
                assert_eq!(target.port, port, "{url}");
                assert_eq!(target.authority, authority, "{url}");
                assert_eq!(target.path, path, "{url}");
            }
            (Err(error), Err(part)) => {
                let text = error.to_string();
                assert!(text.contains(part), "{url}: {text}");
                assert_eq!(error.exit_code(), 2);
            }
            (outcome, _) => panic!("{url}: {outcome:?}"),
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        check("http://a", Ok(("a", 80, "a", "/")));
        check("http://a:81/b?c=d#e", Ok(("a", 81, "a:81", "/b?c=d")));
        check("http://a?b", Ok(("a", 80, "a", "/?b")));
        check("http://[::1]:8080/", Ok(("::1", 8080, "[::1]:8080", "/")));
        check("http://a/{rand:1:9}", Ok(("a", 80, "a", "/{rand:1:9}")));
    }

    #[test]
    fn urls_that_cannot_be_loaded_are_refused() {
        check("a", Err("does not start with http://"));
        check("https://a", Err("TLS"));
        check("http://", Err("host"));
        check("http://:80", Err("host"));
        check("http://a:99999", Err("port"));
        check("http://a:", Err("port"));
        check("http://u:p@a", Err("--header"));
        check("http://a/b c", Err("%20"));
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let target = Target::parse(&format!("http://{address}")).expect("target");
        assert_eq!(target.reach().expect("listening"), address);
        drop(listener);
        let error = target.reach().expect_err("closed");
        assert!(error.to_string().contains("cannot be reached"), "{error}");
    }
}
