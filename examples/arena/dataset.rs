//! The items that `/json/{count}` answers from, read once when the service starts.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The items of the repository's own data set, made by `scripts/make-dataset`.
const GENERATED: &[u8] = include_bytes!("dataset.json");

/// One item, in the order in which its members are written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) price: u32,
    pub(crate) quantity: u32,
    pub(crate) active: bool,
    pub(crate) tags: Vec<String>,
    pub(crate) rating: Rating,
}

/// How an item was rated.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Rating {
    score: u32,
    count: u32,
}

impl Item {
    /// The price of all that is there; it always fits.
    pub(crate) fn value(&self) -> u64 {
        u64::from(self.price) * u64::from(self.quantity)
    }
}

/// All items, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    pub(crate) items: Vec<Item>,
    /// The largest of the items' values: whether every total fits is one multiplication.
    pub(crate) value_max: u64,
}

impl Dataset {
    /// Reads a file, or the generated data set where there is none.
    ///
    /// # Errors
    /// What is wrong with the file, in one sentence.
    pub(crate) fn read(file: Option<&Path>) -> Result<Dataset, String> {
        let Some(file) = file else { return Dataset::parse(GENERATED.to_vec()) };
        std::fs::read(file)
            .map_err(|error| error.to_string())
            .and_then(Dataset::parse)
            .map_err(|problem| format!("dataset: {}: {problem}", file.display()))
    }

    fn parse(mut text: Vec<u8>) -> Result<Dataset, String> {
        let items = simd_json::serde::from_slice::<Vec<Item>>(&mut text).map_err(|error| {
            format!("this is no array of items as scripts/make-dataset writes them: {error}")
        })?;
        let value_max = items.iter().map(Item::value).max().ok_or("there are no items in it")?;
        Ok(Dataset { items, value_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_data_set_has_what_the_service_offers() {
        let dataset = Dataset::read(None).unwrap();
        assert!(dataset.items.len() >= 50);
        assert!(dataset.items.iter().all(|item| item.value() <= dataset.value_max));
    }

    #[test]
    fn what_is_no_data_set_is_explained() {
        for (text, expected) in [
            ("", "no array of items"),
            ("{}", "no array of items"),
            ("[]", "no items"),
            (r#"[{"id":1}]"#, "missing field `name`"),
        ] {
            let problem = Dataset::parse(text.as_bytes().to_vec()).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
