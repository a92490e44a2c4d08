//! What a shard that sleeps reads, and whoever wakes it writes.

use loom::sync::{Condvar, Mutex};

pub(crate) struct Pipe {
    byte_count: Mutex<usize>,
    written: Condvar,
}

impl Pipe {
    pub(crate) fn new() -> Pipe {
        Pipe { byte_count: Mutex::new(0), written: Condvar::new() }
    }

    pub(crate) fn write(&self) {
        *self.byte_count.lock().expect("nobody panics") += 1;
        self.written.notify_one();
    }

    /// Takes all that is there, or waits for something.
    pub(crate) fn read(&self) {
        let mut byte_count = self.byte_count.lock().expect("nobody panics");
        while *byte_count == 0 {
            byte_count = self.written.wait(byte_count).expect("nobody panics");
        }
        *byte_count = 0;
    }
}
