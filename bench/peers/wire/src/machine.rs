//! One connection: bytes in, answers out.

use contract::{Dataset, Message};

use crate::answer::Answers;
use crate::body::{Body, Progress};
use crate::head::Head;

/// What the protocol knows of one connection.
pub struct Machine {
    dataset: &'static Dataset,
    answers: Answers,
    pending: Option<Pending>,
    keeps_alive: bool,
}

/// The peer sent something that is not understood, or asked for the connection to end.
#[derive(Debug)]
pub struct Refused;

/// A request whose body is still arriving.
struct Pending {
    body: Body,
    purpose: Purpose,
}

enum Purpose {
    /// Adds the number in the body; digits beyond 19 can not be one.
    Add {
        sum: i64,
        digits: Vec<u8>,
    },
    Count {
        bytes: u64,
    },
    Discard,
}

impl Machine {
    /// A connection that has just opened.
    pub fn new(dataset: &'static Dataset) -> Self {
        Self { dataset, answers: Answers::new(), pending: None, keeps_alive: true }
    }

    /// Whether the connection goes on once the output is sent.
    pub fn keeps_alive(&self) -> bool {
        self.keeps_alive
    }

    /// Appends the answers to what is complete in `input` and says how many bytes of it were
    /// used; the rest has to come again, with more behind it.
    pub fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, Refused> {
        let mut used = 0;
        while self.keeps_alive || self.pending.is_some() {
            let rest = &input[used..];
            let step = match self.pending.take() {
                Some(pending) => self.continue_body(pending, rest, output)?,
                None => self.start(rest, output)?,
            };
            match step {
                Some(bytes) => used += bytes,
                None => break,
            }
        }
        Ok(used)
    }

    fn start(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Option<usize>, Refused> {
        if input.is_empty() {
            return Ok(None);
        }
        let Some(head) = Head::parse(input)? else {
            return Ok(None);
        };
        self.keeps_alive = head.keeps_alive;
        self.answers.closes = !head.keeps_alive;
        let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
        if head.is_post {
            let purpose = match path {
                "/baseline11" => Purpose::Add { sum: contract::sum(query), digits: Vec::new() },
                "/upload" => Purpose::Count { bytes: 0 },
                _ => Purpose::Discard,
            };
            self.pending = Some(Pending { body: head.body, purpose });
        } else {
            self.answer(path, query, output);
        }
        Ok(Some(head.length))
    }

    fn answer(&mut self, path: &str, query: &str, output: &mut Vec<u8>) {
        match path {
            "/plaintext" => self.answers.text(contract::PLAINTEXT.as_bytes(), output),
            "/pipeline" => self.answers.text(contract::PIPELINE.as_bytes(), output),
            "/json" => self.answers.json(&Message::hello().to_json(), output),
            "/baseline11" => self.answers.number(contract::sum(query), output),
            _ => match path.strip_prefix("/json/").map(str::parse) {
                Some(Ok(count)) => {
                    let page = self.dataset.page(count, contract::multiplier(query));
                    self.answers.json(&page.to_json(), output);
                }
                _ => self.answers.not_found(output),
            },
        }
    }

    fn continue_body(
        &mut self,
        mut pending: Pending,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<usize>, Refused> {
        let used = match pending.body.step(input)? {
            Progress::End(bytes) => {
                self.finish(pending.purpose, output);
                return Ok(Some(bytes));
            }
            Progress::Data(bytes) => {
                pending.purpose.take(&input[..bytes]);
                Some(bytes)
            }
            Progress::Framing(bytes) => Some(bytes),
            Progress::Starved => None,
        };
        self.pending = Some(pending);
        Ok(used)
    }

    fn finish(&mut self, purpose: Purpose, output: &mut Vec<u8>) {
        match purpose {
            Purpose::Add { sum, digits } => {
                let text = std::str::from_utf8(&digits).unwrap_or_default();
                match text.trim().parse::<i64>() {
                    Ok(number) => self.answers.number(sum + number, output),
                    Err(_) => self.answers.bad_request(output),
                }
            }
            Purpose::Count { bytes } => self.answers.number(bytes as i64, output),
            Purpose::Discard => self.answers.not_found(output),
        }
    }
}

impl Purpose {
    fn take(&mut self, data: &[u8]) {
        match self {
            Self::Add { digits, .. } => {
                let room = 32_usize.saturating_sub(digits.len());
                digits.extend_from_slice(&data[..data.len().min(room)]);
            }
            Self::Count { bytes } => *bytes += data.len() as u64,
            Self::Discard => {}
        }
    }
}
