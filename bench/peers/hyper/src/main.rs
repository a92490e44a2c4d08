//! The endpoints on hyper: one thread, tokio's current-thread runtime, pipelined answers in one
//! write.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use contract::{Dataset, Message, Options};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

type Answer = Response<Full<Bytes>>;

fn main() -> std::io::Result<()> {
    let options = Options::from_arguments();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> std::io::Result<()> {
    let dataset = Rc::new(Dataset::read(&options.dataset));
    let listener = TcpListener::from_std(contract::listen(options.address)?)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // A peer that is gone already is no reason to stop.
        let _ = stream.set_nodelay(true);
        let dataset = Rc::clone(&dataset);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(Rc::clone(&dataset), request));
            // Without a timer there is no header timeout, which the ceiling has not either.
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(dataset: Rc<Dataset>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/plaintext") => text(contract::PLAINTEXT),
        (&Method::GET, "/pipeline") => text(contract::PIPELINE),
        (&Method::GET, "/json") => json(Message::hello().to_json()),
        (&Method::GET, "/baseline11") => text(contract::sum(query).to_string()),
        (&Method::POST, "/baseline11") => baseline(contract::sum(query), request).await,
        (&Method::POST, "/upload") => upload(request.into_body()).await,
        (&Method::GET, path) => match path.strip_prefix("/json/").map(str::parse) {
            Some(Ok(count)) => json(dataset.page(count, contract::multiplier(query)).to_json()),
            _ => status(StatusCode::NOT_FOUND),
        },
        _ => status(StatusCode::NOT_FOUND),
    })
}

async fn baseline(sum: i64, request: Request<Incoming>) -> Answer {
    let Ok(body) = request.into_body().collect().await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    match std::str::from_utf8(&body).ok().and_then(|text| text.trim().parse::<i64>().ok()) {
        Some(number) => text((sum + number).to_string()),
        None => status(StatusCode::BAD_REQUEST),
    }
}

async fn upload(mut body: Incoming) -> Answer {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return status(StatusCode::BAD_REQUEST);
        };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > contract::UPLOAD_BYTES_MAX {
            return status(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    text(bytes.to_string())
}

fn text(body: impl Into<Bytes>) -> Answer {
    typed(body.into(), HeaderValue::from_static("text/plain"))
}

fn json(body: Vec<u8>) -> Answer {
    typed(body.into(), HeaderValue::from_static("application/json"))
}

fn typed(body: Bytes, content_type: HeaderValue) -> Answer {
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

fn status(status: StatusCode) -> Answer {
    let mut answer = text("");
    *answer.status_mut() = status;
    answer
}
