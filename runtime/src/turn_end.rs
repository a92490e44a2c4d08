//! Telling what a turn's tasks were done by: one reading of the clock for all who want to know.

use std::cell::{Cell, RefCell};

use crate::clock::Moment;
use crate::shard::Shard;
use crate::world::World;

/// Who is told when the tasks of a turn have run.
#[derive(Default)]
pub(crate) struct TurnEnd {
    note: RefCell<Option<Note>>,
    is_wanted: Cell<bool>,
}

type Note = Box<dyn Fn(Moment)>;

impl TurnEnd {
    /// The tasks have run, and what they send is about to be handed to the kernel.
    pub(crate) fn reach(&self, world: &mut impl World) {
        if self.is_wanted.replace(false)
            && let Some(note) = &*self.note.borrow()
        {
            note(world.now());
        }
    }
}

impl Shard {
    /// Has `note` called with the time at the end of each turn in which
    /// [`ask_turn_end`](Shard::ask_turn_end) was called: when its tasks have run, and what they
    /// send is about to be handed to the kernel. So many tasks share one reading of the clock.
    ///
    /// It must not call back into the shard.
    pub fn on_turn_end(&self, note: impl Fn(Moment) + 'static) {
        *self.turn_end.note.borrow_mut() = Some(Box::new(note));
    }

    /// Asks for the end of this turn: see [`on_turn_end`](Shard::on_turn_end). One store.
    pub fn ask_turn_end(&self) {
        self.turn_end.is_wanted.set(true);
    }
}
