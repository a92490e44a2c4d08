//! From a method and a path to a handler: the router, matchit alone, and a walk over all patterns.

use std::hint::black_box;

use corelane::bench::Table;
use corelane::{Method, Router, get};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { group: "route, 24 patterns", name: "Corelane", run: corelane },
    Case { group: "route, 24 patterns", name: "matchit", run: matchit },
    Case { group: "route, 24 patterns", name: "one after the other", run: linear },
];

const PATTERNS: [&str; 24] = [
    "/",
    "/plaintext",
    "/json",
    "/json/{count}",
    "/baseline11",
    "/pipeline",
    "/upload",
    "/items",
    "/items/{id}",
    "/items/{id}/tags",
    "/items/{id}/tags/{tag}",
    "/users",
    "/users/{user}",
    "/users/{user}/orders",
    "/users/{user}/orders/{order}",
    "/search",
    "/search/{term}",
    "/health",
    "/metrics",
    "/files/{folder}/{file}",
    "/login",
    "/logout",
    "/carts/{cart}",
    "/about",
];
const PATHS: [&str; 4] =
    ["/plaintext", "/items/42", "/users/ada/orders/1815", "/files/images/logo.svg"];

/// Looks all paths up, in turn; the sum is over found parameters, and one for each that is found.
fn look_up(count: u64, find: impl Fn(&str) -> Option<usize>) -> u64 {
    (0..count).fold(0, |sum, turn| {
        let path = black_box(PATHS[turn as usize % PATHS.len()]);
        sum + find(path).map_or(0, |parameters| 1 + parameters as u64)
    })
}

/// Also finds the method.
fn corelane(count: u64) -> u64 {
    let add = |router: Router, path| router.route(path, get(async || ""));
    let router = PATTERNS.into_iter().fold(Router::new(), add);
    let Some(table) = Table::new(router) else { return 0 };
    look_up(count, |path| Some(table.find(black_box(&Method::GET), path)))
}

fn matchit(count: u64) -> u64 {
    let mut table = matchit::Router::new();
    for (index, path) in PATTERNS.into_iter().enumerate() {
        if table.insert(path, index).is_err() {
            return 0;
        }
    }
    look_up(count, |path| table.at(path).ok().map(|found| found.params.len()))
}

fn linear(count: u64) -> u64 {
    look_up(count, |path| PATTERNS.iter().find_map(|pattern| parameters(pattern, path)))
}

/// How many segments of the path are parameters of the pattern, if it matches.
fn parameters(pattern: &str, path: &str) -> Option<usize> {
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    let mut count = 0;
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(count),
            (Some(segment), Some(_)) if segment.starts_with('{') => count += 1,
            (Some(segment), Some(text)) if segment == text => {}
            _ => return None,
        }
    }
}
