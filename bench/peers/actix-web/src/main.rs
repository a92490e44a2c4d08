//! The endpoints on actix-web: one worker, its limits on connections out of the way.

use actix_web::error::{ErrorBadRequest, ErrorPayloadTooLarge};
use actix_web::http::header::ContentType;
use actix_web::web::{self, Data, Path, Payload, Query};
use actix_web::{App, HttpResponse, HttpServer, Result};
use contract::{Dataset, Message, Options};
use futures_util::StreamExt;
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

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let options = Options::from_arguments();
    let dataset = Data::new(Dataset::read(&options.dataset));
    let app = move || {
        App::new()
            .app_data(Data::clone(&dataset))
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
        .max_connections(CONNECTIONS_MAX)
        .max_connection_rate(CONNECTIONS_MAX)
        .listen(contract::listen(options.address)?)?
        .run()
        .await
}

async fn add(terms: Query<Terms>) -> HttpResponse {
    text((terms.a + terms.b).to_string())
}

async fn add_body(terms: Query<Terms>, body: String) -> Result<HttpResponse> {
    let number: i64 = body.trim().parse().map_err(ErrorBadRequest)?;
    Ok(text((terms.a + terms.b + number).to_string()))
}

async fn items(
    dataset: Data<Dataset>,
    count: Path<usize>,
    multiplier: Query<Multiplier>,
) -> HttpResponse {
    json(dataset.page(*count, multiplier.m).to_json())
}

async fn upload(mut body: Payload) -> Result<HttpResponse> {
    let mut bytes = 0;
    while let Some(chunk) = body.next().await {
        bytes += chunk?.len();
        if bytes > contract::UPLOAD_BYTES_MAX {
            return Err(ErrorPayloadTooLarge("more than 25 MiB"));
        }
    }
    Ok(text(bytes.to_string()))
}

fn text(body: impl actix_web::body::MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body(body)
}

fn json(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(body)
}
