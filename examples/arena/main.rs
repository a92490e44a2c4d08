//! The arena: a small real service that a public HTTP benchmark asks for, and its users too.
//!
//! ```text
//!   main       options, log, exit code           numbers    /baseline11
//!   options    flags over a TOML file            priced     /json/{count}
//!   dataset    what /json/{count} answers from   upload     /upload
//!   page.html  what people see at /              items/     /items, partitioned over the shards
//! ```

mod dataset;
mod items;
mod numbers;
mod options;
mod priced;
mod upload;

use std::io::IsTerminal;
use std::process::ExitCode;

use corelane::{App, Error, Json, get, header};
use serde::Serialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::dataset::Dataset;
use crate::items::Store;
use crate::options::Options;

fn main() -> ExitCode {
    // The operator can change it: 2. The machine refuses: 1.
    let prepared = start_log().and_then(|()| Options::read()).and_then(|options| {
        let dataset = Dataset::read(options.dataset.as_deref())?;
        Ok((options, dataset))
    });
    let (options, dataset) = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => return fail(2, &problem),
    };
    match app(options, dataset).serve("") {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Config(error)) => fail(2, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn fail(code: u8, problem: &str) -> ExitCode {
    eprintln!("arena: {problem}");
    ExitCode::from(code)
}

fn app(options: Options, dataset: Dataset) -> App {
    let app = App::new()
        // Every shard reads its own copy, on its own memory node.
        .state(move |_shard| {
            let dataset = dataset.clone();
            async move { dataset }
        })
        .state(|shard| async move { Store::new(&shard) })
        .cores(options.cores)
        .route("/", get(page))
        .route("/plaintext", get(async || "Hello, World!"))
        .route("/pipeline", get(async || "ok"))
        .route("/json", get(async || Json(Message { message: "Hello, World!" })))
        .route("/json/{count}", get(priced::list))
        .route("/baseline11", get(numbers::add).post(numbers::add_body))
        .route("/upload", upload::routes())
        .route("/items", items::collection())
        .route("/items/{id}", items::member());
    options.listen.into_iter().fold(app, App::listen)
}

/// What `/json` answers, as TechEmpower defined it.
#[derive(Serialize)]
struct Message {
    message: &'static str,
}

async fn page() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("page.html"))
}

/// Logs to standard error; standard output has the one line that says the service is ready.
///
/// The variable `RUST_LOG` says how much, such as `warn` or `info,corelane_runtime=debug`.
fn start_log() -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) => text.parse::<Targets>().map_err(|error| format!("RUST_LOG: {error}"))?,
        Err(_) => Targets::new().with_default(LevelFilter::INFO),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}
