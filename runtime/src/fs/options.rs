//! How a file is opened.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{File, FileError, Result, UnderWay};

/// How a file is opened; at first neither for reading nor for writing. Always with `O_CLOEXEC`.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions(glommio::io::OpenOptions);

impl OpenOptions {
    /// Nothing chosen yet.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// For reading.
    pub fn read(mut self) -> OpenOptions {
        self.0.read(true);
        self
    }

    /// For writing at chosen offsets.
    pub fn write(mut self) -> OpenOptions {
        self.0.write(true);
        self
    }

    /// For writing at the end, whatever offset is named (`O_APPEND`).
    pub fn append(mut self) -> OpenOptions {
        self.0.append(true);
        self
    }

    /// Empties the file. Needs [`write`](OpenOptions::write).
    pub fn truncate(mut self) -> OpenOptions {
        self.0.truncate(true);
        self
    }

    /// Makes the file where it does not exist.
    pub fn create(mut self) -> OpenOptions {
        self.0.create(true);
        self
    }

    /// Makes the file, and fails where it exists (`O_EXCL`).
    pub fn create_new(mut self) -> OpenOptions {
        self.0.create_new(true);
        self
    }

    /// The permissions of a file that is made, before the umask. Default 0o666.
    pub fn mode(mut self, mode: u32) -> OpenOptions {
        self.0.mode(mode);
        self
    }

    /// Further flags of `open(2)`, such as `O_NOFOLLOW`.
    pub fn custom_flags(mut self, flags: i32) -> OpenOptions {
        self.0.custom_flags(flags);
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// As `open(2)`; `EINVAL` for options that contradict each other. A file that is renamed or
    /// removed at this very moment may be reported as missing.
    ///
    /// # Panics
    /// Outside a shard.
    pub async fn open(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let under_way = UnderWay::new("open", path)?;
        if path.as_os_str().as_bytes().contains(&0) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path has a zero byte");
            return Err(FileError::new("open", path, source));
        }
        let opened = self.0.buffered_open(path).await;
        drop(under_way);
        match opened {
            Ok(file) => Ok(File::new(file, path)),
            Err(error) => Err(FileError::from_glommio("open", path, error)),
        }
    }
}
