//! Lines about keys, federated identities and accounts that need attention.

use jiff::Timestamp;
use shared::api::{AttentionItem, AttentionReason, EndReason, MinimumCount};

use crate::view::formatting::{TimeText, thousands};

/// A line about a key, a federated identity or an account.
pub(crate) struct AttentionLine {
    pub(crate) item: AttentionItem,
    /// When the key was last used after its end, when the key or identity expires, or since when the
    /// key has counted as unused.
    pub(crate) at: Option<TimeText>,
    pub(crate) last_used: Option<TimeText>,
}

impl AttentionLine {
    pub(crate) fn new(item: AttentionItem, now: Timestamp) -> Self {
        let time = |at: Option<Timestamp>| at.map(|at| TimeText::new(at, now));
        Self { at: time(item.at), last_used: time(item.last_used_at), item }
    }

    /// The CSS class and the label of the reason.
    pub(crate) fn badge(&self) -> (&'static str, &'static str) {
        let end = match self.item.reason {
            AttentionReason::Expiring => return ("warn", "Expires soon"),
            AttentionReason::Unused => return ("warn", "Unused"),
            AttentionReason::Disabled => return ("bad", "Account disabled"),
            AttentionReason::UsedAfterEnd => self.item.end_reason,
        };
        (
            "bad",
            match end {
                Some(EndReason::Revoked) => "Used after revocation",
                Some(EndReason::Expired) => "Used after expiry",
                Some(EndReason::Rotated) => "Used after rotation",
                Some(EndReason::AccountDeleted) => "Used after deletion",
                None => "Used after retirement",
            },
        )
    }

    /// The text before [`Self::at`].
    pub(crate) fn verb(&self) -> &'static str {
        match self.item.reason {
            AttentionReason::UsedAfterEnd => "Last refused",
            AttentionReason::Expiring => "Expires",
            AttentionReason::Unused => "Unused since",
            AttentionReason::Disabled => "",
        }
    }

    /// The address and the label of the action that the line suggests.
    pub(crate) fn action(&self) -> (String, &'static str) {
        let AttentionItem { reason, account, key, identity, .. } = &self.item;
        let page = format!("/accounts/{}", account.id);
        if let Some(identity) = identity {
            return (format!("{page}/identities/{}", identity.id), "View identity");
        }
        let Some(key) = key else { return (page, "View account") };
        let page = format!("{page}/keys/{}", key.id);
        match reason {
            AttentionReason::Expiring if account.enabled => (format!("{page}/rotate"), "Rotate"),
            AttentionReason::Unused => (format!("{page}/revoke"), "Revoke"),
            AttentionReason::Expiring | AttentionReason::UsedAfterEnd | AttentionReason::Disabled => {
                (page, "View key")
            }
        }
    }
}

/// For example, `12` or `at least 4,000`.
pub(crate) fn number(number: &MinimumCount) -> String {
    let words = thousands(u64::try_from(number.count).unwrap_or(u64::MAX));
    if number.is_minimum { format!("at least {words}") } else { words }
}
