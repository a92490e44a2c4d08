//! Routes: parameters, the rest of a path, several methods on one path, queries, and a 404.
//!
//! ```text
//!   curl http://127.0.0.1:8080/shelves/a/books/7             two parameters
//!   curl http://127.0.0.1:8080/shelves/a/books/x             400: not a number
//!   curl http://127.0.0.1:8080/files/notes/today.txt         the rest of the path
//!   curl http://127.0.0.1:8080/search?text=ring\&limit=3     a query
//!   curl --request DELETE http://127.0.0.1:8080/shelves/a    another method
//!   curl --request PATCH http://127.0.0.1:8080/shelves/a     405, with what is allowed
//!   curl http://127.0.0.1:8080/nowhere                       404, in the program's own words
//! ```

use corelane::{App, MethodRouter, Path, Problem, Query, Request, StatusCode, get};
use serde::Deserialize;

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    App::new()
        .route("/", get(async || "shelves, files, search"))
        .route("/shelves/{shelf}", shelf())
        .route("/shelves/{shelf}/books/{number}", get(book))
        // Static segments win over parameters.
        .route("/shelves/new", get(async || "an empty shelf"))
        .route("/files/{*path}", get(async |Path(path): Path<String>| path))
        .route("/search", get(search))
        // Everything else. Without it the answer is a 404 of the server's own.
        .route("/{*rest}", get(nowhere))
        .serve(&address)
}

/// The handlers of one path, by method. `HEAD` and `OPTIONS` come with them.
fn shelf() -> MethodRouter {
    get(async |Path(shelf): Path<String>| format!("shelf {shelf}"))
        .put(async |Path(_): Path<String>| StatusCode::CREATED)
        .delete(async |Path(_): Path<String>| StatusCode::NO_CONTENT)
}

async fn book(Path((shelf, number)): Path<(String, u32)>) -> String {
    format!("book {number} on shelf {shelf}")
}

#[derive(Deserialize)]
struct Search {
    text: String,
    limit: Option<u32>,
}

async fn search(Query(Search { text, limit }): Query<Search>) -> String {
    format!("{} hits for {text} at most", limit.unwrap_or(10))
}

async fn nowhere(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND).detail(format!("there is nothing at {}", request.path))
}
