//! JSON in and out: serde's types are the schema, and what does not fit is answered by itself.
//!
//! Try `curl --json '{"width":3,"height":4}' http://127.0.0.1:8080/area`, and then leave out the
//! height (422), a brace (400), or the content type (`--data` instead of `--json`: 415).

use corelane::{App, Json, Problem, StatusCode, post};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Rectangle {
    width: f64,
    height: f64,
}

#[derive(Serialize)]
struct Area {
    area: f64,
}

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    App::new().route("/area", post(area)).serve(&address)
}

async fn area(Json(rectangle): Json<Rectangle>) -> Result<Json<Area>, Problem> {
    let Rectangle { width, height } = rectangle;
    // What a type can not say is checked by hand; the problem names the member that is wrong.
    for (name, length) in [("width", width), ("height", height)] {
        if length < 0.0 {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY);
            return Err(problem.detail(format!("the {name} must not be negative")).field(name));
        }
    }
    Ok(Json(Area { area: width * height }))
}
