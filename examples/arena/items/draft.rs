//! What a client says of an item, before it is checked.

use std::fmt;

use corelane::{Problem, StatusCode};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::store::{Content, ID_MAX};

/// The longest name, category or tag, in characters.
const TEXT_SIZE_MAX: usize = 100;
const TAG_COUNT_MAX: usize = 16;

/// The members of an item as they came: any value may be any of JSON's, so that what is wrong can
/// be answered by the name of the member. Others are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Draft {
    id: Given,
    name: Given,
    category: Given,
    price: Given,
    quantity: Given,
    active: Given,
    tags: Given,
}

impl Draft {
    /// The id, where there is one, and the content.
    ///
    /// # Errors
    /// The first member that is wrong: 422 with its name.
    pub(super) fn check(self) -> Result<(Option<u64>, Content), Problem> {
        let id = match self.id {
            Given::Nothing => None,
            given => Some(given.integer("id", 1, ID_MAX)?),
        };
        let content = Content {
            name: self.name.text("name", 1)?,
            category: self.category.or(Given::Text(String::new())).text("category", 0)?,
            price: self.price.number("price")?,
            quantity: self.quantity.or(Given::Integer(0)).number("quantity")?,
            active: self.active.or(Given::Flag(true)).flag("active")?,
            tags: self.tags.or(Given::List(Vec::new())).texts("tags")?,
        };
        Ok((id, content))
    }
}

/// A JSON value, as far as an item may have it.
#[derive(Debug, Default, PartialEq)]
enum Given {
    /// The member is not there.
    #[default]
    Nothing,
    Text(String),
    Integer(u64),
    Flag(bool),
    List(Vec<Given>),
    /// What no member can be, by its name.
    Other(&'static str),
}

impl Given {
    fn or(self, default: Given) -> Given {
        if self == Given::Nothing { default } else { self }
    }

    fn integer(self, field: &'static str, least: u64, most: u64) -> Result<u64, Problem> {
        match self {
            Given::Integer(number) if (least..=most).contains(&number) => Ok(number),
            given => Err(given.refuse(field, &format!("an integer from {least} to {most}"))),
        }
    }

    fn number(self, field: &'static str) -> Result<u32, Problem> {
        let number = self.integer(field, 0, u64::from(u32::MAX))?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn text(self, field: &'static str, least: usize) -> Result<String, Problem> {
        match self {
            Given::Text(text) if (least..=TEXT_SIZE_MAX).contains(&text.chars().count()) => {
                Ok(text)
            }
            given => {
                let wanted = format!("a string of {least} to {TEXT_SIZE_MAX} characters");
                Err(given.refuse(field, &wanted))
            }
        }
    }

    fn flag(self, field: &'static str) -> Result<bool, Problem> {
        match self {
            Given::Flag(flag) => Ok(flag),
            given => Err(given.refuse(field, "true or false")),
        }
    }

    fn texts(self, field: &'static str) -> Result<Vec<String>, Problem> {
        match self {
            Given::List(list) if list.len() <= TAG_COUNT_MAX => {
                list.into_iter().map(|given| given.text(field, 1)).collect()
            }
            given => {
                let wanted = format!("an array of at most {TAG_COUNT_MAX} strings");
                Err(given.refuse(field, &wanted))
            }
        }
    }

    fn refuse(&self, field: &'static str, wanted: &str) -> Problem {
        let found = match self {
            Given::Nothing => "it is missing".to_owned(),
            Given::Text(text) => format!("it has {} characters", text.chars().count()),
            Given::Integer(number) => format!("it is {number}"),
            Given::Flag(flag) => format!("it is {flag}"),
            Given::List(list) => format!("it is an array of {}", list.len()),
            Given::Other(kind) => format!("it is {kind}"),
        };
        let detail = format!("{field} must be {wanted}; {found}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY).detail(detail).field(field)
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given, E> {
        Ok(Given::Integer(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given, E> {
        Ok(u64::try_from(number).map_or(Given::Other("a negative number"), Given::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Given, E> {
        Ok(Given::Other("a fraction"))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Given, E> {
        Ok(Given::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Given::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Given::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drafts of the members that are always needed and of one more.
    fn check(members: &str, expected: Result<Option<u64>, &str>) {
        let mut json = format!("{{{members}}}").into_bytes();
        let draft: Draft = simd_json::serde::from_slice(&mut json).unwrap();
        let checked = draft
            .check()
            .map(|(id, _)| id)
            .map_err(|problem| String::from_utf8(simd_json::to_vec(&problem).unwrap()).unwrap());
        match (checked, expected) {
            (Ok(id), Ok(expected)) => assert_eq!(id, expected, "{members}"),
            (Err(problem), Err(field)) => {
                assert!(problem.contains(&format!("\"field\":\"{field}\"")), "{problem}");
                assert!(problem.contains(&format!("\"detail\":\"{field} must be ")), "{problem}");
            }
            (checked, _) => panic!("{members}: {checked:?}"),
        }
    }

    #[test]
    fn members_and_what_is_wrong_with_them() {
        check(r#""name":"a","price":1"#, Ok(None));
        check(r#""name":"a","price":1,"id":7,"tags":["b"],"other":{"x":[1]}"#, Ok(Some(7)));
        check("", Err("name"));
        check(r#""name":"","price":1"#, Err("name"));
        check(r#""name":7,"price":1"#, Err("name"));
        check(r#""name":null,"price":1"#, Err("name"));
        check(&format!(r#""name":"{}","price":1"#, "ä".repeat(100)), Ok(None));
        check(&format!(r#""name":"{}","price":1"#, "a".repeat(101)), Err("name"));
        check(r#""name":"a""#, Err("price"));
        for price in ["-1", "1.5", "4294967296", "\"1\"", "true", "{}", "[]", "null"] {
            check(&format!(r#""name":"a","price":{price}"#), Err("price"));
        }
        for member in ["id", "category", "quantity", "active", "tags"] {
            check(&format!(r#""name":"a","price":1,"{member}":{{}}"#), Err(member));
        }
        check(r#""name":"a","price":1,"id":0"#, Err("id"));
        check(r#""name":"a","price":1,"id":9007199254740992"#, Err("id"));
        check(r#""name":"a","price":1,"tags":["b",1]"#, Err("tags"));
        check(&format!(r#""name":"a","price":1,"tags":[{}"a"]"#, "\"a\",".repeat(16)), Err("tags"));
    }
}
