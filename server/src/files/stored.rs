//! A file as it is sent: its validators, its fields, its content.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use corelane_runtime::Moment;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::conditional::{Validators, format_date};
use super::look::{FileFacts, Stamp, sibling_path};
use super::media::content_type;
use super::settings::Settings;
use crate::coding::Coding;
use crate::http1::encode;

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Memory(Bytes),
    Disk(Rc<OwnedFd>),
}

/// The same file in a coding.
#[derive(Debug)]
pub(super) struct Sibling {
    pub(super) coding: Coding,
    /// What it is kept under: its path behind a slash, so that whoever asks for that path gets the
    /// compressed bytes as a file of their own.
    pub(super) key: String,
}

impl Sibling {
    fn new(path: &str, coding: Coding) -> Sibling {
        Sibling { coding, key: format!("/{}", sibling_path(path, coding)) }
    }

    /// The path below the root.
    pub(super) fn path(&self) -> &str {
        &self.key[1..]
    }
}

/// One representation of one file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) stamp: Stamp,
    /// Whether every later change will show in the stamp.
    pub(super) is_settled: bool,
    /// The path below the root.
    pub(super) path: String,
    /// The codings in which it lies beside itself, best first, and where.
    pub(super) siblings: Vec<Sibling>,
    pub(super) validators: Validators,
    /// The fields of a 200.
    pub(super) headers: HeaderMap,
    /// The same as ready lines.
    pub(super) lines: Vec<u8>,
    /// Those of them that a 304 has, as ready lines.
    pub(super) lines_unmodified: Vec<u8>,
    pub(super) content: Content,
    /// When the disk was last looked at.
    pub(super) checked_at: Cell<Moment>,
}

/// When, and by which clocks, a file was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) now: Moment,
    pub(super) wall_seconds: u64,
}

impl Stored {
    /// `coding` is the coding that the file itself is in, as a sibling of the one that it stands
    /// for, whose path is `path`.
    pub(super) fn new(
        facts: FileFacts,
        content: Content,
        settings: &Settings,
        coding: Option<(Coding, &str)>,
        time: Time,
    ) -> Stored {
        let is_settled = facts.stamp.is_settled(time.wall_seconds);
        let validators = validators(&facts.stamp, is_settled, time.wall_seconds);
        let sibling = |coding: &Coding| Sibling::new(&facts.path, *coding);
        let siblings: Vec<_> = facts.siblings.iter().map(sibling).collect();
        let plain_path = coding.map_or(&*facts.path, |(_, path)| path);
        let mut headers = HeaderMap::new();
        let media = HeaderValue::try_from(content_type(plain_path));
        headers.extend(media.ok().map(|media| (header::CONTENT_TYPE, media)));
        if let Some((coding, _)) = coding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let texts = [
            (header::ETAG, &validators.etag),
            (header::LAST_MODIFIED, &format_date(validators.modified_seconds)),
        ];
        for (name, text) in texts {
            headers.extend(HeaderValue::try_from(text).ok().map(|value| (name, value)));
        }
        if let Some(value) = settings.cache_control(plain_path) {
            headers.insert(header::CACHE_CONTROL, value.clone());
        }
        if coding.is_some() || !siblings.is_empty() {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        Stored {
            lines: lines(&headers, |_| true),
            lines_unmodified: lines(&headers, is_unmodified_field),
            stamp: facts.stamp,
            is_settled,
            path: facts.path,
            siblings,
            validators,
            headers,
            content,
            checked_at: Cell::new(time.now),
        }
    }

    /// The fields of a 304, and what tells middleware of the content, which does not go out.
    pub(super) fn headers_unmodified(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(header::LAST_MODIFIED);
        headers.remove(header::ACCEPT_RANGES);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.stamp.size));
        headers
    }

    /// Bytes of memory that keeping it takes. An open file counts as 512 KiB, so that with the
    /// default bounds a shard keeps 64 of them at most.
    pub(super) fn memory_bytes(&self) -> u64 {
        let content = match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::Disk(_) => 512 * 1024,
        };
        // The fields, twice, and what holds it all: about a kilobyte.
        (content + 1024) as u64
    }
}

/// RFC 9110 section 15.4.5: what a 200 would have had of these, and as little else as possible.
fn is_unmodified_field(name: &HeaderName) -> bool {
    [header::ETAG, header::CACHE_CONTROL, header::VARY].contains(name)
}

fn lines(headers: &HeaderMap, is_wanted: impl Fn(&HeaderName) -> bool) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_wanted(name)) {
        encode::field(&mut lines, name, value);
    }
    lines
}

/// RFC 9110 section 8.8.1: a strong validator changes with every change that can be seen. A file
/// that was changed within this second or the last may be so again without its stamp showing it:
/// until then its tag is weak, and not that of later, so that whoever got what was replaced in the
/// same tick of the clock is not told for ever that nothing has changed.
fn validators(stamp: &Stamp, is_settled: bool, now_seconds: u64) -> Validators {
    let (weakness, mark) = if is_settled { ("", "") } else { ("W/", "-new") };
    let (modified, size, inode) = (stamp.modified.as_nanos(), stamp.size, stamp.inode);
    let etag = format!("{weakness}\"{modified:x}-{size:x}-{inode:x}{mark}\"");
    // RFC 9110 section 8.8.2.1: never later than the message itself.
    Validators { etag, modified_seconds: stamp.modified.as_secs().min(now_seconds) }
}
