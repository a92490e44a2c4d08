//! The clients of a run: what each asks, how it behaves, and what must have come back to it.

use std::time::Duration;

use corelane::runtime::simulation::{Ending, Peer};
use fastrand::Rng;

use crate::answers::take_answer;
use crate::app::calls;
use crate::exchange::{CLIENT_NUMBERS, Exchange, Expected};

/// How a client deals with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Sends everything at once and reads.
    Prompt,
    /// Sends in pieces with pauses.
    Drips,
    /// Lets what comes wait for a while.
    Drowsy,
    /// Sends a part and then nothing more, for ever.
    Dies,
    /// Never reads.
    Deaf,
    /// Breaks the connection at some moment.
    Breaks,
    /// Closes once it has sent everything.
    Leaves,
}

/// Something that a client does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Connect,
    Send(Vec<u8>),
    Finish,
    Close,
    Reset,
    StopReading,
    Read,
}

pub(crate) struct Client {
    pub(crate) behaviour: Behaviour,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) peer: Option<Peer>,
    pub(crate) connected_at: Duration,
    queued_count: usize,
}

/// What of the whole run decides what a client may expect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// No connection breaks by itself and no deadline is short.
    pub(crate) is_reliable: bool,
    /// When the drain began, where there was one, and it took as long as it needed.
    pub(crate) drain: Option<Duration>,
}

/// What was seen, to show that a run is not empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) broken: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.connections += other.connections;
        self.answered += other.answered;
        self.refused += other.refused;
        self.broken += other.broken;
    }
}

impl Client {
    /// A client and what it does when.
    pub(crate) fn new(random: &mut Rng, index: u64) -> (Client, Vec<(Duration, Action)>) {
        let behaviour = match random.u8(0..16) {
            0..6 => Behaviour::Prompt,
            6..9 => Behaviour::Drips,
            9..11 => Behaviour::Drowsy,
            11 | 12 => Behaviour::Dies,
            13 => Behaviour::Deaf,
            14 => Behaviour::Breaks,
            _ => Behaviour::Leaves,
        };
        let count = random.u64(0..8);
        let numbers = (0..count).map(|number| index * CLIENT_NUMBERS + number);
        let exchanges: Vec<Exchange> = numbers
            .enumerate()
            .map(|(place, number)| Exchange::any(random, number, place as u64 + 1 == count))
            .collect();
        let connected_at = Duration::from_micros(random.u64(0..20_000));
        let mut client = Client { behaviour, exchanges, peer: None, connected_at, queued_count: 0 };
        let mut actions = client.script(random);
        for (moment, _) in &mut actions {
            *moment += connected_at;
        }
        (client, actions)
    }

    fn script(&mut self, random: &mut Rng) -> Vec<(Duration, Action)> {
        let requests = self.exchanges.iter().map(|exchange| exchange.request.clone());
        let mut bytes: Vec<u8> = requests.collect::<Vec<_>>().concat();
        let (start, millisecond) = (Duration::ZERO, Duration::from_millis(1));
        let mut actions = vec![(start, Action::Connect)];
        if self.behaviour == Behaviour::Deaf {
            actions.push((start, Action::StopReading));
        }
        if self.behaviour == Behaviour::Drowsy {
            actions.push((start, Action::StopReading));
            actions.push((millisecond * random.u32(1..200), Action::Read));
        }
        if self.behaviour == Behaviour::Dies {
            bytes.truncate(random.usize(0..=bytes.len()));
        }
        let mut moment = start;
        while !bytes.is_empty() {
            let size = match self.behaviour {
                Behaviour::Drips => random.usize(1..=bytes.len().div_ceil(4)),
                _ => bytes.len(),
            };
            let piece: Vec<u8> = bytes.drain(..size).collect();
            actions.push((moment, Action::Send(piece)));
            moment += Duration::from_micros(random.u64(0..8000));
        }
        match self.behaviour {
            Behaviour::Dies => {}
            Behaviour::Breaks => {
                actions.push((millisecond * random.u32(0..20), Action::Reset));
            }
            Behaviour::Leaves => actions.push((moment, Action::Close)),
            _ if random.bool() => actions.push((moment, Action::Finish)),
            _ => {}
        }
        actions
    }

    pub(crate) fn act(&mut self, action: Action) {
        let Some(peer) = &self.peer else { return };
        match action {
            Action::Connect => {}
            Action::Send(bytes) => {
                self.queued_count += bytes.len();
                peer.send(bytes);
            }
            Action::Finish => peer.finish(),
            Action::Close => peer.close(),
            Action::Reset => peer.reset(),
            Action::StopReading => peer.stop_reading(),
            Action::Read => peer.resume_reading(),
        }
    }

    /// Whether the client sees how its connection ends.
    pub(crate) fn is_watching(&self) -> bool {
        !matches!(self.behaviour, Behaviour::Deaf | Behaviour::Leaves)
    }

    /// Compares what has arrived with what must have.
    pub(crate) fn check(&self, rules: Rules, tally: &mut Tally) {
        let Some(peer) = &self.peer else { return };
        tally.connections += 1;
        tally.broken += u64::from(peer.ending() == Some(Ending::Reset));
        let sent_count = self.queued_count - peer.unsent_count();
        let mut received = peer.received();
        let (mut answered, mut request_end, mut was_last) = (0, 0, false);
        let is_sound = self.is_sound(rules);
        for exchange in &self.exchanges {
            if was_last {
                break;
            }
            request_end += exchange.request.len();
            let is_to_head = exchange.expected == Expected::Fields;
            let Some(answer) = take_answer(&mut received, is_to_head) else { break };
            answered += 1;
            was_last = answer.is_last;
            // Only who is slow, or was cut off, is told so.
            if answer.status == 408 && !is_sound {
                assert!(answer.is_last, "{self:?}: a 408 that is not the last answer");
                if is_to_head {
                    // What broke off may not have said yet that it is a HEAD.
                    received.clear();
                }
                break;
            }
            match &exchange.expected {
                Expected::Content(content) => {
                    assert_eq!(answer.status, 200, "{self:?}: answer {answered}");
                    let (seen, due) = (text(&answer.content), text(content));
                    assert_eq!(seen, due, "{self:?}: answer {answered}");
                }
                Expected::Fields => assert_eq!(answer.status, 200, "{self:?}: answer {answered}"),
                Expected::Refused(status) => {
                    assert_eq!(answer.status, *status, "{self:?}: answer {answered}");
                    assert!(answer.is_last, "{self:?}: a refusal is the last answer");
                    tally.refused += 1;
                }
                Expected::Cut => panic!("{self:?}: an answer that breaks off looks whole"),
            }
            let was_sent = !exchange.needs_whole || request_end <= sent_count;
            assert!(was_sent, "{self:?}: answer {answered} to a request that was not sent whole");
            let ran = matches!(exchange.expected, Expected::Content(_) | Expected::Fields);
            assert!(!ran || calls(exchange.number) == 1, "{self:?}: answered, but not run");
        }
        tally.answered += answered as u64;
        self.check_rest(&received, answered, was_last, rules);
    }

    /// Compares at a moment at which who has not dawdled must have everything.
    pub(crate) fn check_prompt(&self, rules: Rules) {
        if self.is_sound(rules) {
            self.check(rules, &mut Tally::default());
        }
    }

    /// Whether every answer must have come, up to one that says that it is the last.
    fn is_sound(&self, rules: Rules) -> bool {
        let is_orderly =
            matches!(self.behaviour, Behaviour::Prompt | Behaviour::Drips | Behaviour::Drowsy);
        rules.is_reliable && is_orderly && rules.drain.is_none_or(|drain| self.connected_at < drain)
    }

    /// What is left behind the last whole answer.
    fn check_rest(&self, rest: &[u8], answered: usize, was_last: bool, rules: Rules) {
        let shown = || format!("{self:?}: after {answered} answers: {:?}", text(rest));
        let next = self.exchanges.get(answered);
        if was_last || next.is_none() {
            return assert!(rest.is_empty(), "{}", shown());
        }
        let is_cut = next.is_some_and(|exchange| exchange.expected == Expected::Cut);
        if !is_cut && self.is_sound(rules) {
            assert!(rest.is_empty(), "cut off: {}", shown());
            // A drain closes whoever is idle, and who has asked nothing yet by its first byte.
            panic!("silence: {}", shown());
        }
        // What is there of the next answer must at least be of that answer.
        let Some(Exchange { expected: Expected::Content(content), .. }) = next else { return };
        let head_end = rest.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head_end) = head_end
            && rest.starts_with(b"HTTP/1.1 200")
            && !rest[..head_end].windows(17).any(|part| part == b"transfer-encoding")
        {
            assert!(content.starts_with(&rest[head_end..]), "{}", shown());
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.exchanges.first().map(|exchange| exchange.number);
        let ending = self.peer.as_ref().and_then(Peer::ending);
        write!(f, "client {:?} from request {first:?}, {ending:?}", self.behaviour)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
