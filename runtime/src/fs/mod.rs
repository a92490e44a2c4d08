//! Disk files that never block their shard, over glommio's buffered files.
//!
//! ```no_run
//! use corelane_runtime::fs::File;
//!
//! # async fn read() -> Result<(), corelane_runtime::fs::FileError> {
//! let file = File::open("/etc/hostname").await?;
//! let name = file.read_at(0, 4096).await?;
//! println!("{} of {} bytes", name.len(), file.size()?);
//! file.close().await
//! # }
//! ```
//!
//! An operation goes through the ring of the glommio executor that hosts the shard: what the page
//! cache holds is there with the shard's next look at glommio, what it does not is read by the
//! kernel meanwhile. While any operation is under way an idle shard parks through glommio at once,
//! and a busy one looks every 100 microseconds instead of every
//! [`reactor_period`](crate::ShardConfig::reactor_period).
//!
//! Files need the real machine: in a simulated world every operation fails with
//! [`Unsupported`](std::io::ErrorKind::Unsupported).

mod error;
mod file;
mod options;

pub use crate::driver::sendfile::{FileRange, is_cached};
pub use error::FileError;
pub use file::{File, FileBytes, READ_BYTES_MAX};
pub use options::OpenOptions;

use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::shard::Shard;

type Result<T> = std::result::Result<T, FileError>;

/// One operation under way: while there is any, the shard attends to glommio more often.
struct UnderWay(Rc<Shard>);

impl UnderWay {
    /// The calling task's shard does something with the file at `path`.
    fn new(operation: &'static str, path: &Path) -> Result<UnderWay> {
        let shard = Shard::current();
        if !shard.host.is_machine() {
            let source = io::Error::new(io::ErrorKind::Unsupported, "a simulation has no disk");
            return Err(FileError::new(operation, path, source));
        }
        shard.disk_operation_count.set(shard.disk_operation_count.get() + 1);
        Ok(UnderWay(shard))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let count = &self.0.disk_operation_count;
        count.set(count.get() - 1);
    }
}
