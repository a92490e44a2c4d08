//! The file with the process's number, and the one beside it that says why a restart failed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use corelane_runtime::{ConfigError, RestartError};

use crate::error::Result;

/// What `corelane restart` looks for: `FILE.failed`.
const FAILED: &str = ".failed";

/// The file with the process's number, removed at the end unless it names a successor by then.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// A process that serves has not failed: what an earlier restart left behind goes.
    pub(crate) fn write(path: PathBuf) -> Result<PidFile> {
        write_whole(&path, &format!("{}\n", std::process::id())).map_err(|error| {
            let problem = format!("{} can not be written: {error}", path.display());
            ConfigError::new("pid_file", problem)
        })?;
        let _ = std::fs::remove_file(beside(&path, FAILED));
        Ok(PidFile(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if read_number(&self.0) == Some(std::process::id()) {
            let _ = std::fs::remove_file(&self.0);
            let _ = std::fs::remove_file(beside(&self.0, FAILED));
        }
    }
}

/// Says beside the file why there is no successor. Always a new file, so that whoever knows the
/// one before sees that this is another failure.
pub(crate) fn note_failure(pid_file: &Path, error: &RestartError) {
    if let Err(error) = write_whole(&beside(pid_file, FAILED), &format!("{error}\n")) {
        tracing::warn!(%error, "why there was no restart can not be written beside the pid file");
    }
}

/// In one step, so that nobody reads half of it.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let draft = beside(path, format!(".{}", std::process::id()));
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}

fn beside(path: &Path, ending: impl AsRef<OsStr>) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    beside.into()
}

fn read_number(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
