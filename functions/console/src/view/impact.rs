//! What stops when keys are refused: how the keys were used.

use std::net::IpAddr;

use jiff::Timestamp;
use shared::api::{Key, KeyState, LastUse, ServiceAccount};
use shared::domain::{AccountId, KeyId, utc_day};

use crate::auth::session::Session;
use crate::view::formatting::{KeyNames, KeyReference, TimeText, count};

/// The use of the keys that an action stops.
pub(crate) struct Impact {
    pub(crate) words: Words,
    /// How many of the keys work now.
    pub(crate) keys: usize,
    /// The number of allowed requests of today (UTC).
    today: u64,
    /// The number of allowed requests of the last 30 days.
    pub(crate) last_30_days: u64,
    /// When one of the keys was last used.
    pub(crate) last: Option<TimeText>,
    /// Where the last request came from.
    pub(crate) source: Source,
    /// Of several keys, the key with the most requests today or, if none was used today, in
    /// the last 30 days.
    pub(crate) busiest: Option<BusiestKey>,
}

/// Sentences about one key, or about all keys of an account.
pub(crate) struct Words {
    /// No key works now.
    pub(crate) refused: &'static str,
    /// The keys were not used.
    pub(crate) unused: &'static str,
    /// The start of a sentence about the use.
    pub(crate) used: &'static str,
    /// The keys were not used for 30 days.
    pub(crate) rare: &'static str,
    /// The keys were used in the last 30 days.
    pub(crate) consequence: &'static str,
}

const KEY: Words = Words {
    refused: "The key is already refused.",
    unused: "No use of the key is recorded.",
    used: "The key was",
    rare: "A program that rarely uses the key will be refused.",
    consequence: "Programs that use the key will be refused.",
};

const ACCOUNT: Words = Words {
    refused: "No key of this account works now.",
    unused: "No use of this account's keys is recorded.",
    used: "The keys of this account were",
    rare: "A program that rarely uses these keys will be refused.",
    consequence: "Programs that use these keys will be refused.",
};

/// The source of a request.
pub(crate) enum Source {
    Address(IpAddr),
    /// The last request was only counted. An earlier request was recorded.
    Earlier(IpAddr, TimeText),
    /// No address was recorded.
    NotRecorded,
    /// The records of requests are not available.
    Unavailable,
}

/// The key with the most requests.
pub(crate) struct BusiestKey {
    pub(crate) key: KeyReference,
    /// For example, `1,204 requests today`.
    pub(crate) requests: String,
}

impl Impact {
    /// The impact of refusing one key of `account`.
    pub(crate) async fn of_key(session: &Session, account: &ServiceAccount, key: &Key) -> Self {
        Self::new(session, account, std::slice::from_ref(key), KEY).await
    }

    /// The impact of refusing all `keys` of `account`.
    pub(crate) async fn of_account(session: &Session, account: &ServiceAccount, keys: &[Key]) -> Self {
        Self::new(session, account, keys, ACCOUNT).await
    }

    /// Reads the last request of only the key that was used last.
    async fn new(session: &Session, account: &ServiceAccount, keys: &[Key], words: Words) -> Self {
        let now = session.now();
        let is_live = |key: &&Key| matches!(key.state, KeyState::Active | KeyState::Retiring);
        let live: Vec<_> = keys.iter().filter(is_live).filter(|_| account.enabled).collect();
        let latest = live.iter().max_by_key(|key| key.usage.last_use.last_used_at);
        let latest = latest.and_then(|key| Some((key.id, key.usage.last_use.last_used_at?)));
        let sum = |number: fn(&Key, Timestamp) -> u64| {
            live.iter().map(|key| number(key, now)).fold(0, u64::saturating_add)
        };
        Self {
            words,
            keys: live.len(),
            today: sum(today),
            last_30_days: sum(last_30_days),
            last: latest.map(|(_, at)| TimeText::new(at, now)),
            source: match latest {
                Some((key, at)) => Source::find(session, account.id, key, at).await,
                None => Source::NotRecorded,
            },
            busiest: BusiestKey::find(account.id, keys, &live, now),
        }
    }

    /// For example, `used 1,204 times today (UTC)`.
    pub(crate) fn used_today(&self) -> String {
        match self.today {
            0 => "not used today (UTC)".to_owned(),
            today => format!("used {} today (UTC)", count(today, "time")),
        }
    }
}

fn today(key: &Key, now: Timestamp) -> u64 {
    key.usage.uses_by_day.get(&utc_day(now)).copied().unwrap_or_default()
}

fn last_30_days(key: &Key, _: Timestamp) -> u64 {
    key.usage.recent.last_30_days.allowed
}

impl Source {
    /// The source of the request that used `key` last, at `last_used_at`. A page that asks
    /// before a key is stopped works without it.
    async fn find(session: &Session, account: AccountId, key: KeyId, last_used_at: Timestamp) -> Self {
        let Ok(activity) = session.api().key_activity(account, key).await else {
            return Self::Unavailable;
        };
        let LastUse { last_used_at: read_at, .. } = activity.last_use;
        let Some((request, address)) =
            activity.last_allowed.and_then(|request| Some((request.at, request.source_address?)))
        else {
            return Self::NotRecorded;
        };
        // The time of a last use is rounded down to the second.
        if request >= read_at.unwrap_or(last_used_at) {
            Self::Address(address)
        } else {
            Self::Earlier(address, TimeText::new(request, session.now()))
        }
    }
}

impl BusiestKey {
    fn find(account: AccountId, keys: &[Key], live: &[&Key], now: Timestamp) -> Option<Self> {
        let [_, _, ..] = live else { return None };
        let most = |number: fn(&Key, Timestamp) -> u64| {
            let numbers = live.iter().map(|key| (number(key, now), key.id));
            numbers.max_by_key(|(number, _)| *number).filter(|(number, _)| *number > 0)
        };
        let (id, requests) = match (most(today), most(last_30_days)) {
            (Some((number, id)), _) => (id, format!("{} today", count(number, "request"))),
            (None, Some((number, id))) => (id, format!("{} in 30 days", count(number, "request"))),
            (None, None) => return None,
        };
        Some(Self { key: KeyNames::new(keys, &[]).reference(account, id), requests })
    }
}
