//! The arena's plain answers: the page, the greetings, the sums, the priced items.

use std::process::Command;

use simd_json::prelude::*;

use crate::support::{Client, Program, chunked};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// Method, target, body; status, content type, and how the content begins or what is in it.
type Row = (&'static str, &'static str, &'static str, u16, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("GET", "/", "", 200, "text/html; charset=utf-8", "<!doctype html>"),
    ("GET", "/plaintext", "", 200, TEXT, "Hello, World!"),
    ("GET", "/pipeline", "", 200, TEXT, "ok"),
    ("GET", "/json", "", 200, JSON, r#"{"message":"Hello, World!"}"#),
    ("GET", "/baseline11?a=13&b=42", "", 200, TEXT, "55"),
    ("GET", "/baseline11?a=-13&b=%2B42", "", 200, TEXT, "29"),
    ("GET", "/baseline11?a=9223372036854775807&b=1", "", 200, TEXT, "9223372036854775808"),
    ("POST", "/baseline11?a=13&b=42", "20", 200, TEXT, "75"),
    ("POST", "/baseline11?a=13&b=42", " -20\r\n", 200, TEXT, "35"),
    ("GET", "/baseline11", "", 400, PROBLEM, r#""field":"a""#),
    ("GET", "/baseline11?a=13", "", 400, PROBLEM, r#""field":"b""#),
    ("GET", "/baseline11?a=13&b=4.2", "", 400, PROBLEM, "b is no integer"),
    ("GET", "/baseline11?a=9223372036854775808&b=1", "", 400, PROBLEM, "a is no integer"),
    ("POST", "/baseline11?a=13&b=42", "", 400, PROBLEM, r#""field":"body""#),
    ("POST", "/baseline11?a=13&b=42", "twenty", 400, PROBLEM, "body is no integer"),
    ("POST", "/baseline11?a=13", "20", 400, PROBLEM, r#""field":"b""#),
    ("PUT", "/baseline11", "20", 405, PROBLEM, "GET, POST"),
    ("GET", "/json/1", "", 200, JSON, r#""count":1}"#),
    ("GET", "/json/50?m=7", "", 200, JSON, r#""count":50}"#),
    ("GET", "/json/0", "", 400, PROBLEM, r#""field":"count""#),
    ("GET", "/json/51", "", 400, PROBLEM, "from 1 to 50"),
    ("GET", "/json/x", "", 400, PROBLEM, "count is not"),
    ("GET", "/json/1?m=x", "", 400, PROBLEM, "the query is wrong"),
    ("GET", "/json/1?m=18446744073709551615", "", 400, PROBLEM, r#""field":"m""#),
    ("POST", "/plaintext", "x", 405, PROBLEM, "GET, HEAD, OPTIONS"),
    ("GET", "/nowhere", "", 404, PROBLEM, "Not Found"),
];

fn request(row: &Row) -> String {
    let (method, target, body, ..) = row;
    let length = match *method {
        "GET" => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{length}\r\n{body}")
}

fn check(client: &mut Client, row: &Row) {
    let (.., status, content_type, content) = row;
    let response = client.response();
    assert_eq!(response.status, *status, "{row:?}: {}", response.text());
    assert_eq!(response.header("content-type"), Some(*content_type), "{row:?}");
    assert!(response.text().contains(content), "{row:?}: {}", response.text());
    if matches!(*content_type, TEXT) {
        assert_eq!(response.text(), *content, "{row:?}");
    }
}

#[test]
fn every_answer_whole_and_byte_by_byte_and_pipelined() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    for row in ROWS {
        client.send(request(row));
        check(&mut client, row);
        client.send_by_bytes(request(row));
        check(&mut client, row);
    }
    client.send(ROWS.iter().map(request).collect::<String>());
    for row in ROWS {
        check(&mut client, row);
    }
}

#[test]
fn random_numbers_in_any_fragments() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..300 {
        let [a, b, c] = [(); 3].map(|()| random.i64(..) >> random.u32(0..64));
        let mut sum = i128::from(a) + i128::from(b);
        let mut bytes = Vec::new();
        let head = format!("/baseline11?a={a}&b={b} HTTP/1.1\r\nHost: a\r\n");
        if random.bool() {
            bytes.extend_from_slice(format!("GET {head}\r\n").as_bytes());
        } else {
            sum += i128::from(c);
            let body = c.to_string();
            let (framing, body) = if random.bool() {
                (format!("Content-Length: {}", body.len()), body.into_bytes())
            } else {
                let sizes = [random.usize(1..4), random.usize(1..9)];
                ("Transfer-Encoding: chunked".to_owned(), chunked(body.as_bytes(), &sizes))
            };
            bytes.extend_from_slice(format!("POST {head}{framing}\r\n\r\n").as_bytes());
            bytes.extend_from_slice(&body);
        }
        while !bytes.is_empty() {
            let rest = bytes.split_off(random.usize(1..=bytes.len()));
            client.send(std::mem::replace(&mut bytes, rest));
        }
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, sum.to_string().as_str()));
    }
}

#[test]
fn totals_are_those_of_the_data_set() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    let mut dataset = include_bytes!("../../arena/dataset.json").to_vec();
    let dataset = simd_json::to_owned_value(&mut dataset).unwrap();
    let dataset = dataset.as_array().unwrap();
    for count in [1usize, 2, 5, 10, 15, 25, 40, 49, 50] {
        for multiplier in [None, Some(0), Some(1), Some(3), Some(1_000_003)] {
            let query = multiplier.map(|m| format!("?m={m}")).unwrap_or_default();
            let response = client.get(&format!("/json/{count}{query}")).json();
            assert_eq!(response.get_u64("count"), Some(count as u64));
            let items = response.get_array("items").unwrap();
            assert_eq!(items.len(), count);
            for (item, original) in items.iter().zip(dataset) {
                let number = |name| original.get_u64(name).unwrap();
                let total = number("price") * number("quantity") * multiplier.unwrap_or(1);
                assert_eq!(item.get_u64("total"), Some(total));
                let mut item = item.clone();
                item.remove("total").unwrap();
                assert_eq!(&item, original);
            }
        }
    }
}

#[test]
fn the_page_links_to_what_is_there() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    let page = client.get("/");
    let links = page.text().split("href=\"/").skip(1);
    let links = links.map(|link| link.split('"').next().unwrap().replace("&amp;", "&"));
    let links: Vec<String> = links.map(|link| format!("/{link}")).collect();
    assert!(links.len() >= 6, "{links:?}");
    for link in links {
        assert_eq!(client.get(&link).status, 200, "{link}");
    }
    let head = client.request("HEAD", "/");
    let size = page.body.len().to_string();
    assert_eq!((head.status, head.header("content-length")), (200, Some(size.as_str())));
}

#[test]
fn curl_gets_the_same() {
    let arena = Program::arena(&[]);
    let curl = |arguments: &[&str], target: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "30"]);
        let output = command.args(arguments).arg(arena.link(target)).output();
        let output = output.expect("curl is installed by scripts/test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(curl(&[], "/plaintext"), "Hello, World!");
    assert_eq!(curl(&["--http1.0"], "/pipeline"), "ok");
    assert_eq!(curl(&["--data", "20"], "/baseline11?a=13&b=42"), "75");
    let chunked = ["--data", "20", "--header", "Transfer-Encoding: chunked"];
    assert_eq!(curl(&chunked, "/baseline11?a=13&b=42"), "75");
    let expecting = ["--data", "20", "--header", "Expect: 100-continue"];
    assert_eq!(curl(&expecting, "/baseline11?a=13&b=42"), "75");
    let created = curl(&["--json", r#"{"name":"Lamp","price":3}"#, "--include"], "/items");
    assert!(created.contains("201 Created") && created.contains("location: /items/"), "{created}");
}
