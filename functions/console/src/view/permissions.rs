//! Explains what a permission matches, and compares the permissions of two roles.

use shared::policy::{Method, Permission, Target};

/// The example value of a variable path segment.
const EXAMPLE_SEGMENT: &str = "42";
/// The example segment below a path.
const EXAMPLE_SUBPATH: &str = "notes";

/// A permission with example requests.
pub(crate) struct PermissionExample {
    /// For example, `GET and HEAD`.
    pub(crate) methods: String,
    pub(crate) path: String,
    /// Requests that the permission covers.
    pub(crate) examples: Vec<String>,
    /// A similar path that the permission does not cover.
    pub(crate) counterexample: Option<String>,
}

impl PermissionExample {
    pub(crate) fn new(permission: &Permission) -> Self {
        let path = permission.path();
        let example = path.split('/').map(example_segment).collect::<Vec<_>>().join("/");
        let below = format!("{}/{EXAMPLE_SUBPATH}", example.trim_end_matches('/'));
        let above = example.rsplit_once('/').map_or("", |(above, _)| above);
        let above = if above.is_empty() { "/" } else { above }.to_owned();
        // The authorizer's own code decides which examples match.
        let method = permission.methods().next().unwrap_or(Method::Get);
        let covers = |path: &String| {
            let target = Target::parse(method.name(), path);
            target.is_ok_and(|target| permission.covers(&target))
        };
        let examples = if path.ends_with("+}") { vec![example, below.clone()] } else { vec![example] };
        Self {
            methods: method_names(permission),
            path: path.to_owned(),
            examples: examples
                .iter()
                .filter(|path| covers(path))
                .map(|path| format!("{method} {path}", method = method.name()))
                .collect(),
            counterexample: [below, above].into_iter().find(|path| !covers(path)),
        }
    }

    /// Explains permissions, as written in the API.
    pub(crate) fn parse_all(permissions: &[String]) -> Vec<Self> {
        parsed(permissions).iter().map(Self::new).collect()
    }
}

/// Sorts permissions so that those that permit most come first, and a short list does not
/// hide them: first those that match any number of segments, then those for any method.
pub(crate) fn widest_first(permissions: &mut [String]) {
    permissions.sort_by_cached_key(|permission| width(permission));
}

/// A sort key, smaller for permissions that permit more.
pub(crate) fn width(permission: &str) -> (bool, bool, usize) {
    let is_tail = permission.ends_with("+}");
    (!is_tail, !permission.starts_with("ANY "), permission.split('/').count())
}

/// The permissions of `one` that `other` does not fully cover. A permission is listed
/// in full even if `other` covers a part of it.
pub(crate) fn beyond(one: &[String], other: &[String]) -> Vec<String> {
    let (one, other) = (parsed(one), parsed(other));
    let is_covered = |permission: &Permission, method: Method| {
        other.iter().any(|other| {
            other.methods().any(|covered| covered == method) && other.covers_paths_of(permission)
        })
    };
    let rest = one.iter().filter_map(|permission| {
        let methods: Vec<_> =
            permission.methods().filter(|method| !is_covered(permission, *method)).collect();
        match methods.len() {
            0 => None,
            // As written in the role, for example with `ANY`.
            count if count == permission.methods().count() => Some(permission.to_string()),
            _ => {
                let methods: Vec<_> = methods.into_iter().map(Method::name).collect();
                Some(format!("{} {}", methods.join(","), permission.path()))
            }
        }
    });
    rest.collect()
}

fn parsed(permissions: &[String]) -> Vec<Permission> {
    permissions.iter().filter_map(|text| Permission::parse(text).ok()).collect()
}

/// The segment, or an example value if the segment is variable.
fn example_segment(segment: &str) -> &str {
    if segment.starts_with('{') { EXAMPLE_SEGMENT } else { segment }
}

fn method_names(permission: &Permission) -> String {
    let names: Vec<_> = permission.methods().map(Method::name).collect();
    match names.as_slice() {
        all if all.len() == Method::ALL.len() => "Any method".to_owned(),
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.join(", "),
    }
}
