//! Refusing what is too much, early and cheaply, so that what is accepted is answered in time.
//!
//! Two measures, one at a time. A number bounds the requests whose handlers wait for something
//! else: a database, another server. What computes never waits, so for that there is the delay: the
//! time that a request has stood behind others in its turn, as in CoDel (RFC 8289). One long turn
//! is no overload; turn after turn that is too long is a queue that does not get shorter.
//!
//! How long is too long depends on how long a request takes: at 80 % of the capacity one in a
//! hundred waits for some ten others, and those that are accepted beyond it should not wait for
//! many more.
//!
//! ```text
//!                 some request of each turn is late, for 100 ms
//!   accepts all ───────────────────────────────────────────────► refuses what is late
//!        ▲                                                              │
//!        └───────────────────── none is late, for 100 ms ───────────────┘
//! ```

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use corelane_runtime::{ConfigError, Moment, Shard};
use http::StatusCode;

use crate::response::Responder;

/// How long turns must be late, one after the other, before that is overload: RFC 8289 section 4.3
/// has the same for queues of packets, a round trip of the slowest usual peer.
const INTERVAL: Duration = Duration::from_millis(100);

/// As so many requests of the usual cost a request may stand behind. A turn takes as long, and an
/// answer leaves at the end of the turn after the one in which its request came.
const REQUESTS_BEFORE: u32 = 8;

/// The shortest delay that counts as one: what a machine that does other things as well, or an
/// interrupt, adds to a turn is no queue.
const DELAY_MIN: Duration = Duration::from_micros(500);

/// By what part of the difference one request changes what counts as the usual cost.
const COST_WEIGHT: i64 = 64;

/// How many requests a shard takes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// All that come. The default.
    #[default]
    Unlimited,
    /// So many at a time: further ones are refused while the handlers of these have not ended, or
    /// their answers are still being made.
    Max(usize),
    /// As many as can be begun before [`OverloadConfig::delay_max`] is over, turn by turn. Reads
    /// the clock once for each request, about 25 ns.
    Auto,
}

impl FromStr for Concurrency {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Concurrency, ConfigError> {
        match (text, text.parse()) {
            ("none", _) => Ok(Concurrency::Unlimited),
            ("auto", _) => Ok(Concurrency::Auto),
            (_, Ok(count @ 1..)) => Ok(Concurrency::Max(count)),
            _ => {
                let problem = format!("{text:?} is no limit; write a count, auto or none");
                Err(ConfigError::new("limit_concurrency", problem))
            }
        }
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Concurrency::Unlimited => f.write_str("none"),
            Concurrency::Max(count) => count.fmt(f),
            Concurrency::Auto => f.write_str("auto"),
        }
    }
}

/// What becomes of more requests than a shard can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverloadConfig {
    /// How many requests a shard takes on; the others get 503 with `Retry-After` at once. Default:
    /// all of them.
    pub concurrency_max: Concurrency,
    /// With [`Concurrency::Auto`], how long a request may have waited within its turn at most.
    /// Default 5 ms, CoDel's target: short for whoever waits. Where requests take less than an
    /// eighth of that, eight of them are the limit, but no less than 500 us.
    pub delay_max: Duration,
    /// What `Retry-After` says, in whole seconds. Default 1 s: an overload that lasts is met again,
    /// a burst is over by then.
    pub retry_after: Duration,
    /// Paths that are answered however many requests there are, so that whoever asks whether the
    /// server lives does not kill it for being busy. Default `/healthz`, `/livez`, `/readyz`.
    pub exempt_paths: Vec<String>,
}

impl Default for OverloadConfig {
    fn default() -> OverloadConfig {
        OverloadConfig {
            concurrency_max: Concurrency::Unlimited,
            delay_max: Duration::from_millis(5),
            retry_after: Duration::from_secs(1),
            exempt_paths: ["/healthz", "/livez", "/readyz"].map(str::to_owned).to_vec(),
        }
    }
}

impl OverloadConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.concurrency_max == Concurrency::Max(0) {
            let problem = "0 would refuse every request; write 1 or more, auto or none";
            return Err(ConfigError::new("limit_concurrency", problem));
        }
        if self.concurrency_max == Concurrency::Auto && self.delay_max.is_zero() {
            return Err(ConfigError::new("delay_max", "0 would make every request late"));
        }
        Ok(())
    }
}

/// One shard's state of it.
#[derive(Debug)]
pub(crate) struct Overload {
    config: OverloadConfig,
    in_flight: Cell<usize>,
    /// The turn of the last request.
    turn: Cell<Moment>,
    /// Whether a request of that turn was late.
    is_late: Cell<bool>,
    /// The first of the late turns without one between them that was not.
    late_since: Cell<Option<Moment>>,
    /// The last late turn, while that is overload.
    overloaded_at: Cell<Option<Moment>>,
    /// How long the turn had taken when its last request was accepted.
    accepted_at: Cell<Option<Duration>>,
    /// What a request costs, in nanoseconds: a moving average.
    cost: Cell<i64>,
    /// The fields of the answer that refuses, and its content.
    lines: Vec<u8>,
    content: Bytes,
}

impl Overload {
    pub(crate) fn new(config: &OverloadConfig) -> Overload {
        let seconds = config.retry_after.as_secs().max(1);
        Overload {
            config: config.clone(),
            in_flight: Cell::new(0),
            turn: Cell::default(),
            is_late: Cell::new(false),
            late_since: Cell::new(None),
            overloaded_at: Cell::new(None),
            accepted_at: Cell::new(None),
            // Until it is known, the limit is the longest.
            cost: Cell::new(nanos(config.delay_max / REQUESTS_BEFORE)),
            lines: format!("content-type: application/problem+json\r\nretry-after: {seconds}\r\n")
                .into_bytes(),
            content: Bytes::from_static(
                b"{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
                  \"detail\":\"The server has more requests than it can answer in time.\"}",
            ),
        }
    }

    /// Whether the request that comes now is one too many.
    #[inline]
    pub(crate) fn refuses<'p>(&self, shard: &Shard, path: impl FnOnce() -> &'p str) -> bool {
        let is_too_much = match self.config.concurrency_max {
            Concurrency::Unlimited => return false,
            Concurrency::Max(count) => self.in_flight.get() >= count,
            Concurrency::Auto => self.is_late(shard.now(), shard.turn_time()),
        };
        is_too_much && !self.is_exempt(path())
    }

    #[cold]
    fn is_exempt(&self, path: &str) -> bool {
        self.config.exempt_paths.iter().any(|exempt| exempt == path)
    }

    /// Whether a request that has waited for `delay` in the turn of `now` is to be refused.
    fn is_late(&self, now: Moment, delay: Duration) -> bool {
        if self.turn.replace(now) != now {
            self.accepted_at.set(None);
            if !self.is_late.replace(false) {
                self.late_since.set(None);
            }
        }
        if let Some(accepted_at) = self.accepted_at.take() {
            let cost = nanos(delay.saturating_sub(accepted_at));
            self.cost.set(self.cost.get() + (cost - self.cost.get()) / COST_WEIGHT);
        }
        let is_refused = delay > self.delay_max() && self.is_overload(now);
        if !is_refused {
            self.accepted_at.set(Some(delay));
        }
        is_refused
    }

    fn delay_max(&self) -> Duration {
        let usual = Duration::from_nanos(self.cost.get().unsigned_abs()) * REQUESTS_BEFORE;
        usual.max(DELAY_MIN).min(self.config.delay_max)
    }

    /// A request is late: whether that has been so for turn after turn.
    fn is_overload(&self, now: Moment) -> bool {
        self.is_late.set(true);
        let since = self.late_since.get().unwrap_or(now);
        self.late_since.set(Some(since));
        let was_overloaded = self.overloaded_at.get().is_some_and(|last| now - last < INTERVAL);
        let is_overload = was_overloaded || now - since >= INTERVAL;
        self.overloaded_at.set(is_overload.then_some(now));
        is_overload
    }

    /// Writes the 503 (RFC 9110 sections 10.2.3 and 15.6.4).
    pub(crate) fn refuse(&self, responder: &mut Responder<'_>) {
        responder.prepared(StatusCode::SERVICE_UNAVAILABLE, &self.lines, &self.content);
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// One request's place among those that are counted; given back when it is answered.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Overload>);

impl InFlight {
    /// For a request that does not end at once; `None` where they are not counted.
    pub(crate) fn count(overload: &Rc<Overload>) -> Option<InFlight> {
        if !matches!(overload.config.concurrency_max, Concurrency::Max(_)) {
            return None;
        }
        overload.in_flight.set(overload.in_flight.get() + 1);
        Some(InFlight(Rc::clone(overload)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_they_are_read() {
        for text in ["none", "auto", "1", "250"] {
            let read = text.parse::<Concurrency>().map(|limit| limit.to_string());
            assert_eq!(read, Ok(text.to_owned()));
        }
        for text in ["", "0", "-1", "some"] {
            let error = text.parse::<Concurrency>().unwrap_err().to_string();
            assert!(error.contains("limit_concurrency: ") && error.contains("write"), "{error}");
        }
    }

    /// Turns of 20 ms, of which each has the delays of its requests in milliseconds.
    fn check(turns: &[&[u64]], expected: usize) {
        let overload = Overload::new(&OverloadConfig::default());
        let mut now = Moment::default() + Duration::from_secs(1);
        let mut refused_count = 0;
        for delays in turns {
            for delay in *delays {
                let is_late = overload.is_late(now, Duration::from_millis(*delay));
                refused_count += usize::from(is_late);
            }
            now = now + Duration::from_millis(20);
        }
        assert_eq!(refused_count, expected, "{turns:?}");
    }

    #[test]
    fn turns_that_stay_late_are_overload() {
        check(&[&[0, 5, 500][..]; 5], 0);
        // The sixth begins 100 ms after the first; what is not late is accepted all the same.
        check(&[&[0, 6, 7][..]; 6], 2);
        check(&[&[0, 6, 7][..]; 8], 6);
        // One turn without a late request begins anew, unless there is overload already.
        let mut turns = vec![&[0, 6][..]; 5];
        turns.push(&[0, 5]);
        turns.extend([&[0, 6][..]; 5]);
        check(&turns, 0);
        turns.push(&[0, 6]);
        check(&turns, 1);
        turns.extend([&[0, 5][..]; 3]);
        turns.push(&[0, 6]);
        check(&turns, 2);
        turns.extend([&[0, 5][..]; 5]);
        turns.push(&[0, 6]);
        check(&turns, 2);
    }

    /// What became of the requests of a run.
    struct Offered {
        /// How many were answered, as a share of the capacity.
        answered: f64,
        refused_count: usize,
        /// How long the slowest in a hundred of the answered ones took.
        p99: Duration,
    }

    /// Requests at random moments, `load` times as many as the shard can answer, in simulated time:
    /// a turn takes what came during the one before, and its answers leave together. A request
    /// takes `cost`, a refusal five and a turn ten microseconds.
    fn offer(cost: Duration, load: f64, seed: u64) -> Offered {
        let overload = Overload::new(&OverloadConfig::default());
        let mut random = fastrand::Rng::with_seed(seed);
        let (refusal, turn_cost) = (Duration::from_micros(5), Duration::from_micros(10));
        let (mut now, mut due) = (Duration::ZERO, Duration::ZERO);
        let (mut waits, mut refused_count) = (Vec::new(), 0);
        // Until it is known that this is overload, requests pile up: that is another matter.
        let (start, end) = (cost * 10_000, cost * 40_000);
        while now < end {
            let begin = now.max(due);
            let turn = Moment::default() + begin;
            if begin < start {
                waits.clear();
            }
            let first = waits.len();
            now = begin;
            while due <= begin {
                if overload.is_late(turn, now - begin) {
                    now += refusal;
                    refused_count += 1;
                } else {
                    now += cost;
                    waits.push(due);
                }
                due += cost.mul_f64(-(1.0 - random.f64()).ln() / load);
            }
            now += turn_cost;
            waits[first..].iter_mut().for_each(|due| *due = now - *due);
        }
        waits.sort();
        let answered = waits.len() as f64 * cost.as_secs_f64() / (now - start).as_secs_f64();
        Offered { answered, refused_count, p99: waits[waits.len() * 99 / 100] }
    }

    #[test]
    fn at_twice_the_capacity_what_is_accepted_is_answered_in_time() {
        for cost in [100, 300, 1000].map(Duration::from_micros) {
            for seed in 0..20 {
                let (relaxed, twice) = (offer(cost, 0.8, seed), offer(cost, 2.0, seed));
                let shown = format!(
                    "{cost:?}, seed {seed}: {:.3} with p99 {:?}; {:.3} with p99 {:?}",
                    relaxed.answered, relaxed.p99, twice.answered, twice.p99
                );
                println!("{shown}");
                assert!((0.7..0.9).contains(&relaxed.answered), "{shown}");
                // One in a thousand: a burst may last for a tenth of a second.
                assert!(relaxed.refused_count <= 32, "{shown}: {}", relaxed.refused_count);
                assert!(twice.answered >= 0.9, "{shown}");
                assert!(twice.p99 <= relaxed.p99 * 2, "{shown}");
            }
        }
    }

    #[test]
    fn the_limit_follows_what_requests_cost() {
        let overload = Overload::new(&OverloadConfig::default());
        let mut now = Moment::default();
        let mut learn = |micros: u64| {
            for _ in 0..1000 {
                now = now + Duration::from_millis(1);
                overload.is_late(now, Duration::ZERO);
                overload.is_late(now, Duration::from_micros(micros));
            }
            overload.delay_max()
        };
        assert_eq!(learn(10_000), Duration::from_millis(5));
        let usual = learn(100).as_micros();
        assert!((800..=810).contains(&usual), "{usual} us");
        assert_eq!(learn(1), Duration::from_micros(500));
    }
}
