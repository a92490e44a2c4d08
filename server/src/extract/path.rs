//! The path's parameters, as a typed value.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{Exchange, FromRequest, Params};
use crate::problem::Problem;

/// The parameters of the route's path: one value for one parameter, a tuple for several in their
/// order, a struct or map by their names.
///
/// ```
/// use corelane::{Path, get};
///
/// let one = get(async |Path(id): Path<u64>| format!("item {id}"));
/// let two = get(async |Path((shelf, id)): Path<(String, u64)>| format!("{shelf}: {id}"));
/// # let _ = (one, two);
/// ```
///
/// Values are percent-decoded once. One that does not fit its type is answered with 400 and the
/// reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Rejection = Problem;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Path<T>, Problem> {
        T::deserialize(PathDeserializer(exchange.params)).map(Path).map_err(|error| {
            let problem = Problem::new(StatusCode::BAD_REQUEST);
            problem.detail(format!("the path is wrong: {error}")).maybe_field(error.parameter)
        })
    }
}

/// Why a parameter does not fit.
#[derive(Debug)]
struct PathError {
    problem: String,
    parameter: Option<String>,
}

impl PathError {
    /// The route and the handler do not fit each other.
    fn of_route(problem: String) -> PathError {
        PathError { problem, parameter: None }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for PathError {}

impl de::Error for PathError {
    fn custom<T: fmt::Display>(message: T) -> PathError {
        PathError::of_route(message.to_string())
    }
}

struct PathDeserializer<'p>(&'p Params<'p>);

impl<'p> PathDeserializer<'p> {
    fn values(&self) -> impl Iterator<Item = Parameter<'p>> + use<'p> {
        self.0.iter().map(|(name, value)| Parameter { name, value })
    }

    /// The only parameter, for a type that is a single value.
    fn only(&self) -> Result<Parameter<'p>, PathError> {
        let mut values = self.values();
        match (values.next(), values.next()) {
            (Some(only), None) => Ok(only),
            _ => {
                let count = self.0.len();
                let problem = format!("the route has {count} parameters, the handler takes one");
                Err(PathError::of_route(problem))
            }
        }
    }
}

macro_rules! only {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
            self.only()?.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for PathDeserializer<'_> {
    type Error = PathError;

    only! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_option deserialize_identifier
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_seq(SeqDeserializer::new(self.values()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        size: usize,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        let count = self.0.len();
        if count != size {
            let error = format!("the route has {count} parameters, the handler takes {size}");
            return Err(PathError::of_route(error));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        size: usize,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.deserialize_tuple(size, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        let pairs = self.values().map(|parameter| (parameter.name, parameter));
        visitor.visit_map(MapDeserializer::new(pairs))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }
}

/// One parameter's value.
struct Parameter<'p> {
    name: &'p str,
    value: &'p str,
}

impl<'p> Parameter<'p> {
    fn decoded(&self) -> Result<Cow<'p, str>, PathError> {
        let decoded = percent_decode_str(self.value).decode_utf8();
        decoded.map_err(|_| self.error(format!("{} is not UTF-8 when decoded", self.name)))
    }

    fn parse<T: std::str::FromStr>(&self, kind: &str) -> Result<T, PathError> {
        let value = self.decoded()?;
        let parsed = value.parse();
        parsed.map_err(|_| self.error(format!("{} is not {kind}: {value:?}", self.name)))
    }

    fn error(&self, problem: String) -> PathError {
        PathError { problem, parameter: Some(self.name.to_owned()) }
    }
}

impl<'de> IntoDeserializer<'de, PathError> for Parameter<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $kind:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
            visitor.$visit(self.parse($kind)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Parameter<'_> {
    type Error = PathError;

    parsed! {
        deserialize_bool visit_bool "true or false"
        deserialize_i8 visit_i8 "an integer from -128 to 127"
        deserialize_i16 visit_i16 "an integer of 16 bits"
        deserialize_i32 visit_i32 "an integer of 32 bits"
        deserialize_i64 visit_i64 "an integer of 64 bits"
        deserialize_i128 visit_i128 "an integer of 128 bits"
        deserialize_u8 visit_u8 "an integer from 0 to 255"
        deserialize_u16 visit_u16 "a positive integer of 16 bits"
        deserialize_u32 visit_u32 "a positive integer of 32 bits"
        deserialize_u64 visit_u64 "a positive integer of 64 bits"
        deserialize_u128 visit_u128 "a positive integer of 128 bits"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
        deserialize_char visit_char "a single character"
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        match self.decoded()? {
            Cow::Borrowed(text) => visitor.visit_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        let variant = self.decoded()?.into_owned();
        visitor.visit_enum(variant.into_deserializer())
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    fn read<T: DeserializeOwned>(route: &str, path: &str) -> Result<T, String> {
        let mut router = matchit::Router::new();
        router.insert(route, ()).expect("route");
        let params = Params::Matched(router.at(path).expect("match").params);
        T::deserialize(PathDeserializer(&params)).map_err(|error| error.to_string())
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Place {
        shelf: String,
        id: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Id(u64);

    #[test]
    fn one_value_a_tuple_a_struct_or_a_map() {
        assert_eq!(read("/{id}", "/7"), Ok(7u8));
        assert_eq!(read("/{id}", "/7"), Ok(Id(7)));
        assert_eq!(read("/{id}", "/-7"), Ok(-7i64));
        assert_eq!(read("/{id}", "/true"), Ok(true));
        assert_eq!(read("/{id}", "/red"), Ok(Color::Red));
        assert_eq!(read("/{id}", "/a%20%C3%A9%2Fb%2520+"), Ok("a é/b%20+".to_owned()));
        assert_eq!(read("/{*rest}", "/a/b"), Ok("a/b".to_owned()));
        assert_eq!(read("/{a}/{b}", "/x/2"), Ok(("x".to_owned(), 2u16)));
        let place = Place { shelf: "x".to_owned(), id: 2 };
        assert_eq!(read("/{shelf}/{id}", "/x/2"), Ok(place));
        let map = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(read("/{a}", "/1"), Ok(map));
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        let error = |result: Result<u8, String>| result.unwrap_err();
        assert!(error(read("/{id}", "/256")).contains("id is not an integer from 0 to 255"));
        assert!(error(read("/{id}", "/x")).contains("\"x\""));
        assert!(error(read("/{a}/{b}", "/1/2")).contains("the route has 2 parameters"));
        assert!(read::<(u8, u8)>("/{a}", "/1").unwrap_err().contains("the handler takes 2"));
        assert!(read::<String>("/{a}", "/%ff").unwrap_err().contains("not UTF-8"));
        assert!(read::<Color>("/{a}", "/blue").unwrap_err().contains("unknown variant"));
    }
}
