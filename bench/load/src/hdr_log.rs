//! `--hdr`: one histogram a second in HdrHistogram's interval log format, version 1.3.
//!
//! Lines tagged `corrected` count from the moment the requests were due, lines tagged
//! `uncorrected` from the moment they were sent. Values are nanoseconds; the column with the
//! interval's maximum is in milliseconds, as the format's other tools have it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use crate::timekeeper::Interval;

/// Nanoseconds in the unit of the maximum's column.
const MAX_DIVISOR: f64 = 1e6;

/// The file while it is written. An error is kept until the end: it must not end the run.
pub(crate) struct HdrFile {
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
}

impl HdrFile {
    pub(crate) fn create(path: &Path) -> io::Result<HdrFile> {
        Ok(HdrFile {
            file: BufWriter::new(File::create(path)?),
            serializer: V2DeflateSerializer::new(),
        })
    }

    /// Writes the head; the log is finished by [`finish`](HdrFile::finish).
    pub(crate) fn begin(&mut self) -> io::Result<HdrLog<'_>> {
        let now = SystemTime::now();
        let writer = IntervalLogWriterBuilder::new()
            .add_comment("Logged by corelane-bench; values in nanoseconds")
            .with_start_time(now)
            .with_base_time(now)
            .with_max_value_divisor(MAX_DIVISOR)
            .begin_log_with(&mut self.file, &mut self.serializer)?;
        Ok(HdrLog { writer, outcome: Ok(()) })
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }
}

type Writer<'a> = IntervalLogWriter<'a, 'a, BufWriter<File>, V2DeflateSerializer>;

/// A log that has begun.
pub(crate) struct HdrLog<'a> {
    writer: Writer<'a>,
    outcome: io::Result<()>,
}

impl HdrLog<'_> {
    pub(crate) fn write(&mut self, interval: &Interval) {
        if self.outcome.is_ok() && interval.is_measured {
            self.outcome = self.try_write(interval);
        }
    }

    /// Whether everything was written.
    pub(crate) fn outcome(self) -> io::Result<()> {
        self.outcome
    }

    fn try_write(&mut self, interval: &Interval) -> io::Result<()> {
        let tally = &interval.tally;
        for (name, histogram) in
            [("corrected", &tally.corrected), ("uncorrected", &tally.uncorrected)]
        {
            let (offset, length) = (interval.offset, interval.length);
            // Closed loops have no uncorrected latencies.
            if name == "uncorrected" && histogram.is_empty() {
                continue;
            }
            self.writer.write_histogram(histogram, offset, length, Tag::new(name)).map_err(
                |error| match error {
                    IntervalLogWriterError::IoError(error) => error,
                    IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
                },
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tally;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::time::Duration;

    #[test]
    fn what_is_written_can_be_read_again() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log.hdr");
        let mut file = HdrFile::create(&path).expect("create");
        let mut log = file.begin().expect("begin");
        for (index, is_measured) in [(0, false), (1, true), (2, true)] {
            let mut tally = Tally::new();
            tally.record_corrected(Duration::from_millis(5));
            if index == 2 {
                tally.record_uncorrected(Duration::from_millis(1));
            }
            log.write(&Interval {
                index,
                offset: Duration::from_secs(index.into()),
                length: Duration::from_secs(1),
                is_measured,
                is_last: false,
                tally,
            });
        }
        log.outcome().expect("written");
        file.finish().expect("flushed");
        let bytes = std::fs::read(&path).expect("read");
        let entries = IntervalLogIterator::new(&bytes);
        let mut seen = Vec::new();
        for entry in entries {
            if let LogEntry::Interval(entry) = entry.expect("entry") {
                let tag = entry.tag().expect("tag").as_str().to_owned();
                let bytes = decode(entry.encoded_histogram());
                let histogram: Histogram<u64> =
                    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("histogram");
                seen.push((entry.start_timestamp().as_secs(), tag, histogram.len()));
            }
        }
        let expected = [(1, "corrected", 1), (2, "corrected", 1), (2, "uncorrected", 1)];
        assert!(seen.iter().map(|(at, tag, len)| (*at, tag.as_str(), *len)).eq(expected));
    }

    /// Base64, which the log wraps its histograms in.
    fn decode(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a' + 26),
            b'0'..=b'9' => u32::from(byte - b'0' + 52),
            b'+' => 62,
            _ => 63,
        };
        let mut bytes = Vec::new();
        let (mut bits, mut bit_count) = (0u32, 0);
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            bits = bits << 6 | value(byte);
            bit_count += 6;
            if bit_count >= 8 {
                bit_count -= 8;
                bytes.push((bits >> bit_count) as u8);
            }
        }
        bytes
    }
}
