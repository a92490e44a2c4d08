//! What is known of one exchange, and how it crosses the ring: as bytes, without an allocation.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::recorder::Outcome;

/// The texts of an entry, in the order in which they are kept.
const TEXT_COUNT: usize = 5;

/// Bytes that are kept of each text: what is longer is cut off. A line of the access log stays
/// below 40 KiB even where each of them is escaped to its sixfold.
const TEXT_BYTES_MAX: usize = 1024;

/// Where what is filled in later lies.
const ENDED: usize = 4;
const DURATION: usize = 12;
const BYTES: usize = 20;
const STATUS: usize = 28;

/// Bytes before the texts.
const FIXED_BYTES: usize = 4 + 3 * 8 + 2 * 2 + 2 + 2 * 16 + 2 * 8 + 2 * TEXT_COUNT;

/// The most bytes that an entry takes.
pub(super) const ENTRY_BYTES_MAX: usize = FIXED_BYTES + TEXT_COUNT * TEXT_BYTES_MAX;

/// One finished exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The end of the exchange, in nanoseconds since 1970.
    pub(crate) ended_nanos: u64,
    /// From the head's last byte to the answer's, in nanoseconds.
    pub(crate) duration_nanos: u64,
    /// Bytes of the answer.
    pub(crate) bytes: u64,
    pub(crate) status: u16,
    pub(crate) shard: u16,
    /// The minor version of HTTP/1.
    pub(crate) minor_version: u8,
    /// As far as the proxies in front are trusted; `None` for a Unix socket that says nothing.
    pub(crate) client: Option<IpAddr>,
    /// Zero where it belongs to none.
    pub(crate) trace_id: u128,
    /// Its own span, zero where it has none, and its caller's.
    pub(crate) span_id: u64,
    pub(crate) parent_id: u64,
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    /// The pattern of the route that answered; empty where none did.
    pub(crate) route: &'a [u8],
    pub(crate) referer: &'a [u8],
    pub(crate) user_agent: &'a [u8],
}

impl<'a> Entry<'a> {
    fn texts(&self) -> [&'a [u8]; TEXT_COUNT] {
        [self.method, self.target, self.route, self.referer, self.user_agent]
            .map(|text| &text[..text.len().min(TEXT_BYTES_MAX)])
    }

    /// Puts the entry in the place of whatever is in `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let texts = self.texts();
        let size = FIXED_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        out.clear();
        out.reserve(size);
        out.extend_from_slice(&self.fixed(size, &texts));
        for text in texts {
            out.extend_from_slice(text);
        }
    }

    /// What is before the texts. Laid out on the stack: one piece to append, instead of sixteen.
    fn fixed(&self, size: usize, texts: &[&[u8]; TEXT_COUNT]) -> [u8; FIXED_BYTES] {
        let mut bytes = [0; FIXED_BYTES];
        let rest = &mut &mut bytes[..];
        put(rest, (size as u32).to_le_bytes());
        for number in [self.ended_nanos, self.duration_nanos, self.bytes] {
            put(rest, number.to_le_bytes());
        }
        put(rest, self.status.to_le_bytes());
        put(rest, self.shard.to_le_bytes());
        let (kind, octets) = match self.client {
            None => (0, [0; 16]),
            Some(IpAddr::V4(address)) => (4, address.to_ipv6_mapped().octets()),
            Some(IpAddr::V6(address)) => (6, address.octets()),
        };
        put(rest, [self.minor_version, kind]);
        put(rest, octets);
        put(rest, self.trace_id.to_le_bytes());
        put(rest, self.span_id.to_le_bytes());
        put(rest, self.parent_id.to_le_bytes());
        for text in texts {
            put(rest, (text.len() as u16).to_le_bytes());
        }
        bytes
    }

    /// Takes the first entry of `bytes`; `None` where there is no whole one.
    pub(super) fn read(bytes: &mut &'a [u8]) -> Option<Entry<'a>> {
        let mut rest = *bytes;
        let size = u32::from_le_bytes(take(&mut rest)?) as usize;
        let [ended_nanos, duration_nanos, answer_bytes] =
            [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?].map(u64::from_le_bytes);
        let [status, shard] = [take(&mut rest)?, take(&mut rest)?].map(u16::from_le_bytes);
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
        let entry = Entry {
            ended_nanos,
            duration_nanos,
            bytes: answer_bytes,
            status,
            shard,
            minor_version,
            client,
            trace_id,
            span_id,
            parent_id,
            method: text(0)?,
            target: text(1)?,
            route: text(2)?,
            referer: text(3)?,
            user_agent: text(4)?,
        };
        *bytes = bytes.get(size..)?;
        Some(entry)
    }
}

/// Fills in what the answer tells; the duration is for the turn's end to say.
pub(super) fn set_answer(entry: &mut [u8], outcome: &Outcome) {
    set_end(entry, outcome.ended_nanos);
    entry[BYTES..BYTES + 8].copy_from_slice(&outcome.bytes.to_le_bytes());
    entry[STATUS..STATUS + 2].copy_from_slice(&outcome.status.as_u16().to_le_bytes());
}

pub(super) fn set_end(entry: &mut [u8], ended_nanos: u64) {
    entry[ENDED..ENDED + 8].copy_from_slice(&ended_nanos.to_le_bytes());
}

pub(super) fn set_duration(entry: &mut [u8], duration: Duration) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    entry[DURATION..DURATION + 8].copy_from_slice(&nanos.to_le_bytes());
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
pub(crate) mod tests {
    use super::*;

    /// One entry with a value in each field.
    pub(crate) fn sample() -> Entry<'static> {
        Entry {
            ended_nanos: 784_111_777_123_456_789,
            duration_nanos: 1_234_567,
            bytes: 512,
            status: 200,
            shard: 1,
            minor_version: 1,
            client: Some(IpAddr::from([192, 0, 2, 7])),
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span_id: 0xb7ad_6b71_6920_3331,
            parent_id: 7,
            method: b"GET",
            target: b"/items/7?full",
            route: b"/items/{id}",
            referer: b"http://example.org/",
            user_agent: b"curl/8",
        }
    }

    #[test]
    fn entries_come_out_as_they_went_in() {
        let v6 = Entry { client: Some("2001:db8::1".parse().expect("an address")), ..sample() };
        let long = [b'a'; TEXT_BYTES_MAX + 1];
        let cut = Entry { target: &long[1..], ..sample() };
        let given = [sample(), v6.clone(), Entry::default(), Entry { target: &long, ..sample() }];
        let (mut all, mut one) = (Vec::new(), Vec::new());
        for entry in &given {
            entry.write(&mut one);
            assert!(one.len() <= ENTRY_BYTES_MAX);
            all.extend_from_slice(&one);
        }
        let mut bytes = &all[..];
        for expected in [sample(), v6, Entry::default(), cut] {
            assert_eq!(Entry::read(&mut bytes), Some(expected));
        }
        assert_eq!((bytes, Entry::read(&mut bytes)), (&b""[..], None));
    }

    #[test]
    fn the_answer_is_filled_in() {
        let asked = Entry { ended_nanos: 0, duration_nanos: 0, bytes: 0, status: 0, ..sample() };
        let mut bytes = Vec::new();
        asked.write(&mut bytes);
        let Entry { ended_nanos, status, bytes: size, .. } = sample();
        let status = http::StatusCode::from_u16(status).expect("a status");
        let outcome = Outcome { ended_nanos, began: Default::default(), status, bytes: size };
        set_answer(&mut bytes, &outcome);
        set_duration(&mut bytes, Duration::from_nanos(sample().duration_nanos));
        assert_eq!(Entry::read(&mut &bytes[..]), Some(sample()));
    }

    #[test]
    fn half_an_entry_is_none() {
        let mut bytes = Vec::new();
        sample().write(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Entry::read(&mut &bytes[..end]), None, "{end}");
        }
    }
}
