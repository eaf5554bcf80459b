//! The records of ended grants: retired keys and ended federated identities.

use super::codec::{self, MalformedItem, Map, Reader};
use super::schema::{self, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{
    AccountId, Actor, AllowedCidrs, GrantId, IdentityId, IdentityName, IdentitySpec, KeyId, RetiredReason,
    RoleName,
};
use crate::policy::Reason;
use jiff::Timestamp;

/// The maximum number of retired keys, and of ended federated identities, in a list.
pub const MAX_RETIRED_KEYS: usize = 100;

/// The attributes of a record that admins can see: all except the verifier and its
/// pepper version.
const SHOWN: [&str; 17] = [
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
    attribute::ISSUER,
    attribute::AUDIENCE,
    attribute::CLAIMS,
    attribute::SINGLE_USE,
    attribute::MAX_AGE,
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

/// A federated identity that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedIdentity {
    pub id: IdentityId,
    pub name: IdentityName,
    pub spec: IdentitySpec,
    pub created_at: Timestamp,
    pub created_by: Actor,
    /// Why the identity ended.
    pub reason: RetiredReason,
    pub ended_at: Timestamp,
    /// The admin who deleted the identity. `None` if it expired.
    pub ended_by: Option<Actor>,
}

/// The ended grants of an account, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetiredGrants {
    pub keys: Vec<RetiredKey>,
    pub identities: Vec<EndedIdentity>,
}

impl Store {
    /// Lists an account's retired keys and ended federated identities, newest first, at most
    /// [`MAX_RETIRED_KEYS`] of each. If the records have more than about 10 MB, this reads only
    /// a part of them.
    pub async fn list_retired_grants(&self, account: AccountId) -> Result<RetiredGrants, StoreError> {
        let records = self.read_partition(schema::retired_partition(account), &SHOWN, MAX_QUERIES).await?;
        let mut retired = RetiredGrants::default();
        // If the account was deleted and then restored from a backup, some records are from
        // the deletion.
        for record in records.iter().filter(|record| !is_account_deleted(record)) {
            let read = match Reader(record).parse(schema::SK, str::parse) {
                Ok(GrantId::Key(id)) => retired_key(id, record).map(|key| retired.keys.push(key)),
                Ok(GrantId::Identity(id)) => {
                    ended_identity(id, record).map(|identity| retired.identities.push(identity))
                }
                Err(error) => Err(error),
            };
            read.map_err(|error| error.in_item("a retired key"))?;
        }
        retired.keys.sort_by_key(|key| std::cmp::Reverse((key.retired_at, key.id)));
        retired.keys.truncate(MAX_RETIRED_KEYS);
        retired.identities.sort_by_key(|identity| std::cmp::Reverse((identity.ended_at, identity.id)));
        retired.identities.truncate(MAX_RETIRED_KEYS);
        Ok(retired)
    }
}

/// The reason to refuse requests with an ended grant.
pub(super) fn refusal(record: &Map) -> Result<Reason, MalformedItem> {
    if is_account_deleted(record) { Ok(Reason::Retired) } else { retired_reason(record).map(Into::into) }
}

/// Why a grant ended, other than with its account.
pub(super) fn retired_reason(record: &Map) -> Result<RetiredReason, MalformedItem> {
    Reader(record).get(attribute::REASON, |value| RetiredReason::parse(codec::text(value)?))
}

/// Whether a grant ended because its account was deleted.
pub(super) fn is_account_deleted(record: &Map) -> bool {
    record.get(attribute::REASON).and_then(codec::text) == Some(schema::ACCOUNT_DELETED)
}

fn ended_identity(id: IdentityId, record: &Map) -> Result<EndedIdentity, MalformedItem> {
    let reader = Reader(record);
    Ok(EndedIdentity {
        id,
        name: reader.parse(attribute::NAME, IdentityName::from_stored)?,
        spec: reader.identity_spec()?,
        created_at: reader.seconds(attribute::CREATED_AT)?,
        created_by: reader.actor(attribute::CREATED_BY)?,
        reason: retired_reason(record)?,
        ended_at: reader.seconds(attribute::RETIRED_AT)?,
        ended_by: reader.optional(attribute::RETIRED_BY, Reader::actor)?,
    })
}

fn retired_key(id: KeyId, record: &Map) -> Result<RetiredKey, MalformedItem> {
    let reader = Reader(record);
    Ok(RetiredKey {
        id,
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
