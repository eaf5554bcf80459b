//! JSON strings, written faster than by a serializer, and JSON pointers.

/// Appends `text` as a JSON string.
pub(crate) fn append_string(json: &mut Vec<u8>, text: &str) {
    // Counting does not stop early, so the compiler can check many bytes at once.
    let escapes = text.bytes().filter(|byte| matches!(byte, ..b' ' | b'"' | b'\\')).count();
    if escapes > 0 {
        // Writing a string to memory does not fail.
        let _ = serde_json::to_writer(json, text);
    } else {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    }
}

/// Escapes a member's name for a JSON pointer (RFC 6901, section 3).
pub(crate) fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
