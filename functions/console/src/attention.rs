//! What wants an admin's attention: of accounts as they are listed, and of how
//! their keys are used.

use jiff::{SignedDuration, Timestamp};
use shared::http::representation::{KeyState, ServiceAccount, ServiceAccountWithKeys, Usage};

use crate::words::{When, count};

/// A key that was not used for so long wants attention.
const UNUSED: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A key that was presented after its end does so for so long.
const RECENTLY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why an account wants attention. The most pressing first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// A key came again after its end.
    Presented,
    Expiring,
    Unused,
    Disabled,
}

/// What wants attention.
pub(crate) struct Attention {
    pub(crate) why: Why,
    /// Among those of one reason, what comes first.
    order: String,
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) when: Option<When>,
}

/// How the keys of an account are used.
pub(crate) struct Use {
    /// When one of them was last let in.
    pub(crate) last: Option<When>,
    /// How many live keys were not for 90 days.
    pub(crate) unused: usize,
    /// When one was last presented after its end, if it was lately.
    pub(crate) presented: Option<When>,
    presented_at: Option<Timestamp>,
}

impl Why {
    /// In a word, with the class of its badge.
    pub(crate) fn badge(self) -> (&'static str, &'static str) {
        match self {
            Self::Presented => ("bad", "Came again"),
            Self::Expiring => ("warn", "Expires soon"),
            Self::Unused => ("warn", "Unused"),
            Self::Disabled => ("bad", "Disabled"),
        }
    }
}

impl Use {
    pub(crate) fn of(account: &ServiceAccountWithKeys, now: Timestamp) -> Self {
        let usages = || {
            let keys = account.keys.iter().map(|key| &key.usage);
            keys.chain(account.retired_keys.iter().map(|key| &key.usage))
        };
        let newest = |what: fn(&Usage) -> Option<&str>| usages().filter_map(what).filter_map(instant).max();
        let is_old = |at: Option<Timestamp>| at.is_some_and(|at| now.duration_since(at) >= UNUSED);
        let live =
            account.keys.iter().filter(|key| matches!(key.state, KeyState::Active | KeyState::Retiring));
        let unused = live.filter(|key| {
            let last = key.usage.last_used_at.as_deref().and_then(instant);
            is_old(last.or_else(|| instant(&key.created_at)))
        });
        let presented = newest(|usage| usage.presented_at.as_deref());
        let presented = presented.filter(|at| now.duration_since(*at) < RECENTLY);
        let shown = |at: Option<Timestamp>| at.map(|at| When::of(&at.to_string(), now));
        Self {
            last: shown(newest(|usage| usage.last_used_at.as_deref())),
            unused: unused.count(),
            presented: shown(presented),
            presented_at: presented,
        }
    }

    /// What of it wants attention.
    pub(crate) fn attention(&self, account: &ServiceAccount, now: Timestamp) -> Vec<Attention> {
        let presented = self.presented_at.map(|at| {
            let text = "A key came again after its end, and was refused. Last:";
            // The latest first.
            let ago = now.duration_since(at).as_secs();
            attention(
                Why::Presented,
                account,
                format!("{ago:020}"),
                text,
                Some(When::of(&at.to_string(), now)),
            )
        });
        let unused = (self.unused > 0).then(|| {
            let keys = count(u64::try_from(self.unused).unwrap_or(u64::MAX), "live key");
            let text = format!("{keys} not used for 90 days.");
            attention(Why::Unused, account, account.name.clone(), text, None)
        });
        [presented, unused].into_iter().flatten().collect()
    }
}

/// What wants attention of an account as it is listed.
pub(crate) fn of_listed(account: &ServiceAccount, now: Timestamp) -> Vec<Attention> {
    let expires = account.next_key_expires_at.as_deref().map(|at| When::of(at, now));
    let expiring = expires
        .filter(|at| at.is_soon)
        .map(|at| attention(Why::Expiring, account, at.machine.clone(), "A key expires", Some(at)));
    let disabled = (!account.enabled).then(|| {
        let text = match account.live_key_count {
            0 => "It has no live key.".to_owned(),
            keys => format!("{} refused.", count(u64::try_from(keys).unwrap_or(u64::MAX), "live key")),
        };
        attention(Why::Disabled, account, account.name.clone(), text, None)
    });
    [expiring, disabled].into_iter().flatten().collect()
}

/// The most pressing first.
pub(crate) fn sort(all: &mut [Attention]) {
    all.sort_by(|a, b| (a.why, &a.order).cmp(&(b.why, &b.order)));
}

fn attention(
    why: Why,
    account: &ServiceAccount,
    order: String,
    text: impl Into<String>,
    when: Option<When>,
) -> Attention {
    let (account, name) = (account.id.clone(), account.name.clone());
    Attention { why, order, account, name, text: text.into(), when }
}

fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}
