//! What a path leads to: a file, a directory to be listed, another path, or nothing.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Dir, FileType, Stat};

use super::listing::{ENTRY_COUNT_MAX, Entry};
use super::path::{is_directory, is_served, without_slash};
use super::root::{Opened, Patience, Root, Trouble};
use super::settings::Settings;
use crate::coding::Coding;

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Since the Unix epoch; zero for what lies before it.
    pub(super) modified: Duration,
    /// When anything about the file was changed: that can not be set back, as `modified` can.
    changed: Duration,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Stamp {
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: since_epoch(stat.st_mtime, stat.st_mtime_nsec),
            changed: since_epoch(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a change from `now` on would show: a clock that ticks every few milliseconds gives
    /// two changes in a row the same time.
    pub(super) fn is_settled(&self, now_seconds: u64) -> bool {
        self.modified.max(self.changed).as_secs() + 1 < now_seconds
    }
}

fn since_epoch(seconds: i64, nanoseconds: u64) -> Duration {
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
    u64::try_from(seconds).map_or(Duration::ZERO, |seconds| Duration::new(seconds, nanoseconds))
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Look {
    File(FoundFile),
    /// A directory without an index file, which may be listed.
    Directory(Opened),
    /// A directory whose address lacks the slash at its end.
    SlashMissing,
}

/// A regular file that may be served.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) descriptor: OwnedFd,
    pub(super) facts: FileFacts,
}

/// What is known of a file without reading it.
#[derive(Clone, Debug)]
pub(super) struct FileFacts {
    pub(super) stamp: Stamp,
    /// Its path below the root.
    pub(super) path: String,
    /// The codings in which it lies beside itself, best first.
    pub(super) siblings: Vec<Coding>,
}

/// Follows a path, as [`path::read`](super::path::read) gave it, below the root.
pub(super) fn look(
    root: &Root,
    settings: &Settings,
    path: &str,
    patience: Patience,
) -> Result<Look, Trouble> {
    if !is_directory(path) {
        let opened = root.open_below(path, patience)?;
        return match opened.kind() {
            FileType::RegularFile => found(root, settings, path.to_owned(), opened, patience),
            FileType::Directory => Ok(Look::SlashMissing),
            _ => Err(Trouble::Missing),
        };
    }
    for name in &settings.index {
        let index = format!("{path}{name}");
        match root.open_below(&index, patience) {
            Ok(opened) if opened.kind() == FileType::RegularFile => {
                return found(root, settings, index, opened, patience);
            }
            Ok(_) | Err(Trouble::Missing) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    if !settings.is_listed {
        return Err(Trouble::Missing);
    }
    let opened = root.open_below(without_slash(path), patience)?;
    match opened.kind() {
        FileType::Directory => Ok(Look::Directory(opened)),
        _ => Err(Trouble::Missing),
    }
}

/// The file at exactly this path, which the server itself names: a sibling, an error page.
pub(super) fn look_exactly(root: &Root, path: &str, patience: Patience) -> Result<Look, Trouble> {
    let opened = root.open_below(path, patience)?;
    if opened.kind() != FileType::RegularFile {
        return Err(Trouble::Missing);
    }
    let stamp = Stamp::of(&opened.stat);
    let facts = FileFacts { stamp, path: path.to_owned(), siblings: Vec::new() };
    Ok(Look::File(FoundFile { descriptor: opened.descriptor, facts }))
}

fn found(
    root: &Root,
    settings: &Settings,
    path: String,
    opened: Opened,
    patience: Patience,
) -> Result<Look, Trouble> {
    let mut siblings = Vec::new();
    for coding in &settings.codings {
        match root.find_below(&sibling_path(&path, *coding), patience) {
            Ok(sibling) if sibling.kind() == FileType::RegularFile => siblings.push(*coding),
            Err(Trouble::WouldBlock) => return Err(Trouble::WouldBlock),
            // Whatever is wrong with it, the file itself is there.
            Ok(_) | Err(_) => {}
        }
    }
    let stamp = Stamp::of(&opened.stat);
    let facts = FileFacts { stamp, path, siblings };
    Ok(Look::File(FoundFile { descriptor: opened.descriptor, facts }))
}

/// Where a file lies compressed: `site.css.br` beside `site.css`.
pub(super) fn sibling_path(path: &str, coding: Coding) -> String {
    let extension = match coding {
        Coding::Brotli => "br",
        Coding::Zstd => "zst",
        Coding::Gzip => "gz",
    };
    format!("{path}.{extension}")
}

/// The names in a directory that may be served, and whether there are more. Blocks.
pub(super) fn list(
    root: &Root,
    settings: &Settings,
    path: &str,
    directory: &Opened,
) -> Result<(Vec<Entry>, bool), Trouble> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(&directory.descriptor).map_err(Trouble::from)? {
        let entry = entry.map_err(Trouble::from)?;
        // A name that is no text has no address either.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !is_served(name, settings.names) {
            continue;
        }
        if entries.len() == ENTRY_COUNT_MAX {
            return Ok((entries, true));
        }
        // Through the root, so that a link is shown as what it leads to, if that is served.
        let Ok(found) = root.find_below(&format!("{path}{name}"), Patience::Blocking) else {
            continue;
        };
        let is_directory = match found.kind() {
            FileType::RegularFile => false,
            FileType::Directory => true,
            _ => continue,
        };
        let Stamp { size, modified, .. } = Stamp::of(&found.stat);
        let (name, modified_seconds) = (name.to_owned(), modified.as_secs());
        entries.push(Entry { name, is_directory, size, modified_seconds });
    }
    Ok((entries, false))
}
