//! Loads the wire vectors: one request stream per `.http` file, what it amounts to beside it.
//!
//! The files are meant for more than one driver: `vectors.rs` feeds them to the protocol core, and
//! a driver over a socket can feed them to a server whose application reads the body of every
//! request and then answers 200, with the default limits.

// Clippy knows test functions, but not what they are made of.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One stream of bytes from a peer, and what must come of it.
pub(crate) struct Vector {
    /// `family/name`, as in the tree.
    pub(crate) name: String,
    /// The bytes exactly as on the wire.
    pub(crate) input: Vec<u8>,
    pub(crate) expected: Expected,
}

/// What a stream amounts to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// The final status of every answer, in order; interim answers are not among them.
    pub(crate) statuses: Vec<u16>,
    /// What the connection does once it has seen all bytes.
    pub(crate) after: After,
    /// The label of the refusal, when the last status comes from one.
    pub(crate) refusal: Option<String>,
    /// Every request that was complete, in order.
    #[serde(default, rename = "request")]
    pub(crate) requests: Vec<Request>,
}

/// What a connection does behind the last byte of a vector.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum After {
    /// It takes the next request.
    Open,
    /// It is closed by the server, and whatever comes is not parsed.
    Closed,
    /// It waits for the rest of a request; at the end of the input it closes without an answer.
    Waiting,
}

/// One complete request.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    #[serde(default)]
    pub(crate) body: String,
    /// Looked at only where the vector names it.
    pub(crate) authority: Option<String>,
    /// Each as `Name: value`.
    #[serde(default)]
    pub(crate) trailers: Vec<String>,
    #[serde(default)]
    pub(crate) expects_continue: bool,
}

/// Every vector of the tree, in the order of their names.
pub(crate) fn all() -> Vec<Vector> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut paths: Vec<_> = entries(&root).iter().flat_map(|family| entries(family)).collect();
    paths.sort();
    let (inputs, expectations): (Vec<_>, Vec<_>) =
        paths.into_iter().partition(|path| path.extension().is_some_and(|kind| kind == "http"));
    let expected_inputs: Vec<_> =
        expectations.iter().map(|path| path.with_extension("http")).collect();
    assert_eq!(inputs, expected_inputs, "every .http has a .toml beside it, and the other way");
    inputs.iter().map(|path| load(&root, path)).collect()
}

fn load(root: &Path, path: &Path) -> Vector {
    let name = path.strip_prefix(root).unwrap().with_extension("").display().to_string();
    let expected = fs::read_to_string(path.with_extension("toml")).unwrap();
    Vector {
        input: fs::read(path).unwrap(),
        expected: toml::from_str(&expected).unwrap_or_else(|error| panic!("{name}: {error}")),
        name,
    }
}

/// What is in a folder, without hidden files.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let is_hidden =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.as_encoded_bytes()[0] == b'.');
    let paths = folder.is_dir().then(|| fs::read_dir(folder).unwrap());
    let paths = paths.into_iter().flatten().map(|entry| entry.unwrap().path());
    paths.filter(|path| !is_hidden(path)).collect()
}
