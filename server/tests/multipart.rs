//! Forms with files: parts as they arrive, however they are cut, their limits, and real clients.

mod support;

use std::process::Command;

use corelane::middleware::{Next, from_fn};
use corelane::{App, Multipart, MultipartError, post};
use support::{Client, TestServer, chunked, request};

/// Each part as `name[file](type)=size:start` or, of a text, `name=text`; skips parts named "skip".
async fn list(mut form: Multipart) -> Result<String, MultipartError> {
    let mut listed = Vec::new();
    while let Some(mut part) = form.next_part().await? {
        let name = part.name().to_owned();
        match part.file_name().map(str::to_owned) {
            _ if name == "skip" => listed.push(name),
            Some(file) => {
                let media = part.content_type().unwrap_or_default().to_owned();
                let (mut size, mut sum) = (0, 0u32);
                while let Some(chunk) = part.chunk().await? {
                    assert!(!chunk.is_empty());
                    size += chunk.len();
                    sum = chunk
                        .iter()
                        .fold(sum, |sum, byte| sum.rotate_left(1).wrapping_add(u32::from(*byte)));
                }
                listed.push(format!("{name}[{file}]({media})={size}:{sum}"));
            }
            None => listed.push(format!("{name}={}", part.text().await?)),
        }
    }
    Ok(listed.join(" "))
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, byte| sum.rotate_left(1).wrapping_add(u32::from(*byte)))
}

async fn limited(form: Multipart) -> Result<String, MultipartError> {
    list(form.parts_max(2).part_bytes_max(10)).await
}

fn start() -> TestServer {
    let app = App::new()
        .route("/list", post(list).body_bytes_max(4 << 20))
        .route("/limited", post(limited).body_bytes_max(100_000))
        .route("/layered", post(list).layer(from_fn(async |next: Next| next.run().await)));
    TestServer::start(app)
}

const FORM: &str = "--x-Y\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nhello\r\n--x\r\n\
    --x-Y\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a b.txt\"\r\n\
    Content-Type: text/plain\r\n\r\n1\r\n--x-\r\n\r2\r\n\
    --x-Y \r\nContent-Disposition: form-data; name=\"skip\"\r\n\r\nnot looked at\r\n\
    --x-Y\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--x-Y--\r\n";

fn listed() -> String {
    format!("title=hello\r\n--x f[a b.txt](text/plain)=11:{} skip empty=", sum(b"1\r\n--x-\r\n\r2"))
}

fn head(path: &str, fields: &str) -> String {
    let media = "Content-Type: multipart/form-data; boundary=x-Y\r\n";
    request("POST", path, &format!("{media}{fields}"))
}

fn whole(path: &str, form: &str) -> String {
    head(path, &format!("Content-Length: {}\r\n", form.len())) + form
}

#[test]
fn parts_are_the_same_however_they_come() {
    let server = start();
    let mut client = server.connect();
    let check = |client: &mut Client, how: &str| {
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, &*listed()), "{how}");
    };
    for path in ["/list", "/layered"] {
        let sent = whole(path, FORM);
        client.send(&sent);
        check(&mut client, "whole");
        client.send_bytewise(sent.as_bytes());
        check(&mut client, "byte by byte");
        for at in 1..sent.len() {
            let (first, second) = sent.as_bytes().split_at(at);
            client.send_pieces([first, second]);
            check(&mut client, &format!("split at {at}"));
        }
        for size in [1, 2, 3, 7, 50, 1000] {
            let coded = head(path, "Transfer-Encoding: chunked\r\n");
            client.send([coded.as_bytes(), &chunked(FORM.as_bytes(), size)].concat());
            check(&mut client, &format!("in chunks of {size}"));
        }
    }
    server.stop();
}

#[test]
fn what_is_no_form_is_refused() {
    let server = start();
    let part = "--x-Y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb";
    for form in [
        "",
        "no boundary at all",
        "--x-Y",
        "--x-Y\r\n",
        "--x-Y\r\nContent-Disposition: form-data; name=\"a\"\r\n",
        part,
        &format!("{part}\r\n--x-Y"),
        &format!("{part}\r\n--x-Y\r\n"),
        &format!("{part}\r\n--x-Z--\r\n"),
        &format!("{part}\r\n--x-Yz\r\n"),
        "--x-Y\r\nContent-Disposition: form-data\r\n\r\nb\r\n--x-Y--\r\n",
        "--x-Y\r\n\r\nb\r\n--x-Y--\r\n",
        "--x-Y\r\nno field\r\n\r\nb\r\n--x-Y--\r\n",
    ] {
        let response = server.request(whole("/list", form));
        assert_eq!(response.status, 400, "{form:?}: {response:?}");
    }
    let bytes = [part.as_bytes(), b"\xff\r\n--x-Y--\r\n"].concat();
    let not_text = support::post("/list", "multipart/form-data; boundary=x-Y", bytes);
    assert_eq!(server.request(not_text).detail(), "a part that must be text is not UTF-8");
    for (media, status) in [
        ("application/x-www-form-urlencoded", 415),
        ("multipart/mixed; boundary=x", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("", 415),
    ] {
        let response = server.request(support::post("/list", media, FORM));
        assert_eq!(response.status, status, "{media}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    assert_eq!(server.request(support::post("/list", &long, FORM)).status, 400);
    server.stop();
}

fn form(parts: &[&str]) -> String {
    let part = |content: &&str| {
        format!("--x-Y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{content}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--x-Y--\r\n"
}

#[test]
fn each_limit_has_its_answer() {
    let server = start();
    let ten = "0123456789";
    let eleven = "0123456789a";
    let accepted = server.request(whole("/limited", &form(&[ten, ten])));
    assert_eq!((accepted.status, accepted.text()), (200, "a=0123456789 a=0123456789"));
    for (parts, detail) in [
        (vec!["", "", ""], "the form has more than 2 parts"),
        (vec![ten, eleven], "a part is larger than 10 bytes"),
    ] {
        let response = server.request(whole("/limited", &form(&parts)));
        assert_eq!((response.status, &*response.detail()), (413, detail));
    }
    // Nobody could tell where such a head ends without keeping all of it.
    let endless = format!("--x-Y\r\nX: {}", "y".repeat(90_000));
    let before = "y".repeat(90_000);
    for form in [endless, before] {
        let mut client = server.connect();
        client.send(head("/limited", "Content-Length: 100000\r\n") + &form);
        let response = client.response();
        assert_eq!(response.status, 400, "{response:?}");
        assert_eq!(response.detail(), "the head of a part is longer than 16384 bytes");
    }
    let mut client = server.connect();
    client.send(head("/limited", "Transfer-Encoding: chunked\r\n"));
    client.send(chunked(form(&[&"x".repeat(100_001)]).as_bytes(), 200_000));
    assert_eq!(client.response().status, 413);
    server.stop();
}

#[test]
fn the_connection_goes_on_behind_a_form() {
    let server = start();
    let mut client = server.connect();
    let coded = head("/list", "Transfer-Encoding: chunked\r\n");
    for end in ["", "\r\n", "\r\nwhat is behind the last part means nothing"] {
        let body = form(&["b"]).trim_end().to_owned() + end;
        client.send([coded.as_bytes(), &chunked(body.as_bytes(), 5)].concat());
        let response = client.response();
        assert_eq!((response.text(), response.says_close()), ("a=b", false), "{end:?}");
    }
    server.stop();
}

/// As Python's requests sends `files={"f": ("\u{e4}.bin", b"\x00\r\n--", "x/y")}, data={"k": "v"}`.
#[test]
fn forms_as_python_writes_them_are_read() {
    let server = start();
    let boundary = "2b3e0a4c5d6f708192a3b4c5d6e7f809";
    let form = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\nv\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\u{e4}.bin\"\r\n\
         Content-Type: x/y\r\n\r\n\u{0}\r\n--\r\n--{boundary}--\r\n"
    );
    let media = format!("multipart/form-data; boundary={boundary}");
    let response = server.request(support::post("/list", &media, form));
    assert_eq!(response.text(), format!("k=v f[\u{e4}.bin](x/y)=5:{}", sum(b"\0\r\n--")));
    server.stop();
}

#[test]
fn curl_sends_forms() {
    let server = start();
    let folder = tempfile::tempdir().expect("folder");
    let (large, small) = (folder.path().join("large.bin"), folder.path().join("small"));
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&large, &content).expect("file");
    std::fs::write(&small, "a \"text\"").expect("file");
    for field in ["X: y", "Transfer-Encoding: chunked", "Expect:"] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--header", field])
            .args(["-F", "title=hello there", "-F"])
            .arg(format!("large=@{};type=x/y;filename=\"a;b c.bin\"", large.display()))
            .arg("-F")
            .arg(format!("small=<{}", small.display()))
            .arg(format!("http://{}/list", server.address));
        let output = curl.output().expect("curl is installed");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let file = format!("large[a;b c.bin](x/y)={}:{}", content.len(), sum(&content));
        let expected = format!("title=hello there {file} small=a \"text\"");
        assert_eq!(printed, expected, "{field}: {output:?}");
    }
    server.stop();
}
