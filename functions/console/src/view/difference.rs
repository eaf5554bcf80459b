//! The difference between two lists of permissions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::view::permissions::beyond;

/// The difference that a change of permissions makes.
pub(crate) struct Difference {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// All permissions after the change.
    pub(crate) permissions: Vec<String>,
}

impl Difference {
    pub(crate) fn new(before: &[String], after: Vec<String>) -> Self {
        Self { added: beyond(&after, before), removed: beyond(before, &after), permissions: after }
    }

    /// Whether the change permits and refuses the same requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// A digest of the difference.
    pub(crate) fn mark(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.added, &self.removed, &self.permissions] {
            for permission in part {
                // No permission contains a newline.
                hash.update(permission);
                hash.update("\n");
            }
            hash.update("\n");
        }
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }
}
