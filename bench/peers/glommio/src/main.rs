//! The endpoints on glommio with its own sockets, which the server itself does not use.

use std::io;

use contract::{Dataset, Options};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use wire::Machine;

/// The size of a connection's receive buffer.
const RECEIVE_BYTES: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let options = Options::from_arguments();
    let dataset: &'static Dataset = Box::leak(Box::new(Dataset::read(&options.dataset)));
    // The CPU comes from `taskset`; a placement of its own would be one more thing to keep right.
    LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || serve(options, dataset))
        .and_then(|executor| executor.join())
        .map_err(|error| io::Error::other(error.to_string()))?
}

async fn serve(options: Options, dataset: &'static Dataset) -> io::Result<()> {
    let listener = TcpListener::bind(options.address)?;
    loop {
        let Ok(stream) = listener.accept().await else {
            continue;
        };
        glommio::spawn_local(async move {
            // An error here is the peer's end of the connection gone.
            let _ = drive(stream, dataset).await;
        })
        .detach();
    }
}

async fn drive(mut stream: TcpStream, dataset: &'static Dataset) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut machine = Machine::new(dataset);
    let mut received = vec![0; RECEIVE_BYTES];
    let mut left_over: Vec<u8> = Vec::new();
    let mut output = Vec::with_capacity(4096);
    while machine.keeps_alive() {
        let filled = stream.read(&mut received).await?;
        if filled == 0 {
            break;
        }
        // Copies only where a request came in pieces.
        let input = if left_over.is_empty() {
            &received[..filled]
        } else {
            left_over.extend_from_slice(&received[..filled]);
            &left_over[..]
        };
        let Ok(used) = machine.feed(input, &mut output) else {
            break;
        };
        let rest = input[used..].to_vec();
        left_over = rest;
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
    }
    Ok(())
}
