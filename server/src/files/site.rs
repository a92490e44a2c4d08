//! One shard's share of a served directory: the open root, the kept files, and how a request finds
//! its file.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use corelane_runtime::{Moment, Shard};
use http::{HeaderValue, Method, StatusCode, header};

use super::answer::{error_page, outcome, response};
use super::asked::{Asked, AskedOwned, Values};
use super::cache::Kept;
use super::content::read_whole;
use super::listing::{CONTENT_SECURITY_POLICY, Entry, page};
use super::look::{FoundFile, Look, list, look, look_exactly};
use super::path::{PathError, check_escapes, read};
use super::root::{Patience, Root, Trouble};
use super::settings::Settings;
use super::stored::{Content, Sibling, Stored, Time};
use crate::body::Body;
use crate::coding::{Acceptable, Coding};
use crate::middleware::tagged;
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// Of larger files not even the descriptor is kept: one that was deleted would hold its space on
/// the disk for as long as nobody asks for it again.
const OPEN_FILE_BYTES_MAX: u64 = 16 << 20;

/// A served directory on one shard.
pub(super) struct FileSite {
    settings: Arc<Settings>,
    shard: Rc<Shard>,
    root: RefCell<Arc<Root>>,
    root_checked_at: Cell<Moment>,
    kept: RefCell<Kept>,
}

/// A request for a file, as a value that can wait.
pub(super) struct Wanted {
    pub(super) method: Method,
    /// The path as it was sent, for a redirect.
    pub(super) target: String,
    pub(super) query: Option<String>,
    /// What follows the prefix, still percent-encoded.
    pub(super) encoded: String,
    pub(super) asked: AskedOwned,
}

impl FileSite {
    pub(super) fn new(settings: Arc<Settings>, root: Arc<Root>, shard: Rc<Shard>) -> FileSite {
        let kept = RefCell::new(Kept::new(&settings.cache));
        let root_checked_at = Cell::new(shard.now());
        FileSite { root: RefCell::new(root), settings, shard, root_checked_at, kept }
    }

    pub(super) fn now_seconds(&self) -> u64 {
        self.shard.wall_seconds()
    }

    fn time(&self) -> Time {
        Time { now: self.shard.now(), wall_seconds: self.shard.wall_seconds() }
    }

    fn is_fresh(&self, checked_at: Moment) -> bool {
        self.shard.now() < checked_at + self.settings.cache.fresh_for
    }

    /// The kept file that answers this path, where it is known to be unchanged. Allocates nothing
    /// for a path without escapes.
    pub(super) fn kept(&self, encoded: &str, asked: &Asked<'_>) -> Option<Rc<Stored>> {
        if !self.is_fresh(self.root_checked_at.get()) {
            return None;
        }
        let path = read(encoded, self.settings.names).ok()?;
        let plain = self.kept_fresh(&path)?;
        match self.choose(&plain, asked) {
            Some(sibling) => self.kept_fresh(&sibling.key),
            None => Some(plain),
        }
    }

    fn kept_fresh(&self, path: &str) -> Option<Rc<Stored>> {
        let kept = self.kept.borrow();
        let stored = kept.find(path)?;
        self.is_fresh(stored.checked_at.get()).then(|| Rc::clone(stored))
    }

    /// The sibling that the client likes best, if it likes one.
    fn choose<'s>(&self, plain: &'s Stored, asked: &Asked<'_>) -> Option<&'s Sibling> {
        if plain.siblings.is_empty() {
            return None;
        }
        let acceptable = Acceptable::read(asked.accept_encoding.iter());
        let chosen = acceptable.choose(plain.siblings.iter().map(|sibling| sibling.coding))?;
        plain.siblings.iter().find(|sibling| sibling.coding == chosen)
    }

    /// Answers a request that no kept file answers.
    pub(super) async fn answer(self: Rc<FileSite>, wanted: Wanted) -> Response {
        match self.find(&wanted).await {
            Ok(response) => response,
            Err(Trouble::Missing) => self.missing(&wanted).await,
            Err(trouble) => refusal(trouble),
        }
    }

    async fn find(&self, wanted: &Wanted) -> Result<Response, Trouble> {
        let checked = check_escapes(&wanted.target);
        let path = match checked.and_then(|()| read(&wanted.encoded, self.settings.names)) {
            Ok(path) => path,
            Err(PathError::Hidden) => return Err(Trouble::Missing),
            Err(PathError::Malformed) => {
                let detail =
                    "the path has an escape that is none, a control character, or is no UTF-8";
                return Ok(Problem::new(StatusCode::BAD_REQUEST).detail(detail).into_response());
            }
        };
        // The prefix itself: relative links of its index file would lead beside it.
        if path.is_empty() && !wanted.target.ends_with('/') {
            return Ok(redirect(wanted));
        }
        self.look_after_root().await;
        match self.look(&path, Which::Asked).await? {
            Look::SlashMissing => Ok(redirect(wanted)),
            Look::Directory(directory) => {
                let root = self.root();
                let (settings, key) = (Arc::clone(&self.settings), path.clone().into_owned());
                let listed = offload(move || list(&root, &settings, &key, &directory)).await?;
                let asked = wanted.asked.borrow();
                let all =
                    |values: &Values<'_>| values.iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
                let listing = listing(&wanted.target, listed, !path.is_empty());
                Ok(tagged(listing, &all(&asked.if_match), &all(&asked.if_none_match)))
            }
            Look::File(found) => {
                let stored = self.stored(&path, found, None).await?;
                self.respond(&stored, wanted).await
            }
        }
    }

    /// Answers with the file, or with the sibling of it that the client likes better.
    async fn respond(&self, plain: &Rc<Stored>, wanted: &Wanted) -> Result<Response, Trouble> {
        let asked = wanted.asked.borrow();
        let mut chosen = Rc::clone(plain);
        if let Some(sibling) = self.choose(plain, &asked)
            && let Look::File(found) = self.look(sibling.path(), Which::Exactly).await?
        {
            let of_plain = Some((sibling.coding, &*plain.path));
            chosen = self.stored(&sibling.key, found, of_plain).await?;
        }
        let outcome = outcome(&chosen, &asked, &wanted.method, self.now_seconds());
        Ok(response(&chosen, outcome))
    }

    /// Answers for a path that leads nowhere.
    async fn missing(&self, wanted: &Wanted) -> Response {
        let path = read(&wanted.encoded, self.settings.names).unwrap_or_default();
        if let Some(fallback) = self.settings.fallback_for(&path) {
            match self.page(fallback).await {
                Ok(plain) => {
                    return self.respond(&plain, wanted).await.unwrap_or_else(refusal);
                }
                Err(trouble) => note_missing_page(fallback, trouble),
            }
        }
        if let Some(path) = &self.settings.not_found {
            match self.page(path).await {
                Ok(page) => return error_page(&page, StatusCode::NOT_FOUND),
                Err(trouble) => note_missing_page(path, trouble),
            }
        }
        refusal(Trouble::Missing)
    }

    /// A file that the settings name.
    async fn page(&self, path: &str) -> Result<Rc<Stored>, Trouble> {
        if let Some(stored) = self.kept_fresh(path) {
            return Ok(stored);
        }
        match self.look(path, Which::Asked).await? {
            Look::File(found) => self.stored(path, found, None).await,
            Look::Directory(_) | Look::SlashMissing => Err(Trouble::Missing),
        }
    }

    fn root(&self) -> Arc<Root> {
        Arc::clone(&self.root.borrow())
    }

    /// Notices that the root's path leads to another directory, as after a deployment that turns a
    /// symbolic link. While it leads nowhere, what was open stays.
    async fn look_after_root(&self) {
        if self.is_fresh(self.root_checked_at.get()) {
            return;
        }
        let mut opened = Root::open(&self.settings.directory, Patience::Cached);
        if matches!(opened, Err(Trouble::WouldBlock)) {
            let settings = Arc::clone(&self.settings);
            opened = offload(move || Root::open(&settings.directory, Patience::Blocking)).await;
        }
        self.root_checked_at.set(self.shard.now());
        match opened {
            Ok(root) if root.is_same(&self.root()) => {}
            Ok(root) => {
                self.root.replace(Arc::new(root));
                self.kept.borrow_mut().clear();
            }
            Err(trouble) => {
                let directory = self.settings.directory.display();
                tracing::warn!(%directory, ?trouble, "the served directory can not be opened");
            }
        }
    }

    /// Looks at the disk: first at what is in the kernel's memory, else on another thread.
    async fn look(&self, path: &str, which: Which) -> Result<Look, Trouble> {
        let root = self.root();
        let looked = which.look(&root, &self.settings, path, Patience::Cached);
        if !matches!(looked, Err(Trouble::WouldBlock)) {
            return looked;
        }
        let (settings, path) = (Arc::clone(&self.settings), path.to_owned());
        offload(move || which.look(&root, &settings, &path, Patience::Blocking)).await
    }

    /// The file as it is kept under `key`, unless it has changed; else read, and kept if it is
    /// small enough.
    async fn stored(
        &self,
        key: &str,
        found: FoundFile,
        coding: Option<(Coding, &str)>,
    ) -> Result<Rc<Stored>, Trouble> {
        let time = self.time();
        let FoundFile { descriptor, facts } = found;
        if let Some(stored) = self.kept.borrow().find(key) {
            let has_siblings = |stored: &Stored| {
                stored
                    .siblings
                    .iter()
                    .map(|sibling| sibling.coding)
                    .eq(facts.siblings.iter().copied())
            };
            if stored.stamp == facts.stamp && stored.is_settled && has_siblings(stored) {
                stored.checked_at.set(time.now);
                return Ok(Rc::clone(stored));
            }
        }
        let bounds = &self.settings.cache;
        let size = facts.stamp.size;
        let is_kept = size <= OPEN_FILE_BYTES_MAX && bounds.bytes_max > 0;
        let content = if is_kept && size <= bounds.file_bytes_max {
            let read = read_whole(&descriptor, &facts.path, size as usize).await;
            Content::Memory(read.map_err(|error| failed(&facts.path, &error))?)
        } else {
            Content::Disk(Rc::new(descriptor))
        };
        let stored = Rc::new(Stored::new(facts, content, &self.settings, coding, time));
        if is_kept {
            self.kept.borrow_mut().keep(key, &stored);
        } else {
            self.kept.borrow_mut().forget(key);
        }
        Ok(stored)
    }
}

/// Which file a path stands for.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// That which a client gets: a directory stands for its index file.
    Asked,
    /// That with exactly this name.
    Exactly,
}

impl Which {
    fn look(
        self,
        root: &Root,
        settings: &Settings,
        path: &str,
        patience: Patience,
    ) -> Result<Look, Trouble> {
        match self {
            Which::Asked => look(root, settings, path, patience),
            Which::Exactly => look_exactly(root, path, patience),
        }
    }
}

/// Does on another thread what may block.
async fn offload<R: Send + 'static>(
    job: impl FnOnce() -> Result<R, Trouble> + Send + 'static,
) -> Result<R, Trouble> {
    let done = corelane_runtime::offload(job).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a look at the disk failed");
        Err(Trouble::Exhausted)
    })
}

fn failed(path: &str, error: &io::Error) -> Trouble {
    tracing::error!(path, %error, "a file can not be read");
    Trouble::Failed(rustix::io::Errno::IO)
}

#[cold]
fn note_missing_page(path: &str, trouble: Trouble) {
    tracing::warn!(path, ?trouble, "the page that the settings name can not be served");
}

fn refusal(trouble: Trouble) -> Response {
    let status = match trouble {
        Trouble::Missing => StatusCode::NOT_FOUND,
        Trouble::Forbidden => StatusCode::FORBIDDEN,
        Trouble::WouldBlock | Trouble::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
        Trouble::Failed(errno) => {
            tracing::error!(%errno, "the disk failed");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let response = Problem::new(status).into_response();
    match status {
        // Out of descriptors or memory: that passes as soon as others have been answered.
        StatusCode::SERVICE_UNAVAILABLE => {
            response.with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
        _ => response,
    }
}

/// To the same path with a slash, so that the links of an index file lead where they should.
fn redirect(wanted: &Wanted) -> Response {
    let Wanted { target, query, .. } = wanted;
    let query = query.as_ref().map_or(String::new(), |query| format!("?{query}"));
    // Never "//": a browser would take what follows for a host.
    let target = target.trim_start_matches('/');
    let location = HeaderValue::try_from(format!("/{target}/{query}"));
    let Ok(location) = location else { return refusal(Trouble::Missing) };
    Response::new(StatusCode::MOVED_PERMANENTLY).with_header(header::LOCATION, location)
}

fn listing(target: &str, (entries, is_cut): (Vec<Entry>, bool), has_parent: bool) -> Response {
    let path = percent_encoding::percent_decode_str(target).decode_utf8_lossy();
    let body = Body::from(page(&path, entries, has_parent, is_cut));
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Response { headers: fields.into_iter().collect(), body, ..Response::default() }
}
