//! `GET /json/{count}?m={multiplier}`: the first items with their totals, serialised every time.

use corelane::{Json, Path, Problem, Query, State, StatusCode};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Item, Rating};

/// The most items that one response has.
const COUNT_MAX: usize = 50;

#[derive(Deserialize)]
pub(crate) struct Multiplier {
    #[serde(default = "one")]
    m: u64,
}

fn one() -> u64 {
    1
}

/// The response: it borrows the shard's items while it is serialised, and copies none.
#[derive(Serialize)]
pub(crate) struct PricedList {
    items: PricedItems,
    count: usize,
}

/// The first `count` items of the data set, `count <= dataset.items.len()`.
struct PricedItems {
    dataset: State<Dataset>,
    count: usize,
    multiplier: u64,
}

pub(crate) async fn list(
    Path(count): Path<usize>,
    Query(Multiplier { m: multiplier }): Query<Multiplier>,
    dataset: State<Dataset>,
) -> Result<Json<PricedList>, Problem> {
    let count_max = dataset.items.len().min(COUNT_MAX);
    if !(1..=count_max).contains(&count) {
        let detail = format!("the count is {count}; it must be from 1 to {count_max}");
        return Err(Problem::new(StatusCode::BAD_REQUEST).detail(detail).field("count"));
    }
    if dataset.value_max.checked_mul(multiplier).is_none() {
        let most = u64::MAX.checked_div(dataset.value_max).unwrap_or(u64::MAX);
        let detail = format!("the multiplier is {multiplier}; totals fit up to {most}");
        return Err(Problem::new(StatusCode::BAD_REQUEST).detail(detail).field("m"));
    }
    Ok(Json(PricedList { items: PricedItems { dataset, count, multiplier }, count }))
}

impl Serialize for PricedItems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(Some(self.count))?;
        for item in self.dataset.items.iter().take(self.count) {
            items.serialize_element(&PricedItem::new(item, self.multiplier))?;
        }
        items.end()
    }
}

/// An item with its total. The members are repeated because `serde(flatten)` would collect them
/// into a map first.
#[derive(Serialize)]
struct PricedItem<'a> {
    id: u64,
    name: &'a str,
    category: &'a str,
    price: u32,
    quantity: u32,
    active: bool,
    tags: &'a [String],
    rating: &'a Rating,
    total: u64,
}

impl PricedItem<'_> {
    fn new(item: &Item, multiplier: u64) -> PricedItem<'_> {
        PricedItem {
            id: item.id,
            name: &item.name,
            category: &item.category,
            price: item.price,
            quantity: item.quantity,
            active: item.active,
            tags: &item.tags,
            rating: &item.rating,
            // Does not overflow: the handler has multiplied the largest value.
            total: item.value() * multiplier,
        }
    }
}
