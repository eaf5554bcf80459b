//! Counts of the responses to concurrent requests.

use std::collections::BTreeMap;

use tests::Reply;

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
