//! The runtime without its HTTP server: a TCP proxy that copies both ways until both sides end.
//!
//! ```text
//!   cargo run -p corelane-examples --bin echo                         a server on port 8080
//!   cargo run -p corelane-examples --bin echo_proxy 127.0.0.1:9000 127.0.0.1:8080
//!   curl http://127.0.0.1:9000/                                       the server's answer
//! ```

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelane::BoxError;
use corelane::runtime::{
    Address, BoundSockets, Config, ListenConfig, Listener, SendBuffer, Shard, SignalWatch, Stream,
    StreamReader, StreamWriter, Topology, launch,
};

/// How long the target may take to answer a connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that may be under way to one side before the other is no longer read from.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let listen: Address = arguments.next().unwrap_or("127.0.0.1:9000".to_owned()).parse()?;
    let target: SocketAddr = arguments.next().unwrap_or("127.0.0.1:8080".to_owned()).parse()?;

    let config = Config::default().checked(&Topology::detect())?;
    let shard_count = config.cpus().len();
    let sockets = BoundSockets::bind(&[listen], shard_count, &ListenConfig::default())?;
    let address = sockets.addresses()[0].to_string();
    let sockets = Arc::new(Mutex::new(sockets));
    let handle = launch(&config, move |shard| {
        let own = sockets.lock().ok().and_then(|mut sockets| sockets.pop_shard());
        let listeners = own.map(|own| own.into_listeners()).unwrap_or_default();
        async move {
            for listener in listeners {
                shard.spawn(accept(Rc::clone(&shard), listener, target));
            }
            Ok(())
        }
    })?;
    let _signals = SignalWatch::new(handle.stopper(), Duration::from_secs(5))?;
    // Whoever reads this may ask it to stop.
    println!("echo_proxy listens on http://{address} for {target}");
    Ok(handle.join()?)
}

async fn accept(shard: Rc<Shard>, mut listener: Listener, target: SocketAddr) {
    let _pass = shard.enter_gate();
    while let Some(client) = listener.accept().await {
        shard.spawn(serve(Rc::clone(&shard), client, target));
    }
}

async fn serve(shard: Rc<Shard>, mut client: Stream, target: SocketAddr) {
    // A drain waits for the connections that are open.
    let _pass = shard.enter_gate();
    let Ok(server) = Stream::connect_timeout(target, CONNECT_PATIENCE).await else {
        // A reset, not an end of file: the client got no answer, rather than an empty one.
        return client.abort();
    };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = (copy(from_client, to_server), copy(from_server, to_client));
    // What broke one way is over both ways: the first error drops the other copy.
    let _ = futures_util::future::try_join(both.0, both.1).await;
}

/// Copies until end of file, which dropping the writer passes on behind the last byte.
async fn copy(mut reader: StreamReader, mut writer: StreamWriter) -> io::Result<()> {
    loop {
        let received = match reader.recv().await {
            Ok(received) => received,
            Err(error) => {
                // A part must not look like the whole.
                writer.abort();
                return Err(error);
            }
        };
        if received.is_empty() {
            return writer.sent(0).await;
        }
        writer.send(SendBuffer::Owned(received.to_vec()));
        // The buffer goes back to the ring before anything is waited for.
        drop(received);
        writer.sent(UNSENT_BYTES_MAX).await?;
    }
}
