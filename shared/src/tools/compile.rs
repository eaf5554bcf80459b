//! Compiles a document into tools.

use serde_json::{Value, json};

use super::name::Names;
use super::text::clean;
use super::{Hints, JsonObject, Template, Tool};
use crate::domain::RoutePrefix;
use crate::openapi::{Document, DocumentError, Operation};
use crate::policy::{Method, Permission};

const MAX_TITLE_CHARS: usize = 100;
const MAX_DESCRIPTION_CHARS: usize = 1_000;

/// Which operations become tools.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Only operations that one of these permissions covers. `None` for all operations.
    pub include: Option<&'a [Permission]>,
    /// No operations that one of these permissions covers.
    pub exclude: &'a [Permission],
    /// What permissions have before the paths of the document.
    pub route_prefix: &'a RoutePrefix,
}

/// The tools of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// In the order of their paths, and then of their methods.
    pub tools: Vec<Tool>,
    pub skipped: Vec<Skipped>,
}

/// A selected operation that is not a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The position in the document, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The reason, as a sentence.
    pub reason: String,
}

/// Compiles the selected operations of a document.
///
/// # Errors
/// What is wrong with the document: at most 20 errors.
pub fn compile(document: &Document, selection: &Selection<'_>) -> Result<Compiled, Vec<DocumentError>> {
    let mut names = Names::new();
    let mut compiled = Compiled { tools: Vec::new(), skipped: Vec::new() };
    for operation in document.operations() {
        if let Some(tool) = tool(&operation, &mut names, selection) {
            compiled.tools.push(tool);
        }
    }
    Ok(compiled)
}

fn tool(operation: &Operation<'_>, names: &mut Names, selection: &Selection<'_>) -> Option<Tool> {
    let object = operation.object.as_ref().ok()?;
    let method = Method::parse(operation.method).ok()?;
    let template = Template::from_document(operation.path).ok()?;
    let name = names.add(object.text("operationId"), method, operation.path);
    let permission =
        Permission::parse(&format!("{} {}{template}", method.name(), selection.route_prefix)).ok()?;
    permission.check_reachable().ok()?;
    let title = object.text("summary").and_then(|text| clean(text, MAX_TITLE_CHARS));
    let description = object.text("description").or_else(|| object.text("summary"));
    let description = description.and_then(|text| clean(text, MAX_DESCRIPTION_CHARS)).unwrap_or_default();
    Some(Tool {
        name,
        title,
        description: format!("{description}\n{} {template}", method.name()).trim_start().to_owned(),
        method,
        template,
        input_schema: object_schema(),
        output_schema: None,
        hints: Hints::new(method),
        parameters: Vec::new(),
    })
}

fn object_schema() -> JsonObject {
    match json!({ "type": "object", "properties": {}, "additionalProperties": false }) {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            JsonObject::new()
        }
    }
}
