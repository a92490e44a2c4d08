//! Route patterns: `/static`, `/{name}`, `/{*rest}`.

/// What is wrong with a pattern, before the routing table looks at it.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.starts_with('/') {
        return Ok(());
    }
    Err(format!("\"{pattern}\" must begin with a slash"))
}

/// What is wrong with the prefix of a nested router.
pub(super) fn check_prefix(prefix: &str) -> Result<(), String> {
    check(prefix)?;
    if prefix == "/" {
        return Err("\"/\" is no prefix; merge the router instead of nesting it".to_owned());
    }
    if prefix.contains("{*") {
        return Err(format!("\"{prefix}\" is no prefix: a rest can only be at the end of a route"));
    }
    Ok(())
}

/// The pattern of a route, or of a fallback, of a nested router.
pub(super) fn join(prefix: &str, path: &str) -> String {
    if matches!(path, "" | "/") {
        return prefix.to_owned();
    }
    format!("{}{path}", prefix.trim_end_matches('/'))
}

/// The name of the rest of the path behind the prefix of a fallback.
pub(super) const REST: &str = "rest of the path";

/// The patterns of everything at and below a prefix.
pub(super) fn below(prefix: &str) -> [String; 3] {
    let prefix = prefix.trim_end_matches('/');
    [prefix.to_owned(), format!("{prefix}/"), format!("{prefix}/{{*{REST}}}")]
}

/// The same pattern with a slash at its end, or without: `None` where there is no other one.
pub(super) fn with_other_slash(pattern: &str) -> Option<String> {
    match pattern.strip_suffix('/') {
        Some("") => None,
        Some(without) => Some(without.to_owned()),
        None if pattern.contains("{*") => None,
        None => Some(format!("{pattern}/")),
    }
}

/// What the routing table had against a pattern, in a sentence with the fix.
pub(super) fn explain(pattern: &str, error: &matchit::InsertError) -> String {
    match error {
        matchit::InsertError::Conflict { with } if with == pattern => {
            format!("\"{pattern}\" is routed twice; add the second method to the first route")
        }
        matchit::InsertError::Conflict { with } => {
            format!("\"{pattern}\" and \"{with}\" match the same paths; rename one")
        }
        error => format!(
            "\"{pattern}\" is no route ({error}); write parameters as /{{name}}, and a rest as \
             /{{*name}} at the end"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_can_not_be_routed_are_explained() {
        let mut table = matchit::Router::new();
        table.insert("/a/{b}", ()).expect("route");
        let mut check = |pattern: &str, part: &str| {
            let problem = check(pattern)
                .and_then(|()| table.insert(pattern, ()).map_err(|error| explain(pattern, &error)));
            assert!(problem.clone().unwrap_err().contains(part), "{problem:?}");
        };
        check("a", "must begin with a slash");
        check("/a/{b}", "routed twice");
        check("/a/{c}", "\"/a/{c}\" and \"/a/{b}\" match the same paths");
        check("/{*rest}/x", "is no route");
        check("/{", "is no route");
    }
}
