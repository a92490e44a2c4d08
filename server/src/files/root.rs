//! The served directory, and opening what lies below it: the kernel sees to it that nothing else
//! is opened.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fcntl_setfl, fstat, openat2};
use rustix::io::Errno;

/// How long a look at the disk may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Only what the kernel has in memory; anything else is [`Trouble::WouldBlock`]. For shards.
    Cached,
    /// As long as it takes. For threads that may block.
    Blocking,
}

/// Why something could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The disk has to be asked: try again with [`Patience::Blocking`].
    WouldBlock,
    /// There is no such file, or none that may be served.
    Missing,
    /// The process has no permission.
    Forbidden,
    /// The process or the machine is out of descriptors or memory.
    Exhausted,
    /// The disk failed.
    Failed(Errno),
}

/// How often a lookup that a concurrent rename disturbed is tried again.
const RENAME_RETRY_COUNT: u32 = 8;

/// An open directory below which everything is that is served.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    /// Device and inode: whether a path still leads to the same directory.
    identity: (u64, u64),
}

/// An open file or directory, and what the kernel says about it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) descriptor: OwnedFd,
    pub(super) stat: Stat,
}

impl Opened {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Root {
    /// Opens the root by its path. Symbolic links on the way are the operator's, so are followed.
    pub(super) fn open(path: &Path, patience: Patience) -> Result<Root, Trouble> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(rustix::fs::CWD, path, flags, ResolveFlags::empty(), patience)?;
        let stat = fstat(&directory).map_err(Trouble::from)?;
        Ok(Root { directory, identity: (stat.st_dev, stat.st_ino) })
    }

    pub(super) fn is_same(&self, other: &Root) -> bool {
        self.identity == other.identity
    }

    /// Opens a path below the root, whatever it is; empty for the root itself.
    ///
    /// Symbolic links are followed as long as they stay below the root (`openat2(2)`, Linux 5.6).
    /// A FIFO or a device is opened without waiting for anybody, and is for the caller to refuse.
    pub(super) fn open_below(&self, path: &str, patience: Patience) -> Result<Opened, Trouble> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = self.look_below(path, flags, patience)?;
        if opened.kind() == FileType::RegularFile {
            // Where a file system has no reads that do not wait, a ring's read would take the flag
            // for the wish not to wait at all.
            fcntl_setfl(&opened.descriptor, OFlags::RDONLY).map_err(Trouble::from)?;
        }
        Ok(opened)
    }

    /// What lies at a path below the root; it can not be read.
    pub(super) fn find_below(&self, path: &str, patience: Patience) -> Result<Opened, Trouble> {
        self.look_below(path, OFlags::PATH | OFlags::CLOEXEC, patience)
    }

    fn look_below(&self, path: &str, flags: OFlags, patience: Patience) -> Result<Opened, Trouble> {
        let path = Path::new(if path.is_empty() { "." } else { path });
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let descriptor = open(&self.directory, path, flags, beneath, patience)?;
        let stat = fstat(&descriptor).map_err(Trouble::from)?;
        Ok(Opened { descriptor, stat })
    }
}

fn open(
    directory: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
    patience: Patience,
) -> Result<OwnedFd, Trouble> {
    // RESOLVE_CACHED is of Linux 5.12.
    let (resolve, retry_count) = match patience {
        Patience::Cached => (resolve | ResolveFlags::CACHED, 0),
        Patience::Blocking => (resolve, RENAME_RETRY_COUNT),
    };
    let attempt = || openat2(&directory, path, flags, Mode::empty(), resolve);
    let mut opened = attempt();
    for _ in 0..retry_count {
        if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
        opened = attempt();
    }
    opened.map_err(Trouble::from)
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Trouble {
        match errno {
            Errno::AGAIN | Errno::INTR => Trouble::WouldBlock,
            // EXDEV: out of the root. ELOOP: a magic link, or links in a circle. ENXIO: a socket,
            // or a device without a driver.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NXIO
            | Errno::NODEV
            | Errno::NAMETOOLONG
            | Errno::INVAL => Trouble::Missing,
            Errno::ACCESS | Errno::PERM => Trouble::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Trouble::Exhausted,
            errno => Trouble::Failed(errno),
        }
    }
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> io::Error {
        let errno = match trouble {
            Trouble::WouldBlock => Errno::AGAIN,
            Trouble::Missing => Errno::NOENT,
            Trouble::Forbidden => Errno::ACCESS,
            Trouble::Exhausted => Errno::MFILE,
            Trouble::Failed(errno) => errno,
        };
        errno.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_of_the_root_is_opened() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = outside.path().join("root");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("file"), "f").unwrap();
        std::fs::create_dir(inside.join("sub")).unwrap();
        symlink("../secret", inside.join("relative")).unwrap();
        symlink(outside.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("circle", inside.join("circle")).unwrap();
        symlink("../file", inside.join("sub/within")).unwrap();
        let root = Root::open(&inside, Patience::Blocking).unwrap();
        let open = |path: &str| root.open_below(path, Patience::Blocking);
        for path in [
            "relative",
            "absolute",
            "magic",
            "magic/etc/passwd",
            "up/secret",
            "circle",
            "../secret",
            "sub/../../secret",
            "/etc/passwd",
            "missing",
            "file/x",
        ] {
            assert_eq!(open(path).map(|_| ()), Err(Trouble::Missing), "{path}");
        }
        for path in ["file", "sub/within"] {
            assert_eq!(open(path).map(|opened| opened.kind()), Ok(FileType::RegularFile), "{path}");
        }
        assert_eq!(open("").map(|opened| opened.kind()), Ok(FileType::Directory));
        // What was just looked at is in memory.
        assert!(root.open_below("file", Patience::Cached).is_ok());
    }

    #[test]
    fn a_fifo_is_opened_without_waiting_for_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Root::open(directory.path(), Patience::Blocking).unwrap();
        let opened = root.open_below("fifo", Patience::Blocking);
        assert_eq!(opened.map(|opened| opened.kind()), Ok(FileType::Fifo));
    }

    #[test]
    fn a_root_that_was_replaced_is_another() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let link = directory.path().join("current");
        symlink("one", &link).unwrap();
        let before = Root::open(&link, Patience::Blocking).unwrap();
        assert!(before.is_same(&Root::open(&link, Patience::Blocking).unwrap()));
        std::fs::remove_file(&link).unwrap();
        symlink("two", &link).unwrap();
        assert!(!before.is_same(&Root::open(&link, Patience::Blocking).unwrap()));
        let missing = Root::open(&directory.path().join("three"), Patience::Blocking);
        assert_eq!(missing.map(|_| ()), Err(Trouble::Missing));
    }
}
