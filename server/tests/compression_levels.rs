//! What each level of each coding makes of a JSON body, and what it costs: printed, not judged.
//!
//! `cargo test --release -p corelane --test compression_levels -- --ignored --nocapture`

use std::io::Write;
use std::time::Instant;

use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, Compression, FlushCompress};
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

/// As in the middleware.
const WINDOW_BITS: u32 = 17;

/// The size, and the least time of many in microseconds.
fn measure(mut encode: impl FnMut() -> usize) -> (usize, f64) {
    let (mut size, mut least) = (0, f64::MAX);
    for _ in 0..200 {
        let start = Instant::now();
        size = encode();
        least = least.min(start.elapsed().as_secs_f64() * 1e6);
    }
    (size, least)
}

fn gzip(body: &[u8], level: u32) -> (usize, f64) {
    let mut state = Compress::new_gzip(Compression::new(level), 15);
    let mut out = Vec::with_capacity(body.len() * 2);
    measure(|| {
        out.clear();
        state.reset();
        state.compress_vec(body, &mut out, FlushCompress::Finish).expect("room enough");
        out.len()
    })
}

fn zstd(body: &[u8], level: u32) -> (usize, f64) {
    let mut encoder = Encoder::new(level as i32).expect("a level");
    encoder.set_parameter(CParameter::WindowLog(WINDOW_BITS)).expect("a window");
    let mut out = Vec::with_capacity(body.len() * 2);
    measure(|| {
        out.clear();
        encoder.reinit().expect("a new frame");
        encoder.set_pledged_src_size(Some(body.len() as u64)).expect("a size");
        let (mut input, mut output) = (InBuffer::around(body), OutBuffer::around(&mut out));
        encoder.run(&mut input, &mut output).expect("room enough");
        while encoder.finish(&mut output, true).expect("room enough") > 0 {}
        output.pos()
    })
}

fn brotli(body: &[u8], level: u32) -> (usize, f64) {
    let (quality, lgwin) = (level as i32, WINDOW_BITS as i32);
    let params = BrotliEncoderParams { quality, lgwin, ..BrotliEncoderParams::default() };
    measure(|| {
        let mut writer = brotli::CompressorWriter::with_params(Vec::new(), 16 * 1024, &params);
        writer.write_all(body).expect("a vector takes everything");
        writer.into_inner().len()
    })
}

#[test]
#[ignore = "prints times"]
fn levels() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/peers/dataset.json");
    let all = std::fs::read(path).expect("the data set");
    for size in [2_000, 8_000, all.len().min(40_000)] {
        println!("{size} bytes of JSON");
        for level in 1..=9 {
            for (name, encode) in
                [("zstd", zstd as fn(&[u8], u32) -> _), ("gzip", gzip), ("br", brotli)]
            {
                let (size, microseconds) = encode(&all[..size], level);
                println!("  {name:4} {level}: {size:6} bytes, {microseconds:8.1} us");
            }
        }
    }
}
