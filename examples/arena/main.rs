//! The arena: a small real service that a public HTTP benchmark asks for, and its users too.
//!
//! ```text
//!   main       options                           numbers    /baseline11
//!   dataset    what /json/{count} answers from   priced     /json/{count}
//!   page.html  what people see at /              upload     /upload
//!                                                items/     /items, partitioned over the shards
//! ```

mod dataset;
mod items;
mod numbers;
mod priced;
mod upload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use corelane::{App, Json, get, header};
use corelane_examples::{Flags, read_flags, run};
use serde::Serialize;

use crate::dataset::Dataset;
use crate::items::Store;

/// A small real service over HTTP/1.1, one shard a core.
#[derive(Debug, Parser)]
#[command(name = "arena", max_term_width = 100)]
struct ArenaFlags {
    #[command(flatten)]
    service: Flags,
    /// The items that /json/{count} answers from [default: a generated data set]
    #[arg(long, value_name = "FILE")]
    dataset: Option<PathBuf>,
}

fn main() -> ExitCode {
    run("arena", || {
        let ArenaFlags { service, dataset } = read_flags("arena")?;
        let options = service.over_file(&["dataset"])?;
        let of_file = || options.others.first().map(|(_, path)| options.folder.join(path));
        let dataset = Dataset::read(dataset.or_else(of_file).as_deref())?;
        Ok((app(dataset), options))
    })
}

fn app(dataset: Dataset) -> App {
    App::new()
        // Every shard reads its own copy, on its own memory node.
        .state(move |_shard| {
            let dataset = dataset.clone();
            async move { dataset }
        })
        .state(|shard| async move { Store::new(&shard) })
        .route("/", get(page))
        .route("/plaintext", get(async || "Hello, World!"))
        .route("/pipeline", get(async || "ok"))
        .route("/json", get(async || Json(Message { message: "Hello, World!" })))
        .route("/json/{count}", get(priced::list))
        .route("/baseline11", get(numbers::add).post(numbers::add_body))
        .route("/upload", upload::routes())
        .route("/items", items::collection())
        .route("/items/{id}", items::member())
}

/// What `/json` answers, as TechEmpower defined it.
#[derive(Serialize)]
struct Message {
    message: &'static str,
}

async fn page() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("page.html"))
}
