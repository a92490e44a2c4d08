//! One request, from its head to its answer: routed, its handler called and polled once.

use std::borrow::Cow;
use std::rc::Rc;
use std::task::Context;

use http::Method;

use super::Site;
use super::conversation::{Conversation, Next, Pending};
use super::finished::answer_bytes;
use super::logged::{Asked, begin_trace, outcome};
use super::lookup::find_other;
use crate::extract::{Exchange, Extensions, Params, Peer, PeerSource, Scope, Source};
use crate::faults::guard;
use crate::handler::Call;
use crate::http1::{Field, Head};
use crate::overload::InFlight;
use crate::response::{RequestFacts, Responder, Rest};
use crate::router::Found;

/// A request whose head was accepted.
pub(super) struct Request<'a> {
    pub(super) head: &'a Head,
    /// The bytes of the head, to which the spans refer.
    pub(super) bytes: &'a [u8],
    pub(super) fields: &'a [Field],
    /// Where it goes, if its path says so octet by octet.
    pub(super) exact: Option<Found<'a>>,
    /// Whether an answer that leaves the body unread ends the connection.
    pub(super) closes_unread: bool,
}

impl<'a> Request<'a> {
    #[inline]
    pub(super) fn new(
        site: &'a Site,
        head: &'a Head,
        bytes: &'a [u8],
        fields: &'a [Field],
    ) -> Request<'a> {
        let exact = site.table.find_exact(&head.method, head.path(bytes));
        Request { head, bytes, fields, exact, closes_unread: false }
    }

    /// Where it goes. `path` keeps its path where it had to be normalized for that, and `params`
    /// the values of its parameters.
    #[inline]
    pub(super) fn find<'r>(
        &self,
        site: &'r Site,
        path: &'r mut Option<Cow<'a, str>>,
        params: &'r mut Option<Params<'r>>,
    ) -> Found<'r>
    where
        'a: 'r,
    {
        match self.exact {
            Some(found) => found,
            None => find_other(&site.table, self.head, self.bytes, path, params),
        }
    }
}

/// How one exchange went.
pub(super) enum Answer {
    Done(Rest),
    Pending(Call, RequestFacts),
}

impl Conversation {
    /// Routes a request, takes the handler's arguments, calls it, polls it once.
    pub(super) fn answer(
        &mut self,
        request: &Request<'_>,
        body: Source<'_>,
        context: &mut Context<'_>,
    ) -> Answer {
        self.ready_out();
        let start = self.out.len();
        let site = Rc::clone(&self.site);
        let facts = self.facts(request);
        if self.is_refused {
            return self.shed(request, facts);
        }
        let mut common = site.common.borrow_mut();
        let mut responder = Responder::new(&mut self.out, facts, common.start_now(&self.shard));
        let (mut path, mut params) = (None, None);
        let found = request.find(&site, &mut path, &mut params);
        let Found { route, endpoint, params, path_rest } = found;
        let Request { head, bytes, fields, .. } = *request;
        let mut exchange = Exchange {
            head,
            bytes,
            fields: Cow::Borrowed(fields),
            params,
            path_rest,
            body,
            body_bytes_max: route.body_bytes_max.unwrap_or(site.config.body_bytes_max),
            peer: Peer {
                source: PeerSource::Stream(&self.stream),
                proxied: self.proxied.as_deref(),
                proxy: &site.proxy,
            },
            scope: Scope { shard: &self.shard, states: &route.states },
            trace: begin_trace(&site, bytes, fields),
            extensions: Extensions::default(),
        };
        let mut running = None;
        self.activity = route.activity;
        self.shard.begin_activity(self.activity);
        let ended = guard(&mut responder, |responder| {
            running = endpoint.answer(&mut exchange, context, responder);
        });
        match running {
            Some(call) if ended => {
                if let Some(recorder) = &site.tally.recorder {
                    self.logged.note(recorder, &site, None, &Asked::of(&exchange), route.activity);
                }
                self.in_flight = InFlight::count(&site.overload);
                Answer::Pending(call, facts)
            }
            _ => {
                let (status, keeps_alive, rest) = responder.finish();
                if let Some(recorder) = &site.tally.recorder {
                    let bytes = answer_bytes(&self.out, start, &rest);
                    let outcome = outcome(&self.shard, self.began, status, bytes);
                    let asked = Asked::of(&exchange);
                    let logged = &mut self.logged;
                    logged.note_answer(recorder, &site, &asked, route.activity, &rest, &outcome);
                }
                self.end_exchange(keeps_alive);
                self.note_answer(route.activity, status, self.shard.now(), start, &rest);
                if !matches!(rest, Rest::Nothing) {
                    self.in_flight = InFlight::count(&site.overload);
                }
                Answer::Done(rest)
            }
        }
    }

    fn facts(&self, request: &Request<'_>) -> RequestFacts {
        let Request { head, closes_unread, .. } = *request;
        let (is_head, version) = (head.method == Method::HEAD, head.version);
        let keeps_alive = head.keeps_alive && !self.is_last();
        RequestFacts { is_head, version, keeps_alive, closes_unread }
    }

    /// For an exchange whose body is not streamed.
    pub(super) fn after(&mut self, answer: Answer) -> Option<Next> {
        match answer {
            Answer::Pending(call, facts) => {
                let (called, channel, awaits_continue) = (self.shard.now(), None, false);
                Some(Next::Call(Pending { call, facts, called, channel, awaits_continue }))
            }
            Answer::Done(Rest::Nothing) => None,
            Answer::Done(rest) => Some(Next::Rest(rest, None)),
        }
    }
}
