//! Server-sent events (HTML Living Standard, section 9.2).

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use corelane_runtime::{Shard, Timer};
use futures_core::Stream;
use http::{HeaderValue, header};

use crate::body::{Body, BodyStream};
use crate::error::BoxError;
use crate::extract::{Exchange, FromRequest};
use crate::response::{IntoResponse, Response};

/// Below the 60 s at which most proxies give a silent connection up.
const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(15);

/// One event, or a comment.
///
/// ```
/// use corelane::Event;
///
/// let event = Event::data("two\nlines").event("message").id("7");
/// assert_eq!(event.to_string(), "data: two\ndata: lines\nevent: message\nid: 7\n\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    lines: String,
}

impl Event {
    /// An event with data, which may have several lines.
    pub fn data(data: impl AsRef<str>) -> Event {
        Event::default().lines("data", data.as_ref())
    }

    /// A line that clients do not see.
    pub fn comment(text: impl AsRef<str>) -> Event {
        Event::default().lines("", text.as_ref())
    }

    /// The event's type; browsers take an event without one for a `message`.
    #[must_use]
    pub fn event(self, name: impl AsRef<str>) -> Event {
        self.line("event", name.as_ref())
    }

    /// What the client sends as `Last-Event-ID` when it connects again.
    #[must_use]
    pub fn id(self, id: impl AsRef<str>) -> Event {
        // The standard has clients ignore an id with NUL in it.
        self.line("id", &id.as_ref().replace('\0', ""))
    }

    /// How long the client waits before it connects again.
    #[must_use]
    pub fn retry(self, delay: Duration) -> Event {
        self.line("retry", &delay.as_millis().to_string())
    }

    /// A field of one line: a line's end in it would begin another field.
    fn line(self, name: &str, value: &str) -> Event {
        self.field(name, &value.replace(['\r', '\n'], " "))
    }

    /// A field for each line. Of the three line ends that clients know, all end a line here.
    fn lines(self, name: &str, text: &str) -> Event {
        let text = text.replace("\r\n", "\n");
        text.split(['\r', '\n']).fold(self, |event, line| event.field(name, line))
    }

    fn field(mut self, name: &str, value: &str) -> Event {
        for part in [name, ": ", value, "\n"] {
            self.lines.push_str(part);
        }
        self
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.lines)
    }
}

/// A response of events, for as long as the stream and the client go on.
///
/// Each event is sent when the stream pauses. While it is silent, a comment goes out now and then:
/// so proxies keep the connection, and a client that is gone is noticed, which drops the stream.
///
/// ```
/// use std::time::Duration;
/// use corelane::{Event, Events, LastEventId, get};
/// use futures_util::stream;
///
/// let count = get(async |LastEventId(last): LastEventId| {
///     let first = last.and_then(|id| id.parse().ok()).map_or(0, |id: u64| id + 1);
///     Events::new(stream::unfold(first, |number| async move {
///         corelane::runtime::sleep(Duration::from_secs(1)).await;
///         Some((Event::data("tick").id(number.to_string()), number + 1))
///     }))
///     .retry(Duration::from_secs(3))
/// });
/// # let _ = count;
/// ```
#[derive(Debug)]
pub struct Events<S> {
    events: S,
    keep_alive: Duration,
    retry: Option<Duration>,
}

impl<S: Stream<Item = Event> + 'static> Events<S> {
    /// Sends these events, and a comment after each 15 s of silence.
    pub fn new(events: S) -> Events<S> {
        Events { events, keep_alive: KEEP_ALIVE_DEFAULT, retry: None }
    }

    /// Another time of silence before a comment.
    #[must_use]
    pub fn keep_alive(mut self, silence: Duration) -> Events<S> {
        self.keep_alive = silence;
        self
    }

    /// Tells the client at once how long to wait before it connects again.
    #[must_use]
    pub fn retry(mut self, delay: Duration) -> Events<S> {
        self.retry = Some(delay);
        self
    }
}

impl<S: Stream<Item = Event> + 'static> IntoResponse for Events<S> {
    fn into_response(self) -> Response {
        let shard = Shard::current();
        let first = match self.retry {
            Some(delay) => Event::default().retry(delay),
            // Something at once, so that the client knows that it is connected.
            None => Event::comment(""),
        };
        let timer = Timer::new(&shard);
        let (inner, silence) = (self.events, self.keep_alive);
        let lines = Lines { inner, first: Some(first), silence, timer, shard };
        let mut response =
            Response { body: Body::Stream(BodyStream::new(lines)), ..Response::default() };
        let fields = &mut response.headers;
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

pin_project_lite::pin_project! {
    struct Lines<S> {
        #[pin]
        inner: S,
        first: Option<Event>,
        silence: Duration,
        timer: Timer,
        shard: Rc<Shard>,
    }
}

impl<S: Stream<Item = Event>> Stream for Lines<S> {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let event = match this.first.take() {
            Some(first) => first,
            None => match this.inner.poll_next(context) {
                Poll::Ready(Some(event)) => event,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(this.timer.poll_expired(context));
                    Event::comment("")
                }
            },
        };
        this.timer.arm(this.shard.now() + *this.silence);
        Poll::Ready(Some(Ok(Bytes::from(event.to_string()))))
    }
}

/// The id of the last event that a client has seen, when it connects again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastEventId(
    /// The id; `None` for a client that connects for the first time.
    pub Option<String>,
);

impl FromRequest for LastEventId {
    type Rejection = Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<LastEventId, Infallible> {
        let id = exchange.header("last-event-id").and_then(|id| std::str::from_utf8(id).ok());
        Ok(LastEventId(id.map(str::to_owned)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_field() {
        let check = |event: Event, expected: &str| assert_eq!(event.to_string(), expected);
        check(Event::data("a\rb\r\nc\n"), "data: a\ndata: b\ndata: c\ndata: \n\n");
        check(
            Event::data("").event("x\ndata: y").id("1\r\n\u{0}2"),
            "data: \nevent: x data: y\nid: 1  2\n\n",
        );
        check(Event::comment("a\nb"), ": a\n: b\n\n");
        check(Event::default().retry(Duration::from_millis(1500)), "retry: 1500\n\n");
    }
}
