//! Signals: the first SIGTERM or SIGINT drains, the second stops now; SIGUSR2 restarts.

use std::io;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::{Handle as SignalsHandle, Signals};

use crate::launch::Stopper;
use crate::restart::Restart;

/// Answers signals for as long as it lives.
///
/// The handlers stay installed afterwards: a process that has drained once ignores what comes
/// later, which is what the drained process is about to end with anyway.
#[derive(Debug)]
pub struct SignalWatch(SignalsHandle);

impl SignalWatch {
    /// Starts a thread that drains `stopper` on the first SIGTERM or SIGINT, for `patience` at
    /// most, and stops it on the second. SIGUSR2 keeps its default, which ends the process.
    ///
    /// # Errors
    /// As `sigaction(2)`, and where no thread can be started.
    pub fn new(stopper: Stopper, patience: Duration) -> io::Result<SignalWatch> {
        let on_signal = move |signal| end(&stopper, patience, signal);
        watch(&[SIGTERM, SIGINT], on_signal)
    }

    /// As [`new`](SignalWatch::new), and calls `hand_over` on SIGUSR2, on a thread of its own. A
    /// SIGTERM meanwhile ends both processes.
    ///
    /// # Errors
    /// As [`new`](SignalWatch::new).
    pub fn with_restart(
        stopper: Stopper,
        patience: Duration,
        restart: Restart,
        hand_over: impl Fn(&Restart) + Clone + Send + 'static,
    ) -> io::Result<SignalWatch> {
        let on_signal = move |signal| {
            if signal == SIGUSR2 {
                let (restart, hand_over) = (restart.clone(), hand_over.clone());
                let thread = std::thread::Builder::new().name("restart".to_owned());
                if let Err(error) = thread.spawn(move || hand_over(&restart)) {
                    tracing::error!(%error, "no restart: a thread can not be started");
                }
                return;
            }
            end(&stopper, patience, signal);
            restart.cancel();
        };
        watch(&[SIGTERM, SIGINT, SIGUSR2], on_signal)
    }
}

fn watch(signals: &[i32], on_signal: impl Fn(i32) + Send + 'static) -> io::Result<SignalWatch> {
    let mut signals = Signals::new(signals)?;
    let handle = signals.handle();
    let watch = move || signals.forever().for_each(on_signal);
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(SignalWatch(handle))
}

fn end(stopper: &Stopper, patience: Duration, signal: i32) {
    if stopper.is_stopping() {
        tracing::warn!(signal, "stopping now");
        stopper.stop();
    } else {
        tracing::info!(signal, ?patience, "draining; signal again to stop now");
        stopper.drain(patience);
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.0.close();
    }
}
