//! Nested routers, groups with their own middleware and state, fallbacks, slashes, conflicts.

mod support;

use corelane::middleware::{Next, from_fn};
use corelane::{
    App, Exchange, FromRequest, IntoResponse, Method, Path, Response, RoutePath, Router, State,
    TrailingSlash, any, get, header, post,
};
use support::{TestServer, request};

/// The path as a fallback sees it: the whole and the rest.
struct Paths(String);

impl FromRequest for Paths {
    type Rejection = std::convert::Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Paths, Self::Rejection> {
        Ok(Paths(format!("{} {}", exchange.path(), exchange.path_rest())))
    }
}

/// Asks for each target; shows status and text.
fn check(app: App, cases: &[(&str, u16, &str)]) {
    let server = TestServer::start(app);
    for (target, status, text) in cases {
        let (method, path) = target.split_once(' ').unwrap_or(("GET", target));
        let response = server.request(request(method, path, ""));
        assert_eq!((response.status, response.text()), (*status, *text), "{target}");
    }
    server.stop();
}

const NOT_FOUND: &str = r#"{"type":"about:blank","title":"Not Found","status":404}"#;

#[test]
fn nested_routers_are_below_their_prefix() {
    let deep = Router::new()
        .route("/", get(async |Path(user): Path<u32>| format!("user {user}")))
        .route("/items/{id}", get(async |Path(ids): Path<(u32, u32)>| format!("item {ids:?}")));
    let api = Router::new()
        .route("/", get(async || "api"))
        .route("/list", get(async || "list"))
        .nest("/users/{user}", deep);
    let app = App::new()
        .route("/", get(async || "root"))
        .nest("/api", api)
        .nest("/slash/", Router::new().route("/", get(async || "slash")))
        .merge(Router::new().route("/merged", get(async || "merged")));
    check(
        app,
        &[
            ("/", 200, "root"),
            ("/api", 200, "api"),
            ("/api/", 404, NOT_FOUND),
            ("/api/list", 200, "list"),
            ("/list", 404, NOT_FOUND),
            ("/api/users/7", 200, "user 7"),
            ("/api/users/7/items/8", 200, "item (7, 8)"),
            ("/slash/", 200, "slash"),
            ("/slash", 404, NOT_FOUND),
            ("/merged", 200, "merged"),
        ],
    );
}

#[test]
fn the_innermost_fallback_answers() {
    let paths = |name: &'static str| {
        move |Paths(paths): Paths| std::future::ready(format!("{name} {paths}"))
    };
    let inner = Router::new().fallback(paths("inner"));
    let api = Router::new()
        .route("/known", get(async || "known"))
        .nest("/in/{x}", inner)
        .fallback(paths("api"));
    let plain = Router::new().route("/known", get(async || "known"));
    let app = App::new().nest("/api", api).nest("/plain", plain).fallback(paths("app"));
    check(
        app,
        &[
            ("/api/known", 200, "known"),
            ("/api/other", 200, "api /api/other /other"),
            ("/api", 200, "api /api "),
            ("/api/", 200, "api /api/ /"),
            ("/api//x", 200, "api /api//x //x"),
            ("POST /api/in/7/a/b?c", 200, "inner /api/in/7/a/b /a/b"),
            ("/apis", 200, "app /apis /apis"),
            ("/plain/other", 200, "app /plain/other /plain/other"),
            ("BREW /", 200, "app / /"),
        ],
    );
}

#[test]
fn a_router_has_a_state_of_its_own() {
    let read =
        async |text: State<&'static str>, number: State<u8>| format!("{} {}", *text, *number);
    let inner = Router::new().state(async |_| "inner").route("/", get(read));
    let middle = Router::new()
        .state(async |_| "middle")
        .route("/a", get(read))
        .nest("/inner", inner)
        .fallback(read);
    let app = App::new()
        .state(async |_| "app")
        .state(async |_| 7u8)
        .route("/", get(read))
        .nest("/middle", middle);
    check(
        app,
        &[
            ("/", 200, "app 7"),
            ("/middle/a", 200, "middle 7"),
            ("/middle/inner", 200, "inner 7"),
            ("/middle/none", 200, "middle 7"),
        ],
    );
}

/// Adds its name to the response's trace.
macro_rules! trace {
    ($name:literal) => {
        from_fn(async |next: Next| -> Response {
            let mut response = next.run().await;
            let value = header::HeaderValue::from_static($name);
            response.headers.append("x-trace", value);
            response
        })
    };
}

fn traces(server: &TestServer, method: &str, path: &str) -> Vec<String> {
    let response = server.request(request(method, path, ""));
    let traces = response.fields.iter().filter(|(name, _)| name == "x-trace");
    traces.map(|(_, value)| String::from_utf8(value.clone()).expect("text")).collect()
}

#[test]
fn layers_are_around_what_was_added_before_them() {
    let group = Router::new()
        .route("/a", get(async || "a").layer(trace!("method")).post(async || "later"))
        .layer(trace!("group"))
        .route("/b", get(async || "b"))
        .route_layer(trace!("routes"));
    let app = App::new()
        .route("/", get(async || ""))
        .nest("/g", group)
        .layer(trace!("inside"))
        .layer(trace!("app"))
        .route("/bare", get(async || ""));
    let server = TestServer::start(app);
    for (method, path, expected) in [
        ("GET", "/", &["inside", "app"][..]),
        ("GET", "/g/a", &["method", "group", "routes", "inside", "app"]),
        ("HEAD", "/g/a", &["method", "group", "routes", "inside", "app"]),
        ("POST", "/g/a", &["group", "routes", "inside", "app"]),
        ("PUT", "/g/a", &["method", "group", "inside", "app"]),
        ("OPTIONS", "/g/b", &["inside", "app"]),
        ("GET", "/g/b", &["routes", "inside", "app"]),
        ("GET", "/none", &["inside", "app"]),
        ("OPTIONS", "*", &["inside", "app"]),
        ("GET", "/bare", &[]),
    ] {
        assert_eq!(traces(&server, method, path), expected, "{method} {path}");
    }
    server.stop();
}

#[test]
fn methods_without_a_handler() {
    let app = App::new()
        .route("/get", get(async || "get"))
        .route("/post", post(async || "post").head(async || "head"))
        .route("/any", any(async |method: Method| method.to_string()).get(async || "get"))
        .route("/own", get(async || "").options(async || "own"));
    let server = TestServer::start(app);
    for (method, path, status, allow) in [
        ("HEAD", "/get", 200, None),
        ("OPTIONS", "/get", 204, Some("GET, HEAD, OPTIONS")),
        ("DELETE", "/get", 405, Some("GET, HEAD, OPTIONS")),
        ("BREW", "/get", 405, Some("GET, HEAD, OPTIONS")),
        ("GET", "/post", 405, Some("POST, HEAD, OPTIONS")),
        ("HEAD", "/post", 200, None),
        ("BREW", "/any", 200, None),
        ("OPTIONS", "/own", 200, None),
        ("BREW", "/none", 501, None),
        ("GET", "/none", 404, None),
        ("OPTIONS", "*", 204, Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
    ] {
        let response = server.request(request(method, path, ""));
        assert_eq!((response.status, response.field("allow")), (status, allow), "{method} {path}");
    }
    server.stop();
}

#[test]
fn slashes_at_the_end() {
    let app = || {
        App::new()
            .route("/a", get(async || "a"))
            .route("/b/", get(async || "b"))
            .route("/both", get(async || "1"))
            .route("/both/", get(async || "2"))
            .route("/x/{name}", get(async |Path(name): Path<String>| name))
            .route("/rest/{*rest}", get(async |Path(rest): Path<String>| rest))
    };
    let strict = [("/a/", 404), ("/b", 404), ("/x/y/", 404), ("/both/", 200)];
    let server = TestServer::start(app());
    for (path, status) in strict {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    server.stop();
    check(
        app().trailing_slash(TrailingSlash::Ignore),
        &[
            ("/a/", 200, "a"),
            ("/b", 200, "b"),
            ("/both", 200, "1"),
            ("/both/", 200, "2"),
            ("/x/y/", 200, "y"),
            ("/rest/a/", 200, "a/"),
            ("/a//", 404, NOT_FOUND),
        ],
    );
    let server = TestServer::start(app().trailing_slash(TrailingSlash::Redirect));
    for (method, path, status, location) in [
        ("GET", "/a/?b=c", 308, Some("/a?b=c")),
        ("POST", "/b", 308, Some("/b/")),
        ("GET", "/x/%41%2f/", 308, Some("/x/%41%2f")),
        ("GET", "/a", 200, None),
        ("GET", "/both/", 200, None),
        ("GET", "//a/", 404, None),
    ] {
        let response = server.request(request(method, path, ""));
        let seen = (response.status, response.field("location"));
        assert_eq!(seen, (status, location), "{method} {path}");
    }
    server.stop();
}

#[test]
fn conflicts_are_errors_at_start_that_name_both() {
    let hello = || get(async || "hello");
    let nested = |path: &str| Router::new().route(path, get(async || "nested"));
    let check = |app: App, parts: &[&str]| {
        let error = app.start("127.0.0.1:0").unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    check(App::new().route("/a/{b}", hello()).route("/a/{c}", hello()), &["/a/{b}", "/a/{c}"]);
    check(
        App::new().route("/a/b", hello()).nest("/a", nested("/b")),
        &["\"/a/b\" is routed twice"],
    );
    check(
        App::new().nest("/x/{a}", nested("/b")).route("/x/{b}/b", hello()),
        &["/x/{a}/b", "/x/{b}/b"],
    );
    check(App::new().nest("a", nested("/b")), &["\"a\" must begin with a slash"]);
    check(App::new().nest("/a", nested("b")), &["\"b\" must begin with a slash, below \"/a\""]);
    check(App::new().nest("/", nested("/b")), &["merge the router"]);
    check(App::new().nest("/{*rest}", nested("/b")), &["\"/{*rest}\" is no prefix"]);
    let fallback = || Router::new().fallback(async || "");
    check(App::new().merge(fallback()).merge(fallback()), &["two fallbacks"]);
    check(App::new().nest("/a", fallback()).nest("/a", fallback()), &["\"/a\" has two fallbacks"]);
    let stateful = Router::new().route("/", get(async |_: State<u8>| ""));
    check(App::new().nest("/a", stateful), &["GET /a: a handler takes State<u8>"]);
    let layered = App::new()
        .route("/", hello())
        .layer(from_fn(async |_: State<u16>, next: Next| next.run().await.into_response()));
    check(layered, &["State<u16>"]);
}

const SHELF: RoutePath<(String, u8)> = RoutePath::new("/shelves/{shelf}/items/{id}");
const PAGE: RoutePath<Page> = RoutePath::new("/pages/{title}.html");
const DEEP: RoutePath<str> = RoutePath::new("/deep/{*rest}");

#[derive(serde::Serialize, serde::Deserialize)]
struct Page {
    title: String,
}

#[test]
fn a_route_gets_back_what_its_path_is_made_of() {
    let app = App::new()
        .route(
            SHELF.pattern(),
            get(async |Path((shelf, id)): Path<(String, u8)>| format!("{id} {shelf}")),
        )
        .route(PAGE.pattern(), get(async |Path(page): Path<Page>| page.title))
        .route(DEEP.pattern(), get(async |Path(rest): Path<String>| rest));
    let server = TestServer::start(app);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = server.connect();
    let mut check = |path: &str, expected: &str| {
        let response = client.exchange(support::get(path));
        assert_eq!((response.status, response.text()), (200, expected), "{path}");
    };
    for round in 0..500 {
        let size = random.usize(1..12);
        let mut any = || match random.u8(0..4) {
            0 => random.char('\0'..='\u{7f}'),
            1 => char::from(b"/%.?#{}*+&=; ~"[random.usize(..14)]),
            2 => random.alphanumeric(),
            _ => random.char('\0'..=char::MAX),
        };
        // A letter keeps it from being a step.
        let text: String = (0..size).map(|_| any()).chain(['x']).collect();
        let id = round as u8;
        check(&SHELF.path(&(text.clone(), id)).expect("a path"), &format!("{id} {text}"));
        check(&PAGE.path(&Page { title: text.clone() }).expect("a path"), &text);
        if !text.split('/').any(|segment| matches!(segment, "." | "..")) {
            check(&DEEP.path(&text).expect("a path"), &text);
        }
    }
    server.stop();
}
