//! The shard's timer wheel: coarse deadlines, cheap to move, driven once a turn.
//!
//! A connection's deadline moves with every request and almost never passes. So moving it later
//! only writes a number: the entry stays where it is in the wheel, and is put where it belongs
//! when its old place comes up. Setting a timer is O(1), a turn that nothing is due in costs one
//! comparison, however many timers are armed. A timer is moved down at most five times in its
//! life, once a level.
//!
//! ```text
//!   level 0   64 places of 1 tick       what is due within 64 ticks
//!   level 1   64 places of 64 ticks     ...
//!   level n   64 places of 64^n ticks   moved down when its place comes up
//! ```
//!
//! The layout is the hierarchical wheel of Varghese and Lauck (1987).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Moment;
use crate::driver::prefetch::prefetch;
use crate::mutation::{Mutation, is_made};
use crate::shard::Shard;

/// The wheel's resolution: a timer fires at most one tick, and one turn, late; never early.
pub const TICK: Duration = Duration::from_millis(1);

const TICK_NANOS: u64 = TICK.as_nanos() as u64;
const LEVEL_COUNT: usize = 6;
const PLACE_BITS: usize = 6;
const PLACE_COUNT: usize = 1 << PLACE_BITS;
/// What lies further away than 63 places of the highest level (2.1 years) waits there first. One
/// place less than a full turn: a whole turn ahead would be the current place again.
const SPAN_TICKS: u64 = (PLACE_COUNT as u64 - 1) << ((LEVEL_COUNT - 1) * PLACE_BITS);
const NONE: u32 = u32::MAX;

/// Timers by deadline. One a shard; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Everything due up to this tick has fired.
    elapsed: u64,
    /// The first entry of each place's list.
    places: Box<[[u32; PLACE_COUNT]; LEVEL_COUNT]>,
    /// Bit p of `occupied[l]`: the place p of level l is not empty.
    occupied: [u64; LEVEL_COUNT],
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Places emptied and entries touched by `advance`: what the turns pay.
    #[cfg(test)]
    work_count: usize,
}

#[derive(Debug)]
struct Entry {
    /// The tick at which the timer fires; `u64::MAX` while it is disarmed.
    due: u64,
    /// Where the entry is linked: level and place. `None` while it is in no list.
    linked: Option<(u8, u8)>,
    previous: u32,
    next: u32,
    is_expired: bool,
    waker: Option<Waker>,
}

/// Names a timer of a wheel; valid until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey(u32);

impl Wheel {
    pub(crate) fn new(now: Moment) -> Wheel {
        Wheel {
            elapsed: now.as_nanos() / TICK_NANOS,
            places: Box::new([[NONE; PLACE_COUNT]; LEVEL_COUNT]),
            occupied: [0; LEVEL_COUNT],
            entries: Vec::new(),
            free: Vec::new(),
            #[cfg(test)]
            work_count: 0,
        }
    }

    /// How many timers exist, armed or not.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn count(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// A new timer, disarmed.
    pub(crate) fn insert(&mut self) -> TimerKey {
        let entry = Entry {
            due: u64::MAX,
            linked: None,
            previous: NONE,
            next: NONE,
            is_expired: false,
            waker: None,
        };
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            return TimerKey(index);
        }
        self.entries.push(entry);
        TimerKey(u32::try_from(self.entries.len() - 1).expect("fewer timers than memory"))
    }

    pub(crate) fn remove(&mut self, key: TimerKey) {
        self.unlink(key.0);
        self.entry(key.0).waker = None;
        self.free.push(key.0);
    }

    /// Sets when the timer fires; a moment that has passed fires with the next turn.
    pub(crate) fn arm(&mut self, key: TimerKey, deadline: Moment) {
        // Rounded up: a timer never fires early.
        let due = deadline.as_nanos().div_ceil(TICK_NANOS).max(self.elapsed + 1);
        let entry = self.entry(key.0);
        entry.is_expired = false;
        let is_later = entry.linked.is_some() && due >= entry.due;
        entry.due = due;
        if !is_later {
            self.unlink(key.0);
            self.link(key.0);
        }
    }

    #[inline]
    fn prefetch(&self, key: TimerKey) {
        prefetch(&self.entries[key.0 as usize]);
    }

    /// The timer does not fire until it is armed again.
    pub(crate) fn disarm(&mut self, key: TimerKey) {
        self.unlink(key.0);
        let entry = self.entry(key.0);
        (entry.due, entry.is_expired) = (u64::MAX, false);
    }

    pub(crate) fn poll_expired(&mut self, key: TimerKey, context: &Context<'_>) -> Poll<()> {
        let entry = self.entry(key.0);
        if entry.is_expired {
            return Poll::Ready(());
        }
        match &entry.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => entry.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Fires every timer that is due at `now`; says how many.
    pub(crate) fn advance(&mut self, now: Moment) -> usize {
        let now = now.as_nanos() / TICK_NANOS;
        let mut fired = 0;
        while let Some((level, place, start)) = self.next_place()
            && start <= now
        {
            self.elapsed = self.elapsed.max(start);
            fired += self.empty_place(level, place);
        }
        self.elapsed = self.elapsed.max(now);
        fired
    }

    /// When the next place comes up: no timer is due before, though none need be due then.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let (_, _, start) = self.next_place()?;
        Some(Moment::from_nanos(start.saturating_mul(TICK_NANOS)))
    }

    /// Fires or moves down what is linked in one place.
    fn empty_place(&mut self, level: usize, place: usize) -> usize {
        #[cfg(test)]
        {
            self.work_count += 1;
        }
        let mut index = std::mem::replace(&mut self.places[level][place], NONE);
        self.occupied[level] &= !(1 << place);
        let mut fired = 0;
        while index != NONE {
            #[cfg(test)]
            {
                self.work_count += 1;
            }
            let elapsed = self.elapsed;
            let entry = self.entry(index);
            let next = entry.next;
            entry.linked = None;
            if entry.due > elapsed {
                if !is_made(Mutation::TimerNotMoved) {
                    self.link(index);
                }
            } else {
                entry.is_expired = true;
                if let Some(waker) = &entry.waker
                    && !is_made(Mutation::TimerLost)
                {
                    waker.wake_by_ref();
                }
                fired += 1;
            }
            index = next;
        }
        fired
    }

    /// The occupied place that comes up first, and the tick at which it does.
    fn next_place(&self) -> Option<(usize, usize, u64)> {
        // A lower level always comes up before a higher one: what is linked above lies at least
        // one whole turn of the level below in the future.
        let level = self.occupied.iter().position(|occupied| *occupied != 0)?;
        let shift = level * PLACE_BITS;
        let current = (self.elapsed >> shift) as usize % PLACE_COUNT;
        let ahead = self.occupied[level].rotate_right(current as u32).trailing_zeros() as usize;
        let place = (current + ahead) % PLACE_COUNT;
        let turn_start = self.elapsed >> (shift + PLACE_BITS) << (shift + PLACE_BITS);
        let mut start = turn_start + ((place as u64) << shift);
        if place < current {
            start += 1 << (shift + PLACE_BITS);
        }
        Some((level, place, start))
    }

    /// Links an entry where its due tick belongs, seen from `elapsed`.
    fn link(&mut self, index: u32) {
        let furthest = self.elapsed + SPAN_TICKS;
        let due = self.entry(index).due.clamp(self.elapsed + 1, furthest);
        // The highest bit in which the due tick differs from now says at which level they part.
        let difference = (self.elapsed ^ due) | (PLACE_COUNT as u64 - 1);
        let level = ((63 - difference.leading_zeros()) as usize / PLACE_BITS).min(LEVEL_COUNT - 1);
        let place = (due >> (level * PLACE_BITS)) as usize % PLACE_COUNT;
        let first = std::mem::replace(&mut self.places[level][place], index);
        if first != NONE {
            self.entry(first).previous = index;
        }
        self.occupied[level] |= 1 << place;
        let entry = self.entry(index);
        entry.linked = Some((level as u8, place as u8));
        (entry.previous, entry.next) = (NONE, first);
    }

    fn unlink(&mut self, index: u32) {
        let Entry { linked, previous, next, .. } = *self.entry(index);
        let Some((level, place)) = linked else { return };
        self.entry(index).linked = None;
        if next != NONE {
            self.entry(next).previous = previous;
        }
        if previous != NONE {
            self.entry(previous).next = next;
            return;
        }
        let (level, place) = (usize::from(level), usize::from(place));
        self.places[level][place] = next;
        if next == NONE {
            self.occupied[level] &= !(1 << place);
        }
    }

    fn entry(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }
}

/// A timer of the current shard's wheel, for a future that waits for something else as well.
#[derive(Debug)]
pub struct Timer {
    shard: Rc<Shard>,
    key: TimerKey,
}

impl Timer {
    /// A timer that is not armed.
    pub fn new(shard: &Rc<Shard>) -> Timer {
        let key = shard.wheel.borrow_mut().insert();
        Timer { shard: Rc::clone(shard), key }
    }

    /// Fires at `deadline`, or up to one [`TICK`] later. Moving it later costs next to nothing.
    pub fn arm(&self, deadline: Moment) {
        self.shard.wheel.borrow_mut().arm(self.key, deadline);
    }

    /// Brings near what [`arm`](Timer::arm) will look at.
    #[inline]
    pub fn prefetch(&self) {
        self.shard.wheel.borrow().prefetch(self.key);
    }

    /// Does not fire until it is armed again.
    pub fn disarm(&self) {
        self.shard.wheel.borrow_mut().disarm(self.key);
    }

    /// Ready once the deadline has passed, and until the timer is armed again.
    pub fn poll_expired(&self, context: &Context<'_>) -> Poll<()> {
        self.shard.wheel.borrow_mut().poll_expired(self.key, context)
    }

    /// Waits for the deadline; forever while the timer is not armed.
    pub async fn expired(&self) {
        poll_fn(|context| self.poll_expired(context)).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shard.wheel.borrow_mut().remove(self.key);
    }
}

/// Waits for `duration` from the start of this turn, and up to one [`TICK`] and one turn longer.
///
/// # Panics
/// Outside a shard.
pub async fn sleep(duration: Duration) {
    let shard = Shard::current();
    let timer = Timer::new(&shard);
    timer.arm(shard.now() + duration);
    timer.expired().await;
}

impl Shard {
    /// How long the tasks of this turn have run by now. Reads the clock, about 25 ns.
    pub fn turn_time(&self) -> Duration {
        self.host.now() - self.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ticks: u64) -> Moment {
        Moment::from_nanos(ticks * TICK_NANOS)
    }

    fn is_expired(wheel: &Wheel, key: TimerKey) -> bool {
        wheel.entries[key.0 as usize].is_expired
    }

    #[test]
    fn fires_at_its_tick_and_not_before() {
        for start in [0, 1, 63, 64, 4095, 4096, 1 << 30] {
            for delay in [1, 2, 63, 64, 65, 4095, 4096, 4097, 300_000, 20_000_000] {
                let mut wheel = Wheel::new(at(start));
                let key = wheel.insert();
                wheel.arm(key, at(start + delay));
                assert_eq!(wheel.advance(at(start + delay - 1)), 0, "{start} + {delay}");
                assert_eq!(wheel.advance(at(start + delay)), 1, "{start} + {delay}");
                assert!(is_expired(&wheel, key));
                assert_eq!(wheel.next_deadline(), None);
            }
        }
    }

    #[test]
    fn a_deadline_between_two_ticks_fires_at_the_later_one() {
        let mut wheel = Wheel::new(at(10));
        let key = wheel.insert();
        wheel.arm(key, at(11) + Duration::from_nanos(1));
        assert_eq!(wheel.advance(at(11)), 0);
        assert_eq!(wheel.advance(at(12)), 1);
    }

    #[test]
    fn a_passed_deadline_fires_with_the_next_turn() {
        let mut wheel = Wheel::new(at(10));
        let key = wheel.insert();
        wheel.arm(key, at(3));
        assert_eq!(wheel.advance(at(11)), 1);
    }

    /// A million connections with an idle timeout of 75 s, each of which has one request a minute:
    /// its deadline is moved, and never passes.
    #[test]
    fn a_million_armed_timers_cost_a_turn_nothing() {
        const COUNT: usize = 1_000_000;
        let mut wheel = Wheel::new(at(0));
        let mut random = fastrand::Rng::with_seed(1);
        let timers: Vec<_> = (0..COUNT).map(|_| wheel.insert()).collect();
        timers.iter().for_each(|key| wheel.arm(*key, at(75_000 + random.u64(0..60_000))));
        let mut idle_turn_count = 0;
        for now in 1..75_000 {
            let before = wheel.work_count;
            assert_eq!(wheel.advance(at(now)), 0);
            idle_turn_count += usize::from(wheel.work_count == before);
        }
        // Only where a place of a higher level comes up is there anything to do.
        assert!(idle_turn_count >= 75_000 * 63 / 64, "{idle_turn_count} turns were free");
        assert!(wheel.work_count < 75_000, "{} entries were touched", wheel.work_count);
        timers.iter().for_each(|key| wheel.arm(*key, at(150_000 + random.u64(0..60_000))));
        for now in 75_000..=210_000 {
            wheel.advance(at(now));
        }
        assert_eq!(wheel.next_deadline(), None, "all have fired");
        assert!(wheel.work_count < COUNT * LEVEL_COUNT, "{} of work", wheel.work_count);
    }

    /// Random arms, moves, disarms, removals and steps against a plain map.
    #[test]
    fn behaves_like_a_map_of_deadlines() {
        (0..200).for_each(run_seed);
    }

    struct Model {
        random: fastrand::Rng,
        now: u64,
        wheel: Wheel,
        timers: Vec<(TimerKey, Option<u64>)>,
    }

    fn run_seed(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let now = random.u64(0..10_000);
        let mut model = Model { random, now, wheel: Wheel::new(at(now)), timers: Vec::new() };
        for step in 0..400 {
            model.step();
            assert_eq!(model.wheel.count(), model.timers.len(), "seed {seed}, step {step}");
        }
    }

    impl Model {
        fn step(&mut self) {
            match self.random.u8(0..10) {
                0..2 => self.timers.push((self.wheel.insert(), None)),
                2..8 if self.timers.is_empty() => {}
                2..6 => {
                    let due = self.now + self.any_delay();
                    let index = self.any_index();
                    // Anywhere within the tick that ends then.
                    let deadline = due * TICK_NANOS - self.random.u64(0..TICK_NANOS);
                    self.wheel.arm(self.timers[index].0, Moment::from_nanos(deadline));
                    self.timers[index].1 = Some(due);
                }
                6 => {
                    let index = self.any_index();
                    self.wheel.disarm(self.timers[index].0);
                    self.timers[index].1 = None;
                }
                7 => {
                    let index = self.any_index();
                    self.wheel.remove(self.timers.swap_remove(index).0);
                }
                _ => self.advance(),
            }
        }

        /// Small delays as often as large ones, up to twice what the wheel spans.
        fn any_delay(&mut self) -> u64 {
            let bits = self.random.u8(1..38);
            1 + self.random.u64(0..1 << bits)
        }

        fn any_index(&mut self) -> usize {
            self.random.usize(0..self.timers.len())
        }

        fn advance(&mut self) {
            self.now += self.any_delay();
            let now = self.now;
            let fired = self.wheel.advance(at(now));
            let due = self.timers.iter_mut().filter(|(_, due)| due.is_some_and(|due| due <= now));
            let mut count = 0;
            for (key, due) in due {
                assert!(is_expired(&self.wheel, *key), "a timer is late");
                *due = None;
                count += 1;
            }
            assert_eq!(fired, count, "a timer fired early");
            let first = self.timers.iter().filter_map(|(_, due)| *due).min();
            let next = self.wheel.next_deadline();
            assert!(first.is_none_or(|first| next.is_some_and(|next| next <= at(first))));
        }
    }
}
