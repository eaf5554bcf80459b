//! `PutEvents`, the operation of `EventBridge` that the sweep of keys calls.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::services::{Answer, failure};

/// The entries that were published.
pub(crate) type Published = Arc<Mutex<Vec<Value>>>;

/// Logs the notice of each entry.
pub(crate) fn log(entries: &[Value]) {
    for entry in entries {
        let detail: Value = serde_json::from_str(text(entry, "Detail")).unwrap_or_default();
        tracing::info!(notice = text(&detail, "message"), "{}", text(entry, "DetailType"));
    }
}

/// Answers the request `body` for `operation`.
pub(crate) fn answer(published: &Published, operation: &str, body: &[u8]) -> Answer {
    if operation != "PutEvents" {
        return failure("InvalidAction", "local mode only supports PutEvents");
    }
    let mut request: Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = request.get_mut("Entries").and_then(Value::as_array_mut).map(std::mem::take);
    let entries = entries.unwrap_or_default();
    // The limits of EventBridge: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
    if !(1..=10).contains(&entries.len()) {
        return failure("ValidationException", "Entries must have 1 to 10 members");
    }
    let mut results = Vec::new();
    for entry in entries {
        let detail: Value = serde_json::from_str(text(&entry, "Detail")).unwrap_or_default();
        if !detail.is_object() || text(&entry, "Source").is_empty() || text(&entry, "DetailType").is_empty() {
            results.push(json!({ "ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed." }));
            continue;
        }
        results.push(json!({ "EventId": "00000000-0000-0000-0000-000000000001" }));
        if let Ok(mut published) = published.lock() {
            published.push(entry);
        }
    }
    let failed = results.iter().filter(|result| result.get("ErrorCode").is_some()).count();
    (200, json!({ "FailedEntryCount": failed, "Entries": results }).to_string())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
