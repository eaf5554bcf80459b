//! The entry of an account in the directory.
//!
//! An entry has a sort key, which tells whether the account is enabled and when the first of
//! its keys expires, and a label for each key. Each change of an account or its keys also
//! changes the entry, in the same write.
//!
//! The sort key never has a later time than the first expiry, so a query by expiry finds
//! every account. The time can be earlier: removing a key does not change the sort key, so
//! that two revocations never contend for it. The sweep corrects such times.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::domain::{Account, AccountId, KeyId, LiveKey};
use crate::store::codec::{self, Map, n, s};
use crate::store::commit::Expression;
use crate::store::schema::{self, attribute};

/// The start of the sort keys of enabled accounts.
pub(super) const ENABLED: &str = "E#";
/// The start of the sort keys of disabled accounts.
pub(super) const DISABLED: &str = "D#";
/// Stands for the first expiry of an account without keys. Sorts after every expiry.
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
    /// The entry of `account` if it has these keys.
    pub(in crate::store) fn new<'a>(account: &Account, keys: impl IntoIterator<Item = &'a LiveKey>) -> Self {
        let mut first = NEVER;
        let mut labels = BTreeMap::new();
        for key in keys {
            if key.rotation.is_none() {
                first = first.min(key.spec.expires_at.as_second());
            }
            labels.insert(key.id.to_string(), label(key));
        }
        Self { sort_key: sort_key(account.enabled, first, account.id), labels }
    }

    /// Reads the entry in an item of the table or the directory.
    pub(in crate::store) fn read(item: &Map) -> Option<Self> {
        let labels = item.get(attribute::LABELS)?.as_m().ok()?.iter();
        let labels = labels.map(|(key, label)| {
            // Keys become names in expressions, so they must be well-formed.
            let key = key.parse::<KeyId>().ok()?.to_string();
            Some((key, codec::text(label)?.to_owned()))
        });
        Some(Self {
            sort_key: codec::text(item.get(schema::DIRECTORY_SK)?)?.to_owned(),
            labels: labels.collect::<Option<_>>()?,
        })
    }

    /// The attributes of the entry.
    pub(in crate::store) fn attributes(&self) -> [(&'static str, AttributeValue); 3] {
        let labels = self.labels.iter().map(|(key, label)| (key.clone(), s(label))).collect();
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

    /// Changes the entry of `account` together with its keys, which are `after` from then
    /// on. The write must fail if the account no longer has a key that is not in `after`.
    pub(in crate::store) fn change(&self, expression: &mut Expression, account: &Account, after: &[LiveKey]) {
        let entry = Entry::new(account, after);
        let is_new = |key: &&LiveKey| account.keys.iter().all(|before| before.id != key.id);
        let added = after.iter().filter(is_new).map(|key| key.spec.expires_at.as_second()).min();
        let Some(stored) = &self.0 else {
            // Without an entry, there is no label to remove.
            if added.is_some() {
                expression.require_equal(attribute::VERSION, n(account.version));
                entry.write(expression);
            }
            return;
        };
        for (key, label) in &entry.labels {
            if stored.labels.get(key) != Some(label) {
                let path = label_path(expression, key);
                expression.set_path(&path, s(label));
            }
        }
        for key in stored.labels.keys().filter(|key| !entry.labels.contains_key(*key)) {
            let path = label_path(expression, key);
            expression.remove_path(path);
        }
        if let Some(added) = added {
            // Two writes that add keys of the same expiry do not exclude each other.
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

/// The path of a key's label. DynamoDB refuses an expression with an unused name, so this
/// registers the names only for a label that the expression changes.
fn label_path(expression: &mut Expression, key: &str) -> String {
    format!("{}.{}", expression.name(attribute::LABELS), expression.name(key))
}

/// The sort key of an account whose first key expires at `first`, in epoch seconds.
fn sort_key(enabled: bool, first: i64, account: AccountId) -> String {
    let state = if enabled { ENABLED } else { DISABLED };
    format!("{state}{first:010}#{}", account.bare())
}

/// A live key's label: its expiry, the end of its grace period if it was rotated, its last
/// four characters, and its name.
fn label(key: &LiveKey) -> String {
    let expires = key.spec.expires_at.as_second();
    match key.rotation {
        Some(rotation) => {
            format!("{expires}/{} {} {}", rotation.retires_at.as_second(), key.hint, key.name)
        }
        None => format!("{expires} {} {}", key.hint, key.name),
    }
}

/// The parts of a label.
pub(super) struct Label<'a> {
    pub(super) expires_at: Timestamp,
    pub(super) retires_at: Option<Timestamp>,
    pub(super) hint: &'a str,
    pub(super) name: &'a str,
}

/// Parses a label and the id of its key.
pub(super) fn parse_label<'a>(id: &str, label: &'a str) -> Option<(KeyId, Label<'a>)> {
    let instant = |text: &str| Timestamp::from_second(text.parse().ok()?).ok();
    let (times, rest) = label.split_once(' ')?;
    let (hint, name) = rest.split_once(' ')?;
    let (expires_at, retires_at) = match times.split_once('/') {
        Some((expires, retires)) => (instant(expires)?, Some(instant(retires)?)),
        None => (instant(times)?, None),
    };
    Some((id.parse().ok()?, Label { expires_at, retires_at, hint, name }))
}
