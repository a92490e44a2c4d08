//! Reads answers as a strict client does: whatever is not exactly as it should be is a failure.

/// One whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content: Vec<u8>,
    /// Whether it says that it is the last one.
    pub(crate) is_last: bool,
}

/// Takes the first final answer off `bytes`, with the interim ones before it; `None` where it is
/// not whole.
pub(crate) fn take_answer(bytes: &mut Vec<u8>, is_to_head: bool) -> Option<Answer> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut interim_count = 0;
    while bytes.starts_with(CONTINUE) {
        bytes.drain(..CONTINUE.len());
        interim_count += 1;
    }
    assert!(interim_count < 2, "asked for one body {interim_count} times");
    let head_size = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_size]).expect("a head in ASCII").to_owned();
    let fields = |name: &str| {
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        let values = lines.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
        let values: Vec<String> = values.collect();
        assert!(values.len() < 2, "{name} twice: {head}");
        values.into_iter().next()
    };
    let (length, coding) = (fields("content-length"), fields("transfer-encoding"));
    assert!(fields("date").is_some() && fields("server").is_some(), "{head}");
    let (content, size) = match (length, coding) {
        _ if is_to_head => (Vec::new(), 0),
        (Some(size), None) => {
            let size: usize = size.parse().expect("a length");
            (bytes.get(head_size..head_size + size)?.to_vec(), size)
        }
        (None, Some(coding)) if coding == "chunked" => dechunk(&bytes[head_size..])?,
        framing => panic!("{framing:?}: {head}"),
    };
    bytes.drain(..head_size + size);
    Some(Answer {
        status: status(&head),
        content,
        is_last: fields("connection").as_deref() == Some("close"),
    })
}

fn status(head: &str) -> u16 {
    let line = head.strip_prefix("HTTP/1.1 ").expect("a status line");
    let (status, reason) = line.split_at(3);
    assert!(reason.starts_with(' '), "{head}");
    status.parse().expect("a status")
}

/// The content of a chunked body and the size of its framing; `None` where it is not whole.
fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let line_size = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..at + line_size]).expect("a size");
        let size = usize::from_str_radix(line, 16).expect("a size");
        at += line_size + 2;
        content.extend_from_slice(bytes.get(at..at + size)?);
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n", "behind a chunk");
        at += size + 2;
        if size == 0 {
            return Some((content, at));
        }
    }
}
