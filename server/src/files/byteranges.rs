//! Several ranges as one content: `multipart/byteranges` (RFC 9110 section 14.6).

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use bytes::Bytes;

/// A piece of content: bytes of its own, or a range of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Bytes(Bytes),
    File(Range<u64>),
}

impl Piece {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(range) => range.end - range.start,
        }
    }
}

/// The parts of a multipart content, each with its own head, and the line that ends it.
pub(crate) fn pieces(
    ranges: &[Range<u64>],
    size: u64,
    content_type: &str,
    boundary: &str,
) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    for (index, range) in ranges.iter().enumerate() {
        let line_end = if index == 0 { "" } else { "\r\n" };
        let content_range = content_range(range, size);
        let head = format!(
            "{line_end}--{boundary}\r\ncontent-type: {content_type}\r\n\
             content-range: {content_range}\r\n\r\n"
        );
        pieces.push(Piece::Bytes(Bytes::from(head)));
        pieces.push(Piece::File(range.clone()));
    }
    pieces.push(Piece::Bytes(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    pieces
}

/// The value of `Content-Range` for a part of `size` bytes (RFC 9110 section 14.4).
pub(crate) fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// A boundary that nobody can have put into a file before: drawn anew for each response.
pub(crate) fn boundary() -> String {
    let draw = || RandomState::new().hash_one(0);
    format!("corelane-{:016x}{:016x}", draw(), draw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_with_their_heads() {
        let pieces = pieces(&[0..1, 8..10], 10, "text/plain", "b");
        let file = b"0123456789";
        let wire: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.to_vec(),
                Piece::File(range) => file[range.start as usize..range.end as usize].to_vec(),
            })
            .collect();
        let expected = "--b\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-0/10\r\n\r\n0\r\n\
            --b\r\ncontent-type: text/plain\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n--b--\r\n";
        assert_eq!(String::from_utf8_lossy(&wire), expected);
        assert_eq!(pieces.iter().map(Piece::size).sum::<u64>(), wire.len() as u64);
    }

    #[test]
    fn no_two_boundaries_are_the_same() {
        let (one, other) = (boundary(), boundary());
        assert_ne!(one, other);
        // RFC 2046 section 5.1.1: 1 to 70 characters.
        assert!(one.len() <= 70 && one.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'));
    }
}
