//! The results of an operation.

use serde_json::{Value, json};

use super::JsonObject;
use super::body::{is_json, media_types};
use super::patterns::Patterns;
use super::schema::{Direction, Tree};
use crate::openapi::{Document, DocumentError, Located, Operation};

/// The maximum length of a schema as JSON, in bytes. Larger ones are left out.
const MAX_BYTES: usize = 8_000;

/// The schema of an operation's results: the first successful response, if it is a JSON object.
///
/// Every object satisfies the schema. Clients discard a result that does not match, even if the
/// call has changed something, and APIs often differ from their documents.
///
/// # Errors
/// What is wrong with the schema.
pub(super) fn schema<'a>(
    document: &'a Document,
    operation: &Operation<'a>,
    patterns: &mut Patterns,
) -> Result<Option<JsonObject>, Vec<DocumentError>> {
    let Some(source) = source(document, operation).map_err(|error| vec![error])? else { return Ok(None) };
    let mut root = JsonObject::new();
    root.insert("type".to_owned(), json!("object"));
    let mut tree = Tree::new(document, Direction::Output, patterns, root);
    tree.add_alternative(source);
    let mut schema = tree.finish()?;
    let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") else { return Ok(None) };
    if !alternatives.first().is_some_and(is_object) {
        return Ok(None);
    }
    alternatives.push(json!({ "type": "object" }));
    let is_short = serde_json::to_string(&schema).is_ok_and(|text| text.len() <= MAX_BYTES);
    Ok(is_short.then_some(schema))
}

/// The schema of the first successful response in the document, if its content is JSON.
fn source<'a>(
    document: &'a Document,
    operation: &Operation<'a>,
) -> Result<Option<Located<'a>>, DocumentError> {
    let responses = operation.object.as_ref().ok().and_then(|object| object.member("responses"));
    // A range such as `2XX` comes after the single statuses.
    let successful = responses.and_then(|responses| {
        let all = responses.members().filter(|(status, _)| status.len() == 3 && status.starts_with('2'));
        all.min_by_key(|(status, _)| *status)
    });
    let Some((_, response)) = successful else { return Ok(None) };
    let content = document.resolve(response)?.member("content");
    let media = content.and_then(|content| {
        let media = media_types(&content);
        media.into_iter().find(|(name, _)| is_json(name))
    });
    Ok(media.and_then(|(_, media)| media.member("schema")))
}

/// Whether a schema describes objects.
fn is_object(schema: &Value) -> bool {
    if let Some(types) = schema.get("type") {
        return types == "object";
    }
    let parts = |keyword| schema.get(keyword).and_then(Value::as_array).filter(|parts| !parts.is_empty());
    parts("allOf").is_some_and(|parts| parts.iter().any(is_object))
        || parts("anyOf").is_some_and(|parts| parts.iter().all(is_object))
}
