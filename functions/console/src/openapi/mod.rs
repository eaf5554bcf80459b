//! Reads the operations of an `OpenAPI` document (<https://spec.openapis.org/oas/v3.1.1.html>)
//! as permissions. Hostile documents cost bounded time and memory.

mod yaml;

use serde_json::{Map, Value};
use shared::policy::{InvalidPermission, Permission, Unreachable};

/// The maximum size of a document, in bytes.
pub(crate) const MAX_BYTES: usize = 1_000_000;
/// The maximum number of operations in a document.
const MAX_OPERATIONS: usize = 2_000;
/// The maximum number of characters of a group's name and of a summary. Longer texts are
/// truncated.
const MAX_TEXT_CHARS: usize = 100;

/// The members of a path item that are operations, and their methods. The last one is API
/// Gateway's extension for all methods.
const METHODS: [(&str, &str); 9] = [
    ("get", "GET"),
    ("head", "HEAD"),
    ("options", "OPTIONS"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
    ("trace", "TRACE"),
    ("x-amazon-apigateway-any-method", "ANY"),
];

/// The operations of a document.
#[derive(Default)]
pub(crate) struct Document {
    /// In the order of their paths.
    pub(crate) operations: Vec<Operation>,
    pub(crate) skipped: Vec<Skipped>,
    /// The path of the first server's URL, if there is one.
    pub(crate) server_path: Option<String>,
}

/// An operation that a permission can permit.
pub(crate) struct Operation {
    pub(crate) permission: Permission,
    /// The first tag or, without a tag, the first segment of the path.
    pub(crate) group: String,
    pub(crate) summary: String,
    /// Whether the permission covers other paths too, because the document's path has a
    /// parameter in a part of a segment.
    pub(crate) is_wider: bool,
}

/// An operation that no permission can permit.
pub(crate) struct Skipped {
    /// Its position in the document, as a JSON pointer (RFC 6901).
    pub(crate) pointer: String,
    pub(crate) reason: SkipReason,
}

/// Why no permission can permit an operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SkipReason {
    #[error("A permission cannot contain the method {0}.")]
    Method(&'static str),
    #[error("The permission {0}.")]
    Path(InvalidPermission),
    #[error("The permission {0}.")]
    Unreachable(Unreachable),
    #[error("References are not supported.")]
    Reference,
    #[error("The value must be an object.")]
    NotAnObject,
}

/// Why a text is not an `OpenAPI` document that can be read. Completes a sentence that begins
/// with "the document".
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidDocument {
    #[error("is empty. Paste an OpenAPI document")]
    Empty,
    #[error("must be at most 1 MB")]
    TooLarge,
    #[error("is not valid JSON. Line {}, column {}: {}", .0.line(), .0.column(), category(.0))]
    Json(serde_json::Error),
    #[error("is not valid YAML: {0}")]
    Yaml(yaml::InvalidYaml),
    #[error("must be an object")]
    NotAnObject,
    #[error("is a Swagger 2.0 document. Convert it to OpenAPI 3 first")]
    Swagger,
    #[error("must be an OpenAPI 3 document. Its openapi field must be a version such as 3.1.0")]
    Version,
    #[error("must have a paths object")]
    Paths,
    #[error("has more than {MAX_OPERATIONS} operations")]
    TooManyOperations,
}

impl Document {
    /// Reads a document in JSON or YAML. Each path is below `base_path`, which can be empty.
    pub(crate) fn read(text: &str, base_path: &str) -> Result<Self, InvalidDocument> {
        if text.trim().is_empty() {
            return Err(InvalidDocument::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(InvalidDocument::TooLarge);
        }
        let is_json = text.trim_start().starts_with('{');
        let root = if is_json {
            serde_json::from_str(text).map_err(InvalidDocument::Json)?
        } else {
            yaml::parse(text).map_err(InvalidDocument::Yaml)?
        };
        let root = root.as_object().ok_or(InvalidDocument::NotAnObject)?;
        if root.contains_key("swagger") {
            return Err(InvalidDocument::Swagger);
        }
        let version = root.get("openapi").and_then(Value::as_str);
        if !version.is_some_and(|version| version == "3" || version.starts_with("3.")) {
            return Err(InvalidDocument::Version);
        }
        let mut document = Self { server_path: server_path(root), ..Self::default() };
        let paths = match root.get("paths") {
            // A document can describe only webhooks.
            None | Some(Value::Null) => return Ok(document),
            Some(paths) => paths.as_object().ok_or(InvalidDocument::Paths)?,
        };
        for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
            document.add_path(base_path, path, item)?;
        }
        document.operations.sort_by(|a, b| a.permission.path().cmp(b.permission.path()));
        Ok(document)
    }

    fn add_path(&mut self, base_path: &str, path: &str, item: &Value) -> Result<(), InvalidDocument> {
        let pointer = format!("/paths/{}", path.replace('~', "~0").replace('/', "~1"));
        let Some(item) = item.as_object() else {
            return self.skip(pointer, SkipReason::NotAnObject);
        };
        if item.contains_key("$ref") {
            self.skip(format!("{pointer}/$ref"), SkipReason::Reference)?;
        }
        let (path, is_wider) = permission_path(base_path, path);
        for (member, method) in METHODS {
            let Some(operation) = item.get(member).filter(|operation| !operation.is_null()) else { continue };
            let pointer = format!("{pointer}/{member}");
            let Some(operation) = operation.as_object() else {
                self.skip(pointer, SkipReason::NotAnObject)?;
                continue;
            };
            if method == "TRACE" {
                self.skip(pointer, SkipReason::Method(method))?;
                continue;
            }
            match permission(method, &path) {
                Ok(permission) => {
                    self.check_number()?;
                    let (group, summary) = (group(operation, &path), summary(operation));
                    self.operations.push(Operation { permission, group, summary, is_wider });
                }
                Err(reason) => self.skip(pointer, reason)?,
            }
        }
        Ok(())
    }

    fn skip(&mut self, pointer: String, reason: SkipReason) -> Result<(), InvalidDocument> {
        self.check_number()?;
        self.skipped.push(Skipped { pointer: truncated(&pointer, 3 * MAX_TEXT_CHARS), reason });
        Ok(())
    }

    /// Checks that there can be another operation.
    fn check_number(&self) -> Result<(), InvalidDocument> {
        let is_full = self.operations.len() + self.skipped.len() >= MAX_OPERATIONS;
        if is_full { Err(InvalidDocument::TooManyOperations) } else { Ok(()) }
    }
}

/// The path of the first server's URL. `None` if the URL has no path, or has variables.
fn server_path(root: &Map<String, Value>) -> Option<String> {
    let url = root.get("servers")?.get(0)?.get("url")?.as_str()?;
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
        None => url,
    };
    let path = path.trim_end_matches('/');
    let is_plain = path.starts_with('/') && !path.contains(['{', '?', '#']);
    is_plain.then(|| truncated(path, MAX_TEXT_CHARS))
}

/// Converts a path of a document to the path of a permission. The second value is whether the
/// result covers other paths too.
fn permission_path(base_path: &str, path: &str) -> (String, bool) {
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
        let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
        let name: String = name.trim_end_matches('+').chars().map(plain).take(MAX_TEXT_CHARS).collect();
        let name = if name.is_empty() { "name" } else { &name };
        if is_tail { format!("{{{name}+}}") } else { format!("{{{name}}}") }
    });
    let path = segments.collect::<Vec<_>>().join("/");
    (format!("{}{path}", base_path.trim_end_matches('/')), is_wider)
}

fn permission(method: &str, path: &str) -> Result<Permission, SkipReason> {
    let permission = Permission::parse(&format!("{method} {path}")).map_err(SkipReason::Path)?;
    permission.check_reachable().map_err(SkipReason::Unreachable)?;
    Ok(permission)
}

fn group(operation: &Map<String, Value>, path: &str) -> String {
    let tag = operation.get("tags").and_then(|tags| tags.get(0)).and_then(Value::as_str);
    let segment = || path.split('/').nth(1).unwrap_or_default();
    truncated(tag.filter(|tag| !tag.is_empty()).unwrap_or_else(segment), MAX_TEXT_CHARS)
}

fn summary(operation: &Map<String, Value>) -> String {
    let text = |member| operation.get(member).and_then(Value::as_str);
    truncated(text("summary").or_else(|| text("operationId")).unwrap_or_default(), MAX_TEXT_CHARS)
}

/// The first `most` characters of `text`.
fn truncated(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What is wrong with a JSON text, without the position.
fn category(error: &serde_json::Error) -> &'static str {
    if error.is_eof() {
        "the text ends too early"
    } else if error.is_syntax() {
        "unexpected text, or values nested more than 127 levels deep"
    } else {
        "invalid value"
    }
}
