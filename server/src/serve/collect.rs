//! A request whose body did not arrive with its head, kept until it is whole.

use super::pace::Pace;
use crate::http1::{Field, Fields, Head};

/// The head, copied out of the receive buffer, and the body so far.
pub(super) struct Collect {
    pub(super) head: Head,
    /// The bytes that the head's spans refer to.
    pub(super) bytes: Vec<u8>,
    pub(super) fields: Vec<Field>,
    pub(super) body: Vec<u8>,
    pub(super) pace: Pace,
}

impl Collect {
    pub(super) fn new(head: Head, bytes: &[u8], fields: &Fields, pace: Pace) -> Box<Collect> {
        let fields = fields.spans().to_vec();
        Box::new(Collect { head, bytes: bytes.to_vec(), fields, body: Vec::new(), pace })
    }
}
