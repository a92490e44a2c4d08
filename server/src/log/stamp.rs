//! The time of a line in the two ways in which logs write it, made once a second.

use std::time::{Duration, UNIX_EPOCH};

/// The last second that an IMF-fixdate can write.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Bytes of a time, in each of the two ways.
pub(super) const COMMON_BYTES: usize = 26;
pub(super) const RFC3339_BYTES: usize = 20;

/// A second as text.
#[derive(Debug)]
pub(super) struct Stamp {
    wall_seconds: u64,
    /// As in the Common Log Format: `06/Nov/1994:08:49:37 +0000`.
    pub(super) common: [u8; COMMON_BYTES],
    /// RFC 3339: `1994-11-06T08:49:37Z`.
    pub(super) rfc3339: [u8; RFC3339_BYTES],
}

impl Stamp {
    pub(super) fn new(wall_seconds: u64) -> Stamp {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let time = UNIX_EPOCH + Duration::from_secs(wall_seconds.min(SECONDS_MAX));
        // RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, each part at its place.
        let date = httpdate::HttpDate::from(time).to_string();
        let (day, month, year, clock) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
        let number = MONTHS.find(month).map_or(1, |at| at / 3 + 1);
        Stamp {
            wall_seconds,
            common: text(format!("{day}/{month}/{year}:{clock} +0000")),
            rfc3339: text(format!("{year}-{number:02}-{day}T{clock}Z")),
        }
    }

    /// Moves on to another second.
    pub(super) fn set(&mut self, wall_seconds: u64) {
        if self.wall_seconds != wall_seconds {
            *self = Stamp::new(wall_seconds);
        }
    }
}

fn text<const SIZE: usize>(text: String) -> [u8; SIZE] {
    text.into_bytes().try_into().expect("years have four digits up to SECONDS_MAX")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing() {
        let mut stamp = Stamp::new(0);
        for (seconds, common, rfc3339) in [
            (784_111_777, "06/Nov/1994:08:49:37 +0000", "1994-11-06T08:49:37Z"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00Z"),
            (u64::MAX, "31/Dec/9999:23:59:59 +0000", "9999-12-31T23:59:59Z"),
        ] {
            stamp.set(seconds);
            assert_eq!(&stamp.common[..], common.as_bytes());
            assert_eq!(&stamp.rfc3339[..], rfc3339.as_bytes());
        }
    }
}
