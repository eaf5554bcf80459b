//! The entry of an account in the directory.
//!
//! An entry has a sort key, which tells whether the account is enabled and when the first of
//! its grants expires, and a label for each grant. Each change of an account or its grants
//! also changes the entry, in the same write.
//!
//! The sort key never has a later time than the first expiry, so a query by expiry finds
//! every account. The time can be earlier: removing a grant does not change the sort key, so
//! that two revocations never contend for it. The sweep corrects such times.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::read::{DirectoryGrant, DirectoryIdentity, DirectoryKey};
use crate::domain::{Account, AccountId, FederatedIdentity, GrantId, LiveKey};
use crate::store::codec::{self, Map, n, s};
use crate::store::commit::Expression;
use crate::store::schema::{self, attribute};

/// The start of the sort keys of enabled accounts.
pub(super) const ENABLED: &str = "E#";
/// The start of the sort keys of disabled accounts.
pub(super) const DISABLED: &str = "D#";
/// Stands for the expiry of an account without grants, and of a federated identity that never
/// expires. Sorts after every expiry.
const NEVER: i64 = 9_999_999_999;

/// The attributes of an account's item that make up its entry.
pub(in crate::store) const ENTRY: [&str; 2] = [schema::DIRECTORY_SK, attribute::LABELS];

/// The entry that an account must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) struct Entry {
    sort_key: String,
    labels: BTreeMap<String, String>,
}

/// The entry that an account's item has. `None` if the item is from an earlier version of
/// Keyward, or if a part of the entry is missing or malformed.
#[derive(Clone, Debug)]
pub(in crate::store) struct StoredEntry(Option<Entry>);

impl Entry {
    /// The entry of `account`.
    pub(in crate::store) fn new(account: &Account) -> Self {
        // A successor replaces a rotated key.
        let keys = account.keys.iter().filter(|key| key.rotation.is_none()).map(key_expiry);
        let first = keys.chain(account.identities.iter().map(identity_expiry)).min().unwrap_or(NEVER);
        let keys = account.keys.iter().map(|key| (key.id.to_string(), key_label(key)));
        let identities =
            account.identities.iter().map(|identity| (identity.id.to_string(), identity_label(identity)));
        let labels = keys.chain(identities).collect();
        Self { sort_key: sort_key(account.enabled, first, account.id), labels }
    }

    /// Reads the entry in an item of the table or the directory.
    pub(in crate::store) fn read(item: &Map) -> Option<Self> {
        let labels = item.get(attribute::LABELS)?.as_m().ok()?.iter();
        let labels = labels.map(|(grant, label)| {
            // Grants become names in expressions, so they must be well-formed.
            let grant = grant.parse::<GrantId>().ok()?.to_string();
            Some((grant, codec::text(label)?.to_owned()))
        });
        Some(Self {
            sort_key: codec::text(item.get(schema::DIRECTORY_SK)?)?.to_owned(),
            labels: labels.collect::<Option<_>>()?,
        })
    }

    /// The attributes of the entry.
    pub(in crate::store) fn attributes(&self) -> [(&'static str, AttributeValue); 3] {
        let labels = self.labels.iter().map(|(grant, label)| (grant.clone(), s(label))).collect();
        [
            (schema::DIRECTORY_PK, s(schema::DIRECTORY_ACCOUNTS)),
            (schema::DIRECTORY_SK, s(&self.sort_key)),
            (attribute::LABELS, AttributeValue::M(labels)),
        ]
    }

    /// Replaces the whole entry. The write must have a condition on the account's version.
    pub(in crate::store) fn write(&self, expression: &mut Expression) {
        for (name, value) in self.attributes() {
            expression.set(name, value);
        }
    }
}

impl StoredEntry {
    /// Reads the entry in an account's item.
    pub(in crate::store) fn read(item: &Map) -> Self {
        Self(Entry::read(item))
    }

    /// Whether the item has exactly this entry.
    pub(in crate::store) fn is(&self, entry: &Entry) -> bool {
        self.0.as_ref() == Some(entry)
    }

    /// Changes the entry of `account` together with its grants, which are those of `after` from
    /// then on. The write must fail if the account no longer has a grant that is not in `after`.
    pub(in crate::store) fn change(&self, expression: &mut Expression, account: &Account, after: &Account) {
        let entry = Entry::new(after);
        let keys = after.keys.iter().filter(|key| account.keys.iter().all(|before| before.id != key.id));
        let identities = after
            .identities
            .iter()
            .filter(|identity| account.identities.iter().all(|before| before.id != identity.id));
        let added = keys.map(key_expiry).chain(identities.map(identity_expiry)).min();
        let Some(stored) = &self.0 else {
            // Without an entry, there is no label to remove.
            if added.is_some() {
                expression.require_equal(attribute::VERSION, n(account.version));
                entry.write(expression);
            }
            return;
        };
        for (grant, label) in &entry.labels {
            if stored.labels.get(grant) != Some(label) {
                let path = label_path(expression, grant);
                expression.set_path(&path, s(label));
            }
        }
        for grant in stored.labels.keys().filter(|grant| !entry.labels.contains_key(*grant)) {
            let path = label_path(expression, grant);
            expression.remove_path(path);
        }
        if let Some(added) = added {
            // Two writes that add grants of the same expiry do not exclude each other.
            let first = sort_key(account.enabled, added, account.id);
            let comparison = if stored.sort_key > first { ">=" } else { "<=" };
            if stored.sort_key > first {
                expression.set(schema::DIRECTORY_SK, s(&first));
            }
            let (name, value) = (expression.name(schema::DIRECTORY_SK), expression.value(s(first)));
            expression.require(format!("{name} {comparison} {value}"));
        }
    }
}

/// The path of a grant's label. DynamoDB refuses an expression with an unused name, so this
/// registers the names only for a label that the expression changes.
fn label_path(expression: &mut Expression, grant: &str) -> String {
    format!("{}.{}", expression.name(attribute::LABELS), expression.name(grant))
}

/// The sort key of an account whose first grant expires at `first`, in epoch seconds.
fn sort_key(enabled: bool, first: i64, account: AccountId) -> String {
    let state = if enabled { ENABLED } else { DISABLED };
    format!("{state}{first:010}#{}", account.bare())
}

fn key_expiry(key: &LiveKey) -> i64 {
    key.spec.expires_at.as_second()
}

fn identity_expiry(identity: &FederatedIdentity) -> i64 {
    identity.spec.expires_at.map_or(NEVER, Timestamp::as_second)
}

/// A live key's label: its expiry, the end of its grace period if it was rotated, its last
/// four characters, and its name.
fn key_label(key: &LiveKey) -> String {
    let expires = key_expiry(key);
    match key.rotation {
        Some(rotation) => {
            format!("{expires}/{} {} {}", rotation.retires_at.as_second(), key.hint, key.name)
        }
        None => format!("{expires} {} {}", key.hint, key.name),
    }
}

/// A federated identity's label: its expiry or `-`, its issuer, and its name.
fn identity_label(identity: &FederatedIdentity) -> String {
    let expires = identity.spec.expires_at.map_or("-".to_owned(), |at| at.as_second().to_string());
    format!("{expires} {} {}", identity.spec.issuer, identity.name)
}

/// The grant that a label and its name describe.
pub(super) fn parse_label(id: &str, label: &str) -> Option<DirectoryGrant> {
    let instant = |text: &str| Timestamp::from_second(text.parse().ok()?).ok();
    let (times, rest) = label.split_once(' ')?;
    let (middle, name) = rest.split_once(' ')?;
    let name = name.to_owned();
    Some(match id.parse().ok()? {
        GrantId::Key(id) => {
            let (expires_at, retires_at) = match times.split_once('/') {
                Some((expires, retires)) => (instant(expires)?, Some(instant(retires)?)),
                None => (instant(times)?, None),
            };
            let hint = middle.to_owned();
            DirectoryGrant::Key(DirectoryKey { id, name, hint, expires_at, retires_at })
        }
        GrantId::Identity(id) => {
            let expires_at = if times == "-" { None } else { Some(instant(times)?) };
            let issuer = middle.parse().ok()?;
            DirectoryGrant::Identity(DirectoryIdentity { id, name, issuer, expires_at })
        }
    })
}
