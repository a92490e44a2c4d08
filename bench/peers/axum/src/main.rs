//! The endpoints on axum, served by hyper with pipelined answers in one write.
//!
//! `axum::serve` does not offer that setting: through it, 16 pipelined requests cost ten times as
//! much. So the connections are driven as axum's own low-level examples do it.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use contract::{Dataset, Message, Options};
use futures_util::StreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> std::io::Result<()> {
    // The state of a router has to be `Send` and cheap to clone; the program never frees it.
    let dataset: &'static Dataset = Box::leak(Box::new(Dataset::read(&options.dataset)));
    let router = Router::new()
        .route("/plaintext", get(async || contract::PLAINTEXT))
        .route("/pipeline", get(async || contract::PIPELINE))
        .route("/json", get(async || Json(Message::hello())))
        .route("/json/{count}", get(items))
        .route("/baseline11", get(add).post(add_body))
        .route("/upload", post(upload))
        .with_state(dataset);
    let listener = TcpListener::from_std(contract::listen(options.address)?)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // A peer that is gone already is no reason to stop.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::task::spawn_local(async move {
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn add(Query(terms): Query<Terms>) -> String {
    (terms.a + terms.b).to_string()
}

async fn add_body(Query(terms): Query<Terms>, body: String) -> Result<String, StatusCode> {
    let number: i64 = body.trim().parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok((terms.a + terms.b + number).to_string())
}

async fn items(
    State(dataset): State<&'static Dataset>,
    Path(count): Path<usize>,
    Query(Multiplier { m }): Query<Multiplier>,
) -> Response {
    // `Json` starts with 128 bytes and doubles; the contract's own writer starts big enough.
    let json = dataset.page(count, m).to_json();
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

async fn upload(body: Body) -> Result<String, StatusCode> {
    let mut bytes = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        bytes += chunk.map_err(|_| StatusCode::BAD_REQUEST)?.len();
        if bytes > contract::UPLOAD_BYTES_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    Ok(bytes.to_string())
}
