//! Where to listen, in whatever form a program has it.

use std::net::SocketAddr;

use corelane_runtime::{Address, ConfigError};

/// One address to listen on, or several: text such as `127.0.0.1:8080` or `unix:/run/a.sock`,
/// values, and arrays or lists of them. `()` where [`App::listen`](crate::App::listen) named them.
///
/// ```no_run
/// # use corelane::{Address, App};
/// # fn main() -> corelane::Result<()> {
/// App::new().serve(["127.0.0.1:8080", "[::1]:8080", "unix:/run/app.sock"])
/// # }
/// ```
pub trait IntoAddresses {
    /// The addresses.
    ///
    /// # Errors
    /// The first text that is none.
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError>;
}

impl IntoAddresses for () {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        Ok(Vec::new())
    }
}

impl IntoAddresses for &str {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        Ok(vec![self.parse()?])
    }
}

impl IntoAddresses for &String {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        self.as_str().into_addresses()
    }
}

impl IntoAddresses for String {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        self.as_str().into_addresses()
    }
}

impl IntoAddresses for SocketAddr {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        Ok(vec![Address::Tcp(self)])
    }
}

impl IntoAddresses for Address {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        Ok(vec![self])
    }
}

impl<A: IntoAddresses, const N: usize> IntoAddresses for [A; N] {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        all(self)
    }
}

impl<A: IntoAddresses> IntoAddresses for Vec<A> {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        all(self)
    }
}

impl<A: IntoAddresses + Clone> IntoAddresses for &[A] {
    fn into_addresses(self) -> Result<Vec<Address>, ConfigError> {
        all(self.iter().cloned())
    }
}

fn all<A: IntoAddresses>(
    addresses: impl IntoIterator<Item = A>,
) -> Result<Vec<Address>, ConfigError> {
    addresses.into_iter().try_fold(Vec::new(), |mut all, address| {
        all.extend(address.into_addresses()?);
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: impl IntoAddresses, expected: &[&str]) {
        let addresses = addresses.into_addresses().expect("addresses");
        let texts: Vec<String> = addresses.iter().map(Address::to_string).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn one_or_several() {
        check((), &[]);
        check("127.0.0.1:1", &["127.0.0.1:1"]);
        check(["127.0.0.1:1", "unix:/a"], &["127.0.0.1:1", "unix:/a"]);
        check(vec!["[::1]:1".to_owned()], &["[::1]:1"]);
        check(&[SocketAddr::from(([127, 0, 0, 1], 1))][..], &["127.0.0.1:1"]);
        assert!(["127.0.0.1:1", ""].into_addresses().is_err());
    }
}
