//! The operations of a document as permissions.

use super::{Document, Operation};
use crate::policy::{InvalidPermission, Permission, Unreachable};

/// The maximum number of characters of a group's name and of a summary. Longer texts are
/// truncated.
const MAX_TEXT_CHARS: usize = 100;

/// The operations of a document that permissions can permit.
#[derive(Debug, Default)]
pub struct Routes {
    /// In the order of their paths.
    pub routes: Vec<Route>,
    pub skipped: Vec<Skipped>,
    /// The path of the first server's URL, if there is one.
    pub server_path: Option<String>,
}

/// An operation that a permission can permit.
#[derive(Debug)]
pub struct Route {
    pub permission: Permission,
    /// The first tag or, without a tag, the first segment of the path.
    pub group: String,
    pub summary: String,
    /// Whether the permission covers other paths too, because the document's path has a
    /// parameter in a part of a segment.
    pub is_wider: bool,
}

/// An operation that no permission can permit.
#[derive(Debug)]
pub struct Skipped {
    /// The position in the document, as a JSON pointer (RFC 6901).
    pub pointer: String,
    pub reason: SkipReason,
}

/// Why no permission can permit an operation.
#[derive(Debug, thiserror::Error)]
pub enum SkipReason {
    #[error("A permission cannot contain the method {0}.")]
    Method(&'static str),
    #[error("The permission {0}.")]
    Path(InvalidPermission),
    #[error("The permission {0}.")]
    Unreachable(Unreachable),
    #[error("The value {0}.")]
    Unreadable(String),
}

impl Document {
    /// The operations as permissions. Each path is below `base_path`, which can be empty.
    pub fn routes(&self, base_path: &str) -> Routes {
        let mut routes = Routes { server_path: self.server_path(), ..Routes::default() };
        for operation in self.operations() {
            match route(&operation, base_path) {
                Ok(route) => routes.routes.push(route),
                Err(reason) => {
                    let pointer = truncated(&operation.pointer, 3 * MAX_TEXT_CHARS);
                    routes.skipped.push(Skipped { pointer, reason });
                }
            }
        }
        routes.routes.sort_by(|a, b| a.permission.path().cmp(b.permission.path()));
        routes
    }

    /// The path of the first server's URL. `None` if the URL has no path, or has variables.
    fn server_path(&self) -> Option<String> {
        let url = self.root().value.get("servers")?.get(0)?.get("url")?.as_str()?;
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None => url,
        };
        let path = path.trim_end_matches('/');
        let is_plain = path.starts_with('/') && !path.contains(['{', '?', '#']);
        is_plain.then(|| truncated(path, MAX_TEXT_CHARS))
    }
}

fn route(operation: &Operation<'_>, base_path: &str) -> Result<Route, SkipReason> {
    let object = operation.object.as_ref().map_err(|error| SkipReason::Unreadable(error.detail.clone()))?;
    if operation.method == "TRACE" {
        return Err(SkipReason::Method(operation.method));
    }
    let (path, is_wider) = permission_path(operation.path);
    let path = format!("{}{path}", base_path.trim_end_matches('/'));
    let permission = permission(operation.method, &path)?;
    let tag = object.value.get("tags").and_then(|tags| tags.get(0)).and_then(|tag| tag.as_str());
    let segment = || path.split('/').nth(1).unwrap_or_default();
    let group = truncated(tag.filter(|tag| !tag.is_empty()).unwrap_or_else(segment), MAX_TEXT_CHARS);
    let summary = object.text("summary").or_else(|| object.text("operationId")).unwrap_or_default();
    Ok(Route { permission, group, summary: truncated(summary, MAX_TEXT_CHARS), is_wider })
}

/// Converts a path of a document to the path of a permission. The second value is whether the
/// result covers other paths too.
pub(crate) fn permission_path(path: &str) -> (String, bool) {
    let mut is_wider = false;
    let segments: Vec<_> = path.split('/').collect();
    let last = segments.len().saturating_sub(1);
    let segments = segments.iter().enumerate().map(|(at, segment)| {
        let Some((before, (name, after))) =
            segment.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        else {
            return (*segment).to_owned();
        };
        // A permission's variable is always a whole segment.
        let is_whole = before.is_empty() && after.is_empty();
        is_wider = is_wider || !is_whole;
        let is_tail = at == last && is_whole && name.ends_with('+');
        let name = variable_name(name);
        if is_tail { format!("{{{name}+}}") } else { format!("{{{name}}}") }
    });
    let path = segments.collect::<Vec<_>>().join("/");
    (path, is_wider)
}

/// The name that a permission can have for a variable of a document's path.
pub(crate) fn variable_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
    let name: String = name.trim_end_matches('+').chars().map(plain).take(MAX_TEXT_CHARS).collect();
    if name.is_empty() { "name".to_owned() } else { name }
}

fn permission(method: &str, path: &str) -> Result<Permission, SkipReason> {
    let permission = Permission::parse(&format!("{method} {path}")).map_err(SkipReason::Path)?;
    permission.check_reachable().map_err(SkipReason::Unreachable)?;
    Ok(permission)
}

/// The first `most` characters of `text`.
fn truncated(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
