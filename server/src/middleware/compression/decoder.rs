//! Decoders that give out no more than there is room for, whatever the content claims to be.

use std::io;

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use crate::coding::Coding;
use crate::extract::RequestBodyError;

/// The largest window of Zstandard: RFC 9659 section 3 allows no larger one as a content coding.
const ZSTD_WINDOW_BITS_MAX: u32 = 23;

/// One content on its way out of a coding.
pub(super) struct Decoder {
    kind: Kind,
    is_done: bool,
}

enum Kind {
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(zstd::stream::raw::Decoder<'static>),
    Gzip(Decompress),
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> io::Result<Decoder> {
        let alloc = StandardAlloc::default;
        let kind = match coding {
            // RFC 7932 section 9.1: windows of at most 16 MiB. Without "strict" there is an
            // extension for larger ones, of up to a gigabyte.
            Coding::Brotli => {
                Kind::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut decoder = zstd::stream::raw::Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_BITS_MAX))?;
                Kind::Zstd(decoder)
            }
            Coding::Gzip => Kind::Gzip(Decompress::new_gzip(15)),
        };
        Ok(Decoder { kind, is_done: false })
    }

    /// Whether the content is complete.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Decodes into `room`; says how many bytes of `content` are used up and how many of `room`.
    /// Neither only where it needs more content.
    ///
    /// # Errors
    /// Content that is not in the coding, or goes on behind its end.
    pub(super) fn decode(
        &mut self,
        content: &[u8],
        room: &mut [u8],
    ) -> Result<(usize, usize), RequestBodyError> {
        if self.is_done {
            let is_over = content.is_empty();
            return if is_over { Ok((0, 0)) } else { Err(RequestBodyError::Malformed) };
        }
        let (taken, given, is_done) = match &mut self.kind {
            Kind::Brotli(state) => inflate_brotli(state, content, room)?,
            Kind::Zstd(decoder) => {
                let (mut input, mut output) = (InBuffer::around(content), OutBuffer::around(room));
                let hint = decoder.run(&mut input, &mut output).map_err(malformed)?;
                (input.pos(), output.pos(), hint == 0)
            }
            Kind::Gzip(state) => {
                let (taken, given) = (state.total_in(), state.total_out());
                let status = state
                    .decompress(content, room, FlushDecompress::None)
                    .map_err(|_| RequestBodyError::Malformed)?;
                let taken = (state.total_in() - taken) as usize;
                (taken, (state.total_out() - given) as usize, status == Status::StreamEnd)
            }
        };
        self.is_done = is_done;
        Ok((taken, given))
    }
}

fn malformed(_: io::Error) -> RequestBodyError {
    RequestBodyError::Malformed
}

fn inflate_brotli(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    content: &[u8],
    room: &mut [u8],
) -> Result<(usize, usize, bool), RequestBodyError> {
    let (mut content_left, mut taken) = (content.len(), 0);
    let (mut room_left, mut given, mut total) = (room.len(), 0, 0);
    let result = BrotliDecompressStream(
        &mut content_left,
        &mut taken,
        content,
        &mut room_left,
        &mut given,
        room,
        &mut total,
        state,
    );
    match result {
        BrotliResult::ResultFailure => Err(RequestBodyError::Malformed),
        result => Ok((taken, given, matches!(result, BrotliResult::ResultSuccess))),
    }
}

/// Decodes a content that is there whole.
///
/// # Errors
/// [`RequestBodyError::TooLarge`] where it would become larger than `bytes_max`: no more than that
/// is ever decoded.
pub(super) fn decode_whole(
    coding: Coding,
    mut content: &[u8],
    bytes_max: u64,
) -> Result<Vec<u8>, RequestBodyError> {
    let mut decoder = Decoder::new(coding).map_err(malformed)?;
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut decoded = Vec::new();
    while !decoder.is_done() {
        let end = decoded.len();
        // One byte more than is allowed tells too much from just enough.
        let room =
            (end * 2).clamp(4096, 1 << 20).min(bytes_max.saturating_sub(end).saturating_add(1));
        decoded.resize(end + room, 0);
        let (taken, given) = decoder.decode(content, &mut decoded[end..])?;
        decoded.truncate(end + given);
        content = &content[taken..];
        if decoded.len() > bytes_max {
            return Err(RequestBodyError::TooLarge);
        }
        if taken == 0 && given == 0 && !decoder.is_done() {
            return Err(RequestBodyError::Malformed);
        }
    }
    if content.is_empty() { Ok(decoded) } else { Err(RequestBodyError::Malformed) }
}
