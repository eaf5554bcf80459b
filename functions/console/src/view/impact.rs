//! What stops when keys and federated identities are refused: how they were used.

use std::net::IpAddr;

use jiff::Timestamp;
use shared::api::{
    FederatedIdentity, IdentityState, Key, KeyState, LastUse, ServiceAccount, ServiceAccountWithKeys, Usage,
};
use shared::domain::{AccountId, GrantId, utc_day};

use crate::auth::session::Session;
use crate::view::formatting::{IdentityReference, KeyNames, KeyReference, TimeText, count};

/// The use of the grants (keys and federated identities) that an action stops.
pub(crate) struct Impact {
    pub(crate) words: Words,
    /// How many of the grants work now.
    pub(crate) grants: usize,
    /// The number of allowed requests of today (UTC).
    today: u64,
    /// The number of allowed requests of the last 30 days.
    pub(crate) last_30_days: u64,
    /// When one of the grants was last used.
    pub(crate) last: Option<TimeText>,
    /// Where the last request came from.
    pub(crate) source: Source,
    /// Of several grants, the one with the most requests today or, if none was used today, in
    /// the last 30 days.
    pub(crate) busiest: Option<BusiestGrant>,
}

/// Sentences about one grant, or about all grants of an account.
pub(crate) struct Words {
    /// No grant works now.
    pub(crate) refused: &'static str,
    /// The grants were not used.
    pub(crate) unused: &'static str,
    /// The start of a sentence about the use.
    pub(crate) used: &'static str,
    /// The grants were not used for 30 days.
    pub(crate) rare: &'static str,
    /// The grants were used in the last 30 days.
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

const IDENTITY: Words = Words {
    refused: "The federated identity already gives no access.",
    unused: "No use of a token of this identity is recorded.",
    used: "Tokens of this identity were",
    rare: "A program that rarely uses the identity will be refused.",
    consequence: "Programs that use the identity will be refused.",
};

const ACCOUNT_WITH_IDENTITIES: Words = Words {
    refused: "No key or federated identity of this account works now.",
    unused: "No use of this account's keys and federated identities is recorded.",
    used: "The keys and federated identities of this account were",
    rare: "A program that rarely uses this account will be refused.",
    consequence: "Programs that use this account will be refused.",
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

/// The grant with the most requests.
pub(crate) struct BusiestGrant {
    pub(crate) grant: GrantReference,
    /// For example, `1,204 requests today`.
    pub(crate) requests: String,
}

/// A key or a federated identity to link to.
pub(crate) enum GrantReference {
    Key(KeyReference),
    Identity(IdentityReference),
}

/// A grant, and how it was used.
struct Grant<'a> {
    id: GrantId,
    name: &'a str,
    usage: &'a Usage,
    /// Whether the grant works while its account is enabled.
    is_live: bool,
}

impl<'a> From<&'a Key> for Grant<'a> {
    fn from(key: &'a Key) -> Self {
        let is_live = matches!(key.state, KeyState::Active | KeyState::Retiring);
        Self { id: GrantId::Key(key.id), name: &key.name, usage: &key.usage, is_live }
    }
}

impl<'a> From<&'a FederatedIdentity> for Grant<'a> {
    fn from(identity: &'a FederatedIdentity) -> Self {
        let is_live = matches!(identity.state, IdentityState::Active);
        Self { id: GrantId::Identity(identity.id), name: &identity.name, usage: &identity.usage, is_live }
    }
}

impl Impact {
    /// The impact of refusing one key of `account`.
    pub(crate) async fn of_key(session: &Session, account: &ServiceAccount, key: &Key) -> Self {
        Self::new(session, account, &[key.into()], &KeyNames::default(), KEY).await
    }

    /// The impact of refusing one federated identity of `account`.
    pub(crate) async fn of_identity(
        session: &Session,
        account: &ServiceAccount,
        identity: &FederatedIdentity,
    ) -> Self {
        Self::new(session, account, &[identity.into()], &KeyNames::default(), IDENTITY).await
    }

    /// The impact of refusing all keys and federated identities of an account.
    pub(crate) async fn of_account(session: &Session, read: &ServiceAccountWithKeys) -> Self {
        let keys = read.keys.iter().map(Grant::from);
        let grants: Vec<_> = keys.chain(read.federated_identities.iter().map(Grant::from)).collect();
        let words = if read.federated_identities.is_empty() { ACCOUNT } else { ACCOUNT_WITH_IDENTITIES };
        Self::new(session, &read.account, &grants, &KeyNames::new(&read.keys, &[]), words).await
    }

    /// Reads the last request of only the grant that was used last.
    async fn new(
        session: &Session,
        account: &ServiceAccount,
        grants: &[Grant<'_>],
        names: &KeyNames,
        words: Words,
    ) -> Self {
        let now = session.now();
        let live: Vec<_> = grants.iter().filter(|grant| grant.is_live && account.enabled).collect();
        let latest = live.iter().max_by_key(|grant| grant.usage.last_use.last_used_at);
        let latest = latest.and_then(|grant| Some((grant.id, grant.usage.last_use.last_used_at?)));
        let sum = |number: fn(&Usage, Timestamp) -> u64| {
            live.iter().map(|grant| number(grant.usage, now)).fold(0, u64::saturating_add)
        };
        Self {
            words,
            grants: live.len(),
            today: sum(today),
            last_30_days: sum(last_30_days),
            last: latest.map(|(_, at)| TimeText::new(at, now)),
            source: match latest {
                Some((grant, at)) => Source::find(session, account.id, grant, at).await,
                None => Source::NotRecorded,
            },
            busiest: BusiestGrant::find(account.id, names, &live, now),
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

fn today(usage: &Usage, now: Timestamp) -> u64 {
    usage.uses_by_day.get(&utc_day(now)).copied().unwrap_or_default()
}

fn last_30_days(usage: &Usage, _: Timestamp) -> u64 {
    usage.recent.last_30_days.allowed
}

impl Source {
    /// The source of the request that used `grant` last, at `last_used_at`. A page that asks
    /// before a grant is stopped works without it.
    async fn find(session: &Session, account: AccountId, grant: GrantId, last_used_at: Timestamp) -> Self {
        let Ok(activity) = session.api().grant_activity(account, grant).await else {
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

impl BusiestGrant {
    fn find(account: AccountId, names: &KeyNames, live: &[&Grant<'_>], now: Timestamp) -> Option<Self> {
        let [_, _, ..] = live else { return None };
        let most = |number: fn(&Usage, Timestamp) -> u64| {
            let numbers = live.iter().map(|grant| (number(grant.usage, now), *grant));
            numbers.max_by_key(|(number, grant)| (*number, grant.id)).filter(|(number, _)| *number > 0)
        };
        let (grant, requests) = match (most(today), most(last_30_days)) {
            (Some((number, grant)), _) => (grant, format!("{} today", count(number, "request"))),
            (None, Some((number, grant))) => (grant, format!("{} in 30 days", count(number, "request"))),
            (None, None) => return None,
        };
        let grant = match grant.id {
            GrantId::Key(id) => GrantReference::Key(names.reference(account, id)),
            GrantId::Identity(id) => {
                GrantReference::Identity(IdentityReference { account, id, name: grant.name.to_owned() })
            }
        };
        Some(Self { grant, requests })
    }
}
