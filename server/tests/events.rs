//! Server-sent events: what is sent when, and what ends the stream.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corelane::{App, Event, Events, LastEventId, State, get};
use futures_util::{StreamExt, stream};
use support::{Client, TestServer, eventually, request};

/// Reads until the content so far ends like this.
fn read_until(client: &mut Client, end: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.ends_with(end) {
        let size = client.receive_raw(&mut buffer);
        assert!(size > 0, "closed after {text:?}");
        text += std::str::from_utf8(&buffer[..size]).expect("text");
    }
    text
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[test]
fn events_are_sent_as_they_come() {
    let app = App::new().route(
        "/",
        get(async |LastEventId(last): LastEventId| {
            let first = Event::data(format!("after {last:?}")).id("1");
            let events = stream::iter([first]).chain(stream::once(async {
                corelane::runtime::sleep(Duration::from_millis(5)).await;
                Event::data("late").event("end")
            }));
            Events::new(events).retry(Duration::from_secs(3))
        }),
    );
    let server = TestServer::start(app);
    let mut client = server.connect();
    let response = client.exchange(request("GET", "/", "Last-Event-ID: 7\r\n"));
    assert_eq!(response.field("content-type"), Some("text/event-stream"));
    assert_eq!(response.field("cache-control"), Some("no-cache"));
    let text = "retry: 3000\n\ndata: after Some(\"7\")\nid: 1\n\ndata: late\nevent: end\n\n";
    assert_eq!(response.text(), text);
    assert!(client.exchange(support::get("/")).text().contains("after None"));
    server.stop();
}

/// Counts its drops.
struct Guard(Rc<Cell<u32>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn silence_is_filled_and_a_client_that_is_gone_ends_the_stream() {
    let app = App::new()
        .state(async |_| Rc::new(Cell::new(0u32)))
        .route(
            "/silent",
            get(async |dropped: State<Rc<Cell<u32>>>| {
                let guard = Guard(Rc::clone(&dropped));
                let events = stream::pending().map(move |event| {
                    let _held = &guard;
                    event
                });
                Events::new(events).keep_alive(Duration::from_millis(1))
            }),
        )
        .route("/dropped", get(async |dropped: State<Rc<Cell<u32>>>| dropped.get().to_string()));
    let server = TestServer::start(app);
    let mut client = server.connect();
    client.send(support::get("/silent"));
    let comment = chunk(": \n\n");
    read_until(&mut client, &comment.repeat(3));
    drop(client);
    eventually("the stream is dropped", || server.get("/dropped").text() == "1");
    server.stop();
}
