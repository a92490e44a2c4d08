//! What answers the routes of a served directory: kept files at once, others once they are found.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use corelane_runtime::{ConfigError, Shard};
use http::{Method, StatusCode};

use super::answer::{Outcome, outcome, response};
use super::asked::Asked;
use super::path::check_escapes;
use super::root::{Patience, Root};
use super::settings::Settings;
use super::site::{FileSite, Wanted};
use super::stored::{Content, Stored};
use crate::extract::{BodyUse, Exchange, Scope};
use crate::handler::{Call, Endpoint};
use crate::middleware::Reply;
use crate::problem::Problem;
use crate::response::Responder;

/// The parameter that stands for the path below the directory.
pub(super) const PARAMETER: &str = "path";

/// The endpoint of one route of a served directory. The routes of one directory share its site.
pub(super) struct FileEndpoint {
    settings: Arc<Settings>,
    site: OnceCell<Option<Rc<FileSite>>>,
}

/// The sites of a shard, by the address of their settings.
#[derive(Default)]
struct Sites(RefCell<Vec<(Arc<Settings>, Rc<FileSite>)>>);

impl FileEndpoint {
    pub(super) fn new(settings: Arc<Settings>) -> FileEndpoint {
        FileEndpoint { settings, site: OnceCell::new() }
    }

    /// The site on this shard; `None` where the directory was there at the start and is no more.
    fn site(&self, shard: &Rc<Shard>) -> Option<&Rc<FileSite>> {
        self.site.get_or_init(|| open_site(&self.settings, shard).ok()).as_ref()
    }
}

fn open_site(settings: &Arc<Settings>, shard: &Rc<Shard>) -> Result<Rc<FileSite>, ConfigError> {
    let sites = shard.local::<Sites>().unwrap_or_else(|| {
        let sites = Rc::new(Sites::default());
        shard.set_local(Rc::clone(&sites));
        sites
    });
    let mut sites = sites.0.borrow_mut();
    if let Some((_, site)) = sites.iter().find(|(known, _)| Arc::ptr_eq(known, settings)) {
        return Ok(Rc::clone(site));
    }
    // Once, when the shard starts: nothing is held up yet.
    let root = Root::open(&settings.directory, Patience::Blocking).map_err(|trouble| {
        let error = std::io::Error::from(trouble);
        let problem =
            format!("the directory {} can not be opened: {error}", settings.directory.display());
        ConfigError::new("files", problem)
    })?;
    let site = Rc::new(FileSite::new(Arc::clone(settings), Arc::new(root), Rc::clone(shard)));
    sites.push((Arc::clone(settings), Rc::clone(&site)));
    Ok(site)
}

/// What follows the prefix in the path; nothing for the prefix itself.
fn encoded<'a>(exchange: &Exchange<'a>) -> &'a str {
    exchange.param(PARAMETER).unwrap_or_default()
}

/// The kept file that answers. Not for the prefix without its slash, and not for a path whose
/// escapes are wrong: those have to be told so.
fn kept(site: &FileSite, exchange: &Exchange<'_>, asked: &Asked<'_>) -> Option<Rc<Stored>> {
    let encoded = encoded(exchange);
    let target = exchange.path();
    if (encoded.is_empty() && !target.ends_with('/')) || check_escapes(target).is_err() {
        return None;
    }
    site.kept(encoded, asked)
}

fn wanted(exchange: &Exchange<'_>, asked: &Asked<'_>) -> Wanted {
    Wanted {
        method: exchange.method().clone(),
        target: exchange.path().to_owned(),
        query: exchange.query().map(str::to_owned),
        encoded: encoded(exchange).to_owned(),
        asked: asked.to_owned(),
    }
}

/// Writes what is sent most: a kept file, or that it has not changed. Allocates nothing.
fn respond(
    stored: &Rc<Stored>,
    asked: &Asked<'_>,
    method: &Method,
    now_seconds: u64,
    responder: &mut Responder<'_>,
) {
    match (outcome(stored, asked, method, now_seconds), &stored.content) {
        (Outcome::Whole, Content::Memory(content)) => {
            responder.prepared(StatusCode::OK, &stored.lines, content);
        }
        (Outcome::NotModified, _) => {
            let nothing = bytes::Bytes::new();
            responder.prepared(StatusCode::NOT_MODIFIED, &stored.lines_unmodified, &nothing);
        }
        (outcome, _) => responder.response(response(stored, outcome)),
    }
}

impl Endpoint for FileEndpoint {
    fn body_use(&self) -> BodyUse {
        BodyUse::Unused
    }

    fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        context: &mut Context<'_>,
        responder: &mut Responder<'_>,
    ) -> Option<Call> {
        let asked = Asked::read(exchange.headers());
        if let Some(site) = self.site(exchange.shard())
            && let Some(stored) = kept(site, exchange, &asked)
        {
            respond(&stored, &asked, exchange.method(), site.now_seconds(), responder);
            return None;
        }
        self.reply(exchange, context).answer(context, responder)
    }

    fn reply(&self, exchange: &mut Exchange<'_>, _: &mut Context<'_>) -> Reply {
        let Some(site) = self.site(exchange.shard()) else {
            return Reply::ready(Problem::new(StatusCode::SERVICE_UNAVAILABLE));
        };
        let asked = Asked::read(exchange.headers());
        if let Some(stored) = kept(site, exchange, &asked) {
            let outcome = outcome(&stored, &asked, exchange.method(), site.now_seconds());
            return Reply::ready(response(&stored, outcome));
        }
        let wanted = wanted(exchange, &asked);
        Reply::waiting(Rc::clone(site).answer(wanted))
    }

    fn check(&self, scope: &Scope<'_>) -> Result<(), ConfigError> {
        open_site(&self.settings, scope.shard()).map(drop)
    }
}
