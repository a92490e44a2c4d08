//! The endpoints on xitca-web: one worker.

use std::pin::pin;

use contract::{Dataset, Message, Options};
use serde::Deserialize;
use xitca_web::body::{BodyExt, RequestBody, ResponseBody};
use xitca_web::error::{Error, ErrorStatus};
use xitca_web::handler::body::Body;
use xitca_web::handler::handler_service;
use xitca_web::handler::params::Params;
use xitca_web::handler::query::Query;
use xitca_web::handler::state::StateOwn;
use xitca_web::http::WebResponse;
use xitca_web::http::header::{CONTENT_TYPE, HeaderValue};
use xitca_web::route::{get, post};
use xitca_web::{App, bytes::Bytes};

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

fn main() -> std::io::Result<()> {
    let options = Options::from_arguments();
    let dataset: &'static Dataset = Box::leak(Box::new(Dataset::read(&options.dataset)));
    App::new()
        .with_state(dataset)
        .at("/plaintext", get(handler_service(async || text(contract::PLAINTEXT))))
        .at("/pipeline", get(handler_service(async || text(contract::PIPELINE))))
        .at("/json", get(handler_service(async || json(Message::hello().to_json()))))
        .at("/json/{count}", get(handler_service(items)))
        .at("/baseline11", get(handler_service(add)).post(handler_service(add_body)))
        .at("/upload", post(handler_service(upload)))
        .serve()
        .worker_threads(1)
        .backlog(4096)
        .bind(options.address)?
        .run()
        .wait()
}

async fn add(Query(terms): Query<Terms>) -> WebResponse {
    text((terms.a + terms.b).to_string())
}

async fn add_body(Query(terms): Query<Terms>, body: Vec<u8>) -> Result<WebResponse, Error> {
    let number = std::str::from_utf8(&body).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let number = number.ok_or_else(ErrorStatus::bad_request)?;
    Ok(text((terms.a + terms.b + number).to_string()))
}

async fn items(
    StateOwn(dataset): StateOwn<&'static Dataset>,
    Params(count): Params<usize>,
    Query(Multiplier { m }): Query<Multiplier>,
) -> WebResponse {
    json(dataset.page(count, m).to_json())
}

async fn upload(Body(body): Body<RequestBody>) -> Result<WebResponse, Error> {
    let mut body = pin!(body);
    let mut bytes = 0;
    while let Some(data) = body.as_mut().data().await {
        bytes += data.map_err(|_| ErrorStatus::bad_request())?.len();
        if bytes > contract::UPLOAD_BYTES_MAX {
            return Err(ErrorStatus::bad_request().into());
        }
    }
    Ok(text(bytes.to_string()))
}

fn text(body: impl Into<Bytes>) -> WebResponse {
    typed(body.into(), HeaderValue::from_static("text/plain"))
}

fn json(body: Vec<u8>) -> WebResponse {
    typed(body.into(), HeaderValue::from_static("application/json"))
}

fn typed(body: Bytes, content_type: HeaderValue) -> WebResponse {
    let mut response = WebResponse::new(ResponseBody::bytes(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
