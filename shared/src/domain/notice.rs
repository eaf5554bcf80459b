//! Notices to owners about keys that expire soon and keys that are unused.

use jiff::{SignedDuration, Timestamp};

use super::{KeyId, LiveKey};

/// The numbers of days before a key's expiry at which a notice is due.
const EXPIRY_NOTICE_DAYS: [u32; 3] = [30, 10, 1];

/// The number of days without use after which a notice is due.
pub const UNUSED_NOTICE_DAYS: u32 = 90;

/// A notice about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub key: KeyId,
    pub kind: NoticeKind,
}

/// The subject of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The key expires within a number of days.
    Expires {
        /// One of [`EXPIRY_NOTICE_DAYS`].
        within_days: u32,
    },
    /// The key has not been used for [`UNUSED_NOTICE_DAYS`].
    Unused {
        /// When the key reached that number of days.
        since: Timestamp,
        /// When the key was last used, if ever.
        last_used_at: Option<Timestamp>,
    },
}

impl Notice {
    /// The notices about `key` at `now`, including notices that were published before.
    ///
    /// A key whose lifetime is shorter than one of [`EXPIRY_NOTICE_DAYS`] has no notice
    /// for that number of days: the admin who issued the key chose the short lifetime. An
    /// expired key keeps the notices about its expiry, so that no notice is lost if the
    /// sweep does not run for some days. An ended key is not reported as unused. A
    /// rotated key has no notices, because a successor replaces the key.
    pub fn due(key: &LiveKey, last_used_at: Option<Timestamp>, now: Timestamp) -> Vec<Self> {
        if key.rotation.is_some() {
            return Vec::new();
        }
        let mut kinds = Vec::new();
        for within_days in EXPIRY_NOTICE_DAYS {
            let at = key.spec.expires_at.saturating_sub(days(within_days)).unwrap_or(Timestamp::MIN);
            if key.created_at < at && at <= now {
                kinds.push(NoticeKind::Expires { within_days });
            }
        }
        if let Some(since) = unused_since(key, last_used_at, now) {
            kinds.push(NoticeKind::Unused { since, last_used_at });
        }
        kinds.into_iter().map(|kind| Self { key: key.id, kind }).collect()
    }

    /// The id, which stays the same if the notice is published again:
    /// `<key id>/expires/<days>`, or `<key id>/unused/<date>` with the date on
    /// which the key had not been used for [`UNUSED_NOTICE_DAYS`].
    pub fn id(&self) -> String {
        match self.kind {
            NoticeKind::Expires { within_days } => format!("{}/expires/{within_days}", self.key),
            NoticeKind::Unused { since, .. } => format!("{}/unused/{}", self.key, since.strftime("%Y-%m-%d")),
        }
    }
}

/// When `key` reached [`UNUSED_NOTICE_DAYS`] without use, if that is not after `now`.
/// `None` for a key that has ended or was rotated.
pub fn unused_since(key: &LiveKey, last_used_at: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let idle = last_used_at.map_or(key.created_at, |used| used.max(key.created_at));
    let since = idle.saturating_add(days(UNUSED_NOTICE_DAYS)).unwrap_or(Timestamp::MAX);
    (since <= now && key.rotation.is_none() && key.ended(now).is_none()).then_some(since)
}

fn days(number: u32) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(number))
}
