//! How far the shards are, for whoever asks from outside: starting, ready, draining.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far the shards are on their way from start to end.
///
/// ```text
///             every shard accepts          drain, stop, or a shard that failed
///   Starting ─────────────────────► Ready ─────────────────────────────────────► Draining
///       └────────────────────────────────────────────────────────────────────────────▲
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not every shard accepts connections yet.
    #[default]
    Starting,
    /// Every shard accepts connections.
    Ready,
    /// A drain or a stop has begun: send new connections elsewhere.
    Draining,
}

/// The stage that all shards share. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stage: Mutex<Stage>,
    advanced: Condvar,
}

impl Lifecycle {
    /// The stage now. Takes a lock: not for the path of a request.
    pub fn stage(&self) -> Stage {
        *self.lock()
    }

    /// Moves on to a later stage; an earlier one is ignored.
    pub fn advance(&self, stage: Stage) {
        let mut current = self.lock();
        if *current < stage {
            *current = stage;
            self.0.advanced.notify_all();
        }
    }

    /// Blocks the calling thread until this stage is reached, or a later one.
    pub fn wait_for(&self, stage: Stage) {
        let waiting = self.0.advanced.wait_while(self.lock(), |current| *current < stage);
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        // Nothing panics while it holds the lock, and a stage is never half written.
        self.0.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_moves_on() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.stage(), Stage::Starting);
        let other = lifecycle.clone();
        let waiting = std::thread::spawn(move || {
            other.wait_for(Stage::Draining);
            other.stage()
        });
        lifecycle.advance(Stage::Ready);
        lifecycle.advance(Stage::Draining);
        lifecycle.advance(Stage::Ready);
        assert_eq!(waiting.join().expect("no panic"), Stage::Draining);
    }
}
