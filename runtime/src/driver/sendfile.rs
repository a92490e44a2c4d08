//! Files to sockets without a copy: `sendfile(2)` where the page cache has the bytes.
//!
//! The ring has no such operation: its splice goes to a worker thread, for each pipe's worth. The
//! system call neither waits for the socket, which is non-blocking (the ring's operations wait all
//! the same), nor for the disk, since [`is_cached`] was asked before.
//!
//! It knows no `MSG_NOSIGNAL`: for a peer that has gone it raises SIGPIPE, which every Rust program
//! ignores from its start. A program in another language that embeds the runtime must do so, too.

use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::sendfile;
use rustix::io::{ReadWriteFlags, preadv2};

use crate::world::Descriptor;

/// The most that one turn sends of a file, so that other connections wait for 200 us at most.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// Pages that lie closer together than this are read from the disk together, as a rule.
const READ_TOGETHER_BYTES: usize = 128 * 1024;

/// A range of an open file: its bytes as they are when they are sent.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file, open for reading.
    pub file: Rc<OwnedFd>,
    /// Where the range starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes. Where the file ends before, the connection can send no more
    /// (`EPIPE`): its content can not be what was announced.
    pub size: usize,
}

/// Sends as much as the socket has room for; the result as the ring would give it.
pub(super) fn send(socket: Descriptor, (file, offset, size): (Descriptor, u64, u32)) -> i32 {
    // SAFETY: the slot of the send that is executed keeps both descriptors open.
    let (socket, file) =
        unsafe { (BorrowedFd::borrow_raw(socket.0), BorrowedFd::borrow_raw(file.0)) };
    let mut offset = offset;
    let sent = sendfile(socket, file, Some(&mut offset), size as usize);
    sent.map_or_else(|errno| -errno.raw_os_error(), |size| size as i32)
}

/// Whether the page cache has all of a range, so that reading it does not wait for the disk.
///
/// `false` also where the kernel does not say: before Linux 6.5, on some file systems, and for
/// files that the process neither owns nor may write to (`cachestat(2)`).
pub fn is_cached(file: impl AsFd, range: Range<u64>) -> bool {
    is_present(file.as_fd(), &range) && is_read(file.as_fd(), &range)
}

/// Whether there is a page for each byte.
fn is_present(file: BorrowedFd<'_>, range: &Range<u64>) -> bool {
    // The same number on all architectures, which libc does not know yet.
    const SYS_CACHESTAT: libc::c_long = 451;
    let page_bytes = rustix::param::page_size() as u64;
    let page_count = range.end.div_ceil(page_bytes) - range.start / page_bytes;
    let asked: [u64; 2] = [range.start, range.end - range.start];
    let mut counts = [0u64; 5];
    // SAFETY: a valid `struct cachestat_range`, and room for a `struct cachestat`: five counts, of
    // which the first is that of the pages in the cache.
    let failed = unsafe {
        let (asked, counts) = (asked.as_ptr(), counts.as_mut_ptr());
        libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), asked, counts, 0)
    };
    failed == 0 && counts[0] == page_count
}

/// Whether the pages have their content, and are not being read just now: looked at in steps.
fn is_read(file: BorrowedFd<'_>, range: &Range<u64>) -> bool {
    let steps = range.clone().step_by(READ_TOGETHER_BYTES).chain([range.end - 1]);
    steps.into_iter().all(|offset| {
        let mut byte = [0];
        let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
        read == Ok(1)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_just_written_is_cached_and_what_lies_behind_the_end_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 300_000]).unwrap();
        assert!(is_cached(&file, 0..300_000));
        assert!(is_cached(&file, 299_999..300_000));
        assert!(!is_cached(&file, 0..300_001));
    }
}
