//! Where a request goes, by its method and its path.

use std::borrow::Cow;

use crate::extract::Params;
use crate::http1::{Head, TargetForm};
use crate::router::{Found, Table, normalize};

/// Where a request goes whose path no route has octet by octet. `path` keeps its path where it had
/// to be normalized for that, and `params` the values of its parameters.
pub(super) fn find_other<'r, 'b: 'r>(
    table: &'r Table,
    head: &Head,
    bytes: &'b [u8],
    path: &'r mut Option<Cow<'b, str>>,
    params: &'r mut Option<Params<'r>>,
) -> Found<'r> {
    match head.form {
        TargetForm::Asterisk => table.whole_server(),
        _ => table.find(&head.method, path.insert(normalize(path_of(head, bytes))), params),
    }
}

/// Targets are ASCII: the protocol core has refused everything else.
pub(super) fn path_of<'a>(head: &Head, bytes: &'a [u8]) -> &'a str {
    std::str::from_utf8(head.path(bytes)).unwrap_or("/")
}
