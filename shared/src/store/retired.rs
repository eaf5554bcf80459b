//! The records of retired keys.

use super::codec::{self, MalformedItem, Map, Reader};
use super::schema::{self, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{AccountId, Actor, AllowedCidrs, KeyId, RetiredReason, RoleName};
use crate::policy::Reason;
use jiff::Timestamp;

/// The maximum number of retired keys in a list.
pub const MAX_RETIRED_KEYS: usize = 100;

/// The attributes of a record that admins can see: all except the verifier and its
/// pepper version.
const SHOWN: [&str; 12] = [
    schema::SK,
    attribute::NAME,
    attribute::HINT,
    attribute::ROLE,
    attribute::CIDRS,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::EXPIRES_AT,
    attribute::REASON,
    attribute::RETIRED_AT,
    attribute::RETIRED_BY,
    attribute::REPLACED_BY,
];

/// A retired key. A record that an operator wrote by hand has only the reason and the
/// time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredKey {
    /// The key's id.
    pub id: KeyId,
    /// The key's name.
    pub name: Option<String>,
    /// The key's last four characters.
    pub hint: Option<String>,
    /// The key's own role.
    pub role: Option<RoleName>,
    /// The networks from which the key could be used.
    pub cidrs: AllowedCidrs,
    /// When the key was issued.
    pub created_at: Option<Timestamp>,
    /// Who issued the key.
    pub created_by: Option<Actor>,
    /// The key's expiry.
    pub expires_at: Option<Timestamp>,
    /// Why the key was retired.
    pub reason: RetiredReason,
    /// When the key was retired.
    pub retired_at: Timestamp,
    /// The admin who retired the key. `None` if it expired or its grace period was
    /// over.
    pub retired_by: Option<Actor>,
    /// The successor of a rotated key.
    pub replaced_by: Option<KeyId>,
}

impl Store {
    /// Lists an account's retired keys, newest first, at most [`MAX_RETIRED_KEYS`]. If
    /// the records have more than about 10 MB, this reads only a part of them.
    pub async fn list_retired_keys(&self, account: AccountId) -> Result<Vec<RetiredKey>, StoreError> {
        let records = self.read_partition(schema::retired_partition(account), &SHOWN, MAX_QUERIES).await?;
        let mut keys = records
            .iter()
            // If the account was deleted and then restored from a backup, some records
            // are from the deletion.
            .filter(|record| !is_account_deleted(record))
            .map(|record| retired_key(record).map_err(|error| error.in_item("a retired key")))
            .collect::<Result<Vec<_>, _>>()?;
        keys.sort_by_key(|key| std::cmp::Reverse((key.retired_at, key.id)));
        keys.truncate(MAX_RETIRED_KEYS);
        Ok(keys)
    }
}

/// The reason to refuse requests with a retired key.
pub(super) fn refusal(record: &Map) -> Result<Reason, MalformedItem> {
    if is_account_deleted(record) { Ok(Reason::Retired) } else { retired_reason(record).map(Into::into) }
}

/// Why a key was retired, other than with its account.
pub(super) fn retired_reason(record: &Map) -> Result<RetiredReason, MalformedItem> {
    Reader(record).get(attribute::REASON, |value| RetiredReason::parse(codec::text(value)?))
}

/// Whether a key was retired because its account was deleted.
pub(super) fn is_account_deleted(record: &Map) -> bool {
    record.get(attribute::REASON).and_then(codec::text) == Some(schema::ACCOUNT_DELETED)
}

fn retired_key(record: &Map) -> Result<RetiredKey, MalformedItem> {
    let reader = Reader(record);
    Ok(RetiredKey {
        id: reader.parse(schema::SK, str::parse)?,
        name: reader.optional(attribute::NAME, Reader::text)?.map(ToOwned::to_owned),
        hint: reader.optional(attribute::HINT, Reader::text)?.map(ToOwned::to_owned),
        role: reader.role_of_key()?,
        cidrs: reader.cidrs()?,
        created_at: reader.optional(attribute::CREATED_AT, Reader::seconds)?,
        created_by: reader.optional(attribute::CREATED_BY, Reader::actor)?,
        expires_at: reader.optional(attribute::EXPIRES_AT, Reader::seconds)?,
        reason: retired_reason(record)?,
        retired_at: reader.seconds(attribute::RETIRED_AT)?,
        retired_by: reader.optional(attribute::RETIRED_BY, Reader::actor)?,
        replaced_by: reader.get_optional(attribute::REPLACED_BY, |value| codec::text(value)?.parse().ok())?,
    })
}
