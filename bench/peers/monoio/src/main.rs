//! The endpoints on monoio: one thread, its io_uring driver, `httparse`, one write for each read.

use std::io;

use contract::{Dataset, Options};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use wire::Machine;

/// The size of a connection's receive buffer.
const RECEIVE_BYTES: usize = 16 * 1024;

/// Entries of the ring; enough for the operations of a busy turn.
const RING_ENTRIES: u32 = 4096;

fn main() -> io::Result<()> {
    let options = Options::from_arguments();
    let dataset: &'static Dataset = Box::leak(Box::new(Dataset::read(&options.dataset)));
    monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .build()?
        .block_on(async move {
            let settings = ListenerOpts::new().reuse_port(false).backlog(4096);
            let listener = TcpListener::bind_with_config(options.address, &settings)?;
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                monoio::spawn(async move {
                    // An error here is the peer's end of the connection gone.
                    let _ = drive(stream, dataset).await;
                });
            }
        })
}

async fn drive(mut stream: TcpStream, dataset: &'static Dataset) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut machine = Machine::new(dataset);
    let mut received = Vec::with_capacity(RECEIVE_BYTES);
    let mut left_over: Vec<u8> = Vec::new();
    let mut output = Vec::with_capacity(4096);
    while machine.keeps_alive() {
        let result;
        (result, received) = stream.read(received).await;
        if result? == 0 {
            break;
        }
        // Copies only where a request came in pieces.
        let input = if left_over.is_empty() {
            &received[..]
        } else {
            left_over.extend_from_slice(&received);
            &left_over[..]
        };
        let Ok(used) = machine.feed(input, &mut output) else {
            break;
        };
        let rest = input[used..].to_vec();
        left_over = rest;
        received.clear();
        if !output.is_empty() {
            let result;
            (result, output) = stream.write_all(output).await;
            result?;
            output.clear();
        }
    }
    Ok(())
}
