//! The loop: enter the ring, reap what has finished, queue what follows from it.
//!
//! ```text
//!          accept               heads answered
//!   free ----------> receiving ----------------> receiving + sending
//!    ^                |     ^                         |      |
//!    |  end of stream |     +-------------------------+      | end of stream
//!    +----------------+              all sent                v
//!    +---------------------------------------------------- sending
//!                            all sent
//! ```
//!
//! A refused head or a failed send adds a shutdown, whose effect is an end of stream. The slot is
//! free when the kernel has no operation left for it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::IoUring;
use io_uring::types::Fixed;

use crate::answers::Answers;
use crate::buffers::Buffers;
use crate::connection::Connection;
use crate::ring::{self, Completion, Operation, Submissions};

/// Serves until the ring or the listener fails.
pub(crate) fn serve(ring: &mut IoUring, listener: &TcpListener) -> io::Result<()> {
    let (submissions, mut completions) = ring::split(ring)?;
    let mut server = Server {
        buffers: Buffers::register(submissions.submitter())?,
        submissions,
        answers: Answers::new(),
        connections: Vec::new(),
        free: Vec::new(),
        listener: listener.as_raw_fd(),
    };
    server.submissions.accept(server.listener);
    loop {
        server.submissions.enter()?;
        server.answers.refresh();
        completions.sync();
        for completion in &mut completions {
            server.complete(completion.into())?;
        }
        server.buffers.publish();
    }
}

/// Everything that one thread owns.
struct Server<'ring> {
    submissions: Submissions<'ring>,
    buffers: Buffers,
    answers: Answers,
    /// Growing it moves the connections but not the heap memory of their buffers, which is what
    /// the kernel reads from.
    connections: Vec<Connection>,
    /// The slots with no connection in them, last in first out: the next one has its buffers in
    /// the cache. The places in the ring's table are no such index: the kernel hands them out
    /// round robin, so that short connections would run through all of them.
    free: Vec<usize>,
    listener: RawFd,
}

impl Server<'_> {
    fn complete(&mut self, completion: Completion) -> io::Result<()> {
        match completion.operation {
            Operation::Receive => self.received(&completion),
            Operation::Send => self.sent(&completion),
            Operation::Accept => self.accepted(&completion)?,
            Operation::Shutdown => self.ended(completion.index),
            Operation::Close => {}
        }
        Ok(())
    }

    fn accepted(&mut self, completion: &Completion) -> io::Result<()> {
        match completion.result {
            Ok(socket) => self.open(Fixed(socket)),
            // The peer left before it was accepted: accept(2).
            Err(libc::ECONNABORTED) => {}
            // Out of descriptors or memory: a benchmark under that condition is worth nothing.
            Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
        }
        if !completion.more {
            self.submissions.accept(self.listener);
        }
        Ok(())
    }

    fn open(&mut self, socket: Fixed) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::new());
            self.connections.len() - 1
        });
        let connection = &mut self.connections[index];
        connection.reset(socket);
        connection.is_receiving = true;
        self.submissions.receive(socket, index);
    }

    fn received(&mut self, completion: &Completion) {
        let connection = &mut self.connections[completion.index];
        let is_open = match (completion.result, completion.buffer) {
            (Ok(length), Some(id)) => {
                let bytes = self.buffers.bytes(id, length as usize);
                let fed = connection.feed(bytes, &self.answers);
                self.buffers.give_back(id);
                if fed.is_err() {
                    self.end(completion.index);
                }
                length > 0
            }
            // Every buffer in use is given back in this turn, so there will be some at the next.
            (Err(libc::ENOBUFS), _) => true,
            _ => false,
        };
        if !completion.more {
            let connection = &mut self.connections[completion.index];
            connection.is_receiving = is_open;
            if is_open {
                self.submissions.receive(connection.socket, completion.index);
            }
        }
        self.advance(completion.index);
    }

    fn sent(&mut self, completion: &Completion) {
        let connection = &mut self.connections[completion.index];
        connection.is_sending = false;
        match completion.result {
            Ok(length) => connection.advance(length as usize),
            Err(_) => self.end(completion.index),
        }
        self.advance(completion.index);
    }

    /// Gives a connection up: the shutdown makes its receive, if armed, complete with zero bytes.
    fn end(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.discard();
        if !connection.is_ending {
            connection.is_ending = true;
            self.submissions.shutdown(connection.socket, index);
        }
    }

    fn ended(&mut self, index: usize) {
        self.connections[index].is_ending = false;
        self.advance(index);
    }

    /// Queues the next send, or closes a connection that has nothing left to do.
    fn advance(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.is_sending {
            return;
        }
        let socket = connection.socket;
        let bytes = connection.next_send();
        if !bytes.is_empty() {
            self.submissions.send(socket, index, bytes);
            connection.is_sending = true;
        } else if connection.is_idle() {
            self.submissions.close(socket);
            self.free.push(index);
        }
    }
}
