//! A naive model of what permissions cover: methods as a list of words, paths as
//! lists of segments, compared by recursion.

pub(crate) fn covers(permission: &str, method: &str, path: &str) -> bool {
    let (methods, pattern) = permission.split_once(' ').unwrap();
    let known = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
    let method_fits =
        known.contains(&method) && (methods == "ANY" || methods.split(',').any(|name| name == method));
    let segments = |path: &str| path[1..].split('/').map(str::to_owned).collect::<Vec<_>>();
    method_fits && fits(&segments(pattern), &segments(path))
}

fn fits(pattern: &[String], path: &[String]) -> bool {
    let (Some(expected), Some(actual)) = (pattern.first(), path.first()) else {
        return pattern.is_empty() && path.is_empty();
    };
    if expected.ends_with("+}") {
        // One or more segments, of which the first is none of a trailing slash.
        return !actual.is_empty();
    }
    let one = if expected.starts_with('{') { !actual.is_empty() } else { expected == actual };
    one && fits(&pattern[1..], &path[1..])
}

/// The decision on a key's request.
pub(crate) fn key_may(account: &[String], key: Option<&[String]>, method: &str, path: &str) -> bool {
    if (method, path) == ("GET", "/iam/v1/whoami") {
        return true;
    }
    let first = path[1..].split('/').next().unwrap().to_ascii_lowercase();
    let any = |role: &[String]| role.iter().any(|permission| covers(permission, method, path));
    first != "iam" && any(account) && key.is_none_or(any)
}
