//! The items that `/json/{count}` answers with.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// About what one item takes as JSON; sparing the vector from growing is all that it is for.
const ITEM_BYTES: usize = 256;

/// The items, read once at start and never serialised before they are asked for.
pub struct Dataset(Vec<Item>);

#[derive(Deserialize, Serialize)]
struct Item {
    id: u64,
    name: String,
    category: String,
    price: u64,
    quantity: u64,
    active: bool,
    tags: Vec<String>,
    rating: Rating,
}

#[derive(Deserialize, Serialize)]
struct Rating {
    score: u64,
    count: u64,
}

/// The first items of a data set, each with its total.
#[derive(Serialize)]
pub struct Page<'a> {
    items: Vec<Line<'a>>,
    count: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    name: &'a str,
    category: &'a str,
    price: u64,
    quantity: u64,
    active: bool,
    tags: &'a [String],
    rating: &'a Rating,
    total: u64,
}

impl Dataset {
    /// Reads a JSON array of items; ends the program with one sentence if that fails.
    pub fn read(path: &Path) -> Self {
        let items = std::fs::read(path)
            .map_err(|error| error.to_string())
            .and_then(|json| serde_json::from_slice(&json).map_err(|error| error.to_string()));
        match items {
            Ok(items) => Self(items),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                std::process::exit(2);
            }
        }
    }

    /// The first `count` items, or all if there are fewer.
    pub fn page(&self, count: usize, multiplier: u64) -> Page<'_> {
        let items = &self.0[..count.min(self.0.len())];
        Page { items: items.iter().map(|item| item.line(multiplier)).collect(), count: items.len() }
    }
}

impl Page<'_> {
    /// Its JSON.
    pub fn to_json(&self) -> Vec<u8> {
        super::to_json(self, 64 + self.count * ITEM_BYTES)
    }
}

impl Item {
    fn line(&self, multiplier: u64) -> Line<'_> {
        Line {
            id: self.id,
            name: &self.name,
            category: &self.category,
            price: self.price,
            quantity: self.quantity,
            active: self.active,
            tags: &self.tags,
            rating: &self.rating,
            total: self.price * self.quantity * multiplier,
        }
    }
}
