//! Counts of responses and events.

use std::collections::BTreeMap;

use tests::{Harness, Reply};

/// The number of responses with each status and problem code.
pub(crate) fn tally(replies: &[Reply]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for reply in replies {
        let code = if reply.status < 300 { String::new() } else { format!(" {}", reply.code()) };
        *tally.entry(format!("{}{code}", reply.status)).or_insert(0) += 1;
    }
    tally
}

/// An expected result of [`tally`].
pub(crate) fn tallied(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(outcome, count)| ((*outcome).to_owned(), *count)).collect()
}

/// The number of audit events of this type in the table.
pub(crate) async fn count_events(harness: &Harness, kind: &str) -> usize {
    let events = harness.table.items("EVENTS#").await;
    events.iter().filter(|event| event["type"].as_s().unwrap() == kind).count()
}
