//! State: each shard makes its own, before its first request; no handler ever waits for a lock.
//!
//! Try `curl http://127.0.0.1:8080/` several times: each connection stays on the shard that
//! accepted it, and each shard counts for itself. Where a number must be one for all shards, see
//! the example `cross_shard`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use corelane::{App, Path, ShardId, State, get};

/// One on every shard. It is not `Send`, and need not be: only its shard ever sees it.
struct Visits {
    shard: ShardId,
    total: Cell<u64>,
    by_name: RefCell<HashMap<String, u64>>,
}

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    App::new()
        .state(|shard| async move {
            Visits { shard: shard.id(), total: Cell::new(0), by_name: RefCell::default() }
        })
        .route("/", get(count))
        .route("/{name}", get(count_by_name))
        .serve(&address)
}

async fn count(visits: State<Visits>) -> String {
    visits.total.set(visits.total.get() + 1);
    format!("visit {} on shard {}", visits.total.get(), visits.shard.0)
}

async fn count_by_name(Path(name): Path<String>, visits: State<Visits>) -> String {
    // A borrow must end before the next `.await`: another handler may run then.
    let mut by_name = visits.by_name.borrow_mut();
    let count = by_name.entry(name).or_default();
    *count += 1;
    format!("visit {count} on shard {}", visits.shard.0)
}
