//! Paths made of a route's pattern: the other way round from routing.

use std::fmt;
use std::marker::PhantomData;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

/// RFC 3986 section 2.3: what never needs an escape. Everything else gets one: what a sub-delimiter
/// means in a path is each server's own business.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A route's pattern and the type of its parameters: what is routed is what is linked to.
///
/// ```
/// use corelane::{App, Path, RoutePath, get};
///
/// const ITEM: RoutePath<(String, u64)> = RoutePath::new("/shelves/{shelf}/items/{id}");
///
/// let app = App::new().route(ITEM.pattern(), get(async |Path(item): Path<(String, u64)>| {
///     format!("{item:?}")
/// }));
/// let link = ITEM.path(&("nuts & bolts".to_owned(), 7))?;
/// assert_eq!(link, "/shelves/nuts%20%26%20bolts/items/7");
/// # let _ = app;
/// # Ok::<(), corelane::LinkError>(())
/// ```
///
/// The parameters are what [`Path`](crate::Path) takes: one value for one parameter, a tuple for
/// several in their order, a struct or map by their names, `()` for none. Whatever the path is made
/// of, its route gets the same values back.
pub struct RoutePath<P: ?Sized> {
    pattern: &'static str,
    parameters: PhantomData<fn(&P)>,
}

impl<P: ?Sized> RoutePath<P> {
    /// A pattern as [`App::route`](crate::App::route) takes it: with the prefixes of the routers
    /// that it is nested in, where it is to be linked to.
    pub const fn new(pattern: &'static str) -> RoutePath<P> {
        RoutePath { pattern, parameters: PhantomData }
    }

    /// The pattern, to be routed.
    pub const fn pattern(&self) -> &'static str {
        self.pattern
    }

    /// The path with these parameters, percent-encoded.
    ///
    /// # Errors
    /// A parameter is missing, is none of the pattern's, or can not be a part of a path.
    pub fn path(&self, parameters: &P) -> Result<String, LinkError>
    where
        P: Serialize,
    {
        let values = serde_json::to_value(parameters);
        let values = values.map_err(|error| LinkError::Unreadable(error.to_string()))?;
        fill(self.pattern, &values)
    }
}

impl<P: ?Sized> Clone for RoutePath<P> {
    fn clone(&self) -> RoutePath<P> {
        *self
    }
}

impl<P: ?Sized> Copy for RoutePath<P> {}

impl<P: ?Sized> fmt::Debug for RoutePath<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoutePath").field(&self.pattern).finish()
    }
}

/// Why a pattern and parameters make no path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// The pattern has a parameter for which there is no value.
    Missing(String),
    /// There is a value, or so many values, for which the pattern has no parameter.
    Extra(String),
    /// The value of this parameter can not be a part of a path: it is empty, `.` or `..`, which
    /// clients take for steps, or no single value.
    Unfit(String),
    /// The parameters are nothing that serde can read out.
    Unreadable(String),
    /// The pattern is none.
    Pattern,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Missing(name) => write!(f, "the path needs a value for {{{name}}}"),
            LinkError::Extra(what) => write!(f, "the path has no parameter for {what}"),
            LinkError::Unfit(name) => write!(
                f,
                "the value for {{{name}}} can not be a part of a path; give text or a number that \
                 is not empty, \".\" or \"..\""
            ),
            LinkError::Unreadable(problem) => {
                write!(f, "the parameters can not be read: {problem}")
            }
            LinkError::Pattern => f.write_str("the pattern has an open or a stray brace"),
        }
    }
}

impl std::error::Error for LinkError {}

fn fill(pattern: &str, values: &Value) -> Result<String, LinkError> {
    let (mut path, mut rest, mut count) = (String::new(), pattern, 0);
    while let Some(at) = rest.find(['{', '}']) {
        let (text, brace) = rest.split_at(at);
        path.push_str(text);
        // A brace that stands for itself is written twice.
        if let Some(behind) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            path.push_str(&brace[..1]);
            rest = behind;
            continue;
        }
        let inside = brace.strip_prefix('{').ok_or(LinkError::Pattern)?;
        let (name, behind) = inside.split_once('}').ok_or(LinkError::Pattern)?;
        push(&mut path, name, find(values, name.trim_start_matches('*'), count)?)?;
        (rest, count) = (behind, count + 1);
    }
    path.push_str(rest);
    check_count(pattern, values, count)?;
    Ok(path)
}

/// The value of a parameter: by its name, or by its place.
fn find<'v>(values: &'v Value, name: &str, index: usize) -> Result<&'v Value, LinkError> {
    let found = match values {
        Value::Object(named) => named.get(name),
        Value::Array(listed) => listed.get(index),
        Value::Null => None,
        single => (index == 0).then_some(single),
    };
    found.ok_or_else(|| LinkError::Missing(name.to_owned()))
}

fn check_count(pattern: &str, values: &Value, count: usize) -> Result<(), LinkError> {
    match values {
        Value::Object(named) => {
            let is_used = |name: &&String| {
                pattern.contains(&format!("{{{name}}}"))
                    || pattern.contains(&format!("{{*{name}}}"))
            };
            let extra = named.keys().find(|name| !is_used(name));
            extra.map_or(Ok(()), |name| Err(LinkError::Extra(name.clone())))
        }
        Value::Array(listed) if listed.len() > count => {
            Err(LinkError::Extra(format!("{} of {} values", listed.len() - count, listed.len())))
        }
        Value::Array(_) | Value::Null => Ok(()),
        _ if count == 0 => Err(LinkError::Extra("the value".to_owned())),
        _ => Ok(()),
    }
}

fn push(path: &mut String, name: &str, value: &Value) -> Result<(), LinkError> {
    let unfit = || LinkError::Unfit(name.trim_start_matches('*').to_owned());
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(is_true) => is_true.to_string(),
        _ => return Err(unfit()),
    };
    // RFC 3986 section 5.2.4: such segments are removed by clients, escaped or not.
    let is_step = |segment: &str| matches!(segment, "." | "..");
    let segments: Vec<&str> = match name.starts_with('*') {
        true => text.split('/').collect(),
        false => vec![&text],
    };
    if text.is_empty() || segments.iter().any(|segment| is_step(segment)) {
        return Err(unfit());
    }
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            path.push('/');
        }
        path.extend(utf8_percent_encode(segment, ESCAPED));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(pattern: &str, values: Value, expected: Result<&str, LinkError>) {
        assert_eq!(fill(pattern, &values).as_deref(), expected.as_ref().copied(), "{pattern}");
    }

    #[test]
    fn values_find_their_places() {
        check("/a", json!(null), Ok("/a"));
        check("/{a}", json!(7), Ok("/7"));
        check("/{a}", json!("\u{e4}/ ?"), Ok("/%C3%A4%2F%20%3F"));
        check("/{a}/x/{b}", json!(["1", true]), Ok("/1/x/true"));
        check("/{a}/x/{b}", json!({"b": "~._-", "a": -1}), Ok("/-1/x/~._-"));
        check("/{*rest}", json!("a/b c//d"), Ok("/a/b%20c//d"));
        check("/{name}.json", json!(".."), Err(LinkError::Unfit("name".to_owned())));
        check("/{{a}}/{b}", json!(1), Ok("/{a}/1"));
    }

    #[test]
    fn values_that_do_not_fit_are_errors() {
        let missing = |name: &str| Err(LinkError::Missing(name.to_owned()));
        let extra = |name: &str| Err(LinkError::Extra(name.to_owned()));
        let unfit = |name: &str| Err(LinkError::Unfit(name.to_owned()));
        check("/{a}", json!(null), missing("a"));
        check("/{a}/{b}", json!(1), missing("b"));
        check("/{a}/{b}", json!([1]), missing("b"));
        check("/{a}/{b}", json!({"a": 1}), missing("b"));
        check("/{a}", json!([1, 2]), extra("1 of 2 values"));
        check("/{a}", json!({"a": 1, "c": 2}), extra("c"));
        check("/a", json!(1), extra("the value"));
        for value in [json!(""), json!("."), json!(".."), json!([1]), json!({}), json!(null)] {
            check("/{a}", json!({"a": value}), unfit("a"));
        }
        for value in ["", ".", "a/../b", "a/."] {
            check("/{*a}", json!({"a": value}), unfit("a"));
        }
        for pattern in ["/{", "/}", "/{a}/b}"] {
            check(pattern, json!(1), Err(LinkError::Pattern));
        }
    }
}
