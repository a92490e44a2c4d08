//! How exchanges cross a ring: as bytes, without an allocation.
//!
//! ```text
//!   turn:      size, when it ended by both clocks │ exchange │ exchange │ ...
//!   exchange:  size, numbers, client, trace, sizes of the texts │ texts
//! ```

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use corelane_runtime::Moment;

use super::entry::{Entry, TEXT_BYTES_MAX, kept};
use super::recorder::Outcome;

/// The texts of an exchange, in the order in which they are packed.
const TEXT_COUNT: usize = 5;

/// Where what is filled in later lies.
const STATUS: usize = 4;
const BEGAN: usize = 6;
const BYTES: usize = 14;
const IS_DUE: usize = 22;

/// Bytes before the texts.
const FIXED_BYTES: usize = 4 + 2 + 8 + 8 + 1 + 2 + 2 * 16 + 2 * 8 + 2 * TEXT_COUNT;

/// The most bytes that an exchange takes.
const PACKED_BYTES_MAX: usize = FIXED_BYTES + TEXT_COUNT * TEXT_BYTES_MAX;

/// What stands before the exchanges of a turn.
pub(super) const TURN_BYTES: usize = 4 + 8 + 8;

/// The most bytes that a turn of one exchange takes.
pub(crate) const TURN_OF_ONE_BYTES_MAX: usize = TURN_BYTES + PACKED_BYTES_MAX;

/// One finished exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended<'a> {
    /// In nanoseconds since 1970.
    pub(crate) ended_nanos: u64,
    /// From the head's last byte to the answer's.
    pub(crate) duration: Duration,
    pub(crate) status: u16,
    /// Bytes of the answer.
    pub(crate) bytes: u64,
    pub(crate) asked: Entry<'a>,
}

/// Appends a request; its answer is zeros.
pub(super) fn pack(asked: &Entry<'_>, out: &mut Vec<u8>) {
    let texts =
        [asked.method, asked.target, asked.route, asked.referer, asked.user_agent].map(kept);
    let size = FIXED_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
    out.reserve(size);
    out.extend_from_slice(&fixed(asked, size, &texts));
    for text in &texts {
        if !text.is_empty() {
            out.extend_from_slice(text);
        }
    }
}

/// What is before the texts. Laid out on the stack: one piece to append, instead of a dozen.
fn fixed(asked: &Entry<'_>, size: usize, texts: &[&[u8]; TEXT_COUNT]) -> [u8; FIXED_BYTES] {
    let mut bytes = [0; FIXED_BYTES];
    let rest = &mut &mut bytes[..];
    put(rest, (size as u32).to_le_bytes());
    put(rest, [0; 2 + 8 + 8 + 1]);
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

/// Fills in what the answer tells, and whether the exchange is recorded however fast it was.
/// `packed` starts with it.
pub(super) fn set_answer(packed: &mut [u8], outcome: &Outcome, is_due: bool) {
    let Some(fixed) = packed.first_chunk_mut::<FIXED_BYTES>() else { return };
    fixed[STATUS..][..2].copy_from_slice(&outcome.status.as_u16().to_le_bytes());
    fixed[BEGAN..][..8].copy_from_slice(&outcome.began.as_nanos().to_le_bytes());
    fixed[BYTES..][..8].copy_from_slice(&outcome.bytes.to_le_bytes());
    fixed[IS_DUE] = u8::from(is_due);
}

/// Fills in what stands before the exchanges of a turn: when it has ended, also by the clock on the
/// wall. `turn` has room for it.
pub(super) fn seal(turn: &mut [u8], end: Moment, wall_nanos: u64) {
    let size = turn.len() as u32;
    let rest = &mut &mut turn[..TURN_BYTES];
    put(rest, size.to_le_bytes());
    put(rest, end.as_nanos().to_le_bytes());
    put(rest, wall_nanos.to_le_bytes());
}

/// Gives every turn of a ring that lies in two pieces to `each`: the second goes on where the first
/// one ends. One that lies across is put together in `scratch`.
pub(super) fn turns(pieces: [&[u8]; 2], scratch: &mut Vec<u8>, mut each: impl FnMut(&[u8])) {
    let [first, second] = pieces;
    let torn = each_whole(first, &mut each);
    let size = torn.len();
    scratch.clear();
    scratch.extend_from_slice(torn);
    // Its size may lie across as well.
    scratch.extend_from_slice(&second[..second.len().min(4)]);
    let rest = size_of_turn(scratch).and_then(|whole| {
        scratch.truncate(size);
        let (missing, rest) = second.split_at_checked(whole.checked_sub(size)?)?;
        scratch.extend_from_slice(missing);
        Some(rest)
    });
    if let Some(rest) = rest {
        each(scratch);
        each_whole(rest, &mut each);
    }
}

/// Gives back what is behind the last whole turn.
fn each_whole<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(&[u8])) -> &'a [u8] {
    while let Some((turn, rest)) = size_of_turn(bytes).and_then(|size| bytes.split_at_checked(size))
    {
        each(turn);
        bytes = rest;
    }
    bytes
}

/// `None` where `bytes` ends before.
fn size_of_turn(mut bytes: &[u8]) -> Option<usize> {
    // What claims to be shorter than it can be would be read for ever.
    Some((u32::from_le_bytes(take(&mut bytes)?) as usize).max(TURN_BYTES))
}

/// The size of the exchange that `packed` starts with, when it began, and whether it is due; `None`
/// where there is no whole one.
pub(super) fn outline(packed: &[u8]) -> Option<(usize, Moment, bool)> {
    let fixed = packed.first_chunk::<FIXED_BYTES>()?;
    let size = u32::from_le_bytes(take(&mut &fixed[..])?) as usize;
    let began = u64::from_le_bytes(take(&mut &fixed[BEGAN..])?);
    (size <= packed.len()).then_some((size, Moment::from_nanos(began), fixed[IS_DUE] != 0))
}

/// The exchanges of a turn.
pub(crate) fn exchanges(mut turn: &[u8]) -> impl Iterator<Item = Ended<'_>> {
    let _: Option<[u8; 4]> = take(&mut turn);
    let mut word = || take(&mut turn).map_or(0, u64::from_le_bytes);
    let (end, ended_nanos) = (Moment::from_nanos(word()), word());
    let mut rest = turn;
    std::iter::from_fn(move || {
        let (began, ended) = unpack(&mut rest)?;
        Some(Ended { duration: end - began, ended_nanos, ..ended })
    })
}

/// Takes the first exchange of `bytes`, without its end; `None` where there is no whole one.
fn unpack<'a>(bytes: &mut &'a [u8]) -> Option<(Moment, Ended<'a>)> {
    let mut rest = *bytes;
    let size = u32::from_le_bytes(take(&mut rest)?) as usize;
    let status = u16::from_le_bytes(take(&mut rest)?);
    let [began, answer_bytes] = [take(&mut rest)?, take(&mut rest)?].map(u64::from_le_bytes);
    let [_is_due, minor_version, kind] = take(&mut rest)?;
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
        referer: text(3)?,
        user_agent: text(4)?,
    };
    *bytes = bytes.get(size..)?;
    let ended = Ended { status, bytes: answer_bytes, asked, ..Ended::default() };
    Some((Moment::from_nanos(began), ended))
}

fn put<const SIZE: usize>(rest: &mut &mut [u8], bytes: [u8; SIZE]) {
    let place = std::mem::take(rest).split_first_chunk_mut();
    let (place, behind) = place.expect("the array has the size of all that is put");
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
    use http::StatusCode;

    use super::*;
    use crate::records::entry::tests::sample as asked;

    const END: Moment = Moment::from_nanos(5_000_000);

    /// One exchange with a value in each field.
    pub(crate) fn sample() -> Ended<'static> {
        Ended {
            ended_nanos: 784_111_777_123_456_789,
            duration: Duration::from_nanos(1_234_567),
            status: 200,
            bytes: 512,
            asked: asked(),
        }
    }

    fn append(ended: &Ended<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        pack(&ended.asked, out);
        let began = Moment::from_nanos(END.as_nanos() - ended.duration.as_nanos() as u64);
        let status = StatusCode::from_u16(ended.status).expect("a status");
        let outcome = Outcome { ended_seconds: 0, began, status, bytes: ended.bytes };
        set_answer(&mut out[start..], &outcome, false);
    }

    /// A turn of these exchanges.
    fn packed(all: &[Ended<'_>]) -> Vec<u8> {
        let mut bytes = vec![0; TURN_BYTES];
        for ended in all {
            let start = bytes.len();
            append(ended, &mut bytes);
            assert!(bytes.len() - start <= PACKED_BYTES_MAX);
        }
        seal(&mut bytes, END, sample().ended_nanos);
        bytes
    }

    #[test]
    fn exchanges_come_out_as_they_went_in() {
        let with = |asked| Ended { asked, ..sample() };
        let client = Some("2001:db8::1".parse().expect("an address"));
        let v6 = with(Entry { client, ..asked() });
        let long = [b'a'; TEXT_BYTES_MAX + 1];
        let longest = |text| Entry { method: text, target: text, route: text, ..asked() };
        let longest = |text| with(Entry { referer: text, user_agent: text, ..longest(text) });
        let nothing = Ended { status: 400, bytes: u64::MAX, ..with(Entry::default()) };
        let bytes = packed(&[sample(), v6.clone(), nothing.clone(), longest(&long)]);
        let expected = [sample(), v6, nothing, longest(&long[1..])];
        assert!(exchanges(&bytes).eq(expected));
    }

    #[test]
    fn half_of_one_is_none() {
        let bytes = packed(&[sample()]);
        for end in 0..bytes.len() {
            assert_eq!(exchanges(&bytes[..end]).next(), None, "{end}");
        }
        assert_eq!(exchanges(&bytes).count(), 1);
    }

    #[test]
    fn turns_are_whole_wherever_the_ring_begins_anew() {
        let turns_put = [packed(&[sample(), sample()]), packed(&[sample()]), packed(&[])];
        let all = turns_put.concat();
        for cut in 0..=all.len() {
            let (first, second) = all.split_at(cut);
            let mut turns_taken = Vec::new();
            turns([first, second], &mut Vec::new(), |turn| turns_taken.push(turn.to_vec()));
            assert_eq!(turns_taken, turns_put, "{cut}");
        }
        // A size that can not be, and one that is not there.
        for bytes in [&[0; 100][..], &[255; 100], &all[..all.len() - 1]] {
            turns([bytes, b""], &mut Vec::new(), |turn| assert!(turn.len() >= TURN_BYTES));
            turns([&bytes[..2], &bytes[2..]], &mut Vec::new(), |_| {});
        }
    }
}
