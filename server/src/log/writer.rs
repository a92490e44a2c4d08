//! The thread that makes lines of what the shards put into their rings.
//!
//! It sleeps until a shard rings, then takes everything from every ring, writes it in pieces, and
//! rests a little, so that it writes many lines at once and is not woken for each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use corelane_runtime::{ConfigError, RuntimeError};
use rtrb::{Consumer, RingBuffer};

use super::access::{AccessLog, Settings};
use super::entry::{ENTRY_BYTES_MAX, Entry};
use super::format::AccessFormat;
use super::recorder::{Recorder, Recorders};
use super::sink::Sink;
use super::stamp::Stamp;
use crate::error::Result;

/// How long the writer rests after it has written: as much as a ring of the default size takes at
/// half a million requests a second.
const REST: Duration = Duration::from_millis(5);

/// After so long it looks without having been woken. A shard that rings just when the writer lies
/// down may not be heard: ringing costs a shard no fence.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// Bytes of lines that are written at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What the writer shares with the shards and with those who end or rotate the log.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    is_asleep: AtomicBool,
    is_ending: AtomicBool,
    wants_reopening: Arc<AtomicBool>,
    /// Lines that the file did not take.
    lost: AtomicU64,
    thread: std::sync::OnceLock<Thread>,
}

impl Bell {
    /// Wakes the writer where it sleeps. A load, nearly always.
    pub(super) fn ring(&self) {
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// The running writer. Dropping it writes what is left in the rings, and ends it.
#[derive(Debug)]
pub(crate) struct Writer {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the log, where there is to be one, and starts its writer: one recorder for each shard.
///
/// # Errors
/// The file can not be opened, or no thread can be started.
pub(crate) fn start(
    log: Option<AccessLog>,
    shard_count: usize,
) -> Result<(Option<Writer>, Recorders)> {
    let Some(log) = log else { return Ok((None, Recorders::default())) };
    let name = log.target.to_string();
    let sink = Sink::open(log.target)
        .map_err(|error| ConfigError::new("access_log", format!("{name}: {error}")))?;
    let (writer, recorders) =
        write_to(sink, log.settings, shard_count).map_err(RuntimeError::Thread)?;
    Ok((Some(writer), Recorders::new(recorders)))
}

fn write_to(
    sink: Sink,
    settings: Settings,
    shard_count: usize,
) -> io::Result<(Writer, Vec<Recorder>)> {
    let bell = Arc::new(Bell::default());
    let (mut recorders, mut rings) = (Vec::new(), Vec::new());
    for shard in 0..shard_count {
        let (producer, consumer) = RingBuffer::new(settings.ring_bytes.max(2 * ENTRY_BYTES_MAX));
        let bell = Arc::clone(&bell);
        recorders.push(Recorder::new(shard, settings, producer, bell));
        rings.push(consumer);
    }
    let desk = Desk {
        rings,
        sink,
        format: settings.format,
        stamp: Stamp::new(0),
        entries: Vec::new(),
        lines: Vec::new(),
        bell: Arc::clone(&bell),
    };
    let thread = std::thread::Builder::new().name("access-log".to_owned());
    let thread = thread.spawn(move || desk.run())?;
    let _ = bell.thread.set(thread.thread().clone());
    Ok((Writer { bell, thread: Some(thread) }, recorders))
}

impl Writer {
    /// Has the file opened anew before the next line is written.
    pub(crate) fn reopen(&self) {
        self.bell.wants_reopening.store(true, Ordering::Relaxed);
        self.bell.wake();
    }

    /// The same by signals: SIGHUP, and SIGUSR1, which nginx made usual.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub(crate) fn reopen_on_signals(&self) -> io::Result<()> {
        for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGUSR1] {
            signal_hook::flag::register(signal, Arc::clone(&self.bell.wants_reopening))?;
        }
        Ok(())
    }

    /// Lines that the file did not take.
    pub(crate) fn lost(&self) -> u64 {
        self.bell.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.bell.is_ending.store(true, Ordering::Release);
        self.bell.wake();
        if let Some(thread) = self.thread.take() {
            // It does not panic; and nobody could be told.
            let _ = thread.join();
        }
    }
}

/// What the writer's thread works with.
struct Desk {
    rings: Vec<Consumer<u8>>,
    sink: Sink,
    format: AccessFormat,
    stamp: Stamp,
    /// What was taken from a ring, as whole entries. Scratch of one look.
    entries: Vec<u8>,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    bell: Arc<Bell>,
}

impl Desk {
    fn run(mut self) {
        loop {
            // Asked before the look: what was put into a ring before the end is still written.
            let is_ending = self.bell.is_ending.load(Ordering::Acquire);
            if self.bell.wants_reopening.swap(false, Ordering::Relaxed) {
                self.sink.reopen();
            }
            let has_written = self.look();
            match (is_ending, has_written) {
                (true, _) => return,
                (false, true) => std::thread::park_timeout(REST),
                (false, false) => {
                    self.bell.is_asleep.store(true, Ordering::Relaxed);
                    std::thread::park_timeout(SLEEP_MAX);
                    self.bell.is_asleep.store(false, Ordering::Relaxed);
                }
            }
        }
    }

    /// Writes what is in the rings; whether there was anything.
    fn look(&mut self) -> bool {
        let mut has_any = false;
        for index in 0..self.rings.len() {
            self.entries.clear();
            let ring = &mut self.rings[index];
            // Entries are put in whole, so what is there is a number of whole ones.
            if let Ok(chunk) = ring.read_chunk(ring.slots()) {
                let (first, second) = chunk.as_slices();
                self.entries.extend_from_slice(first);
                self.entries.extend_from_slice(second);
                chunk.commit_all();
            }
            has_any |= !self.entries.is_empty();
            self.write_entries();
        }
        has_any
    }

    fn write_entries(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let (mut rest, mut line_count) = (&entries[..], 0);
        while let Some(entry) = Entry::read(&mut rest) {
            self.stamp.set(entry.wall_seconds);
            self.format.write(&mut self.lines, &entry, &self.stamp);
            line_count += 1;
            if self.lines.len() >= PIECE_BYTES {
                self.write_lines(std::mem::take(&mut line_count));
            }
        }
        self.write_lines(line_count);
        self.entries = entries;
    }

    fn write_lines(&mut self, line_count: u64) {
        if !self.lines.is_empty() && !self.sink.write(&self.lines) {
            self.bell.lost.fetch_add(line_count, Ordering::Relaxed);
        }
        self.lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

    use corelane_runtime::Moment;
    use http::StatusCode;

    use super::super::recorder::Outcome;
    use super::*;

    fn start(log: AccessLog, shard_count: usize) -> io::Result<(Writer, Vec<Recorder>)> {
        write_to(Sink::open(log.target)?, log.settings, shard_count)
    }

    const FINE: Outcome =
        Outcome { wall_seconds: 0, began: Moment::from_nanos(0), bytes: 0, status: StatusCode::OK };

    /// What the shard does with an exchange whose answer is ready at once.
    fn note(recorder: &Recorder, asked: &Entry<'_>, outcome: &Outcome) {
        if let Some(chosen) = recorder.choose(Some(outcome.status)) {
            recorder.finish(recorder.draft(chosen, asked), outcome);
        }
    }

    /// An exchange and its turn; whether the ring took it.
    fn record(recorder: &Recorder, target: &str) -> bool {
        let asked = Entry { method: b"GET", target: target.as_bytes(), ..Entry::default() };
        note(recorder, &asked, &FINE);
        recorder.settle(Moment::from_nanos(0)) == 0
    }

    /// A file on a disk that takes each write only when the test lets it.
    struct SlowDisk {
        let_through: Receiver<()>,
        written: Sender<Vec<u8>>,
        asked: SyncSender<()>,
    }

    impl Write for SlowDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.asked.try_send(());
            // Without a test any more, everything passes.
            let _ = self.let_through.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_disk_costs_lines_and_never_the_shard() {
        let (pass, let_through) = channel();
        let (written, lines) = channel();
        let (asked, is_asked) = sync_channel(1);
        let disk = SlowDisk { let_through, written, asked };
        let log = AccessLog::writer(disk).format(AccessFormat::Logfmt).ring_bytes(0);
        let (writer, recorders) = start(log, 2).expect("start");
        let record = |shard: usize, number: u32| record(&recorders[shard], &number.to_string());
        assert!(record(0, 0));
        is_asked.recv().expect("the writer is stuck in its first write");
        // This thread is the shard: it would hang here if it waited for the disk.
        let taken: u32 = (1..10_000).map(|number| u32::from(record(0, number))).sum();
        assert!(taken > 10 && taken < 9_000, "{taken} fit into the ring");
        assert!(record(1, 20_000), "another shard's ring has room");
        drop(pass);
        drop(writer);
        let text: Vec<u8> = lines.iter().flatten().collect();
        let text = String::from_utf8(text).expect("ASCII");
        let targets = |shard: u32| {
            let end = format!("shard={shard}");
            let of_shard = text.lines().filter(move |line| line.ends_with(&end));
            of_shard.map(|line| {
                let target = line.split(' ').find_map(|pair| pair.strip_prefix("target="));
                target.expect("a target").parse::<u32>().expect("a number")
            })
        };
        // The first ones fit, each line is whole, and they stand in order.
        assert!(targets(0).eq(0..=taken), "{taken}: {text}");
        assert!(targets(1).eq([20_000]));
    }

    /// The statuses that are written, of exchanges with these statuses and milliseconds.
    fn written(log: fn(AccessLog) -> AccessLog, exchanges: &[(u16, u64)]) -> Vec<u16> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = log(AccessLog::file(file.path()).format(AccessFormat::Common));
        let (writer, recorders) = start(log, 1).expect("start");
        for (status, millis) in exchanges {
            let status = StatusCode::from_u16(*status).expect("a status");
            note(&recorders[0], &Entry::default(), &Outcome { status, ..FINE });
            recorders[0].settle(Moment::from_nanos(millis * 1_000_000));
        }
        drop(writer);
        let text = std::fs::read_to_string(file.path()).expect("text");
        let status = |line: &str| line.split(' ').nth_back(1)?.parse().ok();
        text.lines().map(|line| status(line).expect("a status")).collect()
    }

    #[test]
    fn sampling_never_leaves_out_what_failed_or_was_slow() {
        let fine: Vec<(u16, u64)> = (200..207).map(|status| (status, 0)).collect();
        let third = |log: AccessLog| log.sample_one_in(3);
        assert_eq!(written(third, &fine), [200, 203, 206]);
        let failed = [(200, 0), (500, 0), (201, 5000), (404, 0), (503, 0)];
        assert_eq!(written(third, &failed), [200, 500, 404, 503]);
        let slow = |log: AccessLog| log.sample_one_in(0).slow_after(Duration::from_secs(1));
        assert_eq!(written(slow, &[(200, 999), (201, 1000), (202, 1), (500, 0)]), [201, 500]);
        assert!(written(|log| log.sample_one_in(0), &fine).is_empty());
        assert_eq!(written(|log| log, &fine).len(), fine.len());
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let (writer, recorders) = start(AccessLog::file(&path), 1).expect("start");
        let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let record = |target: &'static str, path: &std::path::Path| {
            assert!(super::tests::record(&recorders[0], target));
            while !text(path).contains(target) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        record("/first", &path);
        std::fs::rename(&path, &old).expect("rename");
        record("/second", &old);
        writer.reopen();
        record("/third", &path);
        assert!(!text(&path).contains("/second") && !text(&old).contains("/third"));
        // A directory that is not there any more: what is open is gone on with.
        std::fs::rename(folder.path(), folder.path().with_extension("moved")).expect("rename");
        writer.reopen();
        record("/fourth", &folder.path().with_extension("moved").join("access.log"));
        std::fs::rename(folder.path().with_extension("moved"), folder.path()).expect("rename");
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let (writer, recorders) = start(AccessLog::writer(full), 1).expect("start");
        for _ in 0..3 {
            assert!(record(&recorders[0], "/"));
        }
        let bell = Arc::clone(&writer.bell);
        drop(writer);
        assert_eq!(bell.lost.load(Ordering::Relaxed), 3);
    }
}
