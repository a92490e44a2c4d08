//! JSON out as the server writes it (serde_json) and in as it reads it (simd-json), and the others.

use std::hint::black_box;

use serde::{Deserialize, Serialize};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { group: "JSON out, 1 item", name: "Corelane", run: |count| write(1, count, ours) },
    Case { group: "JSON out, 1 item", name: "simd-json", run: |count| write(1, count, simd) },
    Case { group: "JSON out, 1 item", name: "sonic-rs", run: |count| write(1, count, sonic) },
    Case { group: "JSON out, 50 items", name: "Corelane", run: |count| write(50, count, ours) },
    Case { group: "JSON out, 50 items", name: "simd-json", run: |count| write(50, count, simd) },
    Case { group: "JSON out, 50 items", name: "sonic-rs", run: |count| write(50, count, sonic) },
    Case { group: "JSON in, 1 item", name: "Corelane", run: |count| read(1, count, from_ours) },
    Case { group: "JSON in, 1 item", name: "serde_json", run: |count| read(1, count, from_serde) },
    Case { group: "JSON in, 1 item", name: "sonic-rs", run: |count| read(1, count, from_sonic) },
    Case { group: "JSON in, 50 items", name: "Corelane", run: |count| read(50, count, from_ours) },
    Case {
        group: "JSON in, 50 items",
        name: "serde_json",
        run: |count| read(50, count, from_serde),
    },
    Case { group: "JSON in, 50 items", name: "sonic-rs", run: |count| read(50, count, from_sonic) },
];

const DATASET: &[u8] = include_bytes!("../../../examples/arena/dataset.json");

#[derive(Serialize, Deserialize)]
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

#[derive(Serialize, Deserialize)]
struct Rating {
    score: u64,
    count: u64,
}

fn items(count: usize) -> Vec<Item> {
    let mut items: Vec<Item> = serde_json::from_slice(DATASET).unwrap_or_default();
    items.truncate(count);
    items
}

fn write(size: usize, count: u64, write: fn(&mut Vec<u8>, &[Item]) -> bool) -> u64 {
    let (items, mut out) = (items(size), Vec::with_capacity(32 * 1024));
    (0..count).fold(0, |sum, _| {
        out.clear();
        let is_written = write(&mut out, black_box(&items));
        sum + if is_written { black_box(&out).len() as u64 } else { 0 }
    })
}

fn ours(out: &mut Vec<u8>, items: &[Item]) -> bool {
    corelane::bench::write_json(out, &items)
}

fn simd(out: &mut Vec<u8>, items: &[Item]) -> bool {
    simd_json::to_writer(out, items).is_ok()
}

fn sonic(out: &mut Vec<u8>, items: &[Item]) -> bool {
    sonic_rs::to_writer(out, items).is_ok()
}

/// The input is copied each time: a server reads from a buffer that it has received into.
fn read(size: usize, count: u64, read: fn(&mut [u8]) -> Option<Vec<Item>>) -> u64 {
    let text = serde_json::to_vec(&items(size)).unwrap_or_default();
    let mut received = text.clone();
    (0..count).fold(0, |sum, _| {
        received.copy_from_slice(black_box(&text));
        let items = read(&mut received).unwrap_or_default();
        sum + items.iter().map(|item| item.price + item.rating.count).sum::<u64>()
    })
}

/// Also bounds the depth.
fn from_ours(json: &mut [u8]) -> Option<Vec<Item>> {
    corelane::bench::parse_json(json)
}

fn from_serde(json: &mut [u8]) -> Option<Vec<Item>> {
    serde_json::from_slice(json).ok()
}

fn from_sonic(json: &mut [u8]) -> Option<Vec<Item>> {
    sonic_rs::from_slice(json).ok()
}
