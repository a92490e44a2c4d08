//! Doors for the micro-benchmarks: what is private, callable, and nothing more.

use crate::clock::Moment;
use crate::driver::operation::SlotKey;
use crate::driver::slots::SlotTable;
use crate::timer::{self, TimerKey};

/// The timer wheel.
#[derive(Debug)]
pub struct Wheel(timer::Wheel);

/// A timer of a [`Wheel`].
#[derive(Clone, Copy, Debug)]
pub struct WheelKey(TimerKey);

impl Wheel {
    /// Without timers.
    pub fn new(now: Moment) -> Wheel {
        Wheel(timer::Wheel::new(now))
    }

    /// A new timer, disarmed.
    pub fn insert(&mut self) -> WheelKey {
        WheelKey(self.0.insert())
    }

    /// Sets when the timer fires.
    pub fn arm(&mut self, key: WheelKey, deadline: Moment) {
        self.0.arm(key.0, deadline);
    }

    /// Fires what is due; says how many.
    pub fn advance(&mut self, now: Moment) -> usize {
        self.0.advance(now)
    }
}

/// The slot table.
#[derive(Debug)]
pub struct Slots<T>(SlotTable<T>);

/// An entry of [`Slots`].
#[derive(Clone, Copy, Debug)]
pub struct SlotsKey(SlotKey);

impl<T> Slots<T> {
    /// Without entries.
    #[allow(clippy::new_without_default, reason = "a door, not an interface")]
    pub fn new() -> Slots<T> {
        Slots(SlotTable::new())
    }

    /// Takes a slot.
    pub fn insert(&mut self, value: T) -> SlotsKey {
        SlotsKey(self.0.insert(value))
    }

    /// The entry, if it is still the one that the key was given for.
    pub fn find(&mut self, key: SlotsKey) -> Option<&mut T> {
        self.0.find(key.0)
    }

    /// Frees a slot.
    pub fn remove(&mut self, key: SlotsKey) -> Option<T> {
        self.0.remove(key.0)
    }
}
