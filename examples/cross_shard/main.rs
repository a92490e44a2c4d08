//! From shard to shard: each counter lives on one shard, whichever shard its requests land on.
//!
//! ```text
//!   curl --request POST http://127.0.0.1:8080/counters/apples    adds one, on the counter's shard
//!   curl http://127.0.0.1:8080/counters/apples                   asks that shard
//!   curl http://127.0.0.1:8080/total                             asks all shards at once
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use corelane::{App, Path, Problem, Shard, StatusCode, get};

/// The counters that live on this shard.
#[derive(Default)]
struct Counters(RefCell<HashMap<String, u64>>);

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    App::new()
        .state(|_shard| async { Counters::default() })
        .route("/counters/{name}", get(read).post(add))
        .route("/total", get(total))
        .serve(&address)
}

async fn add(Path(name): Path<String>, shard: Rc<Shard>) -> Result<String, Problem> {
    // The same name is on the same shard every time.
    let owner = shard.shard_for(&name);
    // The job runs on the owner's thread: what it takes along and gives back is sent, its state
    // stays there. Where the owner is this very shard, the job simply runs.
    let count = shard.call(owner, move |shard| {
        with_counters(shard, |counters| {
            let count = counters.entry(name).or_default();
            *count += 1;
            *count
        })
    });
    Ok(format!("{} on shard {}", count.await.map_err(unavailable)?, owner.0))
}

async fn read(Path(name): Path<String>, shard: Rc<Shard>) -> Result<String, Problem> {
    let owner = shard.shard_for(&name);
    let count = shard.call(owner, move |shard| {
        with_counters(shard, |counters| counters.get(&name).copied().unwrap_or_default())
    });
    Ok(format!("{} on shard {}", count.await.map_err(unavailable)?, owner.0))
}

async fn total(shard: Rc<Shard>) -> Result<String, Problem> {
    let sum = |shard: &Shard| with_counters(shard, |counters| counters.values().sum::<u64>());
    let sums = shard.gather(sum).await.map_err(unavailable)?;
    Ok(format!("{} on {} shards", sums.iter().sum::<u64>(), sums.len()))
}

fn with_counters<R: Default>(shard: &Shard, job: impl FnOnce(&mut HashMap<String, u64>) -> R) -> R {
    let counters = shard.local::<Counters>();
    counters.map(|counters| job(&mut counters.0.borrow_mut())).unwrap_or_default()
}

/// A shard that ends, as in the last moments of a drain, does not answer any more.
fn unavailable(error: corelane::runtime::MeshError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(error.to_string())
}
