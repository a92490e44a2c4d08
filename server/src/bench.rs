//! Doors for the micro-benchmarks: what is private, callable, and nothing more.

use std::rc::Rc;

use http::{Method, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;

use corelane_runtime::ShardId;
use corelane_runtime::simulation::{Simulation, SimulationConfig};

use crate::date::CommonFields;
use crate::response::{IntoResponse, RequestFacts, Responder};
use crate::router::{self, Router, TrailingSlash};

/// The routes of one shard, which is a simulated one.
pub struct Table {
    table: router::Table,
    _simulation: Simulation,
}

impl Table {
    /// Of these routes; `None` where they can not be made.
    pub fn new(router: Router) -> Option<Table> {
        let mut simulation = Simulation::new(1, SimulationConfig::default());
        let shard = Rc::clone(simulation.shard(ShardId(0)));
        let build =
            async move { router::Table::build(&router, TrailingSlash::default(), &shard).await };
        let table = simulation.block_on(ShardId(0), build).ok()?;
        Some(Table { table, _simulation: simulation })
    }

    /// How many parameters the path has, for the handler that was found.
    pub fn find(&self, method: &Method, path: &str) -> usize {
        self.table.find(method, path, &mut None).params.len()
    }
}

/// How the answers of one second begin.
pub struct Common(CommonFields);

impl Common {
    /// Without Server, and with the Date that is so many seconds from 1970 on.
    pub fn at(wall_seconds: u64) -> Common {
        let mut fields = CommonFields::new(None);
        fields.write(wall_seconds);
        Common(fields)
    }
}

/// Appends the answer to a GET that keeps its connection.
pub fn respond(out: &mut Vec<u8>, common: &Common, value: impl IntoResponse) {
    let facts = RequestFacts {
        is_head: false,
        version: Version::HTTP_11,
        keeps_alive: true,
        closes_unread: false,
    };
    let mut responder = Responder::new(out, facts, common.0.start());
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
