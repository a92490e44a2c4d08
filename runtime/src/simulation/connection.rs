//! One simulated connection: two pipes of bounded size, and how each half ends.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Who of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who connected.
    Client,
    /// Who accepted.
    Server,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// One side of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) connection: usize,
    pub(super) side: Side,
}

/// What one side has written and the other has not read.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The writer has sent its FIN.
    is_finished: bool,
    /// The reader does not want any more (`SHUT_RD`): it reads end of file.
    is_read_shut: bool,
    /// The reader has closed its socket.
    is_reader_gone: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    /// By the side that writes.
    pipes: [Pipe; 2],
    addresses: [SocketAddr; 2],
    bytes_max: usize,
    is_reset: bool,
}

impl Connection {
    pub(super) fn new(bytes_max: usize, addresses: [SocketAddr; 2]) -> Connection {
        Connection { pipes: Default::default(), addresses, bytes_max, is_reset: false }
    }

    pub(super) fn address(&self, side: Side) -> SocketAddr {
        self.addresses[side as usize]
    }

    pub(super) fn is_reset(&self) -> bool {
        self.is_reset
    }

    pub(super) fn reset(&mut self, keeps: [bool; 2]) {
        self.is_reset = true;
        for (pipe, keeps) in self.pipes.iter_mut().zip(keeps) {
            if !keeps {
                pipe.bytes.clear();
            }
        }
    }

    fn incoming(&self, side: Side) -> &Pipe {
        &self.pipes[side.other() as usize]
    }

    fn outgoing(&self, side: Side) -> &Pipe {
        &self.pipes[side as usize]
    }

    /// Bytes that this side could read at once.
    pub(super) fn readable_count(&self, side: Side) -> usize {
        self.incoming(side).bytes.len()
    }

    /// Whether a read would not block.
    pub(super) fn is_readable(&self, side: Side) -> bool {
        let pipe = self.incoming(side);
        self.is_reset || !pipe.bytes.is_empty() || pipe.is_finished || pipe.is_read_shut
    }

    /// At most `size` bytes; none is end of file, once `is_readable`.
    pub(super) fn read(&mut self, side: Side, size: usize) -> Result<Vec<u8>, i32> {
        let pipe = &mut self.pipes[side.other() as usize];
        let size = size.min(pipe.bytes.len());
        let bytes: Vec<u8> = pipe.bytes.drain(..size).collect();
        if bytes.is_empty() && self.is_reset {
            return Err(libc::ECONNRESET);
        }
        Ok(bytes)
    }

    /// Whether a write would not block.
    pub(super) fn is_writable(&self, side: Side) -> bool {
        let pipe = self.outgoing(side);
        self.is_reset
            || pipe.is_finished
            || pipe.is_reader_gone
            || pipe.bytes.len() < self.bytes_max
    }

    pub(super) fn write(&mut self, side: Side, bytes: &[u8]) -> Result<usize, i32> {
        let space = self.bytes_max - self.pipes[side as usize].bytes.len().min(self.bytes_max);
        let pipe = &mut self.pipes[side as usize];
        if self.is_reset || pipe.is_finished {
            return Err(if self.is_reset { libc::ECONNRESET } else { libc::EPIPE });
        }
        let size = space.min(bytes.len());
        pipe.bytes.extend(&bytes[..size]);
        Ok(size)
    }

    pub(super) fn is_reader_gone(&self, side: Side) -> bool {
        self.outgoing(side).is_reader_gone
    }

    pub(super) fn finish(&mut self, side: Side) {
        self.pipes[side as usize].is_finished = true;
    }

    pub(super) fn is_finished(&self, side: Side) -> bool {
        self.outgoing(side).is_finished
    }

    pub(super) fn shut_read(&mut self, side: Side) {
        self.pipes[side.other() as usize].is_read_shut = true;
    }

    /// Closes one side; says whether bytes were left unread.
    pub(super) fn close(&mut self, side: Side) -> bool {
        self.finish(side);
        let incoming = &mut self.pipes[side.other() as usize];
        incoming.is_reader_gone = true;
        !incoming.bytes.is_empty()
    }
}
