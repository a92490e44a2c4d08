//! The closed set of operations that a shard asks of its ring, and the token that names one.

use std::fmt;
use std::ptr::NonNull;

use crate::world::Descriptor;

/// One request to the ring. Plain data: an operation owns nothing, its slot does.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Accept connections until cancelled (multishot, Linux 5.19).
    Accept {
        /// The listening socket.
        listener: Descriptor,
        /// Whether connections may go to another shard, which no direct descriptor can.
        hands_over: bool,
    },
    /// Connect a socket.
    Connect {
        /// The unconnected socket.
        socket: Descriptor,
        /// Where to; lives in the slot until the completion.
        address: AddressPointer,
    },
    /// Receive into provided buffers until cancelled or out of buffers (multishot, Linux 6.0).
    Recv {
        /// The connected socket.
        socket: Descriptor,
    },
    /// Send some or all of the bytes.
    Send {
        /// The connected socket.
        socket: Descriptor,
        /// What; lives in the slot until the completion.
        bytes: BytesPointer,
        /// Whether to wait for room. Where not, what there is room for is sent at once, `EAGAIN`
        /// says that there is none, and success alone does not end a wait of the shard.
        waits: bool,
        /// Whether more is sent at once: the last packet may wait for it, for 200 ms at most
        /// (`MSG_MORE`, send(2)).
        more: bool,
    },
    /// Send some or all of a range of a file, by what room there is: done, or failed with `EAGAIN`,
    /// when it is submitted.
    SendFile {
        /// The connected socket.
        socket: Descriptor,
        /// The file; its slot keeps it open.
        file: Descriptor,
        /// Where the range starts in the file.
        offset: u64,
        /// Its size in bytes.
        size: u32,
    },
    /// Wait until there is room to send, or the connection has failed.
    Writable {
        /// The connected socket.
        socket: Descriptor,
    },
    /// Close the descriptor. Nothing else may be in flight on it.
    Close {
        /// The socket.
        socket: Descriptor,
    },
    /// Cancel the operation that was submitted with this token.
    Cancel {
        /// The operation to cancel.
        target: Token,
    },
}

#[cfg(any(test, feature = "simulation"))]
impl Operation {
    /// The bytes of a send, for the simulated ring, which keeps to the contract: it calls this
    /// only for operations that are submitted and not completed. Empty for all others.
    pub(crate) fn copy_bytes(&self) -> Vec<u8> {
        match self {
            // SAFETY: the operation is in flight, so its slot keeps the bytes alive.
            Operation::Send { bytes, .. } => unsafe { bytes.bytes() }.to_vec(),
            _ => Vec::new(),
        }
    }
}

/// Which half of a connection to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// No more is sent: the peer reads end of file.
    Write,
    /// Neither direction.
    Both,
    /// Neither direction, by a reset: the peer reads an error instead of end of file.
    Reset,
}

/// What a token's operation does; says how its completion is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Operation::Accept`].
    Accept = 1,
    /// [`Operation::Connect`].
    Connect = 2,
    /// [`Operation::Recv`].
    Recv = 3,
    /// [`Operation::Send`] and [`Operation::SendFile`].
    Send = 4,
    /// [`Operation::Close`].
    Close = 5,
    /// [`Operation::Cancel`].
    Cancel = 6,
    /// [`Operation::Writable`].
    Writable = 7,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Accept,
        Kind::Connect,
        Kind::Recv,
        Kind::Send,
        Kind::Close,
        Kind::Cancel,
        Kind::Writable,
    ];
}

/// Names one operation in flight: what it does, and the slot it belongs to.
///
/// It is the ring's `user_data`: `kind` in bits 56 to 63, the slot's generation in bits 32 to 55,
/// the slot's index in bits 0 to 31. A slot's generation rises whenever the slot is freed, so a
/// completion that comes too late names nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    const GENERATION_BITS: u32 = 24;

    /// The largest generation; the next one is zero again.
    pub(crate) const GENERATION_MAX: u32 = (1 << Self::GENERATION_BITS) - 1;

    pub(crate) fn new(kind: Kind, slot: SlotKey) -> Token {
        debug_assert!(slot.generation <= Self::GENERATION_MAX);
        let (kind, generation) = (kind as u64, u64::from(slot.generation));
        Token(kind << 56 | generation << 32 | u64::from(slot.index))
    }

    /// The token with this `user_data`, `None` where no shard of ours made it.
    pub fn from_user_data(user_data: u64) -> Option<Token> {
        let kind = (user_data >> 56) as u8;
        Kind::ALL.iter().any(|known| *known as u8 == kind).then_some(Token(user_data))
    }

    /// The value that travels through the ring.
    pub fn user_data(self) -> u64 {
        self.0
    }

    /// What the operation does.
    pub fn kind(self) -> Kind {
        let kind = (self.0 >> 56) as usize;
        Kind::ALL[kind - 1]
    }

    pub(crate) fn slot(self) -> SlotKey {
        let generation = (self.0 >> 32) as u32 & Self::GENERATION_MAX;
        SlotKey { index: self.0 as u32, generation }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SlotKey { index, generation } = self.slot();
        write!(f, "{:?}#{index}.{generation}", self.kind())
    }
}

/// Names a slot for as long as it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Bytes that a slot keeps alive and unmoved until the operation's last completion.
#[derive(Clone, Copy, Debug)]
pub struct BytesPointer {
    start: NonNull<u8>,
    size: u32,
}

impl BytesPointer {
    /// One system call moves less than 2 GiB (`MAX_RW_COUNT`, send(2)).
    const SIZE_MAX: usize = 1 << 30;

    /// At most the first GiB of a slice that the caller's slot owns until the completion.
    pub(crate) fn new(bytes: &[u8]) -> BytesPointer {
        let size = bytes.len().min(Self::SIZE_MAX) as u32;
        BytesPointer { start: NonNull::from(bytes).cast(), size }
    }

    pub(crate) fn as_ptr(self) -> *const u8 {
        self.start.as_ptr()
    }

    pub(crate) fn size(self) -> u32 {
        self.size
    }

    /// The bytes, for a world that is not the kernel.
    ///
    /// # Safety
    /// Only between the submission of the operation and its last completion.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the slot keeps the bytes alive and unchanged until the last completion, and the
        // caller promises that it has not been delivered.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size as usize) }
    }
}

/// A socket address that a slot keeps alive and unmoved until the operation's completion.
#[derive(Clone, Copy, Debug)]
pub struct AddressPointer {
    pub(crate) start: NonNull<libc::sockaddr>,
    pub(crate) size: libc::socklen_t,
}

#[cfg(any(test, feature = "simulation"))]
impl AddressPointer {
    /// The address, for the simulated ring; only of a connect that is in flight.
    pub(crate) fn to_socket_address(self) -> Option<std::net::SocketAddr> {
        let size = self.size as usize;
        // SAFETY: the slot keeps the address alive while the connect is in flight; the storage
        // is as large as any address, and `size` of its bytes are initialised.
        let copied = unsafe {
            socket2::SockAddr::try_init(|storage, storage_size| {
                assert!(size <= *storage_size as usize, "no address is larger");
                let source = self.start.as_ptr().cast::<u8>();
                source.copy_to_nonoverlapping(storage.cast(), size);
                *storage_size = self.size;
                Ok(())
            })
        };
        copied.ok().and_then(|((), address)| address.as_socket())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_what_it_was_made_from() {
        for kind in Kind::ALL {
            for (index, generation) in [(0, 0), (7, 1), (u32::MAX, Token::GENERATION_MAX)] {
                let slot = SlotKey { index, generation };
                let token = Token::new(kind, slot);
                assert_eq!(token.kind(), kind);
                assert_eq!(token.slot(), slot);
                assert_eq!(Token::from_user_data(token.user_data()), Some(token));
            }
        }
        assert_eq!(Token::from_user_data(0), None);
        assert_eq!(Token::from_user_data(u64::MAX), None);
    }
}
