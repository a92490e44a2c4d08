//! Objects that name a member twice. Which of the two counts is each reader's own guess (RFC 8259
//! section 4): what checked a text and what acts on it may have read it in two ways.

use simd_json::Node;

/// A name that stands twice in one object of a parsed text, escapes undone.
pub(super) fn repeated<'t>(nodes: &[Node<'t>]) -> Option<&'t str> {
    nodes.iter().enumerate().find_map(|(at, node)| match node {
        Node::Object { len: 2.., .. } => repeated_in(Keys::of(nodes, at)),
        _ => None,
    })
}

/// Each name sets a mark of 64: as long as none is set already no two can be the same.
fn repeated_in<'t>(keys: Keys<'_, 't>) -> Option<&'t str> {
    let mut marks = 0u64;
    for key in keys.clone() {
        let mark = mark(key.as_bytes());
        if marks & mark != 0 {
            return compared(keys);
        }
        marks |= mark;
    }
    None
}

fn mark(key: &[u8]) -> u64 {
    let (first, last) = (key.first().map_or(0, |byte| *byte), key.last().map_or(0, |byte| *byte));
    1 << ((key.len() as u8 ^ first ^ last.wrapping_mul(5)) % 64)
}

/// Sorted, since a peer chooses how many there are, and could choose what a hash makes of them.
#[cold]
fn compared<'t>(keys: Keys<'_, 't>) -> Option<&'t str> {
    let mut keys: Vec<&str> = keys.collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// The names of one object, in their order.
#[derive(Clone)]
struct Keys<'n, 't> {
    /// From the next name on: name, value, name, value.
    members: &'n [Node<'t>],
}

impl<'n, 't> Keys<'n, 't> {
    /// Of the object at `at`.
    fn of(nodes: &'n [Node<'t>], at: usize) -> Keys<'n, 't> {
        Keys { members: &nodes[at + 1..at + size(&nodes[at])] }
    }
}

impl<'t> Iterator for Keys<'_, 't> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let [Node::String(key), value, ..] = self.members else { return None };
        self.members = &self.members[1 + size(value)..];
        Some(key)
    }
}

/// How many nodes a value takes, itself included.
fn size(value: &Node<'_>) -> usize {
    match value {
        Node::Object { count, .. } | Node::Array { count, .. } => 1 + count,
        Node::String(_) | Node::Static(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<&str>) {
        let mut bytes = json.as_bytes().to_vec();
        let tape = simd_json::to_tape(&mut bytes).expect("JSON");
        assert_eq!(repeated(&tape.0), expected, "{json}");
    }

    #[test]
    fn a_name_stands_once_in_each_object() {
        for json in [
            "1",
            "{}",
            "[{},{}]",
            r#"{"a":1}"#,
            r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":"b"}],"c":"a"}"#,
            r#"["a","a",{"a":"a"}]"#,
            r#"{"":1,"a":[[],{},[{"":2}]],"A":3}"#,
            // The same mark, not the same name.
            r#"{"abc":1,"axc":2,"ayc":{"abc":3}}"#,
        ] {
            check(json, None);
        }
        check(r#"{"a":1,"a":1}"#, Some("a"));
        check(r#"{"":1,"":2}"#, Some(""));
        check(r#"{"a":1,"b":2,"\u0061":3}"#, Some("a"));
        check(r#"{"a":{"x":[1,{"y":2}],"z":{}},"b":0,"a":[]}"#, Some("a"));
        check(r#"[{"a":1},{"b":[{"c":1,"d":{"e":1,"f":2,"e":3}}]}]"#, Some("e"));
        check(r#"{"abc":1,"axc":2,"abc":3}"#, Some("abc"));
    }

    #[test]
    fn many_names_are_compared_as_well() {
        let object = |count: usize, last: &str| {
            let members: String = (0..count).map(|name| format!("\"{name}\":[{name}],")).collect();
            format!("{{{members}\"{last}\":null}}")
        };
        check(&object(10_000, "x"), None);
        check(&object(10_000, "0"), Some("0"));
        check(&object(10_000, "9999"), Some("9999"));
    }
}
