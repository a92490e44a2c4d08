//! The least HTTP/1.1 that the endpoints need, for runtimes that bring none; no I/O.
//!
//! It is to monoio and glommio what `httparse` and a screenful of code are to somebody who builds
//! straight on them: heads by `httparse`, bodies by length or in chunks, answers appended to one
//! buffer. Limits and timeouts are left out, as they are in the ceiling.

mod answer;
mod body;
mod head;
mod machine;

pub use machine::{Machine, Refused};

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Dataset;

    const INPUT: &str = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /baseline11?a=13&b=42 HTTP/1.1\r\nContent-Length: 2\r\n\r\n20\
        POST /baseline11?a=1&b=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        1\r\n2\r\n1;x=y\r\n0\r\n0\r\nTrailer: z\r\n\r\n\
        POST /upload HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabcde";

    fn machine() -> Machine {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/arena/dataset.json");
        Machine::new(Box::leak(Box::new(Dataset::read(path.as_ref()))))
    }

    /// The bodies of the answers to input that arrives in these pieces.
    fn bodies(machine: &mut Machine, pieces: &[&[u8]]) -> Vec<String> {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            let used = machine.feed(&input, &mut output).expect("the input is well-formed");
            input.drain(..used);
        }
        assert!(input.is_empty());
        let output = String::from_utf8(output).expect("answers are text");
        let answers = output.split("HTTP/1.1 200 OK\r\n").skip(1);
        answers.filter_map(|answer| answer.split_once("\r\n\r\n")).map(|(_, b)| b.into()).collect()
    }

    #[test]
    fn answers_alike_wherever_the_input_is_split() {
        let input = INPUT.as_bytes();
        for offset in 0..input.len() {
            let mut machine = machine();
            let (first, second) = input.split_at(offset);
            let expected = ["Hello, World!", "75", "22", "5"];
            assert_eq!(bodies(&mut machine, &[first, second]), expected, "split at {offset}");
            assert!(!machine.keeps_alive());
        }
    }

    #[test]
    fn refuses_what_is_no_request() {
        assert!(machine().feed(b"PUT / HTTP/1.1\r\n\r\n", &mut Vec::new()).is_err());
        assert!(machine().feed(b"\x01\x02\r\n\r\n", &mut Vec::new()).is_err());
    }
}
