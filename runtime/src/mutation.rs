//! Mistakes put into the runtime on purpose, to prove that the simulation notices each of them.
//!
//! Only with the feature `mutations`, which nothing but tests turns on. Without it `is_made` is a
//! constant `false`, and nothing of this is left in the program.

/// A mistake that the runtime can be told to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A receive buffer that is given back is lent twice.
    BufferReturnedTwice,
    /// A receive buffer is not given back.
    BufferKept,
    /// A reused send buffer still has the bytes of whoever used it before.
    BufferNotCleared,
    /// A key names whatever is in its slot now.
    GenerationIgnored,
    /// A slot is freed although something of its is in flight.
    SlotFreedEarly,
    /// A receive that ended without the connection's end is not armed again.
    RearmForgotten,
    /// An accept that ended is not armed again.
    AcceptForgotten,
    /// What a send left over is not sent.
    PartialSendDropped,
    /// A timer that is due wakes nobody.
    TimerLost,
    /// A timer that comes down from a higher level of the wheel is forgotten.
    TimerNotMoved,
    /// A wake from another thread is not told.
    WakeLost,
    /// The protocol core panics, once: not a mistake of the runtime, but one it must bear.
    #[cfg(feature = "mutations")]
    ParserPanics,
}

/// Whether the mistake is to be made here and now.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn is_made(_: Mutation) -> bool {
    false
}

#[cfg(feature = "mutations")]
pub(crate) use made::is_made;
#[cfg(feature = "mutations")]
pub use made::{make, panic_once};

#[cfg(feature = "mutations")]
mod made {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static MADE: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    impl Mutation {
        /// Every mistake.
        pub const ALL: [Mutation; 12] = [
            Mutation::BufferReturnedTwice,
            Mutation::BufferKept,
            Mutation::BufferNotCleared,
            Mutation::GenerationIgnored,
            Mutation::SlotFreedEarly,
            Mutation::RearmForgotten,
            Mutation::AcceptForgotten,
            Mutation::PartialSendDropped,
            Mutation::TimerLost,
            Mutation::TimerNotMoved,
            Mutation::WakeLost,
            Mutation::ParserPanics,
        ];
    }

    /// Which mistake the calling thread makes from now on.
    pub fn make(mutation: Option<Mutation>) {
        MADE.set(mutation);
    }

    /// Panics, if the calling thread was told to and has not yet.
    pub fn panic_once() {
        if is_made(Mutation::ParserPanics) {
            make(None);
            panic!("on purpose, in the protocol core");
        }
    }

    pub(crate) fn is_made(mutation: Mutation) -> bool {
        MADE.get() == Some(mutation)
    }
}
