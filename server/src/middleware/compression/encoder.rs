//! Encoders that take content bit by bit, and the spare ones that a shard keeps.

use std::cell::RefCell;
use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, FlushCompress, Status};
use zstd::stream::raw::{CParameter, InBuffer, Operation, OutBuffer};

use crate::coding::Coding;

/// Room that is made in the output at a time.
const ROOM_BYTES: usize = 16 * 1024;

/// The window: how far back a repetition is found, and what bounds the memory of an encoder. 128
/// KiB is four times gzip's and holds most answers whole.
const WINDOW_BITS: u32 = 17;

/// Encoders that a shard keeps of each coding. More of them are in use only while more responses
/// than that are compressed as streams.
const SPARE_COUNT_MAX: usize = 8;

/// How hard each coding tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) brotli: u32,
    pub(super) zstd: i32,
    pub(super) gzip: u32,
}

/// One content on its way into a coding.
pub(super) enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::raw::Encoder<'static>),
    Gzip(Compress),
}

impl Encoder {
    fn new(coding: Coding, levels: &Levels) -> io::Result<Encoder> {
        Ok(match coding {
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: levels.brotli as i32,
                    lgwin: WINDOW_BITS as i32,
                    ..BrotliEncoderParams::default()
                };
                let writer = CompressorWriter::with_params(Vec::new(), ROOM_BYTES, &params);
                Encoder::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::raw::Encoder::new(levels.zstd)?;
                encoder.set_parameter(CParameter::WindowLog(WINDOW_BITS))?;
                Encoder::Zstd(encoder)
            }
            // RFC 1952's window is 32 KiB: 15 bits.
            Coding::Gzip => {
                Encoder::Gzip(Compress::new_gzip(flate2::Compression::new(levels.gzip), 15))
            }
        })
    }

    fn coding(&self) -> Coding {
        match self {
            Encoder::Brotli(_) => Coding::Brotli,
            Encoder::Zstd(_) => Coding::Zstd,
            Encoder::Gzip(_) => Coding::Gzip,
        }
    }

    /// Says how much there will be in all, before the first byte: tables are made to fit.
    fn expect(&mut self, size: usize) -> io::Result<()> {
        match self {
            Encoder::Zstd(encoder) => encoder.set_pledged_src_size(Some(size as u64)),
            Encoder::Brotli(_) | Encoder::Gzip(_) => Ok(()),
        }
    }

    /// Takes content; appends to `out` what comes of it by now, which may be nothing.
    pub(super) fn write(&mut self, content: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Encoder::Brotli(writer) => {
                writer.write_all(content)?;
                out.append(writer.get_mut());
            }
            Encoder::Zstd(encoder) => {
                let mut input = InBuffer::around(content);
                while input.pos() < content.len() {
                    encoder.run(&mut input, &mut behind(out))?;
                }
            }
            Encoder::Gzip(state) => deflate(state, content, out, FlushCompress::None)?,
        }
        Ok(())
    }

    /// Appends everything that the peer needs to decode all that was written so far.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Encoder::Brotli(writer) => {
                writer.flush()?;
                out.append(writer.get_mut());
            }
            Encoder::Zstd(encoder) => while encoder.flush(&mut behind(out))? > 0 {},
            Encoder::Gzip(state) => deflate(state, &[], out, FlushCompress::Sync)?,
        }
        Ok(())
    }

    /// Appends the end; gives back the encoder where it can be used again.
    fn finish(self, out: &mut Vec<u8>) -> io::Result<Option<Encoder>> {
        match self {
            // Its state can not be reset.
            Encoder::Brotli(writer) => {
                out.append(&mut writer.into_inner());
                Ok(None)
            }
            Encoder::Zstd(mut encoder) => {
                while encoder.finish(&mut behind(out), true)? > 0 {}
                encoder.reinit()?;
                Ok(Some(Encoder::Zstd(encoder)))
            }
            Encoder::Gzip(mut state) => {
                deflate(&mut state, &[], out, FlushCompress::Finish)?;
                state.reset();
                Ok(Some(Encoder::Gzip(state)))
            }
        }
    }
}

/// Room behind what is in `out` already.
fn behind(out: &mut Vec<u8>) -> OutBuffer<'_, Vec<u8>> {
    out.reserve(ROOM_BYTES);
    let end = out.len();
    OutBuffer::around_pos(out, end)
}

fn deflate(
    state: &mut Compress,
    mut content: &[u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
) -> io::Result<()> {
    loop {
        out.reserve(ROOM_BYTES);
        let taken_before = state.total_in();
        let status = state.compress_vec(content, out, flush)?;
        content = &content[(state.total_in() - taken_before) as usize..];
        // With room to spare there is nothing more to come.
        let has_room = out.len() < out.capacity();
        let is_done = content.is_empty() && has_room && flush != FlushCompress::Finish;
        if status == Status::StreamEnd || is_done {
            return Ok(());
        }
    }
}

/// A shard's encoders.
pub(super) struct Encoders {
    levels: Levels,
    spare: RefCell<[Vec<Encoder>; Coding::ALL.len()]>,
}

impl Encoders {
    pub(super) fn new(levels: Levels) -> Encoders {
        Encoders { levels, spare: RefCell::default() }
    }

    /// An encoder in which nothing is.
    pub(super) fn take(&self, coding: Coding) -> io::Result<Encoder> {
        let spare = self.spare.borrow_mut()[coding as usize].pop();
        spare.map_or_else(|| Encoder::new(coding, &self.levels), Ok)
    }

    /// Ends a content and keeps its encoder.
    pub(super) fn finish(&self, encoder: Encoder, out: &mut Vec<u8>) -> io::Result<()> {
        if let Some(encoder) = encoder.finish(out)? {
            let mut spare = self.spare.borrow_mut();
            let spare = &mut spare[encoder.coding() as usize];
            if spare.len() < SPARE_COUNT_MAX {
                spare.push(encoder);
            }
        }
        Ok(())
    }

    /// Content that is there, in one go.
    pub(super) fn encode(&self, coding: Coding, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = self.take(coding)?;
        let mut out = Vec::with_capacity(content.len() / 4);
        encoder.expect(content.len())?;
        encoder.write(content, &mut out)?;
        self.finish(encoder, &mut out)?;
        Ok(out)
    }
}
