//! Signals: the first SIGTERM or SIGINT drains, the second stops now.

use std::io;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle as SignalsHandle, Signals};

use crate::launch::Stopper;

/// Answers signals for as long as it lives.
///
/// The handlers stay installed afterwards: a process that has drained once ignores what comes
/// later, which is what the drained process is about to end with anyway.
#[derive(Debug)]
pub struct SignalWatch(SignalsHandle);

impl SignalWatch {
    /// Starts a thread that drains `stopper` on the first SIGTERM or SIGINT, for `patience` at
    /// most, and stops it on the second.
    ///
    /// # Errors
    /// As `sigaction(2)`, and where no thread can be started.
    pub fn new(stopper: Stopper, patience: Duration) -> io::Result<SignalWatch> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let handle = signals.handle();
        let watch = move || {
            for signal in signals.forever() {
                if stopper.is_stopping() {
                    tracing::warn!(signal, "stopping now");
                    stopper.stop();
                } else {
                    tracing::info!(signal, ?patience, "draining; signal again to stop now");
                    stopper.drain(patience);
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(SignalWatch(handle))
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.0.close();
    }
}
