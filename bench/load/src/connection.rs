//! One connection's requests in flight, and the responses that answer them in order; no I/O.

use std::collections::VecDeque;

use corelane_runtime::Moment;

use crate::expectation::{Check, Expectation};
use crate::failure::Failure;
use crate::response::{Event, HeadCache, ResponseParser};
use crate::tally::{Tally, Window};

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// When it ought to have been sent.
    pub(crate) due: Moment,
    /// When it was sent; `due <= sent`.
    pub(crate) sent: Moment,
    pub(crate) is_head: bool,
}

/// Whether a connection can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Open,
    /// Nothing more will come of it; what was unanswered is counted.
    Close,
}

/// What answers are checked against, and where they are counted.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    pub(crate) expectation: &'a Expectation,
    pub(crate) cache: &'a mut HeadCache,
    pub(crate) tally: &'a mut Tally,
    pub(crate) window: Window,
    /// Whether latencies also count from the moment of sending.
    pub(crate) is_open_loop: bool,
    pub(crate) now: Moment,
}

impl Ledger<'_> {
    /// Counts failed requests.
    pub(crate) fn fail(&mut self, failure: Failure, count: usize) {
        self.tally.fail(failure, count as u64);
    }

    /// Counts the time that a request has waited: until its answer, or until nobody waits for it
    /// any longer. Leaving the latter out would hide exactly the slowest requests.
    pub(crate) fn record(&mut self, pending: Pending) {
        if !self.window.contains(pending.due) {
            return;
        }
        self.tally.record_corrected(self.now - pending.due);
        if self.is_open_loop {
            self.tally.record_uncorrected(self.now - pending.sent);
        }
    }

    /// Counts a response that is complete.
    fn answer(&mut self, pending: Pending, arriving: Arriving) {
        let is_in_time = self.window.contains(self.now);
        if is_in_time {
            self.tally.respond(arriving.status);
        }
        match self.expectation.end(arriving.check, !pending.is_head) {
            Err(failure) => self.fail(failure, 1),
            Ok(()) => {
                self.tally.answers += u64::from(is_in_time);
                self.record(pending);
            }
        }
    }
}

/// The response whose head is there.
#[derive(Clone, Copy, Debug, Default)]
struct Arriving {
    status: u16,
    keeps_alive: bool,
    check: Check,
}

/// The state of one connection above its socket.
#[derive(Debug)]
pub(crate) struct Connection {
    /// In the order of sending, which is the order of the answers (RFC 9112 section 9.3.2).
    pending: VecDeque<Pending>,
    parser: ResponseParser,
    arriving: Arriving,
    /// Requests that may still be sent before it is closed.
    requests_left: u64,
    /// Whether any response has come.
    has_answered: bool,
}

impl Connection {
    pub(crate) fn new(pipeline: usize) -> Connection {
        Connection {
            pending: VecDeque::with_capacity(pipeline),
            parser: ResponseParser::new(),
            arriving: Arriving::default(),
            requests_left: 0,
            has_answered: false,
        }
    }

    /// Begins with a new socket. Nothing may be pending.
    pub(crate) fn open(&mut self, requests_max: u64) {
        debug_assert!(self.pending.is_empty());
        self.parser.reset();
        self.requests_left = requests_max;
        self.has_answered = false;
    }

    /// How many requests may be sent now.
    pub(crate) fn room(&self, pipeline: usize) -> usize {
        let room = pipeline.saturating_sub(self.pending.len());
        room.min(usize::try_from(self.requests_left).unwrap_or(usize::MAX))
    }

    /// Whether all requests that it was made for are answered.
    pub(crate) fn is_done(&self) -> bool {
        self.requests_left == 0 && self.pending.is_empty()
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// The request that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Pending> {
        self.pending.front().copied()
    }

    /// A request goes out.
    pub(crate) fn push(&mut self, pending: Pending) {
        self.requests_left -= 1;
        self.pending.push_back(pending);
    }

    /// Takes in what was received.
    pub(crate) fn feed(&mut self, mut input: &[u8], ledger: &mut Ledger<'_>) -> Flow {
        ledger.tally.bytes_received += input.len() as u64;
        loop {
            let Some(pending) = self.oldest() else {
                if input.is_empty() {
                    return Flow::Open;
                }
                // Bytes that nobody asked for.
                ledger.fail(Failure::Malformed, 1);
                return Flow::Close;
            };
            match self.parser.advance(&mut input, pending.is_head, ledger.cache) {
                Ok(Event::NeedMore) => return Flow::Open,
                Ok(Event::Head(head)) => {
                    self.arriving = Arriving {
                        status: head.status,
                        keeps_alive: head.keeps_alive,
                        check: ledger.expectation.begin(head.status),
                    };
                }
                Ok(Event::Body(bytes)) => {
                    ledger.expectation.body(&mut self.arriving.check, bytes);
                }
                Ok(Event::End) => {
                    self.complete(ledger);
                    if !self.arriving.keeps_alive {
                        self.lose(Failure::Closed, ledger);
                        return Flow::Close;
                    }
                }
                Err(_) => {
                    self.pending.pop_front();
                    ledger.fail(Failure::Malformed, 1);
                    self.lose(Failure::Closed, ledger);
                    return Flow::Close;
                }
            }
        }
    }

    /// The server has closed the connection.
    pub(crate) fn finish(&mut self, ledger: &mut Ledger<'_>) {
        if self.parser.finish() == Ok(true) {
            self.complete(ledger);
        }
        self.lose(Failure::Closed, ledger);
    }

    /// Everything that waits for an answer has failed.
    pub(crate) fn lose(&mut self, failure: Failure, ledger: &mut Ledger<'_>) {
        ledger.fail(failure, self.pending.len());
        if failure == Failure::Timeout {
            self.pending.iter().for_each(|pending| ledger.record(*pending));
        }
        self.pending.clear();
    }

    fn complete(&mut self, ledger: &mut Ledger<'_>) {
        self.has_answered = true;
        if let Some(pending) = self.pending.pop_front() {
            ledger.answer(pending, self.arriving);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    struct Bench {
        connection: Connection,
        tally: Tally,
        cache: HeadCache,
        expectation: Expectation,
    }

    impl Bench {
        /// A connection that has sent `count` requests: due at 1 s, sent at 1.5 s.
        fn sent(count: u64) -> Bench {
            let mut connection = Connection::new(4);
            connection.open(count);
            for _ in 0..count {
                connection.push(Pending { due: at(1000), sent: at(1500), is_head: false });
            }
            Bench {
                connection,
                tally: Tally::new(),
                cache: HeadCache::default(),
                expectation: Expectation::default(),
            }
        }

        fn act<R>(
            &mut self,
            now: Moment,
            act: impl FnOnce(&mut Connection, &mut Ledger) -> R,
        ) -> R {
            let mut ledger = Ledger {
                expectation: &self.expectation,
                cache: &mut self.cache,
                tally: &mut self.tally,
                window: Window { start: at(1000), end: at(3000) },
                is_open_loop: true,
                now,
            };
            act(&mut self.connection, &mut ledger)
        }

        fn feed(&mut self, input: &str) -> Flow {
            self.act(at(2000), |connection, ledger| connection.feed(input.as_bytes(), ledger))
        }

        fn failures(&self) -> Vec<(Failure, u64)> {
            self.tally.failures.seen().collect()
        }
    }

    #[test]
    fn latency_counts_from_due_and_from_sent() {
        let mut bench = Bench::sent(1);
        assert_eq!(bench.feed(OK), Flow::Open);
        let is_near = |value: u64, millis: u64| value.abs_diff(millis * 1_000_000) < millis * 1000;
        assert!(is_near(bench.tally.corrected.max(), 1000));
        assert!(is_near(bench.tally.uncorrected.max(), 500));
        assert!(bench.connection.is_done());
        assert_eq!(bench.tally.answers, 1);
    }

    #[test]
    fn what_is_due_outside_the_window_has_no_latency() {
        let mut bench = Bench::sent(0);
        bench.connection.open(2);
        for due in [999, 3000] {
            let (due, sent) = (at(due), at(due));
            bench.connection.push(Pending { due, sent, is_head: false });
        }
        bench.feed(&OK.repeat(2));
        assert_eq!((bench.tally.answers, bench.tally.corrected.len()), (2, 0));
    }

    #[test]
    fn an_answer_after_the_window_has_a_latency_and_no_part_in_the_rate() {
        let mut bench = Bench::sent(1);
        bench.act(at(3500), |connection, ledger| connection.feed(OK.as_bytes(), ledger));
        assert_eq!((bench.tally.answers, bench.tally.corrected.len()), (0, 1));
    }

    #[test]
    fn a_closing_server_loses_what_it_has_not_answered() {
        let mut bench = Bench::sent(3);
        let closing = OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        assert_eq!(bench.feed(&closing), Flow::Close);
        assert_eq!(bench.tally.answers, 1);
        assert_eq!(bench.failures(), [(Failure::Closed, 2)]);
    }

    #[test]
    fn the_end_of_the_stream_completes_a_response_without_length() {
        let mut bench = Bench::sent(2);
        assert_eq!(bench.feed("HTTP/1.1 200 OK\r\n\r\nabc"), Flow::Open);
        bench.act(at(2000), |connection, ledger| connection.finish(ledger));
        assert_eq!(bench.tally.answers, 1);
        assert_eq!(bench.failures(), [(Failure::Closed, 1)]);
    }

    #[test]
    fn malformed_and_unasked_for_bytes_close() {
        let mut bench = Bench::sent(2);
        assert_eq!(bench.feed("nonsense\r\n\r\n"), Flow::Close);
        assert_eq!(bench.failures(), [(Failure::Closed, 1), (Failure::Malformed, 1)]);
        let mut bench = Bench::sent(1);
        assert_eq!(bench.feed(&OK.repeat(2)), Flow::Close);
        assert_eq!(bench.failures(), [(Failure::Malformed, 1)]);
        assert_eq!(bench.tally.answers, 1);
    }

    #[test]
    fn unexpected_answers_count_as_failures_and_not_as_latencies() {
        let mut bench = Bench::sent(1);
        bench.feed(&OK.replace("200", "503"));
        assert_eq!(bench.failures(), [(Failure::Status, 1)]);
        assert_eq!((bench.tally.responses, bench.tally.answers), (1, 0));
        assert_eq!(bench.tally.corrected.len(), 0);
        assert_eq!(bench.tally.classes, [0, 0, 0, 0, 1]);
    }

    #[test]
    fn requests_that_never_return_have_waited_at_least_until_now() {
        let mut bench = Bench::sent(2);
        bench.act(at(2500), |connection, ledger| {
            connection.lose(Failure::Timeout, ledger);
        });
        assert_eq!(bench.failures(), [(Failure::Timeout, 2)]);
        assert_eq!(bench.tally.corrected.len(), 2);
        let waited = Duration::from_millis(1500).as_nanos() as u64;
        assert!(bench.tally.corrected.max().abs_diff(waited) < waited / 500);
    }
}
