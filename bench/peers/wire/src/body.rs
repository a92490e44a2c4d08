//! Bodies: how many bytes of the input belong to one, and where it ends.

use crate::machine::Refused;

/// Where in a body the input stands.
///
/// ```text
/// Length(n) --n bytes--> end
/// Size --size line--> Chunk(n) --n bytes and a line end--> Size
/// Size --size line of 0--> Trailer --empty line--> end
/// ```
pub(crate) enum Body {
    Length(u64),
    Size,
    Chunk(u64),
    Trailer,
}

/// What one step through the input came to.
pub(crate) enum Progress {
    /// So many bytes of the input are framing.
    Framing(usize),
    /// So many bytes of the input are the body's.
    Data(usize),
    /// More input is needed.
    Starved,
    /// The body is over and so many bytes of the input ended it.
    End(usize),
}

impl Body {
    pub(crate) fn step(&mut self, input: &[u8]) -> Result<Progress, Refused> {
        match self {
            Self::Length(0) => Ok(Progress::End(0)),
            Self::Length(left) => Ok(take(left, input)),
            Self::Chunk(0) => Ok(match line(input) {
                Some(_) => {
                    *self = Self::Size;
                    Progress::Framing(2)
                }
                None => Progress::Starved,
            }),
            Self::Chunk(left) => Ok(take(left, input)),
            Self::Size => self.size(input),
            Self::Trailer => Ok(match line(input) {
                Some([]) => Progress::End(2),
                Some(line) => Progress::Framing(line.len() + 2),
                None => Progress::Starved,
            }),
        }
    }

    fn size(&mut self, input: &[u8]) -> Result<Progress, Refused> {
        let Some(line) = line(input) else {
            return Ok(Progress::Starved);
        };
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
            .ok_or(Refused)?;
        *self = if size == 0 { Self::Trailer } else { Self::Chunk(size) };
        Ok(Progress::Framing(line.len() + 2))
    }
}

fn take(left: &mut u64, input: &[u8]) -> Progress {
    let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= taken as u64;
    if taken == 0 { Progress::Starved } else { Progress::Data(taken) }
}

/// The first line without its end; none if it has not all arrived.
fn line(input: &[u8]) -> Option<&[u8]> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&input[..end])
}
