//! The log lines of audit events.

use std::collections::BTreeSet;

use serde_json::Value;

/// The lines with this message.
pub(crate) fn with_message(lines: &[Value], message: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["message"] == message).cloned().collect()
}

/// The event ids in the lines with this message. Fails if two lines have the same id.
pub(crate) fn event_ids(lines: &[Value], message: &str) -> BTreeSet<String> {
    let lines = with_message(lines, message);
    let ids: BTreeSet<String> =
        lines.iter().map(|line| line["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), lines.len(), "two lines have the same event id");
    ids
}
