//! Answers that contradict themselves never reach the wire, and the log says which route made them;
//! what becomes of a handler whose peer has gone.

mod support;

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once};

use bytes::Bytes;
use corelane::{
    App, BodyStream, HeaderValue, IntoResponse, Json, Problem, RequestBody, Response, State,
    StatusCode, get, head, header, post,
};
use futures_util::stream;
use support::{End, TestServer, request};
use tracing_subscriber::fmt::MakeWriter;

/// What was logged in this process so far.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Log;

    fn make_writer(&'w self) -> Log {
        self.clone()
    }
}

/// The log's errors about a route. Tests may share a process and its log: their routes differ. A
/// warning may stand beside them: a panic's backtrace can hold the shard for long enough.
fn logged(route: &str) -> Vec<String> {
    let text = String::from_utf8(log().0.lock().expect("log").clone()).expect("text");
    let name = format!("route=\"{route}\"");
    let is_meant = |line: &&str| line.contains(" ERROR ") && line.contains(&name);
    text.lines().filter(is_meant).map(str::to_owned).collect()
}

fn log() -> Log {
    static LOG: Mutex<Option<Log>> = Mutex::new(None);
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false);
        tracing::subscriber::set_global_default(subscriber.finish()).expect("the only one");
        *LOG.lock().expect("log") = Some(log);
    });
    LOG.lock().expect("log").clone().expect("just set")
}

fn pieces(sizes: &[usize]) -> BodyStream {
    let pieces: Vec<_> = sizes.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size]))).collect();
    BodyStream::new(stream::iter(pieces.into_iter().map(|piece: Result<_, std::io::Error>| piece)))
}

fn wrong_length(content: impl IntoResponse) -> Response {
    content.into_response().with_header(header::CONTENT_LENGTH, HeaderValue::from_static("3"))
}

#[test]
fn a_length_that_a_handler_claims_is_never_believed() {
    let app = App::new()
        .route("/text", get(async || wrong_length("hello")))
        .route("/large", get(async || wrong_length(Bytes::from(vec![b'x'; 100_000]))))
        .route("/stream", get(async || wrong_length(pieces(&[2, 2]))))
        .route("/none", get(async || wrong_length(StatusCode::NO_CONTENT)))
        .route("/coded", get(async || ([(header::TRANSFER_ENCODING, "gzip, chunked")], "hello")));
    let server = TestServer::start(app);
    let mut client = server.connect();
    for (path, length, size) in [
        ("/text", Some("5"), 5),
        ("/large", Some("100000"), 100_000),
        ("/stream", None, 4),
        ("/none", None, 0),
        ("/coded", Some("5"), 5),
    ] {
        let response = client.exchange(support::get(path));
        assert_eq!(response.field("content-length"), length, "{path}");
        assert_eq!(response.body.len(), size, "{path}");
        // The next answer begins where this one ended.
        assert_eq!(client.exchange(request("HEAD", path, "")).field("content-length"), length);
    }
    server.stop();
}

#[test]
fn a_handler_of_head_may_say_the_length_itself() {
    let app = App::new()
        .route("/said", head(async || ([(header::CONTENT_LENGTH, "1000")], ())))
        .route("/nonsense", head(async || ([(header::CONTENT_LENGTH, "1, 2")], ())));
    let server = TestServer::start(app);
    let mut client = server.connect();
    let mut length = |path: &str| {
        let response = client.exchange(request("HEAD", path, ""));
        response.field("content-length").map(str::to_owned)
    };
    assert_eq!(length("/said").as_deref(), Some("1000"));
    assert_eq!(length("/nonsense").as_deref(), Some("0"));
    server.stop();
}

#[test]
fn content_where_none_may_be_is_dropped_and_logged() {
    let log = log();
    let app = App::new()
        .route("/gone/204", get(async || (StatusCode::NO_CONTENT, "content")))
        .route("/gone/205", get(async || (StatusCode::RESET_CONTENT, "content")))
        .route("/gone/304", get(async || (StatusCode::NOT_MODIFIED, Json("content"))))
        .route(
            "/gone/large",
            get(async || (StatusCode::NO_CONTENT, Bytes::from(vec![b'x'; 100_000]))),
        )
        .route("/gone/stream", get(async || (StatusCode::NO_CONTENT, pieces(&[5]))))
        .route("/gone/fine", get(async || StatusCode::NO_CONTENT))
        .route("/gone/head", get(async || "content"));
    let server = TestServer::start(app);
    let mut client = server.connect();
    for (name, status) in
        [("204", 204), ("205", 205), ("304", 304), ("large", 204), ("stream", 204), ("fine", 204)]
    {
        let path = format!("/gone/{name}");
        let response = client.exchange(support::get(&path));
        assert_eq!((response.status, response.body.len()), (status, 0), "{path}");
        let lines = logged(&path);
        assert_eq!(lines.len(), usize::from(name != "fine"), "{path}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains("content to a status")), "{lines:?}");
    }
    assert_eq!(
        client.exchange(request("HEAD", "/gone/head", "")).field("content-length"),
        Some("7")
    );
    assert!(logged("/gone/head").is_empty());
    drop(log);
    server.stop();
}

#[test]
fn a_stream_that_does_not_keep_to_its_size_ends_the_connection() {
    let log = log();
    let app = App::new()
        .route("/size/short", get(async || pieces(&[2, 2]).with_size(5)))
        .route("/size/long", get(async || pieces(&[2, 2]).with_size(3)))
        .route(
            "/size/fails",
            get(async || BodyStream::new(stream::iter([Err(std::io::Error::other("broken"))]))),
        )
        .route("/size/panics", get(async || -> Problem { panic!("at the route") }))
        .route("/size/interim", get(async || StatusCode::PROCESSING));
    let server = TestServer::start(app);
    for (name, text) in
        [("short", "shorter than its size"), ("long", "longer than its size"), ("fails", "failed")]
    {
        let path = format!("/size/{name}");
        let mut client = server.connect();
        client.send(support::get(&path) + &support::get("/size/interim"));
        assert_eq!(client.try_response_to("GET"), Err(End::Within), "{path}");
        let lines = logged(&path);
        assert!(lines.len() == 1 && lines[0].contains(text), "{path}: {lines:?}");
    }
    for (name, text) in [("panics", "a handler panicked"), ("interim", "an interim status")] {
        let path = format!("/size/{name}");
        assert_eq!(server.get(&path).status, 500);
        let lines = logged(&path);
        assert!(lines.len() == 1 && lines[0].contains(text), "{path}: {lines:?}");
    }
    drop(log);
    server.stop();
}

/// Notes when it is dropped, and whether its handler had come to its end.
struct Fate {
    has_ended: bool,
    seen: Rc<Cell<&'static str>>,
}

impl Drop for Fate {
    fn drop(&mut self) {
        self.seen.set(if self.has_ended { "ended" } else { "dropped" });
    }
}

type Seen = State<Rc<Cell<&'static str>>>;

fn fate(seen: &Seen) -> Fate {
    Fate { has_ended: false, seen: Rc::clone(seen) }
}

#[test]
fn a_handler_whose_peer_has_gone_is_dropped_where_it_stands() {
    let app = App::new()
        .state(async |_| Rc::new(Cell::new("running")))
        .route(
            "/wait",
            post(async |seen: Seen| {
                let mut fate = fate(&seen);
                std::future::pending::<()>().await;
                fate.has_ended = true;
            }),
        )
        .route(
            "/read",
            post(async |seen: Seen, mut body: RequestBody| {
                let mut fate = fate(&seen);
                while body.chunk().await.is_some() {}
                fate.has_ended = true;
            }),
        )
        .route(
            "/answer",
            post(async |seen: Seen| {
                let fate = fate(&seen);
                BodyStream::new(stream::unfold(fate, |fate| async move {
                    std::future::pending::<()>().await;
                    Some((Ok::<_, std::io::Error>(Bytes::new()), fate))
                }))
            }),
        )
        .route(
            "/whole",
            post(async |seen: Seen, _: Bytes| {
                fate(&seen).has_ended = true;
            }),
        )
        .route("/seen", get(async |seen: Seen| seen.replace("running")));
    let server = TestServer::start(app);
    for (path, fields, expected) in [
        ("/wait", "", "dropped"),
        ("/read", "Content-Length: 10\r\n", "dropped"),
        ("/read", "Transfer-Encoding: chunked\r\n", "dropped"),
        ("/answer", "", "dropped"),
        // It was never called.
        ("/whole", "Content-Length: 10\r\n", "running"),
    ] {
        let gone = server.stats().peers_gone.value();
        let requests = server.stats().requests.value();
        let mut client = server.connect();
        client.send(request("POST", path, fields));
        support::eventually("it is called", || server.stats().requests.value() > requests);
        client.reset();
        support::eventually("it is noticed", || server.stats().peers_gone.value() > gone);
        server.wait_until_quiet();
        assert_eq!(server.get("/seen").text(), expected, "{path} {fields:?}");
    }
    server.stop();
}
