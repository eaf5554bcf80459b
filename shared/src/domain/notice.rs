//! Notices: what whoever answers for a key should learn before it hurts.

use jiff::{SignedDuration, Timestamp};

use super::{KeyId, LiveKey};

/// So many days before a key expires there is a notice of it.
pub const EXPIRY_NOTICE_DAYS: [u32; 3] = [30, 10, 1];

/// Of a key that was not used for so many days there is a notice.
pub const UNUSED_NOTICE_DAYS: u32 = 90;

/// A notice about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The key.
    pub key: KeyId,
    /// What about it.
    pub kind: NoticeKind,
}

/// What a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The key expires within so many days.
    Expires {
        /// One of [`EXPIRY_NOTICE_DAYS`].
        within_days: u32,
    },
    /// Nobody has used the key for [`UNUSED_NOTICE_DAYS`].
    Unused {
        /// When that came to be so.
        since: Timestamp,
        /// When it was last used, if ever.
        last_used_at: Option<Timestamp>,
    },
}

impl Notice {
    /// The notices that there are of `key` at `now`, whether or not they have
    /// been given already.
    ///
    /// A key that was issued for less than a threshold has no notice of it:
    /// whoever issued it knew. One that has expired still has those of its
    /// expiry, so that none is lost when nobody looked for some days. One that
    /// is past its end is no longer unused. One that was rotated has none at all:
    /// another key replaces it.
    #[must_use]
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

    /// Its id, which is the same whenever and however often it is given:
    /// `<key id>/expires/<days>`, or `<key id>/unused/<date>` with the date on
    /// which the key had not been used for [`UNUSED_NOTICE_DAYS`].
    #[must_use]
    pub fn id(&self) -> String {
        match self.kind {
            NoticeKind::Expires { within_days } => format!("{}/expires/{within_days}", self.key),
            NoticeKind::Unused { since, .. } => format!("{}/unused/{}", self.key, since.strftime("%Y-%m-%d")),
        }
    }
}

/// Since when it holds that nobody has used `key` for [`UNUSED_NOTICE_DAYS`], if
/// it does at `now`. It never does of a key that has come to its end or that was
/// rotated: another key replaces it.
pub(super) fn unused_since(
    key: &LiveKey,
    last_used_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let idle = last_used_at.map_or(key.created_at, |used| used.max(key.created_at));
    let since = idle.saturating_add(days(UNUSED_NOTICE_DAYS)).unwrap_or(Timestamp::MAX);
    (since <= now && key.rotation.is_none() && key.ended(now).is_none()).then_some(since)
}

fn days(number: u32) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(number))
}
