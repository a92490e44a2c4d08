//! Where the lines go, and how that is opened anew.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the lines are written to.
pub(super) enum Target {
    File(PathBuf),
    Writer(Box<dyn Write + Send>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File(path) => f.debug_tuple("File").field(path).finish(),
            Target::Writer(_) => f.write_str("Writer"),
        }
    }
}

/// For people.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File(path) => path.display().fmt(f),
            Target::Writer(_) => f.write_str("a writer"),
        }
    }
}

/// An open target.
pub(super) struct Sink {
    path: Option<PathBuf>,
    out: Box<dyn Write + Send>,
    /// Whether the last write failed: said once, not with each line.
    is_failing: bool,
    /// Whether it ends within a line, because the disk was full there.
    is_torn: bool,
}

impl Sink {
    /// # Errors
    /// As `open(2)`.
    pub(super) fn open(target: Target) -> io::Result<Sink> {
        let (path, out) = match target {
            Target::File(path) => {
                let file: Box<dyn Write + Send> = Box::new(open(&path)?);
                (Some(path), file)
            }
            Target::Writer(writer) => (None, writer),
        };
        Ok(Sink { path, out, is_failing: false, is_torn: false })
    }

    /// Opens the file anew under its name. Where that fails, the old one is gone on with.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => (self.out, self.is_torn) = (Box::new(file), false),
            Err(error) => {
                let path = path.display();
                tracing::error!(%error, %path, "the access log can not be reopened");
            }
        }
    }

    /// Writes lines; says how many of them were not taken whole.
    ///
    /// One that is torn by a full disk ends there: the next one stands on a line of its own.
    pub(super) fn write(&mut self, lines: &[u8]) -> usize {
        let end: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let (taken, written) = write_all(&mut *self.out, [end, lines]);
        let written = written.and_then(|()| self.out.flush());
        match &written {
            Err(error) if !self.is_failing => {
                tracing::error!(%error, "the access log can not be written; lines are lost");
            }
            Ok(()) if self.is_failing => tracing::info!("the access log is written again"),
            _ => {}
        }
        self.is_failing = written.is_err();
        let mut lines = lines.iter();
        if taken > 0 {
            // The end of a torn line alone leaves nothing torn.
            let last = taken.checked_sub(end.len() + 1).and_then(|last| lines.nth(last));
            self.is_torn = last.is_some_and(|byte| *byte != b'\n');
        }
        lines.filter(|byte| **byte == b'\n').count()
    }
}

/// How much was taken, and why no more. With one call where all of it is taken at once, so that no
/// line is torn apart by what another process appends.
fn write_all(out: &mut dyn Write, pieces: [&[u8]; 2]) -> (usize, io::Result<()>) {
    let (mut pieces, mut taken) = (pieces.map(IoSlice::new), 0);
    let mut pieces = &mut pieces[..];
    // Empty pieces in front are taken away as well: without any left, all is written.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match out.write_vectored(pieces) {
            Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
            Ok(size) => {
                IoSlice::advance_slices(&mut pieces, size);
                taken += size;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

/// Every write lands at the end, also beside another process that has the file open.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What it holds, and for how much more there is room.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (held, room) = &mut *self.0.lock().expect("a lock");
            let size = bytes.len().min(*room);
            held.extend_from_slice(&bytes[..size]);
            *room -= size;
            if size == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(size) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_tears_is_counted_and_spoils_no_other() {
        let lines = b"first\nsecond\nthird\n";
        for room in 0..=lines.len() {
            let disk = Disk::default();
            let mut sink = Sink::open(Target::Writer(Box::new(disk.clone()))).expect("open");
            let make_room = |room| disk.0.lock().expect("a lock").1 = room;
            make_room(room);
            let whole = lines[..room].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(sink.write(lines), 3 - whole, "{room}");
            // Still full.
            assert_eq!(sink.write(b"lost\n"), 1, "{room}");
            make_room(100);
            assert_eq!(sink.write(b"later\n"), 0, "{room}");
            let mut expected = lines[..room].to_vec();
            if expected.last().is_some_and(|byte| *byte != b'\n') {
                expected.push(b'\n');
            }
            expected.extend_from_slice(b"later\n");
            let held = &disk.0.lock().expect("a lock").0;
            assert_eq!(held.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }
}
