//! The smallest server: two routes on every core.

use corelane::{App, Path, get};

fn main() -> corelane::Result<()> {
    App::new()
        .route("/", get(async || "Hello, World!"))
        .route("/hello/{name}", get(async |Path(name): Path<String>| format!("Hello, {name}!")))
        .serve("127.0.0.1:8080")
}
