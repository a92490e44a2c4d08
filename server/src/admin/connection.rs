//! One connection to the admin address: blocking, bounded in time, over the same protocol core.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{Method, StatusCode, Version};

use super::answer::{Answer, Body, Question, answer};
use super::socket::{Socket, Stop, Woken};
use super::{Admin, View};
use crate::http1::encode::{self, BodyRule};
use crate::http1::{Connection, Fields, Head, Limits, Step};

/// How much is read at once.
const READ_BYTES: usize = 4096;

/// How long a connection that is closed is listened to, so that a reset does not eat the answer.
const LINGER: Duration = Duration::from_millis(500);

/// The connections that may be open at once.
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    count_max: usize,
}

impl Places {
    pub(super) fn new(count_max: usize) -> Places {
        Places { taken: Arc::default(), count_max }
    }

    pub(super) fn take(&self) -> Option<Place> {
        // Only the admin thread takes; the others give back.
        if self.taken.load(Ordering::Acquire) >= self.count_max {
            return None;
        }
        self.taken.fetch_add(1, Ordering::AcqRel);
        Some(Place(Arc::clone(&self.taken)))
    }
}

/// One of them, given back when it is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers one connection too many. It gets what fits into its socket at once.
pub(super) fn turn_away(mut socket: Box<dyn Socket>) {
    let mut out = Vec::new();
    let answer =
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, "all admin connections are in use\n");
    write_head(&mut out, &answer, &BodyRule::Content, Version::HTTP_11, false);
    if let Body::Whole(content) = answer.body {
        out.extend_from_slice(&content);
    }
    let _ = socket.write(&out);
}

/// Why a connection ends before it says so itself.
struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Gone {
        Gone
    }
}

/// Serves a connection to its end.
pub(super) fn serve(
    socket: Box<dyn Socket>,
    admin: &Admin,
    view: &View,
    stop: &Stop,
    is_local: bool,
) {
    let mut client = Client { socket, admin, view, stop, is_local };
    let _ = client.run();
}

struct Client<'a> {
    socket: Box<dyn Socket>,
    admin: &'a Admin,
    view: &'a View,
    stop: &'a Stop,
    is_local: bool,
}

impl Client<'_> {
    fn run(&mut self) -> Result<(), Gone> {
        let (mut protocol, mut fields) = (Connection::new(), Fields::new());
        let (limits, mut input) = (Limits::default(), Vec::new());
        let mut deadline = Instant::now() + self.admin.idle_timeout;
        loop {
            match protocol.step(&input, &limits, &mut fields) {
                Step::NeedMore { consumed } => {
                    input.drain(..consumed);
                    let was_idle = input.is_empty();
                    self.receive(&mut input, deadline)?;
                    if was_idle {
                        deadline = Instant::now() + self.admin.patience;
                    }
                }
                Step::Head(head) => {
                    // No answer here needs a body: one that comes is not waited for.
                    let keeps_alive = head.keeps_alive && !head.framing.has_body();
                    self.answer(&head, &input, &fields, keeps_alive)?;
                    input.drain(..head.size);
                    if !keeps_alive {
                        return self.linger();
                    }
                    let is_idle = input.is_empty();
                    deadline = Instant::now()
                        + if is_idle { self.admin.idle_timeout } else { self.admin.patience };
                }
                Step::Refused(error) => {
                    let mut out = Vec::new();
                    encode::refusal(&mut out, error, &date(), b"", input.starts_with(b"HEAD "));
                    self.send(&out)?;
                    return self.linger();
                }
                Step::Data { .. } | Step::End { .. } | Step::Closed => return Ok(()),
            }
        }
    }

    fn answer(
        &mut self,
        head: &Head,
        input: &[u8],
        fields: &Fields,
        keeps_alive: bool,
    ) -> Result<(), Gone> {
        let text = |bytes: Option<&[u8]>| {
            bytes.and_then(|bytes| std::str::from_utf8(bytes).ok().map(str::to_owned))
        };
        let question = Question {
            method: head.method.clone(),
            path: text(Some(head.path(input))).unwrap_or_default(),
            accept: text(fields.find(input, "accept")).unwrap_or_default(),
            host: text(head.authority.map(|host| host.of(input))),
            is_local: self.is_local,
        };
        let answer = answer(&question, self.view);
        let rule = BodyRule::of(head.method == Method::HEAD, answer.status, head.version);
        let ends = matches!(answer.body, Body::Events) && !rule.may_chunk();
        let mut out = Vec::new();
        write_head(&mut out, &answer, &rule, head.version, keeps_alive && !ends);
        match answer.body {
            Body::Whole(content) if rule.sends_content() => {
                out.extend_from_slice(&content);
                self.send(&out)
            }
            Body::Events if rule.sends_content() => {
                self.send(&out)?;
                self.events(rule)
            }
            _ => self.send(&out),
        }
    }

    /// Sends samples for as long as the client takes them and the server runs.
    fn events(&mut self, rule: BodyRule) -> Result<(), Gone> {
        let mut seen = 0;
        let mut events = self.view.hello().ok_or(Gone)?;
        loop {
            let mut out = Vec::new();
            if rule.may_chunk() {
                encode::chunk(&mut out, events.as_bytes());
            } else {
                out.extend_from_slice(events.as_bytes());
            }
            self.send(&out)?;
            events = self.view.wait_for_samples(&mut seen).ok_or(Gone)?;
        }
    }

    fn receive(&mut self, input: &mut Vec<u8>, deadline: Instant) -> Result<(), Gone> {
        loop {
            if self.stop.wait_readable(&self.socket, deadline) != Woken::Ready {
                return Err(Gone);
            }
            let mut bytes = [0; READ_BYTES];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(Gone),
                Ok(size) => {
                    input.extend_from_slice(&bytes[..size]);
                    return Ok(());
                }
                Err(error) if super::is_passing(&error) => {}
                Err(_) => return Err(Gone),
            }
        }
    }

    /// Sends all of it within the time that one answer has.
    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        let deadline = Instant::now() + self.admin.patience;
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(0) => return Err(Gone),
                Ok(size) => bytes = &bytes[size..],
                Err(error) if super::is_passing(&error) => {
                    if self.stop.wait_writable(&self.socket, deadline) != Woken::Ready {
                        return Err(Gone);
                    }
                }
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Waits a moment for the client to close, and throws away what it still sends.
    fn linger(&mut self) -> Result<(), Gone> {
        self.socket.finish()?;
        let deadline = Instant::now() + LINGER;
        let mut left = 16 * READ_BYTES;
        loop {
            let mut input = Vec::new();
            self.receive(&mut input, deadline)?;
            left = left.checked_sub(input.len()).ok_or(Gone)?;
        }
    }
}

fn date() -> Vec<u8> {
    format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::now())).into_bytes()
}

fn write_head(
    out: &mut Vec<u8>,
    answer: &Answer,
    rule: &BodyRule,
    version: Version,
    keeps_alive: bool,
) {
    encode::status_line(out, answer.status);
    out.extend_from_slice(&date());
    encode::connection(out, version, keeps_alive);
    for (name, value) in answer.fields() {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    match &answer.body {
        Body::Whole(content) => encode::content_length(out, content.len() as u64),
        Body::Events if rule.may_chunk() => encode::transfer_encoding(out),
        Body::Events => {}
    }
    encode::end_head(out);
}
