//! What ends a server, and what the application did wrong.

use std::error::Error as StdError;
use std::fmt;

use corelane_runtime::{ConfigError, RuntimeError};

/// Any error that an application's own code may hand to the server.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The result of starting or running a server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a server did not start, or did not end well.
#[non_exhaustive]
pub enum Error {
    /// A setting or a route that can not be obeyed: for the operator or the author to change.
    Config(ConfigError),
    /// The machine refused, or a shard failed.
    Runtime(RuntimeError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(error) => error.fmt(f),
            Error::Runtime(error) => error.fmt(f),
        }
    }
}

/// The sentence for people: it is what `fn main() -> corelane::Result<()>` prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Config(error) => Some(error),
            Error::Runtime(error) => Some(error),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Error {
        Error::Config(error)
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Error {
        match error {
            RuntimeError::Config(error) => Error::Config(error),
            error => Error::Runtime(error),
        }
    }
}
