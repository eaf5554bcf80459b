//! The compiler of OpenAPI documents into tools, and the requests of tools.

use serde_json::{Value, json};
use shared::domain::RoutePrefix;
use shared::openapi::{Document, DocumentError};
use shared::tools::{Compiled, InvalidArguments, JsonObject, Selection, Tool, ToolRequest, compile};

mod documents;
mod hostile_documents;
mod permissions;
mod requests;

/// Compiles all operations of a document.
fn compile_all(document: &Document) -> Result<Compiled, Vec<DocumentError>> {
    let prefix = RoutePrefix::default();
    compile(document, &Selection { include: None, exclude: &[], route_prefix: &prefix })
}

/// The document with these paths.
fn document(paths: &Value) -> Document {
    Document::from_value(json!({ "openapi": "3.1.0", "paths": paths })).unwrap()
}

/// The only tool of the document with these paths.
fn only_tool(paths: &Value) -> Tool {
    let compiled = compile_all(&document(paths)).unwrap();
    assert_eq!(compiled.tools.len(), 1, "{:?}", compiled.skipped);
    compiled.tools.into_iter().next().unwrap()
}

/// A tool with these parameters and this body.
fn tool_with(path: &str, parameters: &Value, body: &Value) -> Tool {
    only_tool(&json!({ path: { "post": { "parameters": parameters, "requestBody": body } } }))
}

fn arguments(value: &Value) -> JsonObject {
    value.as_object().unwrap().clone()
}

fn request(tool: &Tool, values: &Value) -> Result<ToolRequest, InvalidArguments> {
    tool.request(arguments(values))
}

/// The errors of a document, as one text each.
fn texts(errors: &[DocumentError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
