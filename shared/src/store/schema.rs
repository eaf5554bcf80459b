//! The names of the table's keys, indexes and attributes. A test compares them with the
//! template.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    AccountId, ApiName, BuildId, EventId, FoldedName, GrantId, IssuerName, KeyId, ReviewId, RoleName,
    Subject, named_enum,
};

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
/// The index for the overview and for searches: the directory of accounts, and the keys
/// that were used after their end or are unused.
pub const DIRECTORY: &str = "gsi2";
/// The directory's partition key.
pub const DIRECTORY_PK: &str = "gsi2pk";
/// The directory's sort key.
pub const DIRECTORY_SK: &str = "gsi2sk";
/// When DynamoDB may delete an item, in epoch seconds.
pub const TTL: &str = "ttl";

/// The index's partition of all accounts.
pub(super) const INDEX_ACCOUNTS: &str = "ACCOUNTS";
/// The index's partition of all custom roles.
pub(super) const INDEX_ROLES: &str = "ROLES";
/// The index's partition of all protected APIs.
pub(super) const INDEX_APIS: &str = "APIS";
/// The index's partition of the builds of all protected APIs, by API and build.
pub(super) const INDEX_BUILDS: &str = "BUILDS";
/// The directory's partition of all accounts.
pub(super) const DIRECTORY_ACCOUNTS: &str = "ACCOUNTS";
/// The directory's partition of the last uses of keys that were used after their end.
pub(super) const DIRECTORY_USED_AFTER_END: &str = "USED_AFTER_END";
/// The directory's partition of unused keys.
pub(super) const DIRECTORY_UNUSED: &str = "UNUSED";
/// The sort key in the directory of an item that is alone in its partition.
pub(super) const DIRECTORY_ONLY: &str = "ONLY";

/// Days for which the records of retired keys, and the last uses of keys, are kept.
const KEPT_DAYS: i64 = 400;

/// The expiry of an item that is written at `now` and not kept forever.
pub(super) fn kept_until(now: Timestamp) -> Timestamp {
    now.saturating_add(SignedDuration::from_hours(24 * KEPT_DAYS)).unwrap_or(now)
}

/// The reason in the records of a deleted account and its grants.
pub(super) const ACCOUNT_DELETED: &str = "accountDeleted";

/// The sort key of an account.
pub(super) const ACCOUNT: &str = "ACCOUNT";
const NAME: &str = "NAME";
/// The sort key of a custom role.
pub(super) const ROLE: &str = "ROLE";
/// The sort key of a protected API.
const API: &str = "API";
const SWEEP: &str = "SWEEP";
const ASSERTION: &str = "ASSERTION";
/// The sort key of an account's latest review.
const REVIEW: &str = "REVIEW";

/// The prefixes of partition keys. Each kind of item has its own prefix, so that IAM
/// policies can tell the kinds apart by the leading key (`dynamodb:LeadingKeys`).
pub mod partition {
    /// An account and its grants.
    pub const ACCOUNT: &str = "ACCOUNT#";
    /// An account's audit events.
    pub const EVENTS: &str = "EVENTS#";
    /// A custom role's audit events. Account ids contain no `#`, so no account's
    /// partition starts with this prefix.
    pub const ROLE_EVENTS: &str = "EVENTS#ROLE#";
    /// A trusted issuer's audit events.
    pub const ISSUER_EVENTS: &str = "EVENTS#ISSUER#";
    /// A protected API's audit events.
    pub const API_EVENTS: &str = "EVENTS#API#";
    /// The records of an account's ended grants, and of the account itself after its
    /// deletion.
    pub const RETIRED: &str = "RETIRED#";
    /// The reservation of an account's name.
    pub const NAME: &str = "NAME#";
    /// A custom role.
    pub const ROLE: &str = "ROLE#";
    /// The counts of requests with an account's grants, and the last use of each grant.
    pub const USAGE: &str = "USAGE#";
    /// The last requests with an account's grants.
    pub const REQUESTS: &str = "REQUESTS#";
    /// The routes that an account's grants used.
    pub const ROUTES: &str = "ROUTES#";
    /// The counts of all requests with grants.
    pub const TOTALS: &str = "TOTALS#";
    /// The access reviews of an account.
    pub const REVIEW: &str = "REVIEW#";
    /// The published notices of an account's keys.
    pub const NOTICE: &str = "NOTICE#";
    /// The position of the sweep of keys.
    pub const SWEEP: &str = "SWEEP#";
    /// The keys of an account that the sweep found unused.
    pub const UNUSED: &str = "UNUSED#";
    /// The index's partition of the retired keys with the same last four characters.
    pub const HINT: &str = "HINT#";
    /// The directory's partition of an ended key or federated identity.
    pub const KEY: &str = "KEY#";
    /// All trusted issuers, and the names of deleted ones.
    pub const ISSUERS: &str = "ISSUERS";
    /// A protected API, and the parts of its builds.
    pub const API: &str = "API#";
    /// A JWT that was exchanged and must not be accepted again.
    pub const ASSERTION: &str = "ASSERTION#";
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

/// The partition of an item that cannot exist: the names of APIs start with a letter.
pub(super) const WARM_API_PARTITION: &str = "API#-";

/// The partition of an account.
pub(super) fn account_partition(id: AccountId) -> String {
    [partition::ACCOUNT, AccountId::PREFIX, id.bare()].concat()
}

/// The partition of a custom role.
pub(super) fn role_partition(name: &RoleName) -> String {
    format!("{}{}", partition::ROLE, name.as_str())
}

/// An account and its grants.
pub(super) fn account_key(id: AccountId) -> Key {
    key(partition::ACCOUNT, id, ACCOUNT)
}

/// An audit event.
pub(super) fn event_key(subject: &Subject, event: EventId) -> Key {
    match subject {
        Subject::Account { id, .. } => account_event_key(*id, event),
        Subject::Role(name) => key(partition::ROLE_EVENTS, name, event),
        Subject::Issuer(name) => key(partition::ISSUER_EVENTS, name, event),
        Subject::Api(name) => key(partition::API_EVENTS, name, event),
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

/// The partition of a custom role's events.
pub(super) fn role_events_partition(role: &RoleName) -> AttributeValue {
    partition_key(partition::ROLE_EVENTS, role)
}

/// The partition of a trusted issuer's events.
pub(super) fn issuer_events_partition(issuer: &IssuerName) -> AttributeValue {
    partition_key(partition::ISSUER_EVENTS, issuer)
}

/// The partition of a protected API's events.
pub(super) fn api_events_partition(api: &ApiName) -> AttributeValue {
    partition_key(partition::API_EVENTS, api)
}

/// The partition of the records of an account's ended grants.
pub(super) fn retired_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::RETIRED, account)
}

/// The last use of a grant.
pub(super) fn last_use_key(account: AccountId, id: GrantId) -> Key {
    key(partition::USAGE, account, id)
}

/// The counts of one day. `counted` is the id of a grant, or [`UNVERIFIED`].
///
/// Days sort before grants, so that one query reads an account's counts since a day
/// together with the last uses of all its grants. The item has one attribute for each
/// hour (UTC) and reason, such as `13_allowed`. Hours without requests have none.
pub(super) fn counts_key(account: AccountId, day: Date, counted: impl Display) -> Key {
    key(partition::USAGE, account, format_args!("{day}#{counted}"))
}

/// The end of the sort key of the counts of requests with an unverified credential that
/// names the account.
pub(super) const UNVERIFIED: &str = "unverified";

/// The number of items among which the counts of all requests of a day are spread, so
/// that no item is written too often.
pub(super) const TOTALS_SHARDS: u8 = 4;

/// The counts of all requests of one day, in the item for writes at `now`. Instances write
/// at different milliseconds, so each of the [`TOTALS_SHARDS`] items gets its share.
pub(super) fn totals_key(now: Timestamp, day: Date) -> Key {
    let shard = now.as_millisecond().rem_euclid(TOTALS_SHARDS.into());
    key(partition::TOTALS, shard, day)
}

/// The partition of a shard's counts of all requests.
pub(super) fn totals_partition(shard: u8) -> AttributeValue {
    partition_key(partition::TOTALS, shard)
}

/// Refused requests with a grant, which an instance wrote together. `time` is a ULID.
pub(super) fn refusals_key(account: AccountId, id: GrantId, time: EventId) -> Key {
    key(partition::REQUESTS, account, format_args!("{id}#{time}"))
}

/// The last allowed request with a grant. Sorts after the grant's refused requests.
pub(super) fn last_allowed_key(account: AccountId, id: GrantId) -> Key {
    key(partition::REQUESTS, account, format_args!("{id}#{LAST_ALLOWED}"))
}

/// The end of the sort key of a grant's last allowed request.
pub(super) const LAST_ALLOWED: &str = "allowed";

/// The partition of the last requests with an account's grants.
pub(super) fn requests_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::REQUESTS, account)
}

/// A route that a grant used, or [`OTHER_ROUTES`].
pub(super) fn route_key(account: AccountId, id: GrantId, route: &str) -> Key {
    key(partition::ROUTES, account, format_args!("{id}#{route}"))
}

/// Stands for all routes of a grant without an item of their own.
pub(super) const OTHER_ROUTES: &str = "*";

/// The partition of the routes that an account's grants used.
pub(super) fn routes_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::ROUTES, account)
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

/// The record of an ended key or federated identity.
pub(super) fn retired_key(account: AccountId, id: impl Into<GrantId>) -> Key {
    key(partition::RETIRED, account, id.into())
}

/// A deleted account's record.
pub(super) fn retired_account_key(account: AccountId) -> Key {
    key(partition::RETIRED, account, ACCOUNT)
}

/// The reservation of a name.
pub(super) fn name_key(name: &FoldedName) -> Key {
    key(partition::NAME, name.as_str(), NAME)
}

/// A trusted issuer, or the name of a deleted one.
pub(super) fn issuer_key(name: &IssuerName) -> Key {
    key(partition::ISSUERS, "", name)
}

/// A JWT that was exchanged, or a confirmation that was used. `hash` is the hash of what is
/// signed or sealed.
pub(super) fn assertion_key(hash: &str) -> Key {
    key(partition::ASSERTION, hash, ASSERTION)
}

/// A custom role.
pub(super) fn role_key(name: &RoleName) -> Key {
    key(partition::ROLE, name.as_str(), ROLE)
}

/// The partition of all trusted issuers.
pub(super) fn issuers_partition() -> AttributeValue {
    partition_key(partition::ISSUERS, "")
}

/// A protected API.
pub(super) fn api_key(name: &ApiName) -> Key {
    key(partition::API, name, API)
}

/// The partition of a protected API and the parts of its builds.
pub(super) fn api_partition(name: &ApiName) -> AttributeValue {
    partition_key(partition::API, name)
}

/// An item of the partition of a protected API.
pub(super) fn api_partition_key(name: &ApiName, sort: &str) -> Key {
    key(partition::API, name, sort)
}

/// A chunk of a part of a build. Chunks sort by their numbers.
pub(super) fn chunk_key(api: &ApiName, build: BuildId, part: BuildPart, number: usize) -> Key {
    key(partition::API, api, format_args!("{}{}#{number:03}", build_prefix(build), part.name()))
}

/// The start of the sort keys of a build's chunks.
pub(super) fn build_prefix(build: BuildId) -> String {
    format!("{build}#")
}

named_enum! {
    /// A part of a build of a protected API.
    pub enum BuildPart {
        /// The tools.
        Tools = "TOOLS",
        /// The operations that cannot be tools.
        Skipped = "SKIPPED",
        /// The OpenAPI document.
        Document = "DOCUMENT",
    }
}

/// The partition of the counts and last uses of an account's grants.
pub(super) fn usage_partition(account: AccountId) -> AttributeValue {
    partition_key(partition::USAGE, account)
}

/// A review of an account.
pub(super) fn review_key(account: AccountId, id: ReviewId) -> Key {
    key(partition::REVIEW, account, id)
}

/// The latest review of an account.
pub(super) fn latest_review_key(account: AccountId) -> Key {
    key(partition::REVIEW, account, REVIEW)
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

/// An unused key.
pub(super) fn unused_key(account: AccountId, id: KeyId) -> Key {
    key(partition::UNUSED, account, id)
}

/// The index's partition of the retired keys whose last four characters are `hint`.
pub(super) fn hint_partition(hint: &str) -> AttributeValue {
    partition_key(partition::HINT, hint)
}

/// The directory's partition of an ended key or federated identity.
pub(super) fn retired_key_partition(id: GrantId) -> AttributeValue {
    partition_key(partition::KEY, id)
}

/// The names of attributes.
pub mod attribute {
    pub const ACCOUNT: &str = "account";
    pub const ACCOUNT_NAME: &str = "accountName";
    pub const ACTOR: &str = "actor";
    pub const ALGORITHMS: &str = "algorithms";
    pub const API_ID: &str = "apiId";
    pub const AT: &str = "at";
    pub const AUDIENCE: &str = "audience";
    pub const BASE_URL: &str = "baseUrl";
    pub const BUILD: &str = "build";
    pub const CHANGES: &str = "changes";
    pub const CHUNKS: &str = "chunks";
    pub const CIDRS: &str = "cidrs";
    pub const CLAIMS: &str = "claims";
    pub const COMPLETED_AT: &str = "completedAt";
    pub const COMPLETED_FROM: &str = "completedFrom";
    pub const CONFIRMATION: &str = "confirmation";
    pub const CREATED_AT: &str = "createdAt";
    pub const CREATED_BY: &str = "createdBy";
    pub const DATA: &str = "data";
    pub const DECISION: &str = "decision";
    pub const DELETED_AT: &str = "deletedAt";
    pub const DELETED_BY: &str = "deletedBy";
    pub const DESCRIPTION: &str = "description";
    pub const DOCUMENT_SHA256: &str = "documentSha256";
    pub const DOCUMENT_TITLE: &str = "documentTitle";
    pub const DOCUMENT_VERSION: &str = "documentVersion";
    pub const ENABLED: &str = "enabled";
    pub const EXCLUDE: &str = "exclude";
    pub const EXPIRES_AT: &str = "expiresAt";
    pub const FIELD: &str = "field";
    pub const FINGERPRINT: &str = "fingerprint";
    pub const FROM: &str = "from";
    pub const HINT: &str = "hint";
    pub const ID: &str = "id";
    pub const INCLUDE: &str = "include";
    pub const ISSUER: &str = "issuer";
    pub const JWKS: &str = "jwks";
    pub const JWKS_URI: &str = "jwksUri";
    pub const KEY: &str = "key";
    pub const KEYS: &str = "keys";
    pub const LABELS: &str = "labels";
    pub const LAST_USED_AT: &str = "lastUsedAt";
    pub const LAST_USED_ON: &str = "lastUsedOn";
    pub const MAX_AGE: &str = "maxAge";
    pub const METHOD: &str = "method";
    pub const MISSING_PERMISSION: &str = "missingPermission";
    pub const NAME: &str = "name";
    pub const NOTE: &str = "note";
    pub const OWNER: &str = "owner";
    pub const PATH: &str = "path";
    pub const PEPPER: &str = "pepper";
    pub const PERMISSIONS: &str = "permissions";
    pub const POSITION: &str = "position";
    pub const USED_AFTER_END_AT: &str = "usedAfterEndAt";
    pub const REASON: &str = "reason";
    pub const REFUSALS: &str = "refusals";
    pub const REPLACED_BY: &str = "replacedBy";
    pub const REQUEST_ID: &str = "requestId";
    pub const RETIRED_AT: &str = "retiredAt";
    pub const RETIRED_BY: &str = "retiredBy";
    pub const RETIRES_AT: &str = "retiresAt";
    pub const ROLE: &str = "role";
    pub const ROUTE: &str = "route";
    pub const ROUTE_PREFIX: &str = "routePrefix";
    pub const SEAL: &str = "seal";
    pub const SINGLE_USE: &str = "singleUse";
    pub const SKIPPED_COUNT: &str = "skippedCount";
    pub const SOURCE: &str = "source";
    pub const STARTED_AT: &str = "startedAt";
    pub const TAGS: &str = "tags";
    pub const TITLE: &str = "title";
    pub const TO: &str = "to";
    pub const TOOL_COUNT: &str = "toolCount";
    pub const TOOLS_SHA256: &str = "toolsSha256";
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

/// The non-key attributes of the directory: what searches compare and the overview shows. A
/// search reads the items of all accounts, so they must stay small. They must never include
/// a verifier.
pub const DIRECTORY_PROJECTION: &[&str] = &[
    attribute::AT,
    attribute::HINT,
    attribute::LABELS,
    attribute::NAME,
    attribute::OWNER,
    attribute::ROLE,
    attribute::TAGS,
];
