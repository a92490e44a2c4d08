//! The smallest server: two routes on every core.
//!
//! Try `curl http://127.0.0.1:8080/hello/Ada`.

use corelane::{App, Path, get};

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    App::new()
        .route("/", get(async || "Hello, World!"))
        .route("/hello/{name}", get(async |Path(name): Path<String>| format!("Hello, {name}!")))
        .serve(&address)
}
