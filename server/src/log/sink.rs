//! Where the lines go, and how that is opened anew.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
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

    /// Whether the lines were taken.
    pub(super) fn write(&mut self, lines: &[u8]) -> bool {
        let written = self.out.write_all(lines).and_then(|()| self.out.flush());
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

/// Every write lands at the end, also beside another process that has the file open.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
