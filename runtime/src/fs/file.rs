//! An open file, and the bytes that are read from it.

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use glommio::io::{BufferedFile, ReadResult};

use super::{FileError, OpenOptions, Result, UnderWay};
use crate::driver::disk;

/// The most that one read gives back, in bytes: 1 MiB, so that no caller holds more memory than
/// that for one answer of the disk.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// A file of the page cache. It belongs to the shard that opened it.
///
/// Dropping it closes it in the background; [`close`](File::close) says whether that worked.
#[derive(Debug)]
pub struct File {
    file: BufferedFile,
    path: PathBuf,
}

impl File {
    pub(super) fn new(file: BufferedFile, path: &Path) -> File {
        File { file, path: path.to_owned() }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<File> {
        OpenOptions::new().read().open(path).await
    }

    /// Makes a file, or empties the one that is there, for writing.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub async fn create(path: impl AsRef<Path>) -> Result<File> {
        OpenOptions::new().write().create().truncate().open(path).await
    }

    /// Takes over a descriptor that was opened elsewhere, say with `openat2(2)`, or received over
    /// a socket. `path` is what its errors name.
    ///
    /// # Panics
    /// Outside a shard, and in a simulated world.
    pub fn from_descriptor(descriptor: OwnedFd, path: impl Into<PathBuf>) -> File {
        File { file: disk::adopt(descriptor), path: path.into() }
    }

    /// The name under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads up to `size` bytes from `offset` on, at most [`READ_BYTES_MAX`]; fewer where the file
    /// ends, and none behind its end.
    ///
    /// Dropping the future gives up; the file stays usable.
    ///
    /// # Errors
    /// As `pread(2)`.
    ///
    /// # Panics
    /// Outside a shard.
    pub async fn read_at(&self, offset: u64, size: usize) -> Result<FileBytes> {
        if size == 0 {
            return Ok(FileBytes(ReadResult::default()));
        }
        let under_way = UnderWay::new("read", &self.path)?;
        let bytes = self.file.read_at(offset, size.min(READ_BYTES_MAX)).await;
        drop(under_way);
        bytes.map(FileBytes).map_err(|error| self.failed("read", error))
    }

    /// Writes bytes from `offset` on; says how many, which is fewer than all where the disk is
    /// full. They are in the page cache then; [`sync`](File::sync) takes them to the disk.
    ///
    /// Dropping the future gives up; the bytes may be written all the same.
    ///
    /// # Errors
    /// As `pwrite(2)`.
    ///
    /// # Panics
    /// Outside a shard.
    pub async fn write_at(&self, offset: u64, bytes: Vec<u8>) -> Result<usize> {
        let under_way = UnderWay::new("write", &self.path)?;
        let size = self.file.write_at(bytes, offset).await;
        drop(under_way);
        size.map_err(|error| self.failed("write", error))
    }

    /// Waits until what was written is on the disk (`fdatasync(2)`).
    ///
    /// # Errors
    /// As `fdatasync(2)`.
    ///
    /// # Panics
    /// Outside a shard.
    pub async fn sync(&self) -> Result<()> {
        let under_way = UnderWay::new("sync", &self.path)?;
        let synced = self.file.fdatasync().await;
        drop(under_way);
        synced.map_err(|error| self.failed("sync", error))
    }

    /// How many bytes the file has now.
    ///
    /// A system call on the open file, which local file systems answer from memory; a network file
    /// system may ask its server.
    ///
    /// # Errors
    /// As `statx(2)`.
    pub fn size(&self) -> Result<u64> {
        let metadata = disk::metadata(&self.file);
        match metadata {
            Ok(metadata) => Ok(metadata.len()),
            Err(source) => Err(FileError::new("look at", &self.path, source)),
        }
    }

    /// Closes the file.
    ///
    /// # Errors
    /// As `close(2)`: on some file systems a failed write is only reported here. The file is closed
    /// in any case.
    ///
    /// # Panics
    /// Outside a shard.
    pub async fn close(self) -> Result<()> {
        let File { file, path } = self;
        let under_way = UnderWay::new("close", &path)?;
        let closed = file.close().await;
        drop(under_way);
        closed.map_err(|error| FileError::from_glommio("close", &path, error))
    }

    fn failed(&self, operation: &'static str, error: glommio::GlommioError<()>) -> FileError {
        FileError::from_glommio(operation, &self.path, error)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        disk::descriptor(&self.file)
    }
}

/// Bytes that were read from a file.
#[derive(Clone)]
pub struct FileBytes(ReadResult);

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBytes").field("size", &self.len()).finish()
    }
}
