//! What serde says of a body or a query, in the words of whoever sent it.

/// What is wrong, and with which member where the message itself names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wording {
    /// A member that is missing or stands twice.
    pub(super) member: Option<String>,
    /// What to do, to be read behind the member's name: `must be a list`.
    pub(super) detail: String,
}

/// Words `message`, which is serde's own. What it quotes of the input is left
/// out where it says nothing that the sender does not know.
pub(super) fn wording(message: &str) -> Wording {
    let of_member = |quoted: &str, detail: &str| Wording {
        member: Some(quoted.trim_matches('`').to_owned()),
        detail: detail.to_owned(),
    };
    if let Some(member) = message.strip_prefix("missing field ") {
        return of_member(member, "must be given");
    }
    if let Some(member) = message.strip_prefix("duplicate field ") {
        return of_member(member, "must stand once");
    }
    // Our own part is the last one: what the sender wrote cannot stand behind it.
    let detail = match message.rsplit_once(", expected ") {
        Some((problem, known)) if problem.starts_with("unknown field ") => {
            format!("is not known here: known are {}", list(known))
        }
        Some((problem, expected)) if problem.starts_with("invalid ") => {
            format!("must be {}", kind(expected))
        }
        _ if message == "unsupported value" => "must stand once".to_owned(),
        _ => message.to_owned(),
    };
    Wording { member: None, detail }
}

/// What serde lists as known, as a plain list.
fn list(known: &str) -> String {
    known.strip_prefix("one of ").unwrap_or(known).replace(" or ", ", ")
}

/// A kind of value, as JSON calls it.
fn kind(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "an object",
        "a boolean" | "\"true\", \"on\" or \"false\"" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, and not negative",
        structure if structure.starts_with("struct ") => "an object",
        other => other,
    }
}
