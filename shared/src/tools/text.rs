//! Texts of a document, in the form in which agents read them.

use crate::domain::{is_invisible, redact_credentials};

/// The text without characters that are invisible or control something, without credentials, and
/// with at most `most` characters. `None` if nothing is left.
pub(super) fn clean(text: &str, most: usize) -> Option<String> {
    let is_kept = |c: &char| matches!(c, '\n' | '\t') || !(c.is_control() || is_invisible(*c));
    // No more than this is looked at, so that long texts cost little.
    let text: String = text.chars().take(4 * most).filter(is_kept).collect();
    let text = redact_credentials(text.trim());
    if text.is_empty() {
        return None;
    }
    let shortened = text.char_indices().nth(most).map(|_| {
        let start: String = text.chars().take(most.saturating_sub(1)).collect();
        format!("{}…", start.trim_end())
    });
    Some(shortened.unwrap_or_else(|| text.into_owned()))
}

/// The text with `_` in place of one or more characters that are not `plain`. Has at most `most`
/// characters, and no such `_` at the start or end. `None` if nothing is left.
pub(super) fn identifier(text: &str, most: usize, plain: impl Fn(char) -> bool) -> Option<String> {
    let mut name = String::new();
    for c in text.chars().take(4 * most) {
        if plain(c) && c != '_' {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    let name: String = name.trim_matches('_').chars().take(most).collect();
    let name = name.trim_end_matches('_');
    if name.is_empty() { None } else { Some(name.to_owned()) }
}
