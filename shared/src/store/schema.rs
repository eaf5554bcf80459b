//! The names of the table's keys, indexes and attributes. A test compares them with the
//! template.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{AccountId, EventId, FoldedName, KeyId, RoleName, Subject};

/// The partition key.
pub const PK: &str = "pk";
/// The sort key.
pub const SK: &str = "sk";
/// The index for lists: accounts and roles by name, events by month and time.
pub const INDEX: &str = "gsi1";
/// The index's partition key.
pub const INDEX_PK: &str = "gsi1pk";
/// The index's sort key.
pub const INDEX_SK: &str = "gsi1sk";
/// When DynamoDB may delete an item, in epoch seconds.
pub const TTL: &str = "ttl";

/// The index's partition of all accounts.
pub(super) const INDEX_ACCOUNTS: &str = "ACCOUNTS";
/// The index's partition of all custom roles.
pub(super) const INDEX_ROLES: &str = "ROLES";

/// Days for which the records of retired keys, and the usage of keys, are kept.
const KEPT_DAYS: i64 = 400;

/// The expiry of an item that is written at `now` and not kept forever.
pub(super) fn kept_until(now: Timestamp) -> Timestamp {
    now.saturating_add(SignedDuration::from_hours(24 * KEPT_DAYS)).unwrap_or(now)
}

/// The reason in the records of a deleted account and its keys.
pub(super) const ACCOUNT_DELETED: &str = "accountDeleted";

/// The sort key of an account.
pub(super) const ACCOUNT: &str = "ACCOUNT";
const NAME: &str = "NAME";
/// The sort key of a custom role.
pub(super) const ROLE: &str = "ROLE";
const SWEEP: &str = "SWEEP";

/// The prefixes of partition keys. Each kind of item has its own prefix, so that IAM
/// policies can tell the kinds apart by the leading key (`dynamodb:LeadingKeys`).
pub mod partition {
    /// An account and its keys.
    pub const ACCOUNT: &str = "ACCOUNT#";
    /// An account's audit events.
    pub const EVENTS: &str = "EVENTS#";
    /// A custom role's audit events. Account ids contain no `#`, so no account's
    /// partition starts with this prefix.
    pub const ROLE_EVENTS: &str = "EVENTS#ROLE#";
    /// The records of an account's retired keys, and of the account itself after its
    /// deletion.
    pub const RETIRED: &str = "RETIRED#";
    /// The reservation of an account's name.
    pub const NAME: &str = "NAME#";
    /// A custom role.
    pub const ROLE: &str = "ROLE#";
    /// The usage of an account's keys.
    pub const USAGE: &str = "USAGE#";
    /// The published notices of an account's keys.
    pub const NOTICE: &str = "NOTICE#";
    /// The position of the sweep of keys.
    pub const SWEEP: &str = "SWEEP#";
}

/// An item's primary key.
pub(super) type Key = HashMap<String, AttributeValue>;

fn partition_key(prefix: &str, rest: impl Display) -> AttributeValue {
    AttributeValue::S(format!("{prefix}{rest}"))
}

fn key(prefix: &str, rest: impl Display, sort: impl Display) -> Key {
    HashMap::from([
        (PK.to_owned(), partition_key(prefix, rest)),
        (SK.to_owned(), AttributeValue::S(sort.to_string())),
    ])
}

/// The partition of an item that cannot exist: account ids are longer.
pub(super) const WARM_PARTITION: &str = "ACCOUNT#-";

/// The partition of an account.
pub(super) fn account_partition(id: AccountId) -> String {
    [partition::ACCOUNT, AccountId::PREFIX, id.bare()].concat()
}

/// The partition of a custom role.
pub(super) fn role_partition(name: &RoleName) -> String {
    format!("{}{}", partition::ROLE, name.as_str())
}

/// An account and its keys.
pub(super) fn account_key(id: AccountId) -> Key {
    key(partition::ACCOUNT, id, ACCOUNT)
}

/// An audit event.
pub(super) fn event_key(subject: &Subject, event: EventId) -> Key {
    match subject {
        Subject::Account { id, .. } => account_event_key(*id, event),
        Subject::Role(name) => key(partition::ROLE_EVENTS, name, event),
    }
}

/// An account's audit event.
pub(super) fn account_event_key(account: AccountId, event: EventId) -> Key {
    key(partition::EVENTS, account, event)
}

/// The partition of an account's events.
pub(super) fn events_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::EVENTS, account)
}

/// The partition of the records of an account's retired keys.
pub(super) fn retired_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::RETIRED, account)
}

/// The usage of a key. In addition to the attributes below, the item has the number of
/// allowed requests on each day. The attribute's name is the date, such as
/// `2026-11-24`. Days without requests have no attribute.
pub(super) fn usage_key(account: AccountId, id: KeyId) -> Key {
    key(partition::USAGE, account, id)
}

/// Whether `item` is an audit event.
pub(super) fn is_event(item: &Key) -> bool {
    let partition = item.get(PK).and_then(|value| value.as_s().ok());
    partition.is_some_and(|partition| partition.starts_with(partition::EVENTS))
}

/// The index's partition of all events of the month of `at` (UTC).
pub(super) fn month_partition(at: Timestamp) -> AttributeValue {
    partition_key(partition::EVENTS, at.strftime("%Y-%m"))
}

/// A retired key's record.
pub(super) fn retired_key(account: AccountId, id: KeyId) -> Key {
    key(partition::RETIRED, account, id)
}

/// A deleted account's record.
pub(super) fn retired_account_key(account: AccountId) -> Key {
    key(partition::RETIRED, account, ACCOUNT)
}

/// The reservation of a name.
pub(super) fn name_key(name: &FoldedName) -> Key {
    key(partition::NAME, name.as_str(), NAME)
}

/// A custom role.
pub(super) fn role_key(name: &RoleName) -> Key {
    key(partition::ROLE, name.as_str(), ROLE)
}

/// The partition of the usage of an account's keys.
pub(super) fn usage_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::USAGE, account)
}

/// The mark of a published notice.
pub(super) fn notice_key(account: AccountId, notice: &str) -> Key {
    key(partition::NOTICE, account, notice)
}

/// The partition of the marks of published notices of an account's keys.
pub(super) fn notices_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::NOTICE, account)
}

/// The position of the sweep of keys.
pub(super) fn sweep_key() -> Key {
    key(partition::SWEEP, "keys", SWEEP)
}

/// The names of attributes.
pub mod attribute {
    pub const ACCOUNT: &str = "account";
    pub const ACCOUNT_NAME: &str = "accountName";
    pub const ACTOR: &str = "actor";
    pub const AT: &str = "at";
    pub const CHANGES: &str = "changes";
    pub const CIDRS: &str = "cidrs";
    pub const CREATED_AT: &str = "createdAt";
    pub const CREATED_BY: &str = "createdBy";
    pub const DESCRIPTION: &str = "description";
    pub const ENABLED: &str = "enabled";
    pub const EXPIRES_AT: &str = "expiresAt";
    pub const FIELD: &str = "field";
    pub const FINGERPRINT: &str = "fingerprint";
    pub const FROM: &str = "from";
    pub const HINT: &str = "hint";
    pub const ID: &str = "id";
    pub const KEY: &str = "key";
    pub const KEYS: &str = "keys";
    pub const LAST_USED_AT: &str = "lastUsedAt";
    pub const NAME: &str = "name";
    pub const OWNER: &str = "owner";
    pub const PEPPER: &str = "pepper";
    pub const PERMISSIONS: &str = "permissions";
    pub const POSITION: &str = "position";
    pub const MINUTES_USED_AFTER_END: &str = "minutesUsedAfterEnd";
    pub const USED_AFTER_END_AT: &str = "usedAfterEndAt";
    pub const REASON: &str = "reason";
    pub const REPLACED_BY: &str = "replacedBy";
    pub const REQUEST_ID: &str = "requestId";
    pub const RETIRED_AT: &str = "retiredAt";
    pub const RETIRED_BY: &str = "retiredBy";
    pub const RETIRES_AT: &str = "retiresAt";
    pub const ROLE: &str = "role";
    pub const TAGS: &str = "tags";
    pub const TO: &str = "to";
    pub const TYPE: &str = "type";
    pub const UPDATED_AT: &str = "updatedAt";
    pub const UPDATED_BY: &str = "updatedBy";
    pub const VERIFIER: &str = "verifier";
    pub const VERIFIERS: &str = "verifiers";
    pub const VERSION: &str = "version";
}

/// The non-key attributes of the index: the attributes that lists show, at most 20
/// (DynamoDB's limit). They must never include [`attribute::VERIFIERS`].
pub const INDEX_PROJECTION: &[&str] = &[
    attribute::ACCOUNT_NAME,
    attribute::ACTOR,
    attribute::AT,
    attribute::CHANGES,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::DESCRIPTION,
    attribute::ENABLED,
    attribute::KEY,
    attribute::KEYS,
    attribute::NAME,
    attribute::OWNER,
    attribute::PERMISSIONS,
    attribute::REQUEST_ID,
    attribute::ROLE,
    attribute::TAGS,
    attribute::TYPE,
    attribute::UPDATED_AT,
    attribute::UPDATED_BY,
    attribute::VERSION,
];
