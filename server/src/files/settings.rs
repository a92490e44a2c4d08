//! How a directory is served: what the application chose.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;

use super::path::Names;
use crate::coding::Coding;

/// A directory to be served: made by [`files`], mounted by [`App::files`](crate::App::files).
///
/// ```no_run
/// use corelane::{App, files};
///
/// fn main() -> corelane::Result<()> {
///     App::new()
///         .files("/static", files("public").cache_control("**/*.{js,css}", "max-age=31536000"))
///         .serve("127.0.0.1:8080")
/// }
/// ```
///
/// `GET` and `HEAD` are answered with the type by the extension, a strong `ETag`, `Last-Modified`,
/// conditional requests and ranges. What is opened lies below the directory: the kernel refuses
/// every path and every symbolic link that leads out of it. Only regular files are served, and
/// nothing whose name begins with a dot.
#[derive(Clone, Debug)]
#[must_use = "a directory is served once it is mounted by App::files"]
pub struct Files(pub(super) Settings);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) directory: PathBuf,
    pub(super) index: Vec<String>,
    pub(super) is_listed: bool,
    pub(super) not_found: Option<String>,
    pub(super) fallback: Option<String>,
    pub(super) cache_control: Vec<(String, HeaderValue)>,
    pub(super) names: Names,
    pub(super) codings: Vec<Coding>,
    pub(super) cache: FileCache,
}

/// The bounds of the memory in which each shard keeps small files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCache {
    /// Bytes of all kept files of one shard. Default 32 MiB; zero keeps none. Beyond it, what is
    /// asked for least makes room.
    pub bytes_max: u64,
    /// Bytes of one kept file. Default 64 KiB: scripts, styles and pictures of a page. Larger ones
    /// go from the page cache to the socket without a copy, which costs less from there on. Up to
    /// 16 MiB they are kept open, each counted as 512 KiB of `bytes_max`.
    pub file_bytes_max: u64,
    /// For how long a kept file is sent without a look at the disk. Default 1 s: by then, a change
    /// is noticed. Zero looks each time, which costs a few system calls.
    pub fresh_for: Duration,
}

impl Default for FileCache {
    fn default() -> FileCache {
        FileCache {
            bytes_max: 32 << 20,
            file_bytes_max: 64 << 10,
            fresh_for: Duration::from_secs(1),
        }
    }
}

/// The directory at this path, to be served.
pub fn files(directory: impl AsRef<Path>) -> Files {
    Files(Settings {
        directory: directory.as_ref().to_owned(),
        index: vec!["index.html".to_owned()],
        is_listed: false,
        not_found: None,
        fallback: None,
        cache_control: Vec::new(),
        names: Names::default(),
        codings: Vec::new(),
        cache: FileCache::default(),
    })
}

impl Files {
    /// The names that answer for their directory, the first that exists. Default `index.html`.
    pub fn index<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Files {
        self.0.index = names.into_iter().map(Into::into).collect();
        self
    }

    /// Shows directories without an index file as a page of their names. Default: 404.
    pub fn listing(mut self) -> Files {
        self.0.is_listed = true;
        self
    }

    /// The file, by its path below the directory, whose content comes with every 404.
    pub fn not_found(mut self, path: impl Into<String>) -> Files {
        self.0.not_found = Some(path.into());
        self
    }

    /// The file that answers, with 200, for paths that lead nowhere: for applications that route
    /// in the browser. A missing name with a dot in it, a script or picture, is still a 404.
    pub fn fallback(mut self, path: impl Into<String>) -> Files {
        self.0.fallback = Some(path.into());
        self
    }

    /// The `Cache-Control` of the files whose path below the directory matches the pattern. The
    /// first pattern that matches counts; without one the field is left out.
    ///
    /// `*` stands for anything but a slash, `**` for anything, `?` for one character, `{a,b}` for
    /// either: `assets/**`, `**/*.css`.
    ///
    /// # Panics
    /// Where the value has characters that no field may have: the text is the program's own.
    pub fn cache_control(mut self, pattern: impl Into<String>, value: &'static str) -> Files {
        self.0.cache_control.push((pattern.into(), HeaderValue::from_static(value)));
        self
    }

    /// Serves names that begin with a dot as well, such as `.well-known`.
    pub fn dotfiles(mut self) -> Files {
        self.0.names = Names { with_dots: true };
        self
    }

    /// Sends `site.css.br`, `site.css.zst` or `site.css.gz` for `site.css` to clients that take the
    /// coding; of those that they like equally, the first in `codings`.
    ///
    /// Keeping them up to date is the business of whoever builds the site.
    pub fn precompressed(mut self, codings: impl IntoIterator<Item = Coding>) -> Files {
        self.0.codings = codings.into_iter().collect();
        self.0.codings.dedup();
        self
    }

    /// The bounds of each shard's memory of small files.
    pub fn cache(mut self, cache: FileCache) -> Files {
        self.0.cache = cache;
        self
    }
}

impl<P: AsRef<Path>> From<P> for Files {
    fn from(directory: P) -> Files {
        files(directory)
    }
}

impl Settings {
    /// The `Cache-Control` of a file by its path.
    pub(super) fn cache_control(&self, path: &str) -> Option<&HeaderValue> {
        let mut rules = self.cache_control.iter();
        let rule = rules.find(|(pattern, _)| fast_glob::glob_match(pattern, path));
        rule.map(|(_, value)| value)
    }

    /// The file that answers for a path that leads nowhere.
    pub(super) fn fallback_for(&self, path: &str) -> Option<&str> {
        let name = path.rsplit('/').next().unwrap_or_default();
        self.fallback.as_deref().filter(|_| !name.contains('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let Files(settings) = files("x")
            .cache_control("assets/**", "immutable")
            .cache_control("**/*.{js,css}", "max-age=60")
            .cache_control("*.html", "no-cache");
        for (path, expected) in [
            ("assets/a/b.js", Some("immutable")),
            ("app.js", Some("max-age=60")),
            ("a/site.css", Some("max-age=60")),
            ("index.html", Some("no-cache")),
            ("a/index.html", None),
            ("a.txt", None),
        ] {
            let value = settings.cache_control(path).map(|value| value.to_str().unwrap());
            assert_eq!(value, expected, "{path}");
        }
    }

    #[test]
    fn the_fallback_is_not_for_names_with_a_dot() {
        let Files(settings) = files("x").fallback("index.html");
        for (path, expected) in
            [("users/7", true), ("", true), ("a/", true), ("app.js", false), ("v1.2/users", true)]
        {
            assert_eq!(settings.fallback_for(path).is_some(), expected, "{path}");
        }
    }
}
