//! Reading files without ever holding the shard up: what the page cache has is copied at once, what
//! it has not is read by the runtime's disk ring meanwhile.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use corelane_runtime::Moment;
use corelane_runtime::fs::{File, FileRange, is_cached};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::byteranges::Piece;
use super::look::Stamp;
use super::seen::Seen;

/// Bytes that are read at a time. Two of these are in memory for each download: one that is read
/// and one that is sent.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Bytes that are sent at a time where nothing is read, and where these ranges begin: looking what
/// the page cache has costs about as much as copying 16 KiB.
const RANGE_BYTES: u64 = 1 << 20;

/// Shorter ranges are read and copied.
const RANGE_BYTES_MIN: u64 = 32 * 1024;

/// Buffers that a shard keeps for the next pieces: 4 MiB of them.
const SPARE_COUNT_MAX: usize = 64;

/// Reads what is in the page cache; `None` where the disk has to be asked.
fn read_cached(file: impl AsFd, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // Linux 4.14. Some file systems (network, FUSE) can not say what they have: EOPNOTSUPP.
    let read = preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
    match read {
        Ok(size) => Ok(Some(size)),
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short while it was sent")
}

/// Reads `size` bytes of a file from its start.
///
/// # Errors
/// As `pread(2)`, and where the file has become shorter.
pub(super) async fn read_whole(file: &OwnedFd, path: &str, size: usize) -> io::Result<Bytes> {
    let mut content = vec![0; size];
    let mut at = 0;
    let mut disk = None;
    while at < size {
        let read = match read_cached(file, at as u64, &mut content[at..])? {
            Some(read) => read,
            None => {
                let disk = open_disk(&mut disk, file, path)?;
                let read = disk.read_at(at as u64, size - at).await?;
                content[at..at + read.len()].copy_from_slice(&read);
                read.len()
            }
        };
        if read == 0 {
            return Err(cut_short());
        }
        at += read;
    }
    Ok(Bytes::from(content))
}

/// The file as the disk ring knows it, made when it is first needed.
fn open_disk(disk: &mut Option<Rc<File>>, file: &OwnedFd, path: &str) -> io::Result<Rc<File>> {
    if let Some(disk) = disk {
        return Ok(Rc::clone(disk));
    }
    let opened = Rc::new(File::from_descriptor(file.try_clone()?, path));
    Ok(Rc::clone(disk.insert(opened)))
}

thread_local! {
    /// Buffers of pieces that were sent.
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// The memory of one piece, which goes back to its shard's spares when the piece is sent: new
/// memory would have to be zeroed, and fetched from the kernel page by page.
struct PieceBuffer(Box<[u8]>);

impl PieceBuffer {
    fn take() -> PieceBuffer {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        PieceBuffer(spare.unwrap_or_else(|| vec![0; PIECE_BYTES].into()))
    }
}

impl AsRef<[u8]> for PieceBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for PieceBuffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends has no spares any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_COUNT_MAX {
                spare.push(buffer);
            }
        });
    }
}

type ColdRead = Pin<Box<dyn Future<Output = io::Result<Bytes>>>>;

/// Pieces of a file, and of what stands between them, as a response's content.
pub(crate) struct FileStream {
    file: Rc<OwnedFd>,
    stamp: Stamp,
    path: String,
    pieces: VecDeque<Piece>,
    disk: Option<Rc<File>>,
    cold: Option<ColdRead>,
}

impl FileStream {
    pub(super) fn new(
        file: Rc<OwnedFd>,
        stamp: Stamp,
        path: &str,
        pieces: Vec<Piece>,
    ) -> FileStream {
        let (path, pieces) = (path.to_owned(), pieces.into());
        FileStream { file, stamp, path, pieces, disk: None, cold: None }
    }

    fn read(&mut self, offset: u64, size: usize) -> io::Result<Option<Bytes>> {
        let mut buffer = PieceBuffer::take();
        let Some(read) = read_cached(&self.file, offset, &mut buffer.0[..size])? else {
            let disk = open_disk(&mut self.disk, &self.file, &self.path)?;
            self.cold = Some(Box::pin(async move {
                Ok(Bytes::copy_from_slice(&disk.read_at(offset, size).await?))
            }));
            return Ok(None);
        };
        Ok(Some(Bytes::from_owner(buffer).slice(..read)))
    }

    /// Takes bytes off the front piece.
    fn advance(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        let Some(Piece::File(range)) = self.pieces.front_mut() else { return Ok(bytes) };
        if bytes.is_empty() {
            return Err(cut_short());
        }
        range.start += bytes.len() as u64;
        Ok(bytes)
    }

    /// The front of what is left, where that is a range of the file, large enough to be worth it,
    /// that the page cache has: it is taken for sent.
    pub(crate) fn next_range(&mut self, now: Moment) -> Option<FileRange> {
        let Some(Piece::File(range)) = self.pieces.front_mut() else { return None };
        let (start, limit) = (range.start, (range.start / RANGE_BYTES + 1) * RANGE_BYTES);
        let end = range.end.min(limit);
        if end - start < RANGE_BYTES_MIN || self.cold.is_some() {
            return None;
        }
        let Stamp { device, inode, .. } = self.stamp;
        let next = Seen { device, inode, start, end };
        if !next.is_cached(now, || is_cached(&self.file, start..end)) {
            return None;
        }
        range.start = end;
        let size = (end - start) as usize;
        Some(FileRange { file: Rc::clone(&self.file), offset: start, size })
    }

    /// The next piece, read.
    pub(crate) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(cold) = &mut self.cold {
                let read = ready!(cold.as_mut().poll(context));
                self.cold = None;
                return Poll::Ready(Some(read.and_then(|bytes| self.advance(bytes))));
            }
            match self.pieces.front() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => {
                    let bytes = bytes.clone();
                    self.pieces.pop_front();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Piece::File(range)) if range.is_empty() => {
                    self.pieces.pop_front();
                }
                Some(Piece::File(range)) => {
                    let size = (range.end - range.start).min(PIECE_BYTES as u64) as usize;
                    let read = self.read(range.start, size).transpose();
                    if let Some(read) = read {
                        return Poll::Ready(Some(read.and_then(|bytes| self.advance(bytes))));
                    }
                }
            }
        }
    }
}
