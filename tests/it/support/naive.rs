//! A simple second implementation of permissions, which compares words and path segments.

/// Whether `permission` covers a request.
pub(crate) fn covers(permission: &str, method: &str, path: &str) -> bool {
    let (methods, pattern) = permission.split_once(' ').unwrap();
    let known = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
    let covers_method =
        known.contains(&method) && (methods == "ANY" || methods.split(',').any(|name| name == method));
    let segments = |path: &str| path[1..].split('/').map(str::to_owned).collect::<Vec<_>>();
    covers_method && covers_path(&segments(pattern), &segments(path))
}

fn covers_path(pattern: &[String], path: &[String]) -> bool {
    let (Some(expected), Some(actual)) = (pattern.first(), path.first()) else {
        return pattern.is_empty() && path.is_empty();
    };
    if expected.ends_with("+}") {
        // One or more segments. A trailing slash is not a segment.
        return !actual.is_empty();
    }
    let covers_segment = if expected.starts_with('{') { !actual.is_empty() } else { expected == actual };
    covers_segment && covers_path(&pattern[1..], &path[1..])
}

/// Whether a key with these permissions of its account's role, and of its own role if it
/// has one, is allowed to make a request.
pub(crate) fn allows(account: &[String], key: Option<&[String]>, method: &str, path: &str) -> bool {
    if (method, path) == ("GET", "/iam/v1/whoami") {
        return true;
    }
    let first = path[1..].split('/').next().unwrap().to_ascii_lowercase();
    let permits = |role: &[String]| role.iter().any(|permission| covers(permission, method, path));
    first != "iam" && permits(account) && key.is_none_or(permits)
}
