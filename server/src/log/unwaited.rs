//! Standard error, for which nobody waits.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that says it is writable takes as much at once (`PIPE_BUF`, pipe(7)).
const PIECE_BYTES: usize = 4096;

/// Standard error that loses what can not be written at once, rather than have a shard stand still
/// because nobody empties a pipe: for subscribers of `tracing`, `with_writer(|| StandardError)`.
///
/// Of an event of more than 4 KiB, such as one with a backtrace, the end alone may be lost. Nothing
/// says how much was lost: there is nowhere to say it.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_unless_full(&mut io::stderr().lock(), bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `output` does not take at once is lost, as is what it refuses.
fn write_unless_full(output: &mut (impl Write + AsFd), bytes: &[u8]) {
    for piece in bytes.chunks(PIECE_BYTES) {
        let is_written = is_writable(output) && output.write_all(piece).is_ok();
        if !is_written {
            return;
        }
    }
}

fn is_writable(output: &impl AsFd) -> bool {
    let mut waited = [PollFd::new(output, PollFlags::OUT)];
    poll(&mut waited, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_empties_holds_up_nobody() {
        let (mut reading, mut writing) = io::pipe().expect("a pipe");
        let line = vec![b'x'; 3 * PIECE_BYTES];
        for _ in 0..1000 {
            write_unless_full(&mut writing, &line);
        }
        let mut kept = vec![0; 4 * PIECE_BYTES];
        reading.read_exact(&mut kept).expect("what it holds");
        write_unless_full(&mut writing, b"later");
        drop(writing);
        kept.clear();
        reading.read_to_end(&mut kept).expect("the rest");
        assert!(kept.ends_with(b"xlater"));
    }
}
