//! The endpoints on ntex: one worker, its own io_uring driver.

use contract::{Dataset, Message, Options};
use ntex::http::header::CONTENT_TYPE;
use ntex::util::Bytes;
use ntex::web::error::{ErrorBadRequest, ErrorPayloadTooLarge};
use ntex::web::types::{Path, Payload, Query, State};
use ntex::web::{self, App, Error, HttpResponse, HttpServer};
use serde::Deserialize;

/// More connections than any scenario opens; the default for a worker is 25,600.
const CONNECTIONS_MAX: usize = 65_536;

#[derive(Deserialize)]
struct Terms {
    a: i64,
    b: i64,
}

#[derive(Deserialize)]
struct Multiplier {
    #[serde(default = "one")]
    m: u64,
}

fn one() -> u64 {
    1
}

#[ntex::main]
async fn main() -> std::io::Result<()> {
    let options = Options::from_arguments();
    let dataset: &'static Dataset = Box::leak(Box::new(Dataset::read(&options.dataset)));
    let app = async move || {
        App::new()
            .state(dataset)
            .route("/plaintext", web::get().to(async || text(contract::PLAINTEXT)))
            .route("/pipeline", web::get().to(async || text(contract::PIPELINE)))
            .route("/json", web::get().to(async || json(Message::hello().to_json())))
            .route("/json/{count}", web::get().to(items))
            .route("/baseline11", web::get().to(add))
            .route("/baseline11", web::post().to(add_body))
            .route("/upload", web::post().to(upload))
    };
    HttpServer::new(app)
        .workers(1)
        .maxconn(CONNECTIONS_MAX)
        .listen(contract::listen(options.address)?)?
        .run()
        .await
}

async fn add(terms: Query<Terms>) -> HttpResponse {
    text((terms.a + terms.b).to_string())
}

async fn add_body(terms: Query<Terms>, body: String) -> Result<HttpResponse, Error> {
    let number: i64 = body.trim().parse().map_err(|_| ErrorBadRequest("not a number"))?;
    Ok(text((terms.a + terms.b + number).to_string()))
}

async fn items(
    dataset: State<&'static Dataset>,
    count: Path<usize>,
    multiplier: Query<Multiplier>,
) -> HttpResponse {
    json(dataset.page(*count, multiplier.m).to_json())
}

async fn upload(mut body: Payload) -> Result<HttpResponse, Error> {
    let mut bytes = 0;
    while let Some(chunk) = body.recv().await {
        bytes += chunk.map_err(|_| ErrorBadRequest("broken body"))?.len();
        if bytes > contract::UPLOAD_BYTES_MAX {
            return Err(ErrorPayloadTooLarge("more than 25 MiB").into());
        }
    }
    Ok(text(bytes.to_string()))
}

fn text(body: impl Into<Bytes>) -> HttpResponse {
    HttpResponse::Ok().header(CONTENT_TYPE, "text/plain").body(body.into())
}

fn json(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().header(CONTENT_TYPE, "application/json").body(Bytes::from(body))
}
