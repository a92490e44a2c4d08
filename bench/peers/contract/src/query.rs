//! Query strings, for the peers whose library leaves them to the application.

/// The sum of `a` and `b` in a query such as `a=13&b=42`; what is missing counts nothing.
pub fn sum(query: &str) -> i64 {
    number(query, "a").unwrap_or(0) + number(query, "b").unwrap_or(0)
}

/// The value of `m`, 1 if there is none.
pub fn multiplier(query: &str) -> u64 {
    number(query, "m").unwrap_or(1)
}

fn number<T: std::str::FromStr>(query: &str, name: &str) -> Option<T> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_what_is_there() {
        assert_eq!(sum("a=13&b=42"), 55);
        assert_eq!(sum("b=42&c=1"), 42);
        assert_eq!(sum(""), 0);
    }

    #[test]
    fn multiplies_by_one_unless_told() {
        assert_eq!(multiplier("m=8"), 8);
        assert_eq!(multiplier("n=8"), 1);
    }
}
