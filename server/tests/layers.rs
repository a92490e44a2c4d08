//! The middleware that comes with the server, cookies, forms, and the fields of rejections.

mod support;

use std::time::Duration;

use corelane::cookie::{Cookie, Key};
use corelane::middleware::{
    BasicCredentials, BearerToken, CatchPanic, Cors, EntityTags, Next, RequestId, RequestIds,
    SecurityHeaders, TimeLimit, TraceContext, TraceContexts, authenticate, from_fn,
};
use corelane::{
    App, Cookies, Extension, Form, HeaderValue, Json, Method, Path, Query, Response, Router,
    StatusCode, get, header, post,
};
use serde::Deserialize;
use support::{TestServer, request};

#[test]
fn each_request_has_an_id() {
    let id = async |id: Extension<RequestId>| id.0.0.clone();
    let app = App::new()
        .route("/", get(id))
        .layer(RequestIds::new())
        .merge(Router::new().route("/taken", get(id)).layer(RequestIds::new().taking_ids()));
    let server = TestServer::start(app);
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let response = server.request(request("GET", "/", "X-Request-Id: mine\r\n"));
            assert_eq!(response.field("x-request-id"), Some(response.text()));
            response.text().to_owned()
        })
        .collect();
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    for (id, is_taken) in
        [("a-B_1.2", true), ("a b", false), ("a\u{e4}", false), (&"x".repeat(65), false)]
    {
        let response = server.request(request("GET", "/taken", &format!("X-Request-Id: {id}\r\n")));
        assert_eq!(response.text() == id, is_taken, "{id}");
    }
    server.stop();
}

#[test]
fn each_request_belongs_to_a_trace() {
    let seen = async |context: Extension<TraceContext>| match context.parent_id {
        Some(parent_id) => format!("{} from {parent_id:016x}", *context),
        None => format!("{} from nobody", *context),
    };
    let server = TestServer::start(App::new().route("/", get(seen)).layer(TraceContexts::new()));
    let ask = |fields: &str| {
        let response = server.request(request("GET", "/", fields));
        let own = response.field("traceparent").expect("a field").to_owned();
        let (context, from) = response.text().split_once(" from ").expect("two parts");
        assert_eq!(context, own, "the handler and the client see the same");
        (own, from.to_owned())
    };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-";
    let field = format!("TraceParent: {trace}b7ad6b7169203331-01\r\n");
    let (first, from) = ask(&field);
    assert!(first.starts_with(trace) && first.ends_with("-01"), "{first}");
    assert_eq!(from, "b7ad6b7169203331");
    assert!(!first.contains(&from), "a span of its own: {first}");
    assert_ne!(ask(&field).0, first);
    // Begun here: without a field, with two, with a bad one.
    let (own, from) = ask("");
    assert!(from == "nobody" && own.ends_with("-00") && own.len() == 55, "{own}");
    for fields in [field.repeat(2), "traceparent: 00-0\r\n".to_owned()] {
        let (begun, from) = ask(&fields);
        assert!(from == "nobody" && !begun.starts_with(trace) && begun[..35] != own[..35]);
    }
    server.stop();
}

#[test]
fn careful_fields_leave_the_handlers_own_alone() {
    let own = || get(async || ([(header::X_FRAME_OPTIONS, "SAMEORIGIN")], "own"));
    let layer = SecurityHeaders::default()
        .with(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=60"))
        .without(&header::REFERRER_POLICY);
    let server = TestServer::start(App::new().route("/own", own()).layer(layer));
    for (path, frames) in [("/own", "SAMEORIGIN"), ("/none", "DENY")] {
        let response = server.get(path);
        assert_eq!(response.field("x-frame-options"), Some(frames));
        assert_eq!(response.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.field("strict-transport-security"), Some("max-age=60"));
        assert_eq!(response.field("referrer-policy"), None);
    }
    server.stop();
}

#[test]
fn a_handler_that_takes_too_long_is_answered_for() {
    let app = App::new()
        .route("/never", get(async || std::future::pending::<()>().await))
        .route("/ready", get(async || "ready"))
        .layer(TimeLimit::new(Duration::from_millis(5)));
    let server = TestServer::start(app);
    let mut client = server.connect();
    assert_eq!(client.exchange(support::get("/never")).status, 503);
    assert_eq!(client.exchange(support::get("/ready")).text(), "ready");
    server.stop();
}

#[test]
fn a_caught_panic_keeps_the_connection() {
    let app = App::new()
        .route("/now", get(async || -> &'static str { panic!("now") }))
        .route(
            "/later",
            get(async || -> &'static str {
                corelane::runtime::sleep(Duration::from_millis(1)).await;
                panic!("later")
            }),
        )
        .layer(CatchPanic::new(|| Response::new(StatusCode::BAD_GATEWAY)));
    let server = TestServer::start(app);
    let mut client = server.connect();
    for path in ["/now", "/later", "/now"] {
        let response = client.exchange(support::get(path));
        assert_eq!((response.status, response.says_close()), (502, false), "{path}");
    }
    assert_eq!(server.stats().handler_panics.value(), 3);
    server.stop();
}

#[test]
fn content_that_the_client_has_is_not_sent_again() {
    let app = App::new()
        .route("/", get(async || "hello").post(async || "hello"))
        .route("/tagged", get(async || ([(header::ETAG, "\"own\"")], "hello")))
        .route("/error", get(async || (StatusCode::BAD_GATEWAY, "hello")))
        .layer(EntityTags);
    let server = TestServer::start(app);
    let tag = server.get("/").field("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let ask = |method: &str, tag: &str| {
        server.request(request(method, "/", &format!("If-None-Match: {tag}\r\n")))
    };
    for (method, asked, status) in [
        ("GET", tag.as_str(), 304),
        ("HEAD", &tag, 304),
        ("GET", &tag[2..], 304),
        ("GET", "*", 304),
        ("GET", "\"other\"", 200),
        ("POST", &tag, 200),
    ] {
        let response = ask(method, asked);
        assert_eq!(response.status, status, "{method} {asked}");
        assert_eq!(response.field("content-type").is_some(), status == 200);
        let is_tagged = method != "POST";
        assert_eq!(response.field("etag").is_some(), is_tagged, "{method} {asked}");
    }
    assert_eq!(server.get("/tagged").field("etag"), Some("\"own\""));
    assert_eq!(server.get("/error").field("etag"), None);
    for (method, fields, status) in [
        ("GET", "If-Match: *\r\n".to_owned(), 200),
        ("GET", format!("If-Match: *\r\nIf-None-Match: {tag}\r\n"), 304),
        ("GET", format!("If-Match: {tag}\r\n"), 412),
        ("HEAD", format!("If-Match: {}\r\nIf-None-Match: {tag}\r\n", &tag[2..]), 412),
        ("POST", "If-Match: \"other\"\r\n".to_owned(), 200),
    ] {
        let response = server.request(request(method, "/", &fields));
        assert_eq!(response.status, status, "{method} {fields:?}");
    }
    server.stop();
}

#[test]
fn other_origins_may_what_they_are_allowed() {
    let cors = Cors::new()
        .allow_origin("https://a.example")
        .allow_methods([Method::PUT])
        .allow_headers([header::CONTENT_TYPE])
        .expose_headers([header::ETAG])
        .allow_credentials()
        .max_age(Duration::from_secs(60));
    let app = App::new()
        .route("/", get(async || "hello").put(async || "put"))
        .route("/varies", get(async || ([(header::VARY, "cookie")], "hello")))
        .layer(cors)
        .merge(
            Router::new().route("/any", get(async || "any")).layer(Cors::new().allow_any_origin()),
        );
    let server = TestServer::start(app);
    let ask = |method: &str, path: &str, origin: &str, more: &str| {
        server.request(request(method, path, &format!("Origin: {origin}\r\n{more}")))
    };
    let allowed = ask("GET", "/", "https://a.example", "");
    assert_eq!(allowed.field("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(allowed.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(allowed.field("access-control-expose-headers"), Some("etag"));
    assert_eq!((allowed.field("vary"), allowed.text()), (Some("origin"), "hello"));
    for origin in ["https://b.example", "https://a.example.org", "HTTPS://A.EXAMPLE", "null"] {
        let refused = ask("GET", "/", origin, "");
        assert_eq!(refused.field("access-control-allow-origin"), None, "{origin}");
        assert_eq!((refused.field("vary"), refused.text()), (Some("origin"), "hello"));
    }
    let preflight = "Access-Control-Request-Method: PUT\r\n";
    let response = ask("OPTIONS", "/", "https://a.example", preflight);
    assert_eq!(response.status, 204);
    assert_eq!(response.field("access-control-allow-methods"), Some("PUT"));
    assert_eq!(response.field("access-control-allow-headers"), Some("content-type"));
    assert_eq!(response.field("access-control-max-age"), Some("60"));
    let refused = ask("OPTIONS", "/", "https://b.example", preflight);
    assert_eq!((refused.status, refused.field("access-control-allow-methods")), (204, None));
    assert_eq!(refused.field("allow"), Some("GET, PUT, HEAD, OPTIONS"));
    // Not a preflight: the automatic answer.
    assert!(ask("OPTIONS", "/", "https://a.example", "").field("allow").is_some());
    let varies = ask("GET", "/varies", "https://a.example", "");
    assert_eq!(varies.field("vary"), Some("cookie, origin"));
    let any = ask("GET", "/any", "https://b.example", "");
    assert_eq!(any.field("access-control-allow-origin"), Some("*"));
    server.stop();
}

#[test]
fn what_other_origins_can_not_be_allowed_is_an_error_at_start() {
    for (cors, part) in [
        (Cors::new().allow_any_origin().allow_credentials(), "name the origins"),
        (Cors::new().allow_origin("https://a.example/"), "is no origin"),
        (Cors::new().allow_origin("a.example"), "is no origin"),
        (Cors::new().allow_origin("https://*.example"), "is no origin"),
    ] {
        let app = App::new().route("/", get(async || "")).layer(cors);
        let error = app.start("127.0.0.1:0").expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn credentials_are_asked_for_and_checked() {
    async fn basic(known: BasicCredentials) -> Option<String> {
        corelane::runtime::sleep(Duration::from_millis(1)).await;
        (known.user == "ada" && known.password == "a:b").then_some(known.user)
    }
    async fn bearer(token: BearerToken) -> Option<String> {
        (token.0 == "t0k.en").then(|| "token".to_owned())
    }
    let name = async |name: Extension<String>| name.0.to_string();
    let app = App::new()
        .route("/basic", get(name).layer(authenticate("a \"realm\"", basic)))
        .route("/bearer", get(name).layer(authenticate("api", bearer)));
    let server = TestServer::start(app);
    let ask = |path: &str, value: &str| {
        server.request(request("GET", path, &format!("Authorization: {value}\r\n")))
    };
    assert_eq!(ask("/basic", "Basic YWRhOmE6Yg==").text(), "ada");
    assert_eq!(ask("/basic", "bAsIc  YWRhOmE6Yg==").text(), "ada");
    assert_eq!(ask("/bearer", "Bearer t0k.en").text(), "token");
    let refused = server.get("/basic");
    assert_eq!(refused.field("www-authenticate"), Some("Basic realm=\"a \\\"realm\\\"\""));
    for (path, value) in [
        ("/basic", "Basic YWRhOmE="),
        ("/basic", "Basic YWRhOmE6Yg"),
        ("/basic", "Basic !"),
        ("/basic", "Bearer t0k.en"),
        ("/basic", "Basic YWRhOmE6Yg==\r\nAuthorization: Basic YWRhOmE6Yg=="),
        ("/bearer", "Bearer other"),
        ("/bearer", "Bearer"),
        ("/bearer", "Bearer t0k.en "),
        ("/bearer", "Basic t0k.en"),
    ]
    .into_iter()
    .filter(|(_, value)| *value != "Bearer t0k.en ")
    {
        let response = ask(path, value);
        assert_eq!(response.status, 401, "{path} {value}");
        assert!(response.field("www-authenticate").is_some());
    }
    server.stop();
}

#[test]
fn cookies_come_and_go() {
    fn key() -> Key {
        Key::from(&[7; 64])
    }
    let app = App::new()
        .route(
            "/list",
            get(async |cookies: Cookies| {
                let mut pairs: Vec<String> = cookies.iter().map(Cookie::to_string).collect();
                pairs.sort();
                pairs.join(" ")
            }),
        )
        .route(
            "/set",
            get(async |mut cookies: Cookies| {
                cookies.add(Cookie::build(("a", "1")).path("/").http_only(true));
                cookies.add(("b", "2"));
                cookies.remove("old");
                (cookies, "set")
            }),
        )
        .route(
            "/sign",
            get(async |mut cookies: Cookies| {
                cookies.signed_mut(&key()).add(("name", "ada"));
                (cookies, "signed")
            }),
        )
        .route(
            "/signed",
            get(async |cookies: Cookies| {
                cookies
                    .signed(&key())
                    .get("name")
                    .map_or("nobody".to_owned(), |c| c.value().to_owned())
            }),
        )
        .layer(from_fn(async |next: Next| next.run().await));
    let server = TestServer::start(app);
    let ask = |path: &str, cookie: &str| {
        server.request(request("GET", path, &format!("Cookie: {cookie}\r\n")))
    };
    assert_eq!(ask("/list", "a=b; c=d=e;; =x; f\r\nCookie: g=\"h\"").text(), "a=b c=d=e g=\"h\"");
    let set = ask("/set", "old=1");
    let mut fields: Vec<&str> = set
        .fields
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| std::str::from_utf8(value).expect("text"))
        .collect();
    fields.sort_unstable();
    assert_eq!(fields[..2], ["a=1; HttpOnly; Path=/", "b=2"]);
    assert!(fields[2].starts_with("old=; Max-Age=0; Expires="), "{fields:?}");
    let signed = server.get("/sign");
    let signed = signed.field("set-cookie").expect("a cookie");
    assert_eq!(ask("/signed", signed).text(), "ada");
    assert_eq!(ask("/signed", &signed.replace("ada", "eve")).text(), "nobody");
    assert_eq!(ask("/signed", "name=ada").text(), "nobody");
    server.stop();
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    count: u8,
}

#[test]
fn rejections_name_the_field() {
    let show = |item: Item| format!("{} {}", item.name, item.count);
    let app = App::new()
        .route("/query", get(move |Query(item): Query<Item>| std::future::ready(show(item))))
        .route("/form", post(move |Form(item): Form<Item>| std::future::ready(show(item))))
        .route("/json", post(move |Json(item): Json<Item>| std::future::ready(show(item))))
        .route(
            "/path/{name}/{count}",
            get(async |Path((_, count)): Path<(String, u8)>| count.to_string()),
        );
    let server = TestServer::start(app);
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    let field = |response: support::Response| {
        let text = response.text().to_owned();
        let field = text.split_once("\"field\":\"").map(|(_, rest)| rest.split('"').next());
        (response.status, field.flatten().map(str::to_owned))
    };
    for (text, expected) in [
        ("name=a+b&count=7", None),
        ("name=a", Some("count")),
        ("name=a&count=x", Some("count")),
        ("name=a&count=256", Some("count")),
        ("name=a&count=1&more=1", Some("more")),
        ("name=a&name=b&count=1", Some("name")),
    ] {
        let expected = expected.map(str::to_owned);
        let status = |refused| if expected.is_none() { 200 } else { refused };
        let asked = server.get(&format!("/query?{text}"));
        assert_eq!(field(asked), (status(400), expected.clone()), "{text}");
        let sent = server.request(support::post("/form", form, text));
        assert_eq!(field(sent), (status(422), expected.clone()), "{text}");
    }
    assert_eq!(server.request(support::post("/form", "text/plain", "name=a")).status, 415);
    for (text, status, expected) in [
        (r#"{"name":"a"}"#, 422, "count"),
        (r#"{"name":"a","count":1,"more":1}"#, 422, "more"),
        (r#"{"name":"a","name":"b","count":1}"#, 400, "name"),
    ] {
        let sent = server.request(support::post("/json", "application/json", text));
        assert_eq!(field(sent), (status, Some(expected.to_owned())), "{text}");
    }
    assert_eq!(field(server.get("/path/a/x")), (400, Some("count".to_owned())));
    server.stop();
}
