//! Doors for the micro-benchmarks: what is private, callable, and nothing more.

use http::{Method, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::response::{IntoResponse, RequestFacts, Responder};
use crate::router::{Found, MethodRouter, Router, Routes};

/// The router of one shard.
pub struct Table(Router);

impl Table {
    /// Of these paths, each with its handlers; `None` where they can not be routed.
    pub fn new(routes: impl IntoIterator<Item = (&'static str, MethodRouter)>) -> Option<Table> {
        let mut table = Routes::default();
        for (path, methods) in routes {
            table.add(path, methods);
        }
        table.router().ok().map(Table)
    }

    /// How many parameters the path has, if there is a handler for it.
    pub fn find(&self, method: &Method, path: &str) -> Option<usize> {
        match self.0.find(method, path) {
            Found::Endpoint { params, .. } => Some(params.len()),
            _ => None,
        }
    }
}

/// Appends the answer to a GET that keeps its connection, with `common` as the ready fields.
pub fn respond(out: &mut Vec<u8>, common: &[u8], value: impl IntoResponse) {
    let facts = RequestFacts { method: Method::GET, version: Version::HTTP_11, keeps_alive: true };
    let mut responder = Responder::new(out, facts, common);
    value.respond(&mut responder);
    let _ = responder.finish();
}

/// Reads a request's JSON, using up the bytes.
pub fn parse_json<T: DeserializeOwned>(json: &mut [u8]) -> Option<T> {
    crate::json::parse(json).ok()
}

/// Appends a response's JSON.
pub fn write_json(out: &mut Vec<u8>, value: &impl Serialize) -> bool {
    crate::json::write_json(out, value).is_ok()
}
