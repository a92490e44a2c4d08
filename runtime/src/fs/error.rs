//! What can go wrong with a file: always with the operation and the path.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use glommio::GlommioError;

/// An operation on a file failed.
#[derive(Debug)]
pub struct FileError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(super) fn new(operation: &'static str, path: &Path, source: io::Error) -> FileError {
        FileError { operation, path: path.to_owned(), source }
    }

    pub(super) fn from_glommio(
        operation: &'static str,
        path: &Path,
        error: GlommioError<()>,
    ) -> FileError {
        let source = match error {
            // Without what glommio adds to it, so that the errno is kept.
            GlommioError::EnhancedIoError { source, .. } | GlommioError::IoError(source) => source,
            error => error.into(),
        };
        FileError::new(operation, path, source)
    }

    /// The file, by the name under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of error it is, such as [`NotFound`](io::ErrorKind::NotFound).
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The system call's errno, where it was a system call that failed.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can not {} {}: {}", self.operation, self.path.display(), self.source)
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}
