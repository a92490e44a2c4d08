//! How an exchange crosses the ring: as bytes, without an allocation.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use http::StatusCode;

use crate::records::{Entry, TEXT_BYTES_MAX, kept};

/// The texts of an exchange, in the order in which they are packed.
const TEXT_COUNT: usize = 4;

/// Where what is filled in later lies.
const ENDED: usize = 4;
const DURATION: usize = 12;
const STATUS: usize = 20;

/// Bytes before the texts.
const FIXED_BYTES: usize = 4 + 2 * 8 + 2 + 2 + 2 * 16 + 2 * 8 + 2 * TEXT_COUNT;

/// The most bytes that an exchange takes.
pub(super) const PACKED_BYTES_MAX: usize = FIXED_BYTES + TEXT_COUNT * TEXT_BYTES_MAX;

/// One finished exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended<'a> {
    /// In nanoseconds since 1970.
    pub(super) ended_nanos: u64,
    /// From the head's last byte to the answer's, in nanoseconds.
    pub(super) duration_nanos: u64,
    pub(super) status: u16,
    /// Without its `Referer`, which spans do not have.
    pub(super) asked: Entry<'a>,
}

/// Puts the request in the place of whatever is in `out`; its answer is zeros.
pub(super) fn pack(asked: &Entry<'_>, out: &mut Vec<u8>) {
    let texts = [asked.method, asked.target, asked.route, asked.user_agent].map(kept);
    let size = FIXED_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
    out.clear();
    out.reserve(size);
    out.extend_from_slice(&fixed(asked, size, &texts));
    for text in texts {
        out.extend_from_slice(text);
    }
}

/// What is before the texts. Laid out on the stack: one piece to append, instead of a dozen.
fn fixed(asked: &Entry<'_>, size: usize, texts: &[&[u8]; TEXT_COUNT]) -> [u8; FIXED_BYTES] {
    let mut bytes = [0; FIXED_BYTES];
    let rest = &mut &mut bytes[..];
    put(rest, (size as u32).to_le_bytes());
    put(rest, [0; 18]);
    let (kind, octets) = match asked.client {
        None => (0, [0; 16]),
        Some(IpAddr::V4(address)) => (4, address.to_ipv6_mapped().octets()),
        Some(IpAddr::V6(address)) => (6, address.octets()),
    };
    put(rest, [asked.minor_version, kind]);
    put(rest, octets);
    put(rest, asked.trace_id.to_le_bytes());
    put(rest, asked.span_id.to_le_bytes());
    put(rest, asked.parent_id.to_le_bytes());
    for text in texts {
        put(rest, (text.len() as u16).to_le_bytes());
    }
    bytes
}

impl<'a> Ended<'a> {
    /// Takes the first exchange of `bytes`; `None` where there is no whole one.
    pub(super) fn read(bytes: &mut &'a [u8]) -> Option<Ended<'a>> {
        let mut rest = *bytes;
        let size = u32::from_le_bytes(take(&mut rest)?) as usize;
        let [ended_nanos, duration_nanos] =
            [take(&mut rest)?, take(&mut rest)?].map(u64::from_le_bytes);
        let status = u16::from_le_bytes(take(&mut rest)?);
        let [minor_version, kind] = take(&mut rest)?;
        let address = Ipv6Addr::from(take::<16>(&mut rest)?);
        let client = match kind {
            4 => address.to_ipv4_mapped().map(IpAddr::V4),
            6 => Some(IpAddr::V6(address)),
            _ => None,
        };
        let trace_id = u128::from_le_bytes(take(&mut rest)?);
        let [span_id, parent_id] = [take(&mut rest)?, take(&mut rest)?].map(u64::from_le_bytes);
        let mut sizes = [0; TEXT_COUNT];
        for size in &mut sizes {
            *size = usize::from(u16::from_le_bytes(take(&mut rest)?));
        }
        let mut text = |index: usize| {
            let (text, behind) = rest.split_at_checked(sizes[index])?;
            rest = behind;
            Some(text)
        };
        let asked = Entry {
            minor_version,
            client,
            trace_id,
            span_id,
            parent_id,
            method: text(0)?,
            target: text(1)?,
            route: text(2)?,
            // Not kept: a span has the name.
            route_number: 0,
            referer: b"",
            user_agent: text(3)?,
        };
        *bytes = bytes.get(size..)?;
        Some(Ended { ended_nanos, duration_nanos, status, asked })
    }
}

/// Fills in what the answer tells; when it ended is for the turn's end to say.
pub(super) fn set_answer(packed: &mut [u8], status: StatusCode) {
    packed[STATUS..STATUS + 2].copy_from_slice(&status.as_u16().to_le_bytes());
}

pub(super) fn set_times(packed: &mut [u8], ended_nanos: u64, duration: Duration) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    packed[ENDED..ENDED + 8].copy_from_slice(&ended_nanos.to_le_bytes());
    packed[DURATION..DURATION + 8].copy_from_slice(&nanos.to_le_bytes());
}

fn put<const SIZE: usize>(rest: &mut &mut [u8], bytes: [u8; SIZE]) {
    let place = std::mem::take(rest).split_first_chunk_mut();
    let (place, behind) = place.expect("FIXED_BYTES is the sum of all that is put");
    *place = bytes;
    *rest = behind;
}

fn take<const SIZE: usize>(bytes: &mut &[u8]) -> Option<[u8; SIZE]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::records::sample as asked;

    /// One exchange with a value in each field that spans have.
    pub(in crate::otel) fn sample() -> Ended<'static> {
        Ended {
            ended_nanos: 784_111_777_123_456_789,
            duration_nanos: 1_234_567,
            status: 200,
            asked: Entry { route_number: 0, referer: b"", ..asked() },
        }
    }

    fn packed(ended: &Ended<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(&ended.asked, &mut bytes);
        if let Ok(status) = StatusCode::from_u16(ended.status) {
            set_answer(&mut bytes, status);
        }
        set_times(&mut bytes, ended.ended_nanos, Duration::from_nanos(ended.duration_nanos));
        bytes
    }

    #[test]
    fn exchanges_come_out_as_they_went_in() {
        let with = |asked| Ended { asked, ..sample() };
        let client = Some("2001:db8::1".parse().expect("an address"));
        let v6 = with(Entry { client, ..sample().asked });
        let long = [b'a'; TEXT_BYTES_MAX + 1];
        let cut = with(Entry { target: &long[1..], ..sample().asked });
        let longest = with(Entry { target: &long, ..sample().asked });
        let mut all = Vec::new();
        for ended in [&sample(), &v6, &Ended::default(), &longest] {
            let one = packed(ended);
            assert!(one.len() <= PACKED_BYTES_MAX);
            all.extend_from_slice(&one);
        }
        let mut bytes = &all[..];
        for expected in [sample(), v6, Ended::default(), cut] {
            assert_eq!(Ended::read(&mut bytes), Some(expected));
        }
        assert_eq!((bytes, Ended::read(&mut bytes)), (&b""[..], None));
    }

    #[test]
    fn half_of_one_is_none() {
        let bytes = packed(&sample());
        for end in 0..bytes.len() {
            assert_eq!(Ended::read(&mut &bytes[..end]), None, "{end}");
        }
    }
}
