//! What ends a run before it has measured anything, or instead of it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use corelane_runtime::{ConfigError, RuntimeError};

/// Why there is no measurement.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum LoadError {
    /// An argument makes no sense; says which, and what it may be.
    Argument {
        /// The argument as it is written on the command line.
        name: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The target's name cannot be resolved, or nobody answers there.
    Unreachable {
        /// The host and port.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The machine does not let the shards run.
    Runtime(RuntimeError),
}

impl LoadError {
    /// An argument that makes no sense.
    pub(crate) fn argument(name: &'static str, problem: impl Into<String>) -> LoadError {
        LoadError::Argument { name, problem: problem.into() }
    }

    /// What the process exits with: 2 for what the caller can mend, 1 for the rest.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            LoadError::Runtime(_) => 1,
            _ => 2,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Argument { name, problem } => write!(f, "{name}: {problem}"),
            LoadError::Unreachable { target, source } => {
                write!(f, "{target} cannot be reached: {source}")
            }
            LoadError::File { path, source } => write!(f, "{}: {source}", path.display()),
            LoadError::Runtime(error) => error.fmt(f),
        }
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LoadError::Argument { .. } => None,
            LoadError::Unreachable { source, .. } | LoadError::File { source, .. } => Some(source),
            LoadError::Runtime(error) => Some(error),
        }
    }
}

impl From<RuntimeError> for LoadError {
    fn from(error: RuntimeError) -> LoadError {
        LoadError::Runtime(error)
    }
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> LoadError {
        LoadError::argument("--cores", error.to_string())
    }
}
