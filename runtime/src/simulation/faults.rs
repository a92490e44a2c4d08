//! How, and how often, the simulated world misbehaves.

use std::time::Duration;

/// Probabilities from 0 to 1, each rolled where the kernel could do the same. Default: none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// A send takes only some of its bytes.
    pub partial_send: f64,
    /// A receive returns only some of the bytes that are there.
    pub partial_receive: f64,
    /// A receive finds no provided buffer (`ENOBUFS`), although there may be one.
    pub no_buffer: f64,
    /// A multishot operation ends after a success.
    pub multishot_end: f64,
    /// An accept ends with `EMFILE`, `ENFILE`, `ENOMEM` or `ECONNABORTED`.
    pub accept_failure: f64,
    /// The connection breaks under a receive or a send (`ECONNRESET`, `EPIPE`, `ETIMEDOUT`).
    pub reset: f64,
    /// A receive or a send ends for want of the kernel's memory (`ENOMEM`, `ENOBUFS`).
    pub no_memory: f64,
    /// A receive or a send ends with `EINTR` or `EAGAIN` and has done nothing.
    pub interruption: f64,
    /// A cancelled operation has happened all the same.
    pub late_cancel: f64,
    /// A completion arrives later than it was made.
    pub delay: f64,
    /// How much later, at most.
    pub delay_max: Duration,
    /// A shard gets no CPU after a turn.
    pub stall: f64,
    /// For how long, at most.
    pub stall_max: Duration,
    /// A completion arrives once more when its slot is long freed: what no kernel may do, and a
    /// slot's generation is there to survive.
    pub echo: f64,
}

impl Faults {
    /// Everything now and then, except that connections break.
    pub fn harmless() -> Faults {
        Faults {
            partial_send: 0.3,
            partial_receive: 0.3,
            no_buffer: 0.05,
            multishot_end: 0.1,
            accept_failure: 0.1,
            reset: 0.0,
            no_memory: 0.0,
            interruption: 0.05,
            late_cancel: 0.3,
            delay: 0.2,
            delay_max: Duration::from_millis(3),
            stall: 0.0,
            stall_max: Duration::ZERO,
            echo: 0.0,
        }
    }

    /// Everything now and then, broken connections included.
    pub fn all() -> Faults {
        Faults { reset: 0.01, ..Faults::harmless() }
    }
}
