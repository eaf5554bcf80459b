//! Reads the OpenAPI document of a request, and compiles it into tools.

use serde_json::value::RawValue;
use shared::domain::{ApiTitle, RoutePrefix, redact_credentials};
use shared::http::Fields;
use shared::openapi::{Document, DocumentError, MAX_BYTES};
use shared::tools::{Compiled, Selection, Skipped, Tool, compile};

use crate::registered_api::summaries;

/// The field with the document.
pub(crate) const FIELD: &str = "/openapi";

/// The maximum number of skipped operations that are stored.
const MAX_SKIPPED: usize = 50;
/// The maximum number of characters of a pointer or a sentence about a document.
const MAX_CHARS: usize = 500;
/// The maximum size of the tools in a response, in bytes. Lambda's responses have at most 6 MB.
const MAX_SUMMARY_BYTES: usize = 4_000_000;

/// A document and its tools.
#[derive(Debug)]
pub(crate) struct CompiledDocument {
    pub(crate) text: String,
    pub(crate) title: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) tools: Vec<Tool>,
    /// The first operations that cannot be tools.
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) skipped_count: usize,
}

/// The text of the document in a request: an object, or the content of a string. Credentials are
/// redacted, so that the table does not contain them.
pub(crate) fn text(fields: &mut Fields, value: &RawValue) -> Option<String> {
    let text = unredacted(fields, value.get())?;
    // `Document::read` checks the size of the text as it was received.
    if text.len() > MAX_BYTES { Some(text) } else { Some(redact_credentials(&text).into_owned()) }
}

fn unredacted(fields: &mut Fields, json: &str) -> Option<String> {
    if json.starts_with('{') {
        return Some(json.to_owned());
    }
    fields.check(FIELD, serde_json::from_str(json).map_err(|_| "must be an object or a string"))
}

/// Reads a document. Records its errors.
pub(crate) fn read(fields: &mut Fields, text: &str) -> Option<Document> {
    Document::read(text).map_err(|errors| refuse(fields, errors)).ok()
}

/// Compiles the selected operations of a document. Records its errors.
pub(crate) fn compiled(
    fields: &mut Fields,
    text: String,
    document: &Document,
    selection: &Selection<'_>,
) -> Option<CompiledDocument> {
    let Compiled { tools, skipped } =
        compile(document, selection).map_err(|errors| refuse(fields, errors)).ok()?;
    if tools.is_empty() {
        fields.refuse(FIELD, no_tools(selection, &skipped));
        return None;
    }
    if let Err(problem) = check_tools(&tools, selection.route_prefix) {
        fields.refuse(FIELD, problem);
        return None;
    }
    let info = |member| document.info(member).and_then(|text| short(&text));
    let skipped_count = skipped.len();
    let cut = |skipped: Skipped| Skipped { pointer: cut(&skipped.pointer), reason: cut(&skipped.reason) };
    Some(CompiledDocument {
        title: info("title"),
        version: info("version"),
        text,
        tools,
        skipped: skipped.into_iter().take(MAX_SKIPPED).map(cut).collect(),
        skipped_count,
    })
}

fn refuse(fields: &mut Fields, errors: Vec<DocumentError>) {
    for error in errors {
        fields.refuse(&format!("{FIELD}{}", cut(&error.pointer)), cut(&error.detail));
    }
}

/// Why a document has no tools.
fn no_tools(selection: &Selection<'_>, skipped: &[Skipped]) -> String {
    let is_selective = selection.include.is_some() || !selection.exclude.is_empty();
    let chosen = if is_selective { " that `include` and `exclude` select and" } else { "" };
    let example =
        skipped.first().map(|first| format!(". At {}: {}", cut(&first.pointer), cut(&first.reason)));
    format!("has no operation{chosen} that can be a tool{}", example.unwrap_or_default())
}

/// Checks that a response can list the tools.
fn check_tools(tools: &[Tool], prefix: &RoutePrefix) -> Result<(), String> {
    let size = serde_json::to_vec(&summaries(tools, prefix)).unwrap_or_default().len();
    if size > MAX_SUMMARY_BYTES {
        return Err("has more tools with long descriptions than one response can list. Select fewer with \
                    `include` and `exclude`, or shorten the descriptions"
            .to_owned());
    }
    Ok(())
}

/// A text of the document that can be shown, if it is short and clean.
fn short(text: &str) -> Option<String> {
    ApiTitle::parse(text).ok().map(|title| title.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
