//! Secrets in texts that admins enter.

use shared::domain::{KEY_PREFIX, TOKEN_PREFIX, contains_credential};

/// Whether a text may contain a key, a token, a JWT or a private key. No page shows such a text
/// again.
pub(crate) fn may_contain_secret(text: &str) -> bool {
    // `"d"` and `"k"` are members of private and symmetric JWKs (RFC 7518, sections 6.2.2 and 6.4).
    let marks = [KEY_PREFIX, TOKEN_PREFIX, "PRIVATE KEY", "\"d\"", "\"k\""];
    marks.iter().any(|mark| text.contains(mark)) || contains_credential(text)
}
