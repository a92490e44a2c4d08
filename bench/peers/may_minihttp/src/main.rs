//! The endpoints on may_minihttp: one worker thread of its coroutine scheduler.

use std::io::{self, BufRead};

use bytes::BufMut;
use contract::{Dataset, Message, Options};
use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};

const TEXT: &str = "Content-Type: text/plain";
const JSON: &str = "Content-Type: application/json";

fn main() -> io::Result<()> {
    let options = Options::from_arguments();
    may::config().set_workers(1);
    let dataset: &'static Dataset = Box::leak(Box::new(Dataset::read(&options.dataset)));
    let server = Endpoints { dataset }.start(options.address)?;
    server.join().map_err(|_| io::Error::other("the accepting coroutine panicked"))
}

#[derive(Clone, Copy)]
struct Endpoints {
    dataset: &'static Dataset,
}

impl HttpServiceFactory for Endpoints {
    type Service = Self;

    fn new_service(&self, _connection: usize) -> Self {
        *self
    }
}

impl HttpService for Endpoints {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        // The path borrows from a request that reading the body consumes.
        let target = request.path();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let sum = contract::sum(query);
        match (request.method(), path) {
            ("GET", "/plaintext") => response.header(TEXT).body(contract::PLAINTEXT),
            ("GET", "/pipeline") => response.header(TEXT).body(contract::PIPELINE),
            ("GET", "/json") => response.header(JSON).body_vec(Message::hello().to_json()),
            ("GET", "/baseline11") => text(response, sum),
            ("POST", "/baseline11") => match add_body(sum, request.body()) {
                Some(sum) => text(response, sum),
                None => drop(response.status_code(400, "Bad Request")),
            },
            ("POST", "/upload") => text(response, count(request.body())? as i64),
            ("GET", path) => match path.strip_prefix("/json/").map(str::parse) {
                Some(Ok(number)) => {
                    let page = self.dataset.page(number, contract::multiplier(query));
                    response.header(JSON).body_vec(page.to_json());
                }
                _ => drop(response.status_code(404, "Not Found")),
            },
            _ => drop(response.status_code(404, "Not Found")),
        }
        Ok(())
    }
}

fn text(response: &mut Response, number: i64) {
    response.header(TEXT).body_mut().put_slice(number.to_string().as_bytes());
}

fn add_body(sum: i64, mut body: impl io::Read) -> Option<i64> {
    let mut text = String::new();
    body.read_to_string(&mut text).ok()?;
    Some(sum + text.trim().parse::<i64>().ok()?)
}

fn count(mut body: impl BufRead) -> io::Result<usize> {
    let mut bytes = 0;
    loop {
        let filled = body.fill_buf()?.len();
        if filled == 0 {
            return Ok(bytes);
        }
        body.consume(filled);
        bytes += filled;
    }
}
