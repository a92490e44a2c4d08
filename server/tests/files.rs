//! Files over sockets: what is found and what is not, conditions, ranges, changes, large files.
// Clippy knows test functions, but not what they are made of.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corelane::{App, Coding, FileCache, Files, files, get};
use support::{Response, TestServer, eventually, request};
use tempfile::TempDir;

/// A site, with a secret beside it.
struct Site {
    folder: TempDir,
}

/// Larger than what is kept, so that it is read while it is sent.
const LARGE_BYTES: usize = 1 << 20;

fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|at| (at / 7) as u8).collect()
}

impl Site {
    fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        fs::write(site.folder.path().join("secret"), "secret").unwrap();
        fs::create_dir(site.root()).unwrap();
        for (path, content) in [
            ("index.html", "home"),
            ("a.txt", "0123456789"),
            ("empty.txt", ""),
            ("a b#c.txt", "odd"),
            ("sub/index.html", "sub home"),
            ("sub/page.html", "page"),
            ("list/b.txt", "b"),
            ("list/<b>.txt", "bold"),
            ("list/.hidden", "hidden"),
            ("list/folder/x", "x"),
            (".env", "hidden"),
            (".git/config", "hidden"),
            ("site.css", "plain"),
            ("site.css.br", "as brotli"),
            ("site.css.gz", "as gzip"),
            ("site.css.zst", "as zstd"),
            ("404.html", "not here"),
        ] {
            site.write(path, content);
        }
        site.write("large.bin", large());
        symlink("../secret", site.path("out.txt")).unwrap();
        symlink("a.txt", site.path("in.txt")).unwrap();
        symlink("/proc/self/root", site.path("magic")).unwrap();
        symlink("..", site.path("up")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            site.path("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
        site
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn files(&self) -> Files {
        files(self.root())
    }
}

fn start(files: Files) -> TestServer {
    TestServer::start(App::new().files("/static", files))
}

/// Each request looks at the disk.
fn looking_each_time() -> FileCache {
    FileCache { fresh_for: Duration::ZERO, ..FileCache::default() }
}

fn ask(server: &TestServer, method: &str, path: &str, fields: &str) -> Response {
    server.request(request(method, path, fields))
}

/// Waits until the file's change is so old that its tag is strong.
fn settled(server: &TestServer, path: &str) -> Response {
    let mut response = server.get(path);
    eventually("the tag is strong", || {
        response = server.get(path);
        response.field("etag").is_some_and(|tag| tag.starts_with('"'))
    });
    response
}

#[test]
fn a_file_and_what_is_said_about_it() {
    let site = Site::new();
    let files = site.files().cache_control("*.txt", "max-age=60").cache(looking_each_time());
    let server = start(files);
    let file = settled(&server, "/static/a.txt");
    assert_eq!((file.status, file.text()), (200, "0123456789"));
    for (name, expected) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "10"),
        ("accept-ranges", "bytes"),
        ("cache-control", "max-age=60"),
    ] {
        assert_eq!(file.field(name), Some(expected));
    }
    let modified = fs::metadata(site.path("a.txt")).unwrap().modified().unwrap();
    let modified = httpdate::fmt_http_date(modified);
    assert_eq!(file.field("last-modified"), Some(&*modified));
    assert_eq!(file.field("vary"), None);
    let home = server.get("/static/");
    assert_eq!((home.text(), home.field("cache-control")), ("home", None));
    assert_eq!(home.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(server.get("/static/a%20b%23c.txt").text(), "odd");
    assert_eq!(server.get("/static/in.txt").text(), "0123456789");
    let empty = server.get("/static/empty.txt");
    assert_eq!((empty.status, empty.field("content-length")), (200, Some("0")));
    let large_file = server.get("/static/large.bin");
    assert!(large_file.body == large());
    assert_eq!(large_file.field("content-type"), Some("application/octet-stream"));
    server.stop();
}

#[test]
fn nothing_outside_of_the_directory_and_nothing_hidden() {
    let site = Site::new();
    let server = start(site.files());
    for path in [
        "..",
        "../secret",
        "../../etc/passwd",
        "sub/../../secret",
        "./a.txt",
        "sub/./page.html",
        "sub/../a.txt",
        "%2e%2e/secret",
        "%2E%2E/%2e./secret",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "sub%2fpage.html",
        "..%5csecret",
        "..\\secret",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "//a.txt",
        "sub//page.html",
        "out.txt",
        "magic/etc/passwd",
        "magic",
        "up/secret",
        "up/root/a.txt",
        "fifo",
        "socket",
        ".env",
        "%2eenv",
        ".git/config",
        ".git/",
        "list/.hidden",
        "a.txt/",
        "a.txt/x",
        "missing",
        "list/",
        "list/missing",
        "%252e%252e/secret",
        "a.txt%20",
        "a.txt.",
        "A.TXT",
        "...",
    ] {
        // What is no valid target is refused before anybody looks for a file.
        let expected = if path.contains('\\') { 400 } else { 404 };
        let response = server.get(&format!("/static/{path}"));
        assert_eq!(response.status, expected, "{path}: {response:?}");
        assert!(!response.text().contains("secret"), "{path}");
    }
    let controls = ["%00", "a.txt%00", "a%0a.txt", "%0d%0aX:%20y", "a%7f"];
    let broken = ["%c0%af", "%ff", "%", "%zz", "a%4", "%%34%31"];
    for path in controls.into_iter().chain(broken) {
        let response = server.get(&format!("/static/{path}"));
        assert_eq!(response.status, 400, "{path}: {response:?}");
    }
    let long = "x".repeat(300);
    assert_eq!(server.get(&format!("/static/{long}")).status, 404);
    assert_eq!(server.get("/static/.%2e/secret").status, 404);
    server.stop();
}

#[test]
fn dotfiles_where_they_are_wanted() {
    let site = Site::new();
    let server = start(site.files().dotfiles());
    assert_eq!(server.get("/static/.git/config").text(), "hidden");
    assert_eq!(server.get("/static/../secret").status, 404);
    server.stop();
}

#[test]
fn conditions_over_the_wire() {
    let site = Site::new();
    let server = start(site.files().cache(looking_each_time()));
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    let future = "Fri, 31 Dec 9999 23:59:59 GMT";
    for path in ["/static/a.txt", "/static/large.bin"] {
        let file = settled(&server, path);
        let (tag, date) = (file.field("etag").unwrap(), file.field("last-modified").unwrap());
        let table = [
            (format!("If-None-Match: {tag}"), 304),
            (format!("If-None-Match: W/{tag}"), 304),
            (format!("If-None-Match: \"x\", {tag}"), 304),
            (format!("If-None-Match: \"x\"\r\nIf-None-Match: {tag}"), 304),
            ("If-None-Match: *".to_owned(), 304),
            ("If-None-Match: \"x\"".to_owned(), 200),
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}"), 200),
            (format!("If-Modified-Since: {date}"), 304),
            (format!("If-Modified-Since: {future}"), 304),
            (format!("If-Modified-Since: {past}"), 200),
            ("If-Modified-Since: today".to_owned(), 200),
            (format!("If-Match: {tag}"), 200),
            ("If-Match: *".to_owned(), 200),
            (format!("If-Match: W/{tag}"), 412),
            ("If-Match: \"x\"".to_owned(), 412),
            (format!("If-Match: {tag}\r\nIf-None-Match: {tag}"), 304),
            (format!("If-Unmodified-Since: {past}"), 412),
            (format!("If-Unmodified-Since: {date}"), 200),
            (format!("If-Match: {tag}\r\nIf-Unmodified-Since: {past}"), 200),
        ];
        for (fields, expected) in &table {
            for method in ["GET", "HEAD"] {
                let response = ask(&server, method, path, &format!("{fields}\r\n"));
                assert_eq!(response.status, *expected, "{method} {path} {fields}");
                if *expected == 304 {
                    assert_eq!(response.field("etag"), Some(tag));
                    assert!(response.field("date").is_some());
                    assert_eq!(response.field("content-type"), None);
                }
            }
        }
    }
    server.stop();
}

#[test]
fn ranges_over_the_wire() {
    let site = Site::new();
    let server = start(site.files().cache(looking_each_time()));
    for (path, content) in
        [("/static/a.txt", b"0123456789".to_vec()), ("/static/large.bin", large())]
    {
        let file = settled(&server, path);
        let tag = file.field("etag").unwrap();
        let size = content.len();
        let last = size - 1;
        for (fields, expected) in [
            ("Range: bytes=0-0".to_owned(), Some(0..1)),
            ("Range: bytes=2-4".to_owned(), Some(2..5)),
            ("Range: bytes=5-".to_owned(), Some(5..size)),
            ("Range: bytes=-3".to_owned(), Some(size - 3..size)),
            (format!("Range: bytes={last}-99999999999"), Some(last..size)),
            ("Range: bytes=0-1,1-3".to_owned(), Some(0..4)),
            (format!("Range: bytes=0-0\r\nIf-Range: {tag}"), Some(0..1)),
            ("Range: bytes=0-0\r\nIf-Range: \"x\"".to_owned(), None),
            (format!("Range: bytes=0-0\r\nIf-Range: W/{tag}"), None),
            ("Range: bytes=1-0".to_owned(), None),
            ("Range: lines=1-2".to_owned(), None),
            (format!("Range: bytes={}", "0-,".repeat(1000)), None),
            ("Range: bytes=0-0\r\nRange: bytes=1-1".to_owned(), None),
        ] {
            let response = ask(&server, "GET", path, &format!("{fields}\r\n"));
            match expected {
                None => {
                    assert_eq!(response.status, 200, "{path} {fields}");
                    assert!(response.body == content, "{path} {fields}");
                    assert_eq!(response.field("content-range"), None);
                }
                Some(range) => {
                    assert_eq!(response.status, 206, "{path} {fields}");
                    let said = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                    assert_eq!(response.field("content-range"), Some(&*said));
                    assert!(response.body == content[range], "{path} {fields}");
                }
            }
        }
        let head = ask(&server, "HEAD", path, "Range: bytes=0-0\r\n");
        assert_eq!((head.status, head.field("content-length")), (200, Some(&*size.to_string())));
        for range in [format!("{size}-"), "-0".to_owned()] {
            let response = ask(&server, "GET", path, &format!("Range: bytes={range}\r\n"));
            assert_eq!(response.status, 416, "{path} {range}");
            assert_eq!(response.field("content-range"), Some(&*format!("bytes */{size}")));
        }
        let unmodified = format!("Range: bytes=0-0\r\nIf-None-Match: {tag}\r\n");
        assert_eq!(ask(&server, "GET", path, &unmodified).status, 304);
    }
    let empty = ask(&server, "GET", "/static/empty.txt", "Range: bytes=0-\r\n");
    assert_eq!((empty.status, empty.field("content-range")), (200, None));
    server.stop();
}

#[test]
fn several_ranges_come_as_parts() {
    let site = Site::new();
    let server = start(site.files());
    for (path, content) in
        [("/static/a.txt", b"0123456789".to_vec()), ("/static/large.bin", large())]
    {
        let response = ask(&server, "GET", path, "Range: bytes=6-7,0-1,-1\r\n");
        assert_eq!(response.status, 206);
        assert_eq!(response.field("content-range"), None);
        let media = response.field("content-type").unwrap();
        let boundary = media.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let (size, of_part) = (content.len(), server.get(path));
        let of_part = of_part.field("content-type").unwrap();
        let mut expected = Vec::new();
        for range in [6..8, 0..2, size - 1..size] {
            let (first, last) = (range.start, range.end - 1);
            expected.extend_from_slice(
                format!(
                    "--{boundary}\r\ncontent-type: {of_part}\r\n\
                     content-range: bytes {first}-{last}/{size}\r\n\r\n"
                )
                .as_bytes(),
            );
            expected.extend_from_slice(&content[range]);
            expected.extend_from_slice(b"\r\n");
        }
        expected.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        assert_eq!(String::from_utf8_lossy(&response.body), String::from_utf8_lossy(&expected));
    }
    server.stop();
}

#[test]
fn directories() {
    let site = Site::new();
    let server = start(site.files());
    for (path, location) in [
        ("/static", "/static/"),
        ("/static?x=1", "/static/?x=1"),
        ("/static/sub", "/static/sub/"),
        ("/static/sub?a=b&c", "/static/sub/?a=b&c"),
    ] {
        let response = server.get(path);
        assert_eq!(response.status, 301, "{path}");
        assert_eq!(response.field("location"), Some(location));
    }
    assert_eq!(server.get("/static/sub/").text(), "sub home");
    // Kept by now, and still not answered for the address without its slash.
    assert_eq!(server.get("/static/").text(), "home");
    assert_eq!(server.get("/static").status, 301);
    assert_eq!(server.get("/static/sub").status, 301);
    server.stop();
    let server = start(site.files().index(["page.html", "b.txt"]));
    assert_eq!(server.get("/static/sub/").text(), "page");
    assert_eq!(server.get("/static/list/").text(), "b");
    assert_eq!(server.get("/static/").status, 404);
    server.stop();
    // At the root, a redirect never leads to another host.
    let server = TestServer::start(App::new().files("/", site.files()));
    assert_eq!(server.get("/").text(), "home");
    assert_eq!(server.get("/sub").field("location"), Some("/sub/"));
    assert_eq!(server.get("//sub").status, 404);
    assert_eq!(server.get("/a.txt").text(), "0123456789");
    server.stop();
}

#[test]
fn routes_win_over_files_and_other_methods_are_refused() {
    let site = Site::new();
    let app = App::new().route("/a.txt", get(async || "route")).files("/", site.root());
    let server = TestServer::start(app);
    assert_eq!(server.get("/a.txt").text(), "route");
    assert_eq!(server.get("/sub/page.html").text(), "page");
    let refused = ask(&server, "POST", "/empty.txt", "Content-Length: 0\r\n");
    assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(ask(&server, "OPTIONS", "/empty.txt", "").status, 204);
    server.stop();
}

/// A body that comes with a request for a file is for nobody, and what is in it is no request.
#[test]
fn bodies_of_requests_for_files_are_thrown_away() {
    let site = Site::new();
    let server = start(site.files());
    let inner = "GET /static/.env HTTP/1.1\r\nHost: h\r\n\r\n";
    let counted = format!("Content-Length: {}\r\n\r\n{inner}", inner.len());
    let chunked =
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    for body in [&counted, &chunked] {
        for (method, path, status) in [
            ("GET", "a.txt", 200),
            ("GET", "large.bin", 200),
            ("HEAD", "a.txt", 200),
            ("GET", "sub", 301),
            ("GET", "missing", 404),
            ("GET", "%00", 400),
            ("POST", "a.txt", 405),
            ("OPTIONS", "a.txt", 204),
        ] {
            let mut client = server.connect();
            // Once to be kept, once as it is kept.
            for _ in 0..2 {
                client.send(format!("{method} /static/{path} HTTP/1.1\r\nHost: h\r\n{body}"));
                let response = client.response_to(method);
                assert_eq!(response.status, status, "{method} {path}");
                assert!(!response.says_close(), "{method} {path}");
            }
            assert_eq!(client.exchange(support::get("/static/a.txt")).text(), "0123456789");
        }
    }
    server.stop();
}

#[test]
fn a_listing_shows_what_can_be_asked_for() {
    let site = Site::new();
    let server = start(site.files().listing());
    let page = server.get("/static/list/");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    let links: Vec<&str> =
        text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(links, ["../", "./folder/", "./%3Cb%3E.txt", "./b.txt"]);
    assert!(text.contains("<title>/static/list/</title>") && text.contains("&lt;b&gt;.txt"));
    assert!(!text.contains("hidden") && !text.contains("<b>"));
    assert_eq!(server.get("/static/list/%3Cb%3E.txt").text(), "bold");
    // An index file wins; links out of the root and what is no file are not shown.
    assert_eq!(server.get("/static/sub/").text(), "sub home");
    fs::remove_file(site.path("index.html")).unwrap();
    let root = server.get("/static/");
    let text = root.text();
    assert!(text.contains("./in.txt") && text.contains("./large.bin"));
    for hidden in ["out.txt", "magic", "fifo", "socket", ".env", ".git", "up", "../"] {
        assert!(!text.contains(&format!("href=\"./{hidden}")), "{hidden} in {text}");
    }
    assert!(!text.contains("../"));
    let head = ask(&server, "HEAD", "/static/list/", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    // A listing has a tag of its own, which is another one as soon as something else is listed.
    let tag = page.field("etag").unwrap();
    assert_eq!(head.field("etag"), Some(tag));
    let again = format!("If-None-Match: {tag}\r\n");
    let unmodified = ask(&server, "GET", "/static/list/", &again);
    assert_eq!((unmodified.status, unmodified.field("etag")), (304, Some(tag)));
    assert_eq!(unmodified.field("cache-control"), Some("no-cache"));
    assert_eq!(ask(&server, "GET", "/static/list/", "If-Match: \"a\"\r\n").status, 412);
    site.write("list/c.txt", "c");
    assert_eq!(ask(&server, "GET", "/static/list/", &again).status, 200);
    server.stop();
}

#[test]
fn pages_for_what_is_not_there() {
    let site = Site::new();
    let files = site.files().not_found("404.html").cache_control("**", "max-age=31536000");
    let server = start(files);
    assert_eq!(server.get("/static/404.html").field("cache-control"), Some("max-age=31536000"));
    for _ in 0..2 {
        let response = ask(&server, "GET", "/static/missing", "If-None-Match: *\r\n");
        assert_eq!(response.field("cache-control"), None, "it may be there tomorrow");
        assert_eq!((response.status, response.text()), (404, "not here"));
        assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!((response.field("etag"), response.field("last-modified")), (None, None));
    }
    server.stop();
    let server = start(site.files().fallback("index.html").not_found("404.html"));
    assert_eq!(server.get("/static/users/7").text(), "home");
    assert_eq!(server.get("/static/users/7").status, 200);
    let missing = server.get("/static/app.js");
    assert_eq!((missing.status, missing.text()), (404, "not here"));
    let tag = settled(&server, "/static/users/7").field("etag").unwrap().to_owned();
    let again = ask(&server, "GET", "/static/users/8", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(again.status, 304);
    server.stop();
    let server = start(site.files().not_found("none.html"));
    assert_eq!(server.get("/static/missing").status, 404);
    server.stop();
}

#[test]
fn compressed_siblings_by_accept_encoding() {
    let site = Site::new();
    let codings = [Coding::Brotli, Coding::Zstd, Coding::Gzip];
    let server = start(site.files().precompressed(codings));
    let plain = settled(&server, "/static/site.css");
    let mut tags = vec![plain.field("etag").unwrap().to_owned()];
    // Twice: found on the disk, and kept.
    for _ in 0..2 {
        for (accept, coding, content) in [
            ("gzip, deflate, br, zstd", Some("br"), "as brotli"),
            ("gzip", Some("gzip"), "as gzip"),
            ("gzip;q=0.5, zstd", Some("zstd"), "as zstd"),
            ("br;q=0, *", Some("zstd"), "as zstd"),
            ("br;q=0.1, identity", None, "plain"),
            ("deflate", None, "plain"),
            ("gzip;q=0", None, "plain"),
            ("", None, "plain"),
        ] {
            let fields = format!("Accept-Encoding: {accept}\r\n");
            let response = ask(&server, "GET", "/static/site.css", &fields);
            assert_eq!((response.status, response.text()), (200, content), "{accept}");
            assert_eq!(response.field("content-encoding"), coding);
            assert_eq!(response.field("vary"), Some("accept-encoding"));
            assert_eq!(response.field("content-type"), Some("text/css; charset=utf-8"));
            tags.push(response.field("etag").unwrap().to_owned());
        }
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 4, "a tag for each representation: {tags:?}");
    let gzip = ask(&server, "GET", "/static/site.css", "Accept-Encoding: gzip\r\n");
    let tag = gzip.field("etag").unwrap();
    let fields = format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n");
    let unmodified = ask(&server, "GET", "/static/site.css", &fields);
    assert_eq!((unmodified.status, unmodified.field("vary")), (304, Some("accept-encoding")));
    let fields = format!("Accept-Encoding: br\r\nIf-None-Match: {tag}\r\n");
    assert_eq!(ask(&server, "GET", "/static/site.css", &fields).status, 200);
    let part =
        ask(&server, "GET", "/static/site.css", "Accept-Encoding: br\r\nRange: bytes=3-5\r\n");
    assert_eq!((part.status, part.text()), (206, "bro"));
    // Without siblings there is nothing to vary.
    assert_eq!(server.get("/static/a.txt").field("vary"), None);
    assert_eq!(server.get("/static/site.css.gz").field("content-encoding"), None);
    server.stop();
    let server = start(site.files());
    let response = ask(&server, "GET", "/static/site.css", "Accept-Encoding: gzip\r\n");
    assert_eq!((response.text(), response.field("content-encoding")), ("plain", None));
    server.stop();
}

#[test]
fn changes_are_noticed() {
    let site = Site::new();
    let server = start(site.files().cache(looking_each_time()).precompressed([Coding::Gzip]));
    let tag = |response: &Response| response.field("etag").unwrap().to_owned();
    let young = server.get("/static/a.txt");
    assert!(tag(&young).starts_with("W/\""));
    let before = settled(&server, "/static/a.txt");
    assert_ne!(tag(&young), format!("W/{}", tag(&before)), "what was young is validated anew");
    // The same size, and as much the same time as a writer can bring about.
    let modified = fs::metadata(site.path("a.txt")).unwrap().modified().unwrap();
    site.write("a.txt", "9876543210");
    fs::File::options()
        .write(true)
        .open(site.path("a.txt"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(server.get("/static/a.txt").text(), "9876543210");
    for content in ["one", "two", "three", "seven"] {
        site.write("a.txt", content);
        let response = server.get("/static/a.txt");
        assert_eq!(response.text(), content);
        assert_ne!(tag(&response), tag(&before));
    }
    // Replaced, as an editor does it.
    site.write("new", "four");
    fs::rename(site.path("new"), site.path("a.txt")).unwrap();
    assert_eq!(server.get("/static/a.txt").text(), "four");
    // A sibling that appears and goes.
    site.write("a.txt.gz", "as gzip");
    let fields = "Accept-Encoding: gzip\r\n";
    assert_eq!(ask(&server, "GET", "/static/a.txt", fields).text(), "as gzip");
    fs::remove_file(site.path("a.txt.gz")).unwrap();
    assert_eq!(ask(&server, "GET", "/static/a.txt", fields).text(), "four");
    fs::remove_file(site.path("a.txt")).unwrap();
    assert_eq!(server.get("/static/a.txt").status, 404);
    site.write("a.txt", "five");
    assert_eq!(server.get("/static/a.txt").text(), "five");
    server.stop();
}

#[test]
fn a_kept_file_is_looked_at_once_its_time_is_over() {
    let site = Site::new();
    let server = start(site.files());
    assert_eq!(server.get("/static/a.txt").text(), "0123456789");
    site.write("a.txt", "new");
    eventually("the change is noticed", || server.get("/static/a.txt").text() == "new");
    server.stop();
}

#[test]
fn a_root_that_is_replaced_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("a.txt"), name).unwrap();
    }
    let current = folder.path().join("current");
    let turn = |to: &Path| {
        symlink(to, folder.path().join("next")).unwrap();
        fs::rename(folder.path().join("next"), &current).unwrap();
    };
    turn(Path::new("one"));
    let server = start(files(&current));
    assert_eq!(server.get("/static/a.txt").text(), "one");
    turn(Path::new("two"));
    eventually("the other root is served", || server.get("/static/a.txt").text() == "two");
    // While there is none, what was there stays.
    fs::remove_file(&current).unwrap();
    assert_eq!(server.get("/static/a.txt").text(), "two");
    server.stop();
}

#[test]
fn a_directory_that_does_not_exist_is_an_error_at_start() {
    let app = App::new().files("/static", "/there/is/no/such/directory");
    let error = app.start("127.0.0.1:0").unwrap_err().to_string();
    assert!(error.contains("/there/is/no/such/directory"), "{error}");
    assert!(error.contains("No such file or directory"), "{error}");
}

#[test]
fn more_than_the_cache_holds_is_served_all_the_same() {
    let site = Site::new();
    for index in 0..100 {
        site.write(&format!("many/{index}.bin"), vec![index as u8; 10_000]);
    }
    let small = FileCache { bytes_max: 100_000, ..FileCache::default() };
    let none = FileCache { bytes_max: 0, ..FileCache::default() };
    for cache in [small, none, FileCache { file_bytes_max: 5_000, ..small }] {
        let server = start(site.files().cache(cache));
        let mut client = server.connect();
        for index in (0..100).chain(0..100) {
            let response = client.exchange(support::get(&format!("/static/many/{index}.bin")));
            assert!(response.body == vec![index as u8; 10_000], "{index} {cache:?}");
        }
        drop(client);
        server.stop();
    }
}

/// Descriptors of this process that lead to the file.
fn open_count(path: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter(|link| fs::read_link(link.as_ref().unwrap().path()).is_ok_and(|to| to == path))
        .count()
}

#[test]
fn a_peer_that_goes_away_ends_the_reading() {
    let site = Site::new();
    let file = fs::File::create(site.path("huge.bin")).unwrap();
    file.set_len(1 << 30).unwrap();
    drop(file);
    let server = start(site.files());
    let mut client = server.connect();
    client.send(support::get("/static/huge.bin"));
    let mut some = [0; 1000];
    std::io::Read::read_exact(&mut client.socket, &mut some).unwrap();
    assert!(open_count(&site.path("huge.bin")) > 0);
    client.reset();
    eventually("the file is closed", || open_count(&site.path("huge.bin")) == 0);
    server.wait_until_quiet();
    server.stop();
}

#[test]
fn what_is_not_in_memory_is_read_from_the_disk() {
    let site = Site::new();
    let server = start(site.files());
    let small: Vec<u8> = large()[..100_000].to_vec();
    site.write("small.bin", &small);
    for _ in 0..3 {
        for (path, content) in [("large.bin", &large()), ("small.bin", &small)] {
            let file = fs::File::open(site.path(path)).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            assert!(server.get(&format!("/static/{path}")).body == *content, "{path}");
        }
    }
    server.stop();
}

#[test]
fn a_file_that_is_cut_short_ends_the_connection() {
    let site = Site::new();
    let path = site.path("huge.bin");
    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let server = start(site.files());
    let mut client = server.connect();
    client.send(support::get("/static/huge.bin"));
    client.receive_head();
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    assert!(client.rest().len() < 1 << 30);
    server.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::new();
    let server = start(site.files());
    let mut client = server.connect();
    let paths = ["a.txt", "large.bin", "missing", "sub/", "large.bin", "a.txt", "sub"];
    for _ in 0..3 {
        let requests: String =
            paths.iter().map(|path| support::get(&format!("/static/{path}"))).collect();
        client.send(requests);
        let answers: Vec<(u16, usize)> = paths
            .iter()
            .map(|_| client.response())
            .map(|response| (response.status, response.body.len()))
            .collect();
        assert_eq!(answers[..2], [(200, 10), (200, LARGE_BYTES)]);
        assert_eq!(answers[2].0, 404);
        assert_eq!(answers[3..6], [(200, 8), (200, LARGE_BYTES), (200, 10)]);
        assert_eq!(answers[6].0, 301);
    }
    drop(client);
    server.stop();
}

/// Runs a client in a folder of its own; what it left in `file` there.
fn fetch(program: &str, arguments: &[&str], before: &[u8], file: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    if !before.is_empty() {
        fs::write(&path, before).unwrap();
    }
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    fs::read(&path).unwrap_or_default()
}

#[test]
fn curl_and_wget_go_on_where_they_stopped() {
    let site = Site::new();
    let server = start(site.files().cache(looking_each_time()));
    settled(&server, "/static/large.bin");
    let link = format!("http://{}/static/large.bin", server.address);
    let (all, some) = (large(), &large()[..300_000]);
    let curl = ["--silent", "--show-error", "--fail", "--max-time", "30", "--remote-name"];
    let wget = ["--quiet", "--timeout=30", "--tries=1"];
    for before in [&b""[..], some] {
        let arguments = [&curl[..], &["--continue-at", "-", &link]].concat();
        assert!(fetch("curl", &arguments, before, "large.bin") == all);
        let arguments = [&wget[..], &["--continue", &link]].concat();
        assert!(fetch("wget", &arguments, before, "large.bin") == all);
    }
    // Two parts, which curl writes as they come.
    let arguments = [&curl[..], &["--range", "0-1,5-6", &link]].concat();
    let parts = fetch("curl", &arguments, b"", "large.bin");
    let parts = String::from_utf8_lossy(&parts);
    assert_eq!(parts.matches("content-range: bytes ").count(), 2, "{parts}");
    // What has not changed is not fetched again: the file keeps what it had.
    let arguments = [&wget[..], &["--timestamping", "--no-if-modified-since", &link]].concat();
    assert!(fetch("wget", &arguments, &[b'x'; LARGE_BYTES], "large.bin") == [b'x'; LARGE_BYTES]);
    let arguments = [&wget[..], &["--timestamping", &link]].concat();
    assert!(fetch("wget", &arguments, &[b'x'; LARGE_BYTES], "large.bin") == [b'x'; LARGE_BYTES]);
    server.stop();
}
