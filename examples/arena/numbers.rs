//! `/baseline11`: adds the numbers `a` and `b` of the query, and for `POST` the one in the body.

use corelane::{Exchange, FromRequest, Problem, StatusCode};

/// The sum of `a` and `b`. Sums are wider than their numbers, so that none overflows.
///
/// An extractor of its own: it names the parameter that is wrong, and allocates nothing for one
/// that is right.
pub(crate) struct Sum(i128);

impl FromRequest for Sum {
    type Rejection = Problem;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Sum, Problem> {
        sum(exchange.query().unwrap_or_default())
    }
}

pub(crate) async fn add(Sum(sum): Sum) -> String {
    sum.to_string()
}

pub(crate) async fn add_body(Sum(sum): Sum, body: String) -> Result<String, Problem> {
    let number = parse("body", body.trim_ascii())?;
    Ok((sum + number).to_string())
}

/// Other parameters are ignored; where one is given twice the first counts.
fn sum(query: &str) -> Result<Sum, Problem> {
    let (mut a, mut b) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "a" if a.is_none() => a = Some(parse("a", &value)?),
            "b" if b.is_none() => b = Some(parse("b", &value)?),
            _ => {}
        }
    }
    let missing = |name| bad(name, format!("the parameter {name} is missing; write ?a=13&b=42"));
    Ok(Sum(a.ok_or_else(|| missing("a"))? + b.ok_or_else(|| missing("b"))?))
}

fn parse(name: &'static str, text: &str) -> Result<i128, Problem> {
    let number = text.parse::<i64>().map(i128::from);
    number.map_err(|error| bad(name, format!("{name} is no integer of 64 bits: {error}")))
}

fn bad(name: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).detail(detail).field(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: Option<i128>) {
        assert_eq!(sum(query).map(|Sum(sum)| sum).ok(), expected, "{query}");
    }

    #[test]
    fn queries_and_their_sums() {
        check("a=13&b=42", Some(55));
        check("b=42&a=13", Some(55));
        check("x=1&a=-13&y&b=%2B42&=", Some(29));
        check("a=1&a=x&b=2", Some(3));
        check("a=9223372036854775807&b=1", Some(9_223_372_036_854_775_808));
        check("a=9223372036854775808&b=1", None);
        for query in ["", "a=1", "b=1", "a=&b=1", "a=1.5&b=1", "a=1 &b=1", "a=0x1&b=1", "A=1&b=1"] {
            check(query, None);
        }
    }
}
