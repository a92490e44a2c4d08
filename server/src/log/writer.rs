//! The thread of the access log: it writes the lines of what the shards have recorded.

use std::io;
use std::sync::Arc;

use corelane_runtime::{CheckedConfig, ConfigError, Counter, RuntimeError};

use super::access::{AccessLog, Settings};
use super::format::AccessFormat;
use super::lines::Lines;
use super::sink::Sink;
use super::stamp::Stamp;
use crate::error::Result;
use crate::records::{Clerk, Desk, Metric, TURN_OF_ONE_BYTES_MAX, exchanges};

/// Bytes of lines that are written at once: many beside what a call costs, and few enough for the
/// cache of a CPU.
const WRITE_BYTES: usize = 64 << 10;

/// The running writer. Dropping it writes what is left, and ends it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) desk: Desk,
    /// Lines that the file did not take.
    pub(super) lost: Arc<Counter>,
}

/// Opens the log, where there is to be one, and starts its writer; with the end of each shard.
///
/// # Errors
/// The file can not be opened, or no thread can be started.
pub(crate) fn start(
    log: Option<AccessLog>,
    config: &CheckedConfig,
) -> Result<Option<(Writer, Vec<Lines>)>> {
    let Some(log) = log else { return Ok(None) };
    let name = log.target.to_string();
    let sink = Sink::open(log.target)
        .map_err(|error| ConfigError::new("access_log", format!("{name}: {error}")))?;
    Ok(Some(write_to(sink, log.settings, config).map_err(RuntimeError::Thread)?))
}

fn write_to(
    sink: Sink,
    settings: Settings,
    config: &CheckedConfig,
) -> io::Result<(Writer, Vec<Lines>)> {
    let lost = Arc::new(Counter::default());
    let scribe = Scribe {
        sink,
        format: settings.format,
        stamp: Stamp::new(0),
        text: Vec::new(),
        lost: Arc::clone(&lost),
    };
    let ring_bytes = settings.ring_bytes.max(2 * TURN_OF_ONE_BYTES_MAX);
    let (desk, outlets) = Desk::start("access-log", config, ring_bytes, scribe)?;
    let lines = outlets.into_iter().map(|outlet| Lines::new(settings, outlet));
    Ok((Writer { desk, lost }, lines.collect()))
}

impl Writer {
    pub(crate) fn metric(&self) -> Metric {
        let help = "Lines of the access log that its file did not take.";
        ("corelane_access_log_lost_total", help, Arc::clone(&self.lost))
    }
}

/// What writes the lines.
struct Scribe {
    sink: Sink,
    format: AccessFormat,
    stamp: Stamp,
    /// Lines that are not written yet.
    text: Vec<u8>,
    lost: Arc<Counter>,
}

impl Clerk for Scribe {
    fn take(&mut self, shard: usize, turn: &[u8]) {
        for ended in exchanges(turn) {
            self.stamp.set(ended.ended_nanos / 1_000_000_000);
            self.format.write(&mut self.text, &ended, shard, &self.stamp);
            if self.text.len() >= WRITE_BYTES {
                self.settle();
            }
        }
    }

    fn settle(&mut self) {
        if !self.text.is_empty() {
            self.lost.add(self.sink.write(&self.text) as u64);
            self.text.clear();
        }
    }

    fn reopen(&mut self) {
        self.sink.reopen();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
    use std::time::Duration;

    use corelane_runtime::{Config, Cores, Moment, Topology};
    use http::StatusCode;

    use super::*;
    use crate::log::AccessFormat;
    use crate::records::{Dropped, Entry, Outcome, Recorder};

    fn start(log: AccessLog) -> (Writer, Recorder) {
        let cpu = Topology::detect().cpus()[0];
        let config = Config { cores: Cores::List(vec![cpu]), ..Config::default() };
        let config = config.checked(&Topology::detect()).expect("a configuration");
        let sink = Sink::open(log.target).expect("open");
        let (writer, lines) = write_to(sink, log.settings, &config).expect("start");
        (writer, Recorder::new(lines.into_iter().next(), None))
    }

    const FINE: Outcome = Outcome {
        ended_seconds: 0,
        began: Moment::from_nanos(0),
        bytes: 0,
        status: StatusCode::OK,
    };

    /// What the shard does with an exchange whose answer is ready at once.
    fn note(recorder: &Recorder, asked: &Entry<'_>, outcome: &Outcome) {
        if let Some(chosen) = recorder.choose(Some(outcome.status), false) {
            recorder.put(chosen, asked, outcome);
        }
    }

    /// What it does with one whose answer comes later.
    fn note_late(recorder: &Recorder, asked: &Entry<'_>, outcome: &Outcome) {
        if let Some(chosen) = recorder.choose(None, false) {
            recorder.finish(recorder.draft(chosen, asked), outcome);
        }
    }

    /// An exchange and its turn; whether the ring took it.
    fn record(recorder: &Recorder, target: &str) -> bool {
        let asked = Entry { method: b"GET", target: target.as_bytes(), ..Entry::default() };
        note(recorder, &asked, &FINE);
        recorder.settle(Moment::from_nanos(0)) == Dropped::default()
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
        let (writer, recorder) = start(log);
        // Dropped before the writer, which a failed assertion would wait for otherwise.
        let pass = pass;
        assert!(record(&recorder, "0"));
        is_asked.recv().expect("the writer is stuck in its first write");
        // This thread is the shard: it would hang here if it waited for the disk.
        let taken = (1..10_000_u32).filter(|number| record(&recorder, &number.to_string()));
        let taken = taken.count() as u32;
        assert!(taken > 10 && taken < 9_000, "{taken} fit into the ring");
        drop(pass);
        drop(writer);
        let text: Vec<u8> = lines.iter().flatten().collect();
        let text = String::from_utf8(text).expect("ASCII");
        let targets = text.lines().map(|line| {
            let target = line.split(' ').find_map(|pair| pair.strip_prefix("target="));
            target.expect("a target").parse::<u32>().expect("a number")
        });
        // The first ones fit, each line is whole, and they stand in order.
        assert!(targets.eq(0..=taken), "{taken}: {text}");
    }

    #[test]
    fn lines_are_whole_where_the_ring_begins_anew() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = AccessLog::file(file.path()).format(AccessFormat::Json).ring_bytes(0);
        let (writer, recorder) = start(log);
        // Many times what the ring holds: lines of each length lie across its end.
        for number in 0..5_000 {
            while !record(&recorder, &number.to_string()) {
                std::thread::yield_now();
            }
        }
        drop(writer);
        let text = std::fs::read_to_string(file.path()).expect("text");
        assert!(text.len() > 10 * TURN_OF_ONE_BYTES_MAX, "{}", text.len());
        let numbers = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["target"].as_str().and_then(|target| target.parse().ok())
        });
        assert!(numbers.eq((0..5_000).map(Some)));
    }

    #[test]
    fn each_line_of_a_turn_has_its_own_route_duration_and_time() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let (writer, recorder) = start(AccessLog::file(file.path()).format(AccessFormat::Json));
        // Route, and when it began. Refused requests have none.
        let exchanges = [("/a", 5), ("/b", 5), ("/a", 7), ("", 7), ("/a", 5), ("/b", 9)];
        let ends = [10, 11, 2_000, 100, 12, 13, 1_000_000];
        for end in ends {
            for (route, began) in exchanges {
                let asked = Entry { route: route.as_bytes(), ..Entry::default() };
                let began = Moment::from_nanos(began * 1000);
                note(&recorder, &asked, &Outcome { began, ended_seconds: end, ..FINE });
            }
            recorder.settle(Moment::from_nanos(end * 1000));
        }
        drop(writer);
        let text = std::fs::read_to_string(file.path()).expect("text");
        assert!(!text.contains(' '), "{text}");
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("route"), text("time"), line["duration_us"].as_u64())
        });
        let expected = ends.iter().flat_map(|end| {
            let time = String::from_utf8_lossy(&Stamp::new(*end).rfc3339).into_owned();
            exchanges.map(|(route, began)| (route.to_owned(), time.clone(), Some(end - began)))
        });
        assert!(lines.eq(expected), "{text}");
    }

    #[test]
    fn a_turn_that_the_ring_has_no_room_for_leaves_its_first_lines() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = AccessLog::file(file.path()).format(AccessFormat::Logfmt).ring_bytes(0);
        let (writer, recorder) = start(log);
        let targets: Vec<_> = (0..5_000).map(|number| number.to_string()).collect();
        for target in &targets {
            let asked = Entry { method: b"GET", target: target.as_bytes(), ..Entry::default() };
            note(&recorder, &asked, &FINE);
        }
        let dropped = recorder.settle(Moment::from_nanos(0)).lines as usize;
        drop(writer);
        let text = std::fs::read_to_string(file.path()).expect("text");
        let written: Vec<_> = text.lines().collect();
        assert!(text.len() > TURN_OF_ONE_BYTES_MAX, "{} bytes", text.len());
        assert_eq!(written.len() + dropped, targets.len());
        for (line, target) in written.iter().zip(&targets) {
            assert!(line.contains(&format!(" target={target} ")), "{line}");
        }
    }

    type Note = fn(&Recorder, &Entry<'_>, &Outcome);

    /// The statuses that are written, of exchanges with these statuses and milliseconds: the same
    /// whether the answers are ready at once or not, with a duration in the line and without.
    fn written(log: fn(AccessLog) -> AccessLog, exchanges: &[(u16, u64)]) -> Vec<u16> {
        let status_of = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
            Ok(line) => line["status"].as_u64().and_then(|status| status.try_into().ok()),
            Err(_) => line.split(' ').nth_back(1).and_then(|status| status.parse().ok()),
        };
        let (common, json) = (AccessFormat::Common, AccessFormat::Json);
        let ways = [(note as Note, common), (note_late, common), (note, json), (note_late, json)];
        let [first, others @ ..] = ways.map(|(note, format)| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let log = log(AccessLog::file(file.path()).format(format));
            let (writer, recorder) = start(log);
            for (status, millis) in exchanges {
                let status = StatusCode::from_u16(*status).expect("a status");
                note(&recorder, &Entry::default(), &Outcome { status, ..FINE });
                recorder.settle(Moment::from_nanos(millis * 1_000_000));
            }
            drop(writer);
            let text = std::fs::read_to_string(file.path()).expect("text");
            text.lines().map(|line| status_of(line).expect("a status")).collect::<Vec<_>>()
        });
        for other in others {
            assert_eq!(other, first);
        }
        first
    }

    #[test]
    fn sampling_never_leaves_out_what_failed_or_was_slow() {
        let fine: Vec<(u16, u64)> = (200..207).map(|status| (status, 0)).collect();
        let third = |log: AccessLog| log.sample_one_in(3);
        assert_eq!(written(third, &fine), [200, 203, 206]);
        let failed = [(200, 0), (500, 0), (201, 5000), (404, 0), (503, 0)];
        assert_eq!(written(third, &failed), [200, 500, 404, 503]);
        let slow = |log: AccessLog| log.sample_one_in(0).slow_after(Duration::from_secs(1));
        let some = [(200, 999), (201, 1000), (202, 1), (500, 0), (203, 0), (501, 0)];
        assert_eq!(written(slow, &some), [201, 500, 501]);
        assert!(written(|log| log.sample_one_in(0), &fine).is_empty());
        assert_eq!(written(|log| log, &fine).len(), fine.len());
    }

    #[test]
    fn of_a_turn_only_what_failed_or_was_slow_is_written() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = AccessLog::file(file.path()).format(AccessFormat::Json);
        let (writer, recorder) = start(log.sample_one_in(0).slow_after(Duration::from_millis(1)));
        // Statuses, and when each began, in microseconds.
        let turns: [&[(u16, u64)]; 4] = [
            &[(200, 0), (500, 999), (201, 1), (502, 1), (202, 0), (203, 999)],
            &[(204, 5)],
            &[(503, 5), (205, 5)],
            &[(206, 5), (504, 5)],
        ];
        for turn in turns {
            for (status, began) in turn {
                let status = StatusCode::from_u16(*status).expect("a status");
                let began = Moment::from_nanos(began * 1000);
                note(&recorder, &Entry::default(), &Outcome { status, began, ..FINE });
            }
            assert_eq!(recorder.settle(Moment::from_nanos(1_000_000)), Dropped::default());
        }
        drop(writer);
        let text = std::fs::read_to_string(file.path()).expect("text");
        let statuses = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["status"].as_u64()
        });
        assert!(statuses.eq([200, 500, 502, 202, 503, 504].map(Some)), "{text}");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let (writer, recorder) = start(AccessLog::file(&path));
        let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let record = |target: &'static str, path: &std::path::Path| {
            assert!(super::tests::record(&recorder, target));
            while !text(path).contains(target) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        record("/first", &path);
        std::fs::rename(&path, &old).expect("rename");
        record("/second", &old);
        writer.desk.reopen();
        record("/third", &path);
        assert!(!text(&path).contains("/second") && !text(&old).contains("/third"));
        // A directory that is not there any more: what is open is gone on with.
        std::fs::rename(folder.path(), folder.path().with_extension("moved")).expect("rename");
        writer.desk.reopen();
        record("/fourth", &folder.path().with_extension("moved").join("access.log"));
        std::fs::rename(folder.path().with_extension("moved"), folder.path()).expect("rename");
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let (writer, recorder) = start(AccessLog::writer(full));
        for _ in 0..3 {
            assert!(record(&recorder, "/"));
        }
        let lost = Arc::clone(&writer.lost);
        drop(writer);
        assert_eq!(lost.value(), 3);
    }
}
