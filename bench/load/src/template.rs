//! Text with placeholders, taken apart once and rendered for each request.
//!
//! `{rand:1:50000}` becomes a random whole number from 1 to 50000, `{seq:1}` counts up from 1.
//! Other braces stand for themselves: JSON bodies are full of them.

use std::ops::Range;

/// Makes the numbers of one shard. Sequences of different shards never meet.
#[derive(Debug)]
pub(crate) struct Numbers {
    random: fastrand::Rng,
    /// This shard's first number of a sequence, relative to the sequence's start.
    offset: u64,
    /// The distance between two numbers of a sequence: as many as there are shards.
    stride: u64,
}

impl Numbers {
    pub(crate) fn new(shard: usize, shard_count: usize, seed: u64) -> Numbers {
        Numbers {
            random: fastrand::Rng::with_seed(seed ^ (shard as u64).rotate_left(32)),
            offset: shard as u64,
            stride: shard_count as u64,
        }
    }
}

/// A piece of text, literal or to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// These bytes of the template's text.
    Literal(Range<usize>),
    /// `first <= number <= last`.
    Random { first: u64, last: u64 },
    /// `made` numbers of this sequence are out.
    Sequence { first: u64, made: u64 },
}

/// A text that is rendered again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    text: Vec<u8>,
    segments: Vec<Segment>,
}

impl Template {
    /// Takes a text apart.
    ///
    /// # Errors
    /// What is wrong with a placeholder.
    pub(crate) fn parse(text: impl Into<Vec<u8>>) -> Result<Template, String> {
        let text = text.into();
        let mut segments = Vec::new();
        let mut literal_start = 0;
        let mut at = 0;
        while at < text.len() {
            let Some((segment, size)) = parse_placeholder(&text[at..])? else {
                at += 1;
                continue;
            };
            if literal_start < at {
                segments.push(Segment::Literal(literal_start..at));
            }
            segments.push(segment);
            at += size;
            literal_start = at;
        }
        if literal_start < text.len() {
            segments.push(Segment::Literal(literal_start..text.len()));
        }
        Ok(Template { text, segments })
    }

    /// The whole text where nothing in it has to be made.
    pub(crate) fn literal(&self) -> Option<&[u8]> {
        let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        self.segments.iter().all(is_literal).then_some(&self.text)
    }

    /// Appends the text with fresh numbers.
    pub(crate) fn render(&mut self, numbers: &mut Numbers, output: &mut Vec<u8>) {
        for segment in &mut self.segments {
            let number = match segment {
                Segment::Literal(range) => {
                    output.extend_from_slice(&self.text[range.clone()]);
                    continue;
                }
                Segment::Random { first, last } => numbers.random.u64(*first..=*last),
                Segment::Sequence { first, made } => {
                    let steps = numbers.offset.wrapping_add(made.wrapping_mul(numbers.stride));
                    *made += 1;
                    first.wrapping_add(steps)
                }
            };
            output.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }
}

/// The placeholder that a text begins with, and its size in bytes.
fn parse_placeholder(text: &[u8]) -> Result<Option<(Segment, usize)>, String> {
    let kinds: [&[u8]; 2] = [b"{rand:", b"{seq:"];
    let Some(kind) = kinds.iter().find(|kind| text.starts_with(kind)) else {
        return Ok(None);
    };
    let end = text.iter().position(|byte| *byte == b'}');
    let Some(inside) = end.map(|end| &text[kind.len()..end]) else {
        return Err(format!("\"{}\" has no closing brace", lossy(text)));
    };
    let size = kind.len() + inside.len() + 1;
    let written = lossy(&text[..size]);
    let numbers: Result<Vec<u64>, _> = lossy(inside).split(':').map(str::parse).collect();
    let segment = match (kind[1], numbers.as_deref()) {
        (b'r', Ok([first, last])) if first <= last => {
            Segment::Random { first: *first, last: *last }
        }
        (b's', Ok([first])) => Segment::Sequence { first: *first, made: 0 },
        _ => {
            let problem = "write {rand:FIRST:LAST} with FIRST <= LAST, or {seq:FIRST}";
            return Err(format!("\"{written}\" is no placeholder: {problem}"));
        }
    };
    Ok(Some((segment, size)))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, shard: usize, shard_count: usize) -> Vec<String> {
        let mut template = Template::parse(text).expect(text);
        let mut numbers = Numbers::new(shard, shard_count, 7);
        let mut next = || {
            let mut output = Vec::new();
            template.render(&mut numbers, &mut output);
            String::from_utf8(output).expect("UTF-8")
        };
        (0..4).map(|_| next()).collect()
    }

    #[test]
    fn literal_text_stays_as_it_is() {
        for text in ["", "/", "{\"a\": {\"b\": 1}}", "{random}", "{seq}", "}{"] {
            let template = Template::parse(text).expect(text);
            assert_eq!(template.literal(), Some(text.as_bytes()));
            assert_eq!(render(text, 0, 1), [text; 4]);
        }
    }

    #[test]
    fn sequences_count_and_never_meet_across_shards() {
        assert_eq!(render("/{seq:1}!", 0, 1), ["/1!", "/2!", "/3!", "/4!"]);
        assert_eq!(render("{seq:10}", 0, 2), ["10", "12", "14", "16"]);
        assert_eq!(render("{seq:10}", 1, 2), ["11", "13", "15", "17"]);
        assert_eq!(render("{seq:1}{seq:5}", 0, 1), ["15", "26", "37", "48"]);
    }

    #[test]
    fn random_numbers_are_within_their_bounds_and_reach_both() {
        let mut template = Template::parse("{rand:1:3}").expect("template");
        let mut numbers = Numbers::new(0, 1, 7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let mut output = Vec::new();
            template.render(&mut numbers, &mut output);
            seen.insert(output);
        }
        assert!(seen.into_iter().eq([b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]));
    }

    #[test]
    fn broken_placeholders_are_refused() {
        for text in ["{rand:1}", "{rand:2:1}", "{seq:x}", "{seq:1:2}", "a{seq:1", "{rand:-1:2}"] {
            let problem = Template::parse(text).expect_err(text);
            assert!(problem.contains(text.trim_start_matches('a')), "{problem}");
        }
    }
}
