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
        Ok(Sink { path, out, is_failing: false })
    }

    /// Opens the file anew under its name. Where that fails, the old one is gone on with.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => self.out = Box::new(file),
            Err(error) => {
                let path = path.display();
                tracing::error!(%error, %path, "the access log can not be reopened");
            }
        }
    }

    /// Writes lines that lie in two pieces; whether they were taken.
    pub(super) fn write(&mut self, first: &[u8], second: &[u8]) -> bool {
        let written = write_all(&mut *self.out, first, second).and_then(|()| self.out.flush());
        match &written {
            Err(error) if !self.is_failing => {
                tracing::error!(%error, "the access log can not be written; lines are lost");
            }
            Ok(()) if self.is_failing => tracing::info!("the access log is written again"),
            _ => {}
        }
        self.is_failing = written.is_err();
        written.is_ok()
    }
}

/// With one call where all of it is taken at once, so that no line is torn apart by what another
/// process appends.
fn write_all(out: &mut dyn Write, first: &[u8], second: &[u8]) -> io::Result<()> {
    let mut pieces = [IoSlice::new(first), IoSlice::new(second)];
    let mut pieces = &mut pieces[..];
    // Empty pieces in front are taken away as well: without any left, all is written.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match out.write_vectored(pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(size) => IoSlice::advance_slices(&mut pieces, size),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Every write lands at the end, also beside another process that has the file open.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
