//! How every response begins, written once a second: `Server` and `Date`, behind a status line.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use corelane_runtime::Shard;
use http::StatusCode;

use crate::http1::encode;

/// Ready lines for the head of a response: the status line of most, and the common fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a>(&'a [u8]);

impl<'a> Start<'a> {
    /// The common fields alone.
    pub(crate) fn fields(self) -> &'a [u8] {
        &self.0[encode::STATUS_OK.len()..]
    }

    /// Appends the status line and the common fields: of most responses in one piece.
    #[inline]
    pub(crate) fn write(self, out: &mut Vec<u8>, status: StatusCode) {
        if status == StatusCode::OK {
            out.extend_from_slice(self.0);
        } else {
            encode::status_line(out, status);
            out.extend_from_slice(self.fields());
        }
    }
}

/// Ready lines for the head of every response of a shard.
#[derive(Debug)]
pub(crate) struct CommonFields {
    /// The second that the lines are for; the lines are not written yet before the first.
    wall_seconds: Option<u64>,
    lines: Vec<u8>,
    /// Where the date's 29 characters start in `lines`.
    date_start: usize,
}

impl CommonFields {
    pub(crate) fn new(server_name: Option<&str>) -> CommonFields {
        let mut lines = encode::STATUS_OK.to_vec();
        if let Some(name) = server_name {
            lines.extend_from_slice(b"server: ");
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        lines.extend_from_slice(b"date: ");
        CommonFields { wall_seconds: None, date_start: lines.len(), lines }
    }

    /// The lines as of this turn's second.
    #[inline]
    pub(crate) fn start_now(&mut self, shard: &Shard) -> Start<'_> {
        if self.wall_seconds != Some(shard.wall_seconds()) {
            self.write(shard.wall_seconds());
        }
        self.start()
    }

    /// The lines as they were written last.
    #[inline]
    pub(crate) fn start(&self) -> Start<'_> {
        Start(&self.lines)
    }

    // RFC 9110 section 6.6.1: an origin server with a clock must send Date, as an IMF-fixdate.
    #[cold]
    pub(crate) fn write(&mut self, wall_seconds: u64) {
        self.wall_seconds = Some(wall_seconds);
        self.lines.truncate(self.date_start);
        // The year 9999 is the last one that the format can write.
        let time = UNIX_EPOCH + Duration::from_secs(wall_seconds.min(253_402_300_799));
        // A Vec takes everything that is written to it.
        let _ = write!(self.lines, "{}\r\n", httpdate::HttpDate::from(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_change_with_the_second() {
        let mut fields = CommonFields::new(Some("corelane"));
        fields.write(784_111_777);
        assert_eq!(
            String::from_utf8_lossy(fields.start().fields()),
            "server: corelane\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        );
        fields.write(784_111_778);
        assert!(fields.start().fields().ends_with(b"08:49:38 GMT\r\n"));
        let mut fields = CommonFields::new(None);
        fields.write(u64::MAX);
        assert_eq!(fields.start().fields(), b"date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    }

    #[test]
    fn every_status_has_its_own_line() {
        let mut fields = CommonFields::new(None);
        fields.write(784_111_777);
        for (status, line) in [(200, "200 OK"), (204, "204 No Content"), (299, "299 ")] {
            let mut out = Vec::new();
            let status = StatusCode::from_u16(status).unwrap();
            fields.start().write(&mut out, status);
            let expected = format!("HTTP/1.1 {line}\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
