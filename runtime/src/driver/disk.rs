//! Disk files below `fs`: a glommio file that takes a descriptor over, and what it can be asked.

use std::fs::Metadata;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::BufferedFile;

/// A glommio file that owns `descriptor` from now on and closes it.
pub(crate) fn adopt(descriptor: OwnedFd) -> BufferedFile {
    // SAFETY: the descriptor is open and given away: the file closes it.
    unsafe { BufferedFile::from_raw_fd(descriptor.into_raw_fd()) }
}

/// The descriptor of an open file, for as long as the file is borrowed.
pub(crate) fn descriptor(file: &BufferedFile) -> BorrowedFd<'_> {
    // SAFETY: glommio closes the descriptor when the file is dropped or closed, and either needs
    // the file itself, which is borrowed as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) }
}

/// What the kernel keeps of an open file in memory (`statx(2)` with `AT_EMPTY_PATH`).
pub(crate) fn metadata(file: &BufferedFile) -> io::Result<Metadata> {
    // SAFETY: the descriptor stays open while `file` is borrowed; `ManuallyDrop` leaves it open.
    let file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(file.as_raw_fd()) });
    file.metadata()
}

impl crate::shard::Shard {
    /// Whether glommio does something for a task of this shard.
    pub(crate) fn uses_disk(&self) -> bool {
        self.disk_operation_count.get() > 0
    }
}
