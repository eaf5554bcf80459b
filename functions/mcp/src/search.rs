//! The tool `search_tools`, for APIs with many tools: a search over the tools that the caller's
//! roles permit.

use std::cmp::Reverse;
use std::sync::Arc;

use rmcp::model::{CallToolResult, JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use shared::tools::ToolName;

use crate::catalog::ApiTool;
use crate::guard::Caller;
use crate::handler::Stop;
use crate::record::Outcome;
use crate::result;
use crate::services::Services;

/// The name of the tool. No tool of an API can have it.
pub(crate) const NAME: &str = ToolName::SEARCH;

/// The maximum number of tools for which no search is offered.
const MAX_UNSEARCHED: usize = 60;

const MAX_QUERY_CHARS: usize = 200;
const MAX_RESULTS: usize = 20;
const DEFAULT_RESULTS: usize = 10;

/// The weights of a word in the name, title, path and description of a tool. A word that only
/// starts with the searched one counts half.
const WEIGHTS: [usize; 4] = [16, 8, 4, 2];

/// Whether the search is offered to a caller with this number of tools.
pub(crate) fn is_offered(tools: usize) -> bool {
    tools > MAX_UNSEARCHED
}

/// The published form of the search.
pub(crate) fn tool() -> Tool {
    let schema = json!({
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "description": "Words that describe the task, such as \"list invoices\".",
                "minLength": 1,
                "maxLength": MAX_QUERY_CHARS,
            },
            "limit": {
                "type": "integer",
                "description": "The maximum number of tools to return.",
                "minimum": 1,
                "maximum": MAX_RESULTS,
                "default": DEFAULT_RESULTS,
            },
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    let schema = if let Value::Object(schema) = schema { schema } else { JsonObject::new() };
    let description = "Finds tools of this API by words in their names, paths and descriptions. Returns the best \
                       tools with their input schemas. Call the tools under these names.";
    let mut tool = Tool::new(NAME, description, Arc::new(schema));
    tool.title = Some("Search tools".to_owned());
    tool.annotations = Some(ToolAnnotations::new().read_only(true).open_world(false));
    tool
}

/// Answers a call of the search.
pub(crate) async fn search(
    services: &Services,
    caller: &Caller,
    arguments: &JsonObject,
) -> Result<CallToolResult, Stop> {
    let (permitted, api) = services.find_permitted(caller).await?;
    let (words, limit) = match read(arguments) {
        Ok(query) => query,
        Err(problem) => {
            caller.record.end(Outcome::InvalidArguments);
            return Ok(result::error(problem.to_owned()));
        }
    };
    let mut hits: Vec<(usize, &ApiTool)> = api
        .permitted(&permitted.roles)
        .map(|(_, tool)| (score(tool, &words), tool))
        .filter(|(score, _)| *score > 0)
        .collect();
    hits.sort_by_key(|(score, tool)| (Reverse(*score), tool.tool.name.as_str()));
    let found: Vec<Value> = hits.iter().take(limit).map(|(_, tool)| hit(tool)).collect();
    caller.record.end(Outcome::Searched);
    Ok(CallToolResult::structured(json!({ "tools": found })))
}

/// The words of the query in lower case, and the maximum number of results.
fn read(arguments: &JsonObject) -> Result<(Vec<String>, usize), &'static str> {
    if arguments.keys().any(|name| name != "query" && name != "limit") {
        return Err("search_tools takes only query and limit.");
    }
    let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default();
    if query.chars().count() > MAX_QUERY_CHARS {
        return Err("query must have at most 200 characters.");
    }
    let mut words = words(query);
    words.sort_unstable();
    words.dedup();
    if words.is_empty() {
        return Err("query must contain at least one word.");
    }
    let limit = match arguments.get("limit") {
        None | Some(Value::Null) => DEFAULT_RESULTS,
        Some(limit) => limit
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=MAX_RESULTS).contains(limit))
            .ok_or("limit must be a whole number from 1 to 20.")?,
    };
    Ok((words, limit))
}

fn hit(tool: &ApiTool) -> Value {
    let tool = &tool.tool;
    json!({
        "name": tool.name.as_str(),
        "description": tool.description,
        "inputSchema": tool.input_schema,
    })
}

/// The sum of the weights of all searched words.
fn score(tool: &ApiTool, searched: &[String]) -> usize {
    let tool = &tool.tool;
    let title = tool.title.as_deref().unwrap_or_default();
    let texts = [tool.name.as_str(), title, tool.template.as_str(), &tool.description];
    let fields = texts.map(words);
    let weight = |word: &String| {
        let of_field = |(field, weight): (&Vec<String>, usize)| {
            if field.contains(word) {
                weight
            } else if field.iter().any(|other| other.starts_with(word.as_str())) {
                weight / 2
            } else {
                0
            }
        };
        fields.iter().zip(WEIGHTS).map(of_field).sum::<usize>()
    };
    searched.iter().map(weight).sum()
}

/// The words of a text in lower case. A capital letter after a small one starts a word, as in
/// `listInvoices`.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for character in text.chars() {
        if !character.is_alphanumeric() || (was_lower && character.is_uppercase()) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        was_lower = character.is_lowercase();
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}
