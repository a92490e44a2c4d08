//! Compressed responses and compressed requests over sockets.
// Clippy knows test functions, but not what they are made of.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};

use bytes::Bytes;
use corelane::middleware::{EntityTags, compression, decompression};
use corelane::{
    App, BodyStream, Coding, HeaderValue, IntoResponse, RequestBody, RequestBodyError, Response,
    StatusCode, files, get, header, post,
};
use futures_util::StreamExt;
use support::{TestServer, chunked, eventually, request};

const CODINGS: [(&str, Coding); 3] =
    [("br", Coding::Brotli), ("zstd", Coding::Zstd), ("gzip", Coding::Gzip)];

fn text() -> String {
    (0..500).map(|line| format!("line {line} of a text that repeats itself\n")).collect()
}

fn encode(coding: &str, content: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            encoder.write_all(content).unwrap();
            encoder.into_inner()
        }
        "zstd" => zstd::encode_all(content, 3).unwrap(),
        _ => content.to_vec(),
    }
}

/// As much as can be decoded of what may be only the beginning of a content.
fn decode_some(coding: &str, content: &[u8]) -> Vec<u8> {
    let mut decoder: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(content)),
        "br" => Box::new(brotli::Decompressor::new(content, 4096)),
        "zstd" => Box::new(zstd::Decoder::new(content).unwrap()),
        _ => Box::new(content),
    };
    let (mut decoded, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = decoder.read(&mut byte) {
        decoded.push(byte[0]);
    }
    decoded
}

fn decode(coding: &str, content: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut decoded = Vec::new();
            flate2::read::GzDecoder::new(content).read_to_end(&mut decoded).unwrap();
            decoded
        }
        "zstd" => zstd::decode_all(content).unwrap(),
        coding => decode_some(coding, content),
    }
}

fn ask(server: &TestServer, method: &str, path: &str, fields: &str) -> support::Response {
    server.request(request(method, path, fields))
}

fn typed(media: &'static str, body: impl Into<corelane::Body>) -> Response {
    let media = HeaderValue::from_static(media);
    Response { body: body.into(), ..Response::default() }.with_header(header::CONTENT_TYPE, media)
}

fn with(response: Response, name: header::HeaderName, value: &'static str) -> Response {
    response.with_header(name, HeaderValue::from_static(value))
}

fn app() -> App {
    App::new()
        .route("/text", get(async || text()))
        .route("/large", get(async || text().repeat(100)))
        .route("/small", get(async || "x".repeat(1023)))
        .route("/enough", get(async || "x".repeat(1024)))
        .route("/picture", get(async || typed("image/png", text())))
        .route("/nothing", get(async || StatusCode::NO_CONTENT))
        .route("/missing", get(async || (StatusCode::NOT_FOUND, text())))
        .route(
            "/fixed",
            get(async || with(typed("text/plain", text()), header::CACHE_CONTROL, "no-transform")),
        )
        .route(
            "/coded",
            get(async || with(typed("text/plain", text()), header::CONTENT_ENCODING, "x-mine")),
        )
        .route(
            "/tagged",
            get(async || {
                let tagged = with(typed("text/plain", text()), header::ETAG, "\"a\"");
                with(tagged, header::VARY, "origin")
            }),
        )
        .route(
            "/stream",
            get(async || {
                let pieces = futures_util::stream::iter(
                    (0..1000)
                        .map(|at| Ok::<_, std::io::Error>(Bytes::from(format!("piece {at}\n")))),
                );
                with(BodyStream::new(pieces).into_response(), header::CONTENT_TYPE, "text/plain")
            }),
        )
        .layer(compression())
}

#[test]
fn each_coding_gives_the_content_back() {
    let server = TestServer::start(app());
    let pieces: String = (0..1000).map(|at| format!("piece {at}\n")).collect();
    // Again and again: encoders are used again.
    for _ in 0..5 {
        for (coding, _) in CODINGS {
            for (path, content) in
                [("/text", text()), ("/large", text().repeat(100)), ("/stream", pieces.clone())]
            {
                let fields = format!("Accept-Encoding: {coding}\r\n");
                let response = ask(&server, "GET", path, &fields);
                assert_eq!(response.field("content-encoding"), Some(coding));
                assert_eq!(response.field("vary"), Some("accept-encoding"));
                assert!(response.body.len() < content.len() / 3, "{} bytes", response.body.len());
                assert!(decode(coding, &response.body) == content.as_bytes(), "{path} {coding}");
                let is_whole = path == "/text";
                assert_eq!(response.field("content-length").is_some(), is_whole, "{path}");
            }
        }
    }
    server.stop();
}

#[test]
fn who_gets_which_coding() {
    let server = TestServer::start(app());
    for (accept, expected) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, br", Some("gzip")),
        ("br", Some("br")),
        ("gzip;q=1, br;q=0.9", Some("gzip")),
        ("*", Some("zstd")),
        ("deflate", None),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=0", None),
        ("", None),
    ] {
        let response = ask(&server, "GET", "/text", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!(response.field("content-encoding"), expected, "{accept}");
        assert_eq!(response.field("vary"), Some("accept-encoding"), "{accept}");
        let coding = response.field("content-encoding").unwrap_or_default();
        assert!(decode(coding, &response.body) == text().as_bytes());
    }
    assert_eq!(server.get("/text").field("content-encoding"), None);
    server.stop();
}

#[test]
fn what_is_compressed_and_what_is_not() {
    let server = TestServer::start(app());
    for (path, is_compressed) in [
        ("/text", true),
        ("/missing", true),
        ("/enough", true),
        ("/small", false),
        ("/picture", false),
        ("/nothing", false),
        ("/fixed", false),
        ("/nowhere", false),
    ] {
        let response = ask(&server, "GET", path, "Accept-Encoding: gzip\r\n");
        let coding = response.field("content-encoding");
        assert_eq!(coding, is_compressed.then_some("gzip"), "{path}");
        assert_eq!(response.field("vary").is_some(), is_compressed, "{path}");
    }
    let coded = ask(&server, "GET", "/coded", "Accept-Encoding: gzip\r\n");
    assert_eq!((coded.field("content-encoding"), coded.text()), (Some("x-mine"), &*text()));
    // Whoever refuses content without a coding gets it in one, however small.
    let refused = ask(&server, "GET", "/small", "Accept-Encoding: gzip, identity;q=0\r\n");
    assert_eq!(refused.field("content-encoding"), Some("gzip"));
    let tagged = ask(&server, "GET", "/tagged", "Accept-Encoding: gzip\r\n");
    assert_eq!(tagged.field("etag"), Some("W/\"a\""));
    assert_eq!(tagged.field("vary"), Some("origin, accept-encoding"));
    let plain = server.get("/tagged");
    assert_eq!((plain.field("etag"), plain.field("vary")), (Some("\"a\""), tagged.field("vary")));
    server.stop();
}

#[test]
fn heads_have_the_fields_of_their_gets() {
    let server = TestServer::start(app());
    for path in ["/text", "/stream", "/small", "/tagged"] {
        let fields = "Accept-Encoding: br\r\n";
        let get = ask(&server, "GET", path, fields);
        let head = ask(&server, "HEAD", path, fields);
        let names = |response: &support::Response| {
            let others = response.fields.iter().filter(|(name, _)| name != "date");
            others.cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&head), names(&get), "{path}");
        assert!(head.body.is_empty());
    }
    server.stop();
}

#[test]
fn old_clients_get_a_stream_until_the_end() {
    let server = TestServer::start(app());
    let mut client = server.connect();
    client.send("GET /stream HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = client.response();
    assert!(response.says_close() && response.field("transfer-encoding").is_none());
    let pieces: String = (0..1000).map(|at| format!("piece {at}\n")).collect();
    assert!(decode("gzip", &response.body) == pieces.as_bytes());
    server.stop();
}

#[test]
fn a_pause_sends_what_can_be_decoded_by_then() {
    for (coding, _) in CODINGS {
        let (sender, receiver) = futures_channel::mpsc::unbounded::<Bytes>();
        let receiver = std::sync::Mutex::new(Some(receiver));
        let receiver = std::sync::Arc::new(receiver);
        let app = App::new()
            .route(
                "/",
                get(move || {
                    let receiver = receiver.lock().unwrap().take().unwrap();
                    async move {
                        let stream = BodyStream::new(receiver.map(Ok::<_, std::io::Error>));
                        with(stream.into_response(), header::CONTENT_TYPE, "text/event-stream")
                    }
                }),
            )
            .layer(compression());
        let server = TestServer::start(app);
        let mut client = server.connect();
        client.send(request("GET", "/", &format!("Accept-Encoding: {coding}\r\n")));
        let mut received = Vec::new();
        let mut content = Vec::new();
        let mut bytes = [0; 4096];
        for index in 0..5 {
            let event = format!("data: event {index}\n\n");
            content.extend_from_slice(event.as_bytes());
            sender.unbounded_send(Bytes::from(event)).unwrap();
            // Nothing more is produced before this has arrived.
            while decode_some(coding, &dechunk(&received)) != content {
                let size = client.receive_raw(&mut bytes);
                assert!(size > 0, "{coding}: ended");
                received.extend_from_slice(&bytes[..size]);
            }
        }
        drop(sender);
        while !received.ends_with(b"0\r\n\r\n") {
            let size = client.receive_raw(&mut bytes);
            received.extend_from_slice(&bytes[..size]);
        }
        assert!(decode(coding, &dechunk(&received)) == content, "{coding}");
        server.stop();
    }
}

/// The content of the chunks that are there, whole or not, behind a head.
fn dechunk(received: &[u8]) -> Vec<u8> {
    let Some(head) = memchr::memmem::find(received, b"\r\n\r\n") else { return Vec::new() };
    let (mut rest, mut content) = (&received[head + 4..], Vec::new());
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        rest = &rest[end + 2..];
        content.extend_from_slice(&rest[..size.min(rest.len())]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    content
}

#[test]
fn files_are_compressed_and_validated() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), text()).unwrap();
    fs::write(folder.path().join("large.txt"), text().repeat(100)).unwrap();
    let server =
        TestServer::start(App::new().files("/", files(folder.path())).layer(compression()));
    for (path, content) in [("/a.txt", text()), ("/large.txt", text().repeat(100))] {
        let fields = "Accept-Encoding: gzip\r\n";
        let response = ask(&server, "GET", path, fields);
        assert!(decode("gzip", &response.body) == content.as_bytes());
        assert_eq!(response.field("accept-ranges"), None);
        let tag = response.field("etag").unwrap();
        assert!(tag.starts_with("W/"));
        let again = format!("{fields}If-None-Match: {tag}\r\n");
        let mut unmodified = ask(&server, "GET", path, &again);
        // The file's own tag is weak, or strong, by its age.
        eventually("the tag is settled", || {
            unmodified = ask(&server, "GET", path, &again);
            unmodified.status == 304
        });
        assert!(unmodified.field("etag").unwrap().starts_with("W/"));
        assert_eq!(unmodified.field("vary"), Some("accept-encoding"));
        let part = ask(&server, "GET", path, &format!("{fields}Range: bytes=0-3\r\n"));
        assert_eq!((part.status, part.text()), (206, "line"));
        assert_eq!(part.field("content-encoding"), None);
        // What the 200 was chosen by, its 206 and 304 say as well, whatever was asked for.
        for request in
            ["", "If-None-Match: *\r\n", "Range: bytes=0-3\r\n", "Range: bytes=0-0,9-9\r\n"]
        {
            let plain = ask(&server, "GET", path, request);
            assert_eq!(plain.field("vary"), Some("accept-encoding"), "{request}");
        }
    }
    server.stop();
}

// RFC 9110 section 15.4.5: a 304 has the very tag and Vary that the 200 would have.
#[test]
fn a_304_has_the_tag_and_vary_of_its_200() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["large.txt", "picture.png", "site.css", "site.css.gz"] {
        fs::write(folder.path().join(name), text()).unwrap();
    }
    fs::write(folder.path().join("small.txt"), "few").unwrap();
    let app = App::new()
        .files("/files", files(folder.path()).precompressed([Coding::Gzip]))
        .route("/large", get(async || text()).layer(EntityTags))
        .route("/small", get(async || "few").layer(EntityTags))
        .layer(compression());
    let server = TestServer::start(app);
    // A file's tag is weak while it may change unnoticed.
    eventually("the tags are settled", || {
        ask(&server, "GET", "/files/small.txt", "").field("etag").unwrap().starts_with('"')
    });
    let paths = ["large.txt", "picture.png", "site.css", "site.css.gz", "small.txt"];
    let paths = paths.map(|name| format!("/files/{name}"));
    let paths = paths.iter().map(String::as_str).chain(["/large", "/small"]);
    let mut seen = Vec::new();
    for path in paths {
        for accept in ["", "Accept-Encoding: gzip\r\n", "Accept-Encoding: zstd\r\n"] {
            let whole = ask(&server, "GET", path, accept);
            let tag = whole.field("etag").unwrap();
            for known in [tag, "*", &format!("W/{}", tag.trim_start_matches("W/"))] {
                for method in ["GET", "HEAD"] {
                    let fields = format!("{accept}If-None-Match: {known}\r\n");
                    let unmodified = ask(&server, method, path, &fields);
                    assert_eq!(unmodified.status, 304, "{path} {fields}");
                    for name in ["etag", "vary"] {
                        let (one, other) = (unmodified.field(name), whole.field(name));
                        assert_eq!(one, other, "{name}: {path} {fields}");
                    }
                }
            }
            seen.push((tag.starts_with('W'), whole.field("vary").is_some()));
        }
    }
    // All kinds of pairs were among them, so that no constant answer could have been right.
    for kind in [(false, false), (false, true), (true, false), (true, true)] {
        assert!(seen.contains(&kind), "{kind:?} in {seen:?}");
    }
    server.stop();
}

#[test]
fn curl_understands_it() {
    let server = TestServer::start(app());
    for (coding, _) in CODINGS {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "30", "--compressed"]);
        curl.args(["--header", &format!("Accept-Encoding: {coding}")]);
        let output = curl.arg(format!("http://{}/large", server.address)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == text().repeat(100).as_bytes(), "{coding}");
    }
    server.stop();
}

const LIMIT: u64 = 100_000;

fn decoding_app() -> App {
    async fn count(mut body: RequestBody) -> Result<String, RequestBodyError> {
        let mut size = 0;
        while let Some(chunk) = body.chunk().await {
            size += chunk?.len();
        }
        Ok(size.to_string())
    }
    App::new()
        .route("/whole", post(async |text: String| text).body_bytes_max(LIMIT))
        .route("/stream", post(count).body_bytes_max(LIMIT))
        .route("/unused", post(async || "unused").body_bytes_max(LIMIT))
        .layer(decompression())
}

fn post_coded(path: &str, coding: &str, body: &[u8], is_chunked: bool) -> Vec<u8> {
    let framing = match is_chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {}", body.len()),
    };
    let fields = format!("Content-Encoding: {coding}\r\n{framing}\r\n");
    let body = if is_chunked { chunked(body, 7) } else { body.to_vec() };
    [request("POST", path, &fields).as_bytes(), &body].concat()
}

#[test]
fn bodies_are_decoded() {
    let server = TestServer::start(decoding_app());
    for (coding, _) in CODINGS {
        let encoded = encode(coding, text().as_bytes());
        for is_chunked in [false, true] {
            let whole = server.request(post_coded("/whole", coding, &encoded, is_chunked));
            assert_eq!((whole.status, whole.text()), (200, &*text()), "{coding}");
            let stream = server.request(post_coded("/stream", coding, &encoded, is_chunked));
            assert_eq!((stream.status, stream.text()), (200, &*text().len().to_string()));
        }
        let exact = encode(coding, &vec![b'x'; LIMIT as usize]);
        for path in ["/whole", "/stream"] {
            assert_eq!(server.request(post_coded(path, coding, &exact, false)).status, 200);
        }
    }
    for coding in ["identity", "", "Identity, "] {
        let plain = server.request(post_coded("/whole", coding, b"plain", false));
        assert_eq!((plain.status, plain.text()), (200, "plain"), "{coding}");
    }
    let gzip = encode("gzip", b"x");
    assert_eq!(server.request(post_coded("/whole", "X-GZIP", &gzip, false)).text(), "x");
    assert_eq!(server.request(post_coded("/unused", "gzip", b"no gzip", false)).text(), "unused");
    server.stop();
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let server = TestServer::start(decoding_app());
    for (coding, _) in CODINGS {
        for size in [LIMIT as usize + 1, 50 << 20] {
            let bomb = encode(coding, &vec![0; size]);
            for path in ["/whole", "/stream"] {
                let bomb = post_coded(path, coding, &bomb[..bomb.len().min(60_000)], false);
                let response = server.request(bomb);
                assert_eq!(response.status, 413, "{coding} {size} {path}");
            }
        }
    }
    server.stop();
}

#[test]
fn what_is_not_in_its_coding_is_refused() {
    let server = TestServer::start(decoding_app());
    for (coding, _) in CODINGS {
        let encoded = encode(coding, text().as_bytes());
        let cut = &encoded[..encoded.len() - 1];
        let longer = [&encoded[..], b"x"].concat();
        for (what, body) in
            [("nonsense", &b"this is no such coding"[..]), ("cut", cut), ("longer", &longer)]
        {
            for path in ["/whole", "/stream"] {
                let response = server.request(post_coded(path, coding, body, false));
                assert_eq!(response.status, 400, "{coding} {what} {path}: {response:?}");
            }
        }
    }
    // RFC 7932 knows no such window; the decoder would keep a gigabyte for it.
    let params = brotli::enc::BrotliEncoderParams {
        large_window: true,
        lgwin: 25,
        quality: 5,
        ..brotli::enc::BrotliEncoderParams::default()
    };
    let mut encoder = brotli::CompressorWriter::with_params(Vec::new(), 4096, &params);
    encoder.write_all(text().as_bytes()).unwrap();
    let large_window = encoder.into_inner();
    assert_eq!(decode_some("br", &large_window), text().as_bytes(), "it is well formed");
    for path in ["/whole", "/stream"] {
        let response = server.request(post_coded(path, "br", &large_window, false));
        assert_eq!(response.status, 400, "{path}: {response:?}");
    }
    // Nothing at all has no body to decode.
    assert_eq!(server.request(post_coded("/stream", "gzip", b"", false)).text(), "0");
    for coding in ["deflate", "compress", "gzip, br", "gzip,gzip", "x", "gzip;q=1"] {
        let response = server.request(post_coded("/whole", coding, b"x", false));
        assert_eq!(response.status, 415, "{coding}");
        assert_eq!(response.field("accept-encoding"), Some("gzip, br, zstd"));
    }
    server.stop();
}

#[test]
fn no_more_streams_than_allowed_are_decoded_at_once() {
    let app = App::new()
        .route("/", post(async |body: RequestBody| drop(body)))
        .route(
            "/hold",
            post(async |mut body: RequestBody| body.chunk().await.is_some().to_string()),
        )
        .layer(decompression().streams_max(1));
    let server = TestServer::start(app);
    let mut holder = server.connect();
    holder.send(request("POST", "/hold", "Content-Encoding: gzip\r\nContent-Length: 100\r\n"));
    let gzip = encode("gzip", b"x");
    eventually("the place is taken", || {
        server.request(post_coded("/", "gzip", &gzip, false)).status == 503
    });
    drop(holder);
    eventually("the place is free again", || {
        server.request(post_coded("/", "gzip", &gzip, false)).status == 200
    });
    server.stop();
}
