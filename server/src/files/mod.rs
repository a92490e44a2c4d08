//! Files from a directory: found below it and nowhere else, kept while they are small and asked
//! for, sent whole, in part, or not at all where the client has them.
//!
//! ```text
//!   path ──► kept, and fresh? ──────────────────────────► outcome ──► answer
//!              │ no                                          ▲
//!              ▼                                             │
//!   look: openat2 below the root ──► stamp unchanged? ──► stored
//!   (what is not in the kernel's       │ no                  ▲
//!    memory: on another thread)        ▼                     │
//!                                    small: read and kept; large: read while it is sent
//! ```
//!
//! **Invariant:** a shard never waits for a disk. Lookups ask for what is in the kernel's memory
//! (`RESOLVE_CACHED`) and go to the offload pool otherwise; reads ask for what is in the page cache
//! (`RWF_NOWAIT`) and go to the runtime's disk ring otherwise.

mod answer;
mod asked;
mod byteranges;
mod cache;
mod conditional;
mod content;
mod endpoint;
mod listing;
mod look;
mod media;
mod path;
mod range;
mod root;
mod seen;
mod settings;
mod site;
mod stored;

use std::rc::Rc;
use std::sync::Arc;

use http::Method;

use crate::router::MethodRouter;
pub(crate) use content::FileStream;
use endpoint::{FileEndpoint, PARAMETER};
pub use settings::{FileCache, Files, files};

impl Files {
    /// The routes that serve the directory at and below a prefix.
    pub(crate) fn routes(self, prefix: &str) -> Vec<(String, MethodRouter)> {
        let settings = Arc::new(self.0);
        let prefix = prefix.trim_end_matches('/');
        let paths = [prefix.to_owned(), format!("{prefix}/"), format!("{prefix}/{{*{PARAMETER}}}")];
        let route = |path| {
            let settings = Arc::clone(&settings);
            let make = move || Rc::new(FileEndpoint::new(Arc::clone(&settings))) as Rc<_>;
            (path, MethodRouter::default().on_endpoint(Method::GET, Box::new(make)))
        };
        paths.into_iter().filter(|path| !path.is_empty()).map(route).collect()
    }
}
