//! The state of one connection's input: bytes in, one [`Step`] out.

use super::chunked::Chunked;
use super::error::ProtocolError;
use super::fields::Fields;
use super::framing::Framing;
use super::head::{self, Head, Reading};
use super::limits::Limits;
use super::scan::{Bounds, Scanner};

/// RFC 9112 section 2.2: a server should ignore at least one empty line before a request line.
const BLANK_LINES_MAX: u8 = 2;

/// The input side of one connection. It owns no byte: the caller keeps what was not consumed.
///
/// The picture in the [module documentation](super) names its states and edges.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    state: State,
    /// Empty lines seen since the last request: `blank_lines <= BLANK_LINES_MAX`.
    blank_lines: u8,
    /// Whether no further request is parsed once the current one has been received.
    closes: bool,
}

/// What a connection wants or has, after one look at its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything that is there was looked at: drop `consumed` bytes, then wait for more.
    NeedMore {
        /// Bytes that will not be looked at again.
        consumed: usize,
    },
    /// A request. The caller drops `head.size` bytes before the next step.
    ///
    /// When [`Framing::has_body`] is false the request is complete: no `Data` and no `End` follow,
    /// and the next step is about the next request.
    Head(Head),
    /// Content of the body: `input[skip..skip + size]`. The caller drops `skip + size` bytes.
    Data {
        /// Bytes of framing before the content.
        skip: usize,
        /// Bytes of content, at least one.
        size: usize,
    },
    /// The body is complete. Trailers, if any, are in the scratch; then drop `consumed` bytes.
    End {
        /// Bytes of framing behind the content.
        consumed: usize,
    },
    /// The peer broke a rule: answer with [`ProtocolError::status`], then close.
    ///
    /// Every further step says the same, whatever the input.
    Refused(ProtocolError),
    /// The last request asked for the end of the connection; what follows it is not parsed.
    Closed,
}

/// What the end of the input means (RFC 9112 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfInput {
    /// Nothing was cut short.
    Clean,
    /// A request head was cut short.
    TruncatedHead,
    /// A body was cut short: what arrived of it is not a request and must not be used as one.
    TruncatedBody,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Between,
    Head(Scanner),
    Length { remaining: u64 },
    Chunked(Chunked),
    Refused(ProtocolError),
    Closed,
}

impl Connection {
    /// A connection on which nothing was received.
    pub const fn new() -> Self {
        Self { state: State::Between, blank_lines: 0, closes: false }
    }

    /// Looks at `input`, all bytes that were not consumed, in order, and says what is there.
    ///
    /// `input` may hold more than one request: a step never looks beyond what it needs. Call it
    /// again until it says [`Step::NeedMore`], [`Step::Refused`] or [`Step::Closed`].
    ///
    /// # Panics
    ///
    /// When bytes that were not consumed are missing from `input`: a bug of the caller, which no
    /// peer can provoke.
    #[inline]
    pub fn step(&mut self, input: &[u8], limits: &Limits, fields: &mut Fields) -> Step {
        // The common case comes first, and writes its step where it is wanted: a step that is made
        // in one place and moved from there waits for the CPU's stores.
        if matches!(self.state, State::Between) {
            if input.is_empty() {
                return Step::NeedMore { consumed: 0 };
            }
            if head::is_get(input, limits) {
                return self.look_at::<true>(input, 0, limits, fields);
            }
        }
        self.other_step(input, limits, fields)
    }

    #[inline(never)]
    fn other_step(&mut self, input: &[u8], limits: &Limits, fields: &mut Fields) -> Step {
        match &mut self.state {
            State::Between => self.first_look(input, limits, fields),
            State::Head(_) => {
                let step = self.next_look(input, 0, limits, fields);
                step.unwrap_or_else(|error| self.refuse(error))
            }
            State::Length { remaining: 0 } => self.end_body(0, fields),
            State::Length { remaining } => content(remaining, input.len()),
            State::Chunked(chunked) => match chunked.step(input, limits, fields) {
                Ok(Step::End { consumed }) => self.end_body(consumed, fields),
                Ok(step) => step,
                Err(error) => self.refuse(error),
            },
            State::Refused(error) => Step::Refused(*error),
            State::Closed => Step::Closed,
        }
    }

    /// Bounds the body of the request whose head was just returned, in bytes of content.
    ///
    /// A larger Content-Length is refused at once, chunks as soon as their sizes add up to more.
    /// Without this call a body has no bound.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::ContentTooLarge`]; the connection is then refused.
    pub fn limit_body(&mut self, body_bytes_max: u64) -> Result<(), ProtocolError> {
        let verdict = match &mut self.state {
            State::Length { remaining } if *remaining > body_bytes_max => {
                Err(ProtocolError::ContentTooLarge)
            }
            State::Chunked(chunked) => {
                chunked.limit(body_bytes_max);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = verdict {
            self.refuse(error);
        }
        verdict
    }

    /// What it means that the input ends here, with `unconsumed` bytes left over.
    pub fn end_of_input(&self, unconsumed: &[u8]) -> EndOfInput {
        match self.state {
            State::Between if unconsumed.is_empty() => EndOfInput::Clean,
            State::Between | State::Head(_) => EndOfInput::TruncatedHead,
            State::Length { .. } | State::Chunked(_) => EndOfInput::TruncatedBody,
            State::Refused(_) | State::Closed => EndOfInput::Clean,
        }
    }

    /// Parses no further request: for a response that says `Connection: close`.
    ///
    /// A body that is being received is still taken to its end.
    pub fn close(&mut self) {
        self.closes = true;
        if matches!(self.state, State::Between | State::Head(_)) {
            self.state = State::Closed;
        }
    }

    /// Whether the connection ends after the current request, has ended, or was refused.
    pub fn is_closing(&self) -> bool {
        self.closes || matches!(self.state, State::Refused(_) | State::Closed)
    }

    /// Whether what comes next is the head of a request, of which nothing was looked at.
    #[inline]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Why the connection was refused, if it was.
    pub fn refusal(&self) -> Option<ProtocolError> {
        match self.state {
            State::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Bytes of content that the body under way still has; `None` where it is chunked, or none.
    pub fn body_bytes_left(&self) -> Option<u64> {
        match self.state {
            State::Length { remaining } => Some(remaining),
            _ => None,
        }
    }

    /// Whether a body is being received.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Length { .. } | State::Chunked(_))
    }

    /// The common case: a whole and well-formed head, read in one pass.
    #[inline(always)]
    fn look_at<const IS_GET: bool>(
        &mut self,
        input: &[u8],
        start: usize,
        limits: &Limits,
        fields: &mut Fields,
    ) -> Step {
        match head::read::<IS_GET>(input, start, limits, fields) {
            Reading::Accepted(head) => self.accept(head),
            Reading::Refused(error) => self.refuse(error),
            Reading::Uncertain => {
                self.state = State::Head(Scanner::head());
                let step = self.next_look(input, start, limits, fields);
                step.unwrap_or_else(|error| self.refuse(error))
            }
        }
    }

    /// A head of any method, perhaps with empty lines before it.
    #[inline(always)]
    fn first_look(&mut self, input: &[u8], limits: &Limits, fields: &mut Fields) -> Step {
        let start = match input.first() {
            None => return Step::NeedMore { consumed: 0 },
            Some(b'\r') => match self.skip_blank_lines(input) {
                Ok(start) => start,
                Err(error) => return self.refuse(error),
            },
            Some(_) => 0,
        };
        if matches!(input.get(start), None | Some(b'\r')) {
            return Step::NeedMore { consumed: start };
        }
        self.look_at::<false>(input, start, limits, fields)
    }

    /// The uncommon case: a head that is split or malformed. Only new bytes are scanned, and the
    /// head is read once its end is there.
    #[cold]
    fn next_look(
        &mut self,
        input: &[u8],
        start: usize,
        limits: &Limits,
        fields: &mut Fields,
    ) -> Result<Step, ProtocolError> {
        let State::Head(scanner) = &mut self.state else {
            return Err(ProtocolError::HeadInvalid);
        };
        if scanner.advance(&input[start..], &Bounds::head(limits))?.is_none() {
            return Ok(Step::NeedMore { consumed: start });
        }
        match head::read::<false>(input, start, limits, fields) {
            Reading::Accepted(head) => Ok(self.accept(head)),
            Reading::Refused(error) => Err(error),
            // The two readings would have to disagree; a test holds them together.
            Reading::Uncertain => Err(ProtocolError::HeadInvalid),
        }
    }

    /// Where the first line that is not empty starts, or the CR whose next byte is not there yet.
    #[cold]
    fn skip_blank_lines(&mut self, input: &[u8]) -> Result<usize, ProtocolError> {
        let mut at = 0;
        loop {
            match &input[at..] {
                [b'\r', ..] if self.blank_lines == BLANK_LINES_MAX => {
                    return Err(ProtocolError::BlankLines);
                }
                [b'\r', b'\n', ..] => (self.blank_lines, at) = (self.blank_lines + 1, at + 2),
                [b'\r', _, ..] => return Err(ProtocolError::BareCarriageReturn),
                _ => return Ok(at),
            }
        }
    }

    #[inline(always)]
    fn accept(&mut self, head: Head) -> Step {
        self.blank_lines = 0;
        self.closes = !head.keeps_alive;
        self.state = match head.framing {
            Framing::Chunked => State::Chunked(Chunked::new()),
            Framing::Length(remaining) if remaining > 0 => State::Length { remaining },
            _ if self.closes => State::Closed,
            _ => State::Between,
        };
        Step::Head(head)
    }

    fn end_body(&mut self, consumed: usize, fields: &mut Fields) -> Step {
        // Only a chunked body has something to consume at its end; what the scratch holds for any
        // other body are the trailers of a stranger.
        if consumed == 0 {
            fields.start_trailers();
        }
        self.state = if self.closes { State::Closed } else { State::Between };
        Step::End { consumed }
    }

    #[cold]
    fn refuse(&mut self, error: ProtocolError) -> Step {
        self.state = State::Refused(error);
        Step::Refused(error)
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
fn content(remaining: &mut u64, available: usize) -> Step {
    if available == 0 {
        return Step::NeedMore { consumed: 0 };
    }
    let size = available.min(usize::try_from(*remaining).unwrap_or(usize::MAX));
    *remaining -= size as u64;
    Step::Data { skip: 0, size }
}
