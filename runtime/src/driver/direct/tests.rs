//! The table of sockets without a kernel: what is submitted and what it makes of the answers.

use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::driver::operation::{Kind, SlotKey};

const LISTENER: Descriptor = Descriptor(5);

fn token() -> Token {
    Token::new(Kind::Accept, SlotKey { index: 0, generation: 0 })
}

fn direct(count: u32) -> Direct {
    Direct::with_table(count, Arc::default())
}

/// What was to be submitted, by `user_data`.
fn submitted(direct: &mut Direct) -> Vec<u64> {
    let entries = std::iter::from_fn(|| direct.next_entry());
    entries.map(|entry| entry.get_user_data()).collect()
}

fn complete(direct: &mut Direct, user_data: u64, result: i32) -> Vec<(i32, bool)> {
    let mut done = Vec::new();
    direct.complete(user_data, result, &mut done);
    done.iter().map(|completion| (completion.result, completion.more)).collect()
}

#[test]
fn one_that_fails_ends_the_others_and_is_told_last() {
    let mut direct = direct(100);
    direct.accept(LISTENER, token());
    let singles = submitted(&mut direct);
    assert_eq!(singles.len(), SINGLES_PER_LISTENER);
    assert_eq!(complete(&mut direct, singles[3], -libc::ENOMEM), []);
    assert_eq!(submitted(&mut direct).len(), SINGLES_PER_LISTENER - 1, "cancels");
    // One of the others has happened all the same.
    let [(result, more)] = complete(&mut direct, singles[0], 0)[..] else { panic!("lost") };
    assert!(Descriptor(result).place().is_some() && more);
    let rest = singles.iter().enumerate().filter(|(index, _)| ![0, 3].contains(index));
    let told: Vec<_> =
        rest.flat_map(|(_, single)| complete(&mut direct, *single, -libc::ECANCELED)).collect();
    assert_eq!(told, [(-libc::ENOMEM, false)]);
}

/// The kernel does not find an accept that is just looking for a client.
#[test]
fn an_accept_that_a_cancel_has_missed_is_cancelled_again() {
    let mut direct = direct(100);
    direct.accept(LISTENER, token());
    let single = submitted(&mut direct)[0];
    assert!(direct.cancel_accept(token()));
    let cancel = submitted(&mut direct)[0];
    assert_eq!(complete(&mut direct, cancel, -libc::ENOENT), []);
    assert_eq!(submitted(&mut direct), [cancel]);
    assert_eq!(complete(&mut direct, single, -libc::ECANCELED), []);
    assert_eq!(complete(&mut direct, cancel, -libc::ENOENT), []);
    assert_eq!(submitted(&mut direct), [], "it is over");
}

#[test]
fn an_errand_that_fails_does_nothing_to_whoever_is_there_by_then() {
    for (is_closed, expected) in [(false, 1), (true, 0)] {
        let mut direct = direct(1);
        let place = direct.places.take().expect("a free place");
        direct.shut_down(place, Half::Write);
        let errand = submitted(&mut direct)[0];
        if is_closed {
            direct.close(place);
        }
        assert_eq!(complete(&mut direct, errand, -libc::EMFILE), []);
        assert_eq!(submitted(&mut direct).len(), expected);
    }
}

/// A file's send to a place: its errand gets an ordinary descriptor of the socket.
fn send_file(direct: &mut Direct, place: u32, file: &std::fs::File) -> UnixStream {
    let token = Token::new(Kind::Send, SlotKey { index: 0, generation: 0 });
    direct.send_file(place, token, (Descriptor(file.as_raw_fd()), 0, 5));
    let errand = submitted(direct)[0];
    let (socket, peer) = UnixStream::pair().expect("a pair of sockets");
    let installed = socket.into_raw_fd();
    assert_eq!(complete(direct, errand, installed), [(5, false)]);
    peer
}

#[test]
fn whom_a_file_was_sent_to_keeps_a_descriptor_until_the_end() {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"hello").expect("room");
    let mut direct = direct(2);
    let [first, second] = [(); 2].map(|()| direct.places.take().expect("a free place"));
    let mut peer = send_file(&mut direct, first, &file);
    assert!(direct.kept(first).is_some() && direct.kept(second).is_none());
    direct.shut_down(first, Half::Write);
    assert_eq!(submitted(&mut direct), [], "no errand for what is there");
    let mut received = String::new();
    peer.read_to_string(&mut received).expect("an end");
    assert_eq!(received, "hello");
    direct.close(first);
    assert!(direct.kept(first).is_none(), "somebody else will be there");
    assert!(peer.write(b"x").is_err(), "nobody has it open");
}

#[test]
fn where_descriptors_run_out_none_is_kept() {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"hello").expect("room");
    let mut direct = direct(2);
    let [first, second] = [(); 2].map(|()| direct.places.take().expect("a free place"));
    let _peer = send_file(&mut direct, first, &file);
    direct.shut_down(second, Half::Write);
    let errand = submitted(&mut direct)[0];
    assert_eq!(complete(&mut direct, errand, -libc::EMFILE), []);
    assert!(direct.kept(first).is_none());
    assert_eq!(submitted(&mut direct), [errand], "tried again");
}

/// Random clients, failures and cancels: each accept is told to be over once, as the last of
/// it, and no place is lost or given twice.
#[test]
fn behaves_like_a_multishot_accept() {
    for seed in 1..200 {
        run(&mut fastrand::Rng::with_seed(seed), seed);
    }
}

fn run(random: &mut fastrand::Rng, seed: u64) {
    const TABLE: u32 = 24;
    let mut direct = direct(TABLE);
    let (mut in_flight, mut open, mut ordinary) = (Vec::new(), Vec::new(), 0);
    let mut is_armed = false;
    for step in 0..500 {
        if !is_armed && step < 400 {
            direct.accept(LISTENER, token());
            is_armed = true;
        }
        if step == 400 || random.u8(0..50) == 0 {
            direct.cancel_accept(token());
        }
        for entry in submitted(&mut direct) {
            match entry & !u64::from(u32::MAX) {
                ACCEPT => in_flight.push(entry),
                _ => assert_eq!(entry & !u64::from(u32::MAX), CANCEL),
            }
        }
        if !open.is_empty() && random.u8(0..3) == 0 {
            direct.close(open.swap_remove(random.usize(0..open.len())));
        }
        if in_flight.is_empty() {
            continue;
        }
        let single = in_flight.swap_remove(random.usize(0..in_flight.len()));
        let has_place = direct.singles[single as u32 as usize].place.is_some();
        let result = match random.u8(0..20) {
            _ if step >= 400 => -libc::ECANCELED,
            0 => -libc::ECONNABORTED,
            _ if has_place => 0,
            _ => 9,
        };
        for (result, more) in complete(&mut direct, single, result) {
            assert!(is_armed, "seed {seed}: told after the end");
            is_armed = more;
            match Descriptor(result).place() {
                Some(place) => {
                    assert!(more && !open.contains(&place), "seed {seed}");
                    open.push(place);
                }
                None => ordinary += i32::from(result == 9),
            }
        }
        assert!(is_armed || in_flight.is_empty(), "seed {seed}: over with some in flight");
    }
    assert!(!is_armed && in_flight.is_empty(), "seed {seed}: never over");
    assert!(ordinary > 0, "seed {seed}: the table is never full");
    open.drain(..).for_each(|place| direct.close(place));
    let free: Vec<_> = std::iter::from_fn(|| direct.places.take()).collect();
    assert_eq!(free.len(), TABLE as usize, "seed {seed}: a place is lost");
}
