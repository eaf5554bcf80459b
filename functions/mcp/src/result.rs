//! The result of a call, from the API's answer. The answer is data: nothing in it becomes a
//! message of the protocol.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use rmcp::model::{CallToolResult, ContentBlock};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use shared::domain::is_control;
use shared::telemetry::loggable;
use shared::tools::Tool;

use crate::upstream::{Answer, MAX_BODY_BYTES, NoAnswer};

/// The maximum number of bytes of a body in a result.
const MAX_SHOWN_BYTES: usize = 100_000;

/// The maximum number of characters of a header's value in a result.
const MAX_HEADER_CHARS: usize = 100;

/// The sentence about a change that may or may not have happened.
const UNSURE: &str = "The request may have been carried out. Check before you repeat it.";

/// A request, as errors name it.
pub(crate) struct Sent<'a> {
    pub(crate) tool: &'a Tool,
    pub(crate) path: &'a str,
    /// The token of the request, which an API could repeat in its answer.
    pub(crate) token: &'a SecretString,
}

/// An error that the agent reads.
pub(crate) fn error(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// The result of a call that got no answer.
pub(crate) fn from_no_answer(sent: &Sent<'_>, cause: &NoAnswer) -> CallToolResult {
    let what = match cause {
        NoAnswer::BaseUrl | NoAnswer::Request | NoAnswer::Connect(_) | NoAnswer::ConnectTimeout => {
            "cannot be reached, so the request was not sent. Try again later, or tell an admin"
        }
        NoAnswer::Timeout => "did not answer in time",
        NoAnswer::Broken(_) => "sent an answer that is incomplete or not valid HTTP",
        NoAnswer::Compressed => "sent a compressed answer, which is not supported",
    };
    let mut text = format!("{} {}: the API {what}.", sent.tool.method.name(), sent.path);
    if cause.may_be_sent() && !sent.tool.hints.read_only {
        text = format!("{text} {UNSURE}");
    }
    error(text)
}

/// The result of a call that got an answer.
pub(crate) fn from_answer(sent: &Sent<'_>, answer: &Answer) -> CallToolResult {
    if answer.status.is_success() { success(sent, answer) } else { failure(sent, answer) }
}

fn success(sent: &Sent<'_>, answer: &Answer) -> CallToolResult {
    let body = &answer.body.bytes;
    if body.is_empty() {
        let text = format!("{}. The request succeeded.", status_line(answer.status));
        return success_with(sent.tool, text, None);
    }
    let kind = header(answer, &CONTENT_TYPE);
    if !is_text(kind.as_deref()) {
        let kind = kind.unwrap_or_default();
        let text = format!("The response is {} of {kind}. This tool shows only text and JSON.", size(answer));
        return success_with(sent.tool, text, None);
    }
    let json = json_of(sent, answer);
    let text = json.as_ref().map_or_else(|| text_of(sent, answer), Value::to_string);
    if !answer.body.is_complete || text.len() > MAX_SHOWN_BYTES {
        return success_with(sent.tool, shown(answer, &text), None);
    }
    success_with(sent.tool, text, json)
}

/// A successful result. An object is its structured content. With an output schema, clients refuse
/// a result without structured content, so other values are put into an object.
fn success_with(tool: &Tool, text: String, json: Option<Value>) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    let has_schema = tool.output_schema.is_some();
    result.structured_content = match json {
        Some(object @ Value::Object(_)) => Some(object),
        Some(value) => has_schema.then(|| json!({ "result": value })),
        None => has_schema.then(|| json!({})),
    };
    result
}

fn failure(sent: &Sent<'_>, answer: &Answer) -> CallToolResult {
    let (status, method) = (answer.status, sent.tool.method.name());
    let mut text = format!("The API answered {} to {method} {}.", status_line(status), sent.path);
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        text.push_str(" Redirects are not followed.");
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        text.push_str(
            " Keyward permits this request. Either the API itself refused it, or its ID or route prefix in Keyward \
             is wrong. Tell an admin.",
        );
    }
    if let Some(wait) = header(answer, &RETRY_AFTER) {
        text = format!("{text} Retry-After: {wait}.");
    }
    if status.is_server_error() && !sent.tool.hints.read_only {
        text = format!("{text} {UNSURE}");
    }
    if !answer.body.bytes.is_empty() && is_text(header(answer, &CONTENT_TYPE).as_deref()) {
        let body = json_of(sent, answer).map_or_else(|| text_of(sent, answer), |json| json.to_string());
        text = format!("{text}\n\n{}", shown(answer, &body));
    }
    error(text)
}

/// The body as JSON with only safe texts, if the body is complete and valid JSON. Escapes in the
/// JSON text could hide what its texts contain.
fn json_of(sent: &Sent<'_>, answer: &Answer) -> Option<Value> {
    let is_json = answer.body.is_complete && is_json(header(answer, &CONTENT_TYPE).as_deref());
    let value = is_json.then(|| serde_json::from_str(&text_of(sent, answer)).ok()).flatten()?;
    Some(safe_json(sent, value))
}

/// The body as safe text.
fn text_of(sent: &Sent<'_>, answer: &Answer) -> String {
    safe(sent, &String::from_utf8_lossy(&answer.body.bytes))
}

/// The text without the token of the request, and without characters that could mislead a
/// terminal.
fn safe(sent: &Sent<'_>, text: &str) -> String {
    let text: String = text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_control(*c)).collect();
    text.replace(sent.token.expose_secret(), "[redacted]")
}

/// The value, with each text made safe.
fn safe_json(sent: &Sent<'_>, value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(safe(sent, &text)),
        Value::Array(items) => items.into_iter().map(|item| safe_json(sent, item)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (safe(sent, &name), safe_json(sent, value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// The start of a text, and how much of the body it is.
fn shown(answer: &Answer, text: &str) -> String {
    let start = text.get(..text.floor_char_boundary(MAX_SHOWN_BYTES)).unwrap_or_default();
    if start.len() == text.len() && answer.body.is_complete {
        return start.to_owned();
    }
    format!("{start}… (first {} of {})", start.len(), size(answer))
}

/// The size of the body, as far as it is known.
fn size(answer: &Answer) -> String {
    if answer.body.is_complete {
        return format!("{} bytes", answer.body.bytes.len());
    }
    let claimed = header(answer, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    claimed.map_or_else(|| format!("more than {MAX_BODY_BYTES} bytes"), |length| format!("{length} bytes"))
}

/// A status with its standard reason.
fn status_line(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("{} {reason}", status.as_u16()).trim_end().to_owned()
}

/// The value of a header, if it is text.
fn header(answer: &Answer, name: &HeaderName) -> Option<String> {
    let value = answer.headers.get(name)?.to_str().ok()?;
    Some(loggable(value, MAX_HEADER_CHARS).into_owned())
}

/// The media type without its parameters, in lower case.
fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(kind: Option<&str>) -> bool {
    kind.map(essence).is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

/// Whether a body with this media type is shown. A body without a type is taken for text.
fn is_text(kind: Option<&str>) -> bool {
    const OTHERS: [&str; 3] = ["application/xml", "application/yaml", "application/x-www-form-urlencoded"];
    let Some(essence) = kind.map(essence) else { return true };
    let is_other = essence.ends_with("+xml") || OTHERS.contains(&essence.as_str());
    essence.starts_with("text/") || is_json(kind) || is_other
}
