//! Tags in a form: one on each line, as `name=value`.

use std::collections::BTreeMap;

use crate::view::form::FormErrors;

/// The text of `tags`.
pub(crate) fn text(tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect::<Vec<_>>().join("\n")
}

/// Parses the text of a form. The API checks each tag.
///
/// # Errors
/// A line is not a tag, or a tag is there twice.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, FormErrors> {
    let mut tags = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        // The messages do not quote the line, which could contain a key.
        let Some((tag, value)) = line.split_once('=') else {
            let problem = format!("line {number} must be a tag and its value, such as team=data");
            return Err(FormErrors::field("tags", problem));
        };
        if tags.insert(tag.trim().to_owned(), value.trim().to_owned()).is_some() {
            return Err(FormErrors::field("tags", format!("line {number} repeats a tag")));
        }
    }
    Ok(tags)
}
