//! W3C Trace Context (the Recommendation's level 1): which trace a request belongs to.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::rc::Rc;

use corelane_runtime::Shard;
use fastrand::Rng;
use http::{HeaderName, HeaderValue};

use super::{Inner, Layer, Middleware, Reply, Sampler};
use crate::extract::Exchange;
use crate::http1::Field;

const NAME: HeaderName = HeaderName::from_static("traceparent");

/// Takes the trace that the request's `traceparent` names, or begins one; gives the exchange a span
/// of its own in it. Handlers take it as `Extension<TraceContext>`, the answer names it in
/// `traceparent`.
///
/// Where the server exports spans (feature `otel`) it has done the first already, and this layer
/// only answers with it.
///
/// A field that is malformed, or comes twice, counts as none (section 3.2.2).
#[derive(Clone, Copy, Debug)]
pub struct TraceContexts {
    sampler: Sampler,
}

/// The place of one exchange in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The whole trace; never zero.
    pub trace_id: u128,
    /// The caller's span; `None` where the trace begins here.
    pub parent_id: Option<u64>,
    /// This exchange's own span; never zero.
    pub span_id: u64,
    /// Whether the trace is recorded, as the [`Sampler`] says.
    pub is_sampled: bool,
}

impl TraceContexts {
    /// With the caller's word about what is recorded; nobody records a trace that begins here.
    pub fn new() -> TraceContexts {
        TraceContexts { sampler: Sampler::never().parent_based() }
    }

    /// Which traces are to be recorded, by whomever they reach next.
    #[must_use]
    pub fn sampler(mut self, sampler: Sampler) -> TraceContexts {
        self.sampler = sampler;
        self
    }
}

impl Default for TraceContexts {
    fn default() -> TraceContexts {
        TraceContexts::new()
    }
}

/// As the field's value: what a handler sends on with its own requests.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceContext { trace_id, span_id, is_sampled, .. } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*is_sampled))
    }
}

impl Layer for TraceContexts {
    fn on_shard(&self, _: &Rc<Shard>) -> Rc<dyn Middleware> {
        Rc::new(Tracer::new(self.sampler))
    }
}

/// Gives exchanges their places in traces.
#[derive(Debug)]
pub(crate) struct Tracer {
    sampler: Sampler,
    /// Two, since each of them comes back to where it was after 2^64 numbers.
    numbers: RefCell<[Rng; 2]>,
}

impl Tracer {
    pub(crate) fn new(sampler: Sampler) -> Tracer {
        // The keys are random, so the ids of shards, processes and machines differ.
        let number = || Rng::with_seed(RandomState::new().hash_one(0));
        Tracer { sampler, numbers: RefCell::new([number(), number()]) }
    }

    /// A request's place in the trace of its caller, or in one that begins here.
    pub(crate) fn begin(&self, bytes: &[u8], fields: &[Field]) -> TraceContext {
        self.context(Caller::of(bytes, fields))
    }

    fn next(&self) -> [u64; 2] {
        // All zeros are invalid (sections 3.2.2.3 and 3.2.2.4).
        self.numbers.borrow_mut().each_mut().map(|numbers| numbers.u64(..).max(1))
    }

    fn context(&self, caller: Option<Caller>) -> TraceContext {
        let [span_id, _] = self.next();
        let trace_id = caller.as_ref().map(|caller| caller.trace_id).unwrap_or_else(|| {
            let [high, low] = self.next();
            u128::from(high) << 64 | u128::from(low)
        });
        let parent = caller.as_ref().map(|caller| caller.is_sampled);
        let is_sampled = self.sampler.is_sampled(trace_id, parent);
        let parent_id = caller.map(|caller| caller.parent_id);
        TraceContext { trace_id, parent_id, span_id, is_sampled }
    }
}

impl Middleware for Tracer {
    fn call(&self, exchange: &mut Exchange<'_>, inner: Inner<'_>) -> Reply {
        let context =
            exchange.trace().unwrap_or_else(|| self.begin(exchange.bytes, &exchange.fields));
        exchange.trace = Some(context);
        let value = HeaderValue::from_str(&context.to_string());
        inner.call(exchange).map(|mut response| {
            if let Ok(value) = value {
                response.headers.insert(NAME, value);
            }
            response
        })
    }
}

/// What a request's `traceparent` says.
#[derive(Debug, PartialEq, Eq)]
struct Caller {
    trace_id: u128,
    parent_id: u64,
    is_sampled: bool,
}

/// The trace that the value of a `traceparent` names.
pub(crate) fn trace_of(value: &[u8]) -> Option<u128> {
    Caller::parse(value).map(|caller| caller.trace_id)
}

impl Caller {
    /// What the field says, where it comes once.
    fn of(bytes: &[u8], fields: &[Field]) -> Option<Caller> {
        let is_named =
            |field: &&Field| field.name.of(bytes).eq_ignore_ascii_case(NAME.as_str().as_bytes());
        let mut named = fields.iter().filter(is_named);
        match (named.next(), named.next()) {
            (Some(field), None) => Caller::parse(field.value.of(bytes)),
            _ => None,
        }
    }

    // Section 3.2.2: `version "-" trace-id "-" parent-id "-" trace-flags`, in lower case.
    fn parse(value: &[u8]) -> Option<Caller> {
        let (known, behind) = value.split_at_checked(55)?;
        if known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
            return None;
        }
        let version = number(&known[..2])?;
        // Section 3.2.4: a later version may be longer, behind another dash. 255 is forbidden.
        let is_whole = match version {
            0 => behind.is_empty(),
            255 => false,
            _ => behind.first().is_none_or(|byte| *byte == b'-'),
        };
        let trace_id = number(&known[3..35]).filter(|id| is_whole && *id != 0)?;
        let parent_id = u64::try_from(number(&known[36..52])?).ok().filter(|id| *id != 0)?;
        Some(Caller { trace_id, parent_id, is_sampled: number(&known[53..])? & 1 == 1 })
    }
}

/// At most 32 hexadecimal digits in lower case.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_the_field_may_say() {
        let caller = |is_sampled| Caller {
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            parent_id: 0xb7ad_6b71_6920_3331,
            is_sampled,
        };
        for (value, is_sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            // Other flags are for other versions to explain.
            (format!("00-{TRACE}-{SPAN}-fe"), false),
            (format!("cc-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"), true),
        ] {
            assert_eq!(Caller::parse(value.as_bytes()), Some(caller(is_sampled)), "{value}");
        }
    }

    #[test]
    fn what_counts_as_no_field() {
        let (trace_zero, span_zero) = ("0".repeat(32), "0".repeat(16));
        for value in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01."),
            format!("cc-{TRACE}-{SPAN}-01.what"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{trace_zero}-{SPAN}-01"),
            format!("00-{TRACE}-{span_zero}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("0g-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-.1"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!("00-{TRACE}-{}-01", SPAN.replace('b', "+")),
        ] {
            assert_eq!(Caller::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn no_two_ids_are_the_same_and_none_is_zero() {
        let tracers = [(); 2].map(|()| Tracer::new(Sampler::never()));
        let contexts = || tracers.iter().flat_map(|it| (0..1000).map(|_| it.context(None)));
        let traces: HashSet<u128> = contexts().map(|context| context.trace_id).collect();
        let halves = traces.iter().flat_map(|id| [(id >> 64) as u64, *id as u64]);
        let spans = contexts().map(|context| context.span_id);
        let all: HashSet<u64> = halves.chain(spans).filter(|id| *id != 0).collect();
        // Chance makes one in 10^12 such tests fail.
        assert_eq!((traces.len(), all.len()), (2000, 6000));
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        let context = TraceContext { trace_id: 7, parent_id: None, span_id: 9, is_sampled: true };
        let parsed = Caller::parse(context.to_string().as_bytes());
        assert_eq!(parsed, Some(Caller { trace_id: 7, parent_id: 9, is_sampled: true }));
    }
}
