//! A shard's end of the access log: it writes the lines, and hands those of a turn over at its end.
//!
//! A line is written when its answer is; or, where that is still to come when the handler was
//! called, in two steps: the request's part while its bytes are there, the rest later. The
//! duration, in the formats that have one, is put in when the turn's end has told it.
//!
//! Writing the line here costs a shard no more than describing the exchange to another thread
//! would, and leaves that thread nothing to do but to hand bytes to the kernel.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use corelane_runtime::Moment;
use http::StatusCode;

use super::access::Settings;
use super::format::AccessFormat;
use super::stamp::Stamp;
use crate::records::{Entry, Outcome, Outlet};

/// Drafts that are kept for reuse.
const SPARE_DRAFTS_MAX: usize = 64;

/// Digits of the largest number of 64 bits.
const DIGITS_MAX: usize = 20;

/// What stands where a duration is to go, until it does.
static ROOM: [u8; DIGITS_MAX] = [b' '; DIGITS_MAX];

/// Whether there is to be a line of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    No,
    /// If it fails, or is slow.
    MayBe,
    Due,
}

/// A line without its answer.
#[derive(Debug)]
pub(crate) struct LineDraft {
    text: Vec<u8>,
    /// Where the time is, and where the answer goes. `time_at < answer_at < text.len()`
    time_at: usize,
    answer_at: usize,
    wish: Wish,
}

/// What one shard writes lines with.
#[derive(Debug)]
pub(crate) struct Lines {
    format: AccessFormat,
    sample_one_in: u32,
    slow_after: Duration,
    shard: usize,
    /// `0 <= until_next < sample_one_in`, or both are zero.
    until_next: Cell<u32>,
    stamp: RefCell<Stamp>,
    /// What stands behind the answer in all lines of a route, by its number; empty until made.
    tails: RefCell<Vec<Vec<u8>>>,
    turn: RefCell<Turn>,
    spare: RefCell<Vec<Vec<u8>>>,
    outlet: Outlet,
}

/// The lines of this turn.
#[derive(Debug, Default)]
struct Turn {
    text: Vec<u8>,
    marks: Vec<Mark>,
    /// Bytes that are left free for each duration: as many as the last one of the turn before had.
    /// Most durations have as many digits as those before them.
    duration_width: usize,
    /// Whether a line lacks its duration, or may yet be left out.
    is_open: bool,
    /// The lines as they leave, where that differs. Scratch.
    ready: Vec<u8>,
    dropped: u64,
}

impl Turn {
    /// Writes the durations into the room that was left for them; `false` where one does not fit,
    /// or where a line may have to be left out.
    fn fill_in(&mut self, end: Moment) -> bool {
        let mut digits = Digits::default();
        self.marks.iter().all(|mark| {
            let digits = digits.of(end - mark.began);
            // In formats without durations, none fits into no room.
            let fits = mark.is_due && digits.len() == self.duration_width;
            if fits {
                self.text[mark.duration_at..][..digits.len()].copy_from_slice(digits);
            }
            fits
        })
    }
}

/// One line of the turn's.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Where room is left for its duration, and where it ends.
    duration_at: usize,
    end: usize,
    began: Moment,
    is_due: bool,
}

impl Lines {
    pub(super) fn new(settings: Settings, shard: usize, outlet: Outlet) -> Lines {
        let Settings { format, sample_one_in, slow_after, .. } = settings;
        Lines {
            format,
            sample_one_in,
            slow_after: slow_after.unwrap_or(Duration::MAX),
            shard,
            until_next: Cell::new(0),
            stamp: RefCell::new(Stamp::new(0)),
            tails: RefCell::default(),
            turn: RefCell::default(),
            spare: RefCell::default(),
            outlet,
        }
    }

    /// Called once for each request; `status` is that of its answer where there is one already.
    pub(crate) fn choose(&self, status: Option<StatusCode>) -> Wish {
        if self.is_due() || status.is_some_and(|status| status.is_server_error()) {
            Wish::Due
        } else if status.is_none() || self.slow_after < Duration::MAX {
            Wish::MayBe
        } else {
            Wish::No
        }
    }

    fn is_due(&self) -> bool {
        let is_due = self.sample_one_in > 0 && self.until_next.get() == 0;
        let next = if is_due { self.sample_one_in } else { self.until_next.get() };
        self.until_next.set(next.saturating_sub(1));
        is_due
    }

    /// Writes the line of an exchange that is over: nothing is to be kept of it.
    pub(crate) fn write(&self, wish: Wish, asked: &Entry<'_>, client: &str, outcome: &Outcome) {
        let Some(is_due) = self.is_wanted(wish, outcome.status) else { return };
        let mut stamp = self.stamp.borrow_mut();
        stamp.set(outcome.ended_seconds);
        self.keep(outcome, is_due, |text, room| {
            self.format.write_before(text, asked, client, &stamp);
            self.format.write_answer(text, outcome.status, outcome.bytes);
            let duration_at = text.len();
            text.extend_from_slice(room);
            self.write_behind(text, asked);
            duration_at
        });
    }

    /// Writes what the request tells, while its bytes are there; `client` is its client's address
    /// as text.
    pub(crate) fn draft(&self, wish: Wish, asked: &Entry<'_>, client: &str) -> LineDraft {
        let mut text = self.spare.borrow_mut().pop().unwrap_or_default();
        text.clear();
        let time_at = self.format.write_before(&mut text, asked, client, &self.stamp.borrow());
        let answer_at = text.len();
        self.write_behind(&mut text, asked);
        LineDraft { text, time_at, answer_at, wish }
    }

    fn write_behind(&self, text: &mut Vec<u8>, asked: &Entry<'_>) {
        let tails = &mut *self.tails.borrow_mut();
        if tails.len() <= asked.route_number {
            tails.resize_with(asked.route_number + 1, Vec::new);
        }
        let tail = &mut tails[asked.route_number];
        if tail.is_empty() {
            self.format.write_route(tail, self.shard, asked.route);
        }
        text.extend_from_slice(tail);
        self.format.write_behind(text, asked);
    }

    /// Writes the line of a draft, now that its answer is written.
    pub(crate) fn finish(&self, mut draft: LineDraft, outcome: &Outcome) {
        if let Some(is_due) = self.is_wanted(draft.wish, outcome.status) {
            let mut stamp = self.stamp.borrow_mut();
            stamp.set(outcome.ended_seconds);
            self.format.set_time(&mut draft.text, draft.time_at, &stamp);
            let (before, behind) = draft.text.split_at(draft.answer_at);
            self.keep(outcome, is_due, |text, room| {
                text.extend_from_slice(before);
                self.format.write_answer(text, outcome.status, outcome.bytes);
                let duration_at = text.len();
                text.extend_from_slice(room);
                text.extend_from_slice(behind);
                duration_at
            });
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_DRAFTS_MAX {
            spare.push(draft.text);
        }
    }

    /// Whether the line is due, where it may be written at all.
    fn is_wanted(&self, wish: Wish, status: StatusCode) -> Option<bool> {
        let is_due = wish == Wish::Due || status.is_server_error();
        (is_due || self.slow_after < Duration::MAX).then_some(is_due)
    }

    /// Adds a line to those of the turn, unless there are as many as the ring can take. `write` is
    /// told what is to stand where its duration goes, and gives back where that is.
    fn keep(
        &self,
        outcome: &Outcome,
        is_due: bool,
        write: impl FnOnce(&mut Vec<u8>, &[u8]) -> usize,
    ) {
        let turn = &mut *self.turn.borrow_mut();
        if turn.text.len() > self.outlet.bytes_max() {
            turn.dropped += u64::from(is_due);
            return;
        }
        let duration_at = write(&mut turn.text, &ROOM[..turn.duration_width]);
        turn.is_open |= self.format.has_duration() || !is_due;
        turn.marks.push(Mark { duration_at, end: turn.text.len(), began: outcome.began, is_due });
    }

    /// Hands the lines of the turn that ends to the writer; says how many are lost because the ring
    /// is full.
    pub(crate) fn settle(&self, end: Moment) -> u64 {
        let turn = &mut *self.turn.borrow_mut();
        let mut dropped = std::mem::take(&mut turn.dropped);
        if turn.text.is_empty() {
            return dropped;
        }
        if std::mem::take(&mut turn.is_open) && !turn.fill_in(end) {
            self.close(turn, end);
            std::mem::swap(&mut turn.text, &mut turn.ready);
        }
        if !self.outlet.push(&turn.text) {
            dropped += self.push_first(&turn.text);
        }
        turn.text.clear();
        turn.marks.clear();
        dropped
    }

    /// Hands over the lines that there is room for; says how many there is none for.
    #[cold]
    fn push_first(&self, lines: &[u8]) -> u64 {
        let room = self.outlet.room().min(lines.len());
        let end = memchr::memrchr(b'\n', &lines[..room]).map_or(0, |last| last + 1);
        let (first, rest) = lines.split_at(end);
        // Nobody but the desk moves the ring's ends meanwhile, and it only makes room.
        self.outlet.push(first);
        memchr::memchr_iter(b'\n', rest).count() as u64
    }

    /// Writes the lines anew, with their durations, and leaves out what is not to be written.
    fn close(&self, turn: &mut Turn, end: Moment) {
        turn.ready.clear();
        let mut start = 0;
        let mut digits = Digits::default();
        for mark in &turn.marks {
            let duration = end - mark.began;
            if mark.is_due || duration >= self.slow_after {
                turn.ready.extend_from_slice(&turn.text[start..mark.duration_at]);
                if self.format.has_duration() {
                    turn.ready.extend_from_slice(digits.of(duration));
                }
                let behind = mark.duration_at + turn.duration_width;
                turn.ready.extend_from_slice(&turn.text[behind..mark.end]);
            }
            start = mark.end;
        }
        turn.duration_width = digits.len;
    }
}

/// A duration in microseconds as text. Most exchanges of a turn began with it: they have all taken
/// the same time, which is written once.
#[derive(Default)]
struct Digits {
    duration: Option<Duration>,
    text: [u8; DIGITS_MAX],
    len: usize,
}

impl Digits {
    fn of(&mut self, duration: Duration) -> &[u8] {
        if self.duration != Some(duration) {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            let mut buffer = itoa::Buffer::new();
            let text = buffer.format(micros).as_bytes();
            self.text[..text.len()].copy_from_slice(text);
            (self.duration, self.len) = (Some(duration), text.len());
        }
        &self.text[..self.len]
    }
}
