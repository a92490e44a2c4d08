//! `/items`: a small API over a store that is partitioned over the shards.
//!
//! ```text
//!   GET    /items?after=&limit=   200
//!   POST   /items                 201, Location    409 the id exists    422    507 full
//!   GET    /items/{id}            200              404
//!   PUT    /items/{id}            200              404                  422
//!   DELETE /items/{id}            204              404
//! ```
//!
//! Each item lives on one shard, which its id alone decides ([`owner`]). A request for it that
//! lands on another shard is carried over the mesh; whatever it does to the item is one job on the
//! owner, so two requests never see each other's halves. A new item gets an id of the shard that
//! the request landed on: creating needs no other shard, unless the client chose the id.

mod draft;
mod store;

use std::rc::Rc;

use corelane::{
    HeaderValue, Json, MethodRouter, Path, Problem, Query, Shard, ShardId, StatusCode, get, header,
};
use serde::{Deserialize, Serialize};

use self::draft::Draft;
pub(crate) use self::store::Store;
use self::store::{Item, StoreError};

/// The most items that one page of the list has.
const LIMIT_MAX: usize = 1000;

pub(crate) fn collection() -> MethodRouter {
    get(list).post(create)
}

pub(crate) fn member() -> MethodRouter {
    get(read).put(replace).delete(remove)
}

/// The shard that an item lives on.
fn owner(id: u64, shard_count: usize) -> ShardId {
    // The remainder is below the count, so it fits.
    ShardId((id % shard_count as u64) as usize)
}

/// Runs a job on a shard's store and brings its result back.
async fn on_store<R: Send + 'static>(
    shard: &Shard,
    target: ShardId,
    job: impl FnOnce(&Store) -> Result<R, StoreError> + Send + 'static,
) -> Result<R, Problem> {
    let unavailable = || {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE);
        problem.detail("the shard that keeps the item does not answer")
    };
    let result = shard.call(target, |shard| shard.local::<Store>().map(|store| job(&store))).await;
    result.ok().flatten().ok_or_else(unavailable)?.map_err(Problem::from)
}

#[derive(Deserialize)]
#[serde(default)]
struct Page {
    /// Only items with larger ids.
    after: u64,
    limit: usize,
}

impl Default for Page {
    fn default() -> Page {
        Page { after: 0, limit: 100 }
    }
}

#[derive(Serialize)]
struct List {
    items: Vec<Item>,
    count: usize,
    /// What to ask for next, as `after`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

async fn list(
    Query(Page { after, limit }): Query<Page>,
    shard: Rc<Shard>,
) -> Result<Json<List>, Problem> {
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format!("the limit is {limit}; it must be from 1 to {LIMIT_MAX}");
        return Err(Problem::new(StatusCode::BAD_REQUEST).detail(detail).field("limit"));
    }
    // One more than a page of each shard: whether there is a next page shows in the merged list.
    let job = move |shard: &Shard| shard.local::<Store>().map(|store| store.page(after, limit + 1));
    let pages = shard
        .gather(job)
        .await
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(error.to_string()))?;
    let mut items: Vec<Item> = pages.into_iter().flatten().flatten().collect();
    items.sort_unstable_by_key(|item| item.id);
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().map(|item| item.id).filter(|_| has_more);
    Ok(Json(List { count: items.len(), items, next }))
}

async fn create(shard: Rc<Shard>, Json(draft): Json<Draft>) -> Result<Created, Problem> {
    let (id, content) = draft.check()?;
    let target = id.map_or(shard.id(), |id| owner(id, shard.shard_count()));
    on_store(&shard, target, move |store| store.create(id, content)).await.map(Created)
}

async fn read(Path(id): Path<u64>, shard: Rc<Shard>) -> Result<Json<Item>, Problem> {
    let target = owner(id, shard.shard_count());
    on_store(&shard, target, move |store| store.read(id)).await.map(Json)
}

async fn replace(
    Path(id): Path<u64>,
    shard: Rc<Shard>,
    Json(draft): Json<Draft>,
) -> Result<Json<Item>, Problem> {
    let (named, content) = draft.check()?;
    if named.is_some_and(|named| named != id) {
        let detail = format!("the path says {id}; an item can not be moved to another id");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY).detail(detail).field("id"));
    }
    let target = owner(id, shard.shard_count());
    on_store(&shard, target, move |store| store.replace(id, content)).await.map(Json)
}

async fn remove(Path(id): Path<u64>, shard: Rc<Shard>) -> Result<StatusCode, Problem> {
    let target = owner(id, shard.shard_count());
    on_store(&shard, target, move |store| store.remove(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 201, with where the new item is.
struct Created(Item);

impl corelane::IntoResponse for Created {
    fn into_response(self) -> corelane::Response {
        let mut response = (StatusCode::CREATED, Json(&self.0)).into_response();
        // Digits are always a valid value.
        if let Ok(location) = HeaderValue::try_from(format!("/items/{}", self.0.id)) {
            response.headers.insert(header::LOCATION, location);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let problem = |status, detail: String| Problem::new(status).detail(detail);
        match error {
            StoreError::Absent(id) => {
                problem(StatusCode::NOT_FOUND, format!("there is no item {id}"))
            }
            StoreError::Exists(id) => {
                problem(StatusCode::CONFLICT, format!("there is an item {id} already")).field("id")
            }
            StoreError::Full => {
                let detail = "the store is full; delete an item first".to_owned();
                problem(StatusCode::INSUFFICIENT_STORAGE, detail)
            }
        }
    }
}
