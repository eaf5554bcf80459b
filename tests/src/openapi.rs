//! Compares the problems in responses with the description of the API.

use std::sync::LazyLock;

use serde_json::Value;

use crate::Reply;

static DOCUMENT: LazyLock<Value> = LazyLock::new(local::openapi::document);

/// Fails if `reply` is a problem that the description of its operation does not mention.
pub(crate) fn assert_problem_is_described(method: &str, path: &str, reply: &Reply) {
    if reply.headers.get("content-type").map(String::as_str) != Some("application/problem+json") {
        return;
    }
    let path = path.split('?').next().unwrap();
    let mut paths = DOCUMENT["paths"].as_object().unwrap().iter();
    let operation = paths.find_map(|(template, item)| {
        item.get(method.to_lowercase()).filter(|_| matches(template, path)).cloned()
    });
    let Some(operation) = operation else { return };
    let (status, code) = (reply.status.to_string(), reply.code());
    let description = operation["responses"][&status]["description"].as_str().unwrap_or_default();
    assert!(
        description.contains(&format!("`{code}`")),
        "{} responds with {status} `{code}`: list the code in its `#[utoipa::path]`",
        operation["operationId"]
    );
}

/// Whether `path` matches the path template `template`.
fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let matches = |(template, segment): (&&str, &&str)| template == segment || template.starts_with('{');
    template.len() == path.len() && template.iter().zip(&path).all(matches)
}
