//! Request heads, by `httparse`.

use std::mem::MaybeUninit;

use httparse::{Request, Status};

use crate::body::Body;
use crate::machine::Refused;

/// More header fields than this in one head are refused.
const HEADERS_MAX: usize = 64;

pub(crate) struct Head<'a> {
    /// Bytes of the input that it took.
    pub(crate) length: usize,
    pub(crate) is_post: bool,
    pub(crate) target: &'a str,
    pub(crate) body: Body,
    pub(crate) keeps_alive: bool,
}

impl<'a> Head<'a> {
    /// The head at the start of the input; none if it has not all arrived.
    pub(crate) fn parse(input: &'a [u8]) -> Result<Option<Self>, Refused> {
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = Request::new(&mut []);
        let status = request.parse_with_uninit_headers(input, &mut fields).map_err(|_| Refused)?;
        let Status::Complete(length) = status else {
            return Ok(None);
        };
        let mut head = Self {
            length,
            is_post: match request.method {
                Some("GET") => false,
                Some("POST") => true,
                _ => return Err(Refused),
            },
            target: request.path.unwrap_or("/"),
            body: Body::Length(0),
            keeps_alive: request.version == Some(1),
        };
        for field in request.headers.iter() {
            head.read(field)?;
        }
        Ok(Some(head))
    }

    fn read(&mut self, field: &httparse::Header<'_>) -> Result<(), Refused> {
        // The length of the name sorts out nearly all that do not matter.
        match field.name.len() {
            10 if field.name.eq_ignore_ascii_case("connection") => {
                self.keeps_alive &= !field.value.eq_ignore_ascii_case(b"close");
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let text = std::str::from_utf8(field.value).map_err(|_| Refused)?;
                self.body = Body::Length(text.parse().map_err(|_| Refused)?);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                self.body = Body::Size;
            }
            _ => {}
        }
        Ok(())
    }
}
