//! The records of keys that no longer are any of their account's.

use super::codec::{self, Map, Problem, Reader};
use super::schema::{self, attribute};
use super::{MAX_QUERIES, Store, StoreError};
use crate::domain::{AccountId, Actor, AllowedCidrs, KeyId, RetiredReason, RoleName};
use crate::policy::Reason;
use jiff::Timestamp;

/// The most retired keys that are listed.
pub const MAX_RETIRED_KEYS: usize = 100;

/// What people may see of a record: all but the verifier and what it is for.
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

/// A key that no longer is one of its account's. A record that was made by hand
/// (with nothing but AWS credentials) says only why and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredKey {
    /// Its id.
    pub id: KeyId,
    /// What people called it.
    pub name: Option<String>,
    /// Its last four characters.
    pub hint: Option<String>,
    /// A role of its own.
    pub role: Option<RoleName>,
    /// The networks that it could be used from.
    pub cidrs: AllowedCidrs,
    /// When it was issued.
    pub created_at: Option<Timestamp>,
    /// Who issued it.
    pub created_by: Option<Actor>,
    /// When it would have expired.
    pub expires_at: Option<Timestamp>,
    /// Why it is no longer good.
    pub reason: RetiredReason,
    /// Since when.
    pub retired_at: Timestamp,
    /// Who saw to it, if it did not come by itself.
    pub retired_by: Option<Actor>,
    /// The key that replaces it, if it was rotated.
    pub replaced_by: Option<KeyId>,
}

impl Store {
    /// The retired keys of an account, the newest first, and
    /// [`MAX_RETIRED_KEYS`] at most. (Of so many that their records are more
    /// than some 10 MB, the newest of a part.)
    ///
    /// # Errors
    /// When the table cannot be reached, or a record is not well-formed.
    pub async fn list_retired_keys(&self, account: AccountId) -> Result<Vec<RetiredKey>, StoreError> {
        let records = self.read_partition(schema::retired_partition(account), &SHOWN, MAX_QUERIES).await?;
        let mut keys = records
            .iter()
            // Those of a deletion are there where a backup brought the account back.
            .filter(|record| !went_with_account(record))
            .map(|record| retired_key(record).map_err(|problem| problem.in_item("a retired key")))
            .collect::<Result<Vec<_>, _>>()?;
        keys.sort_by_key(|key| std::cmp::Reverse((key.retired_at, key.id)));
        keys.truncate(MAX_RETIRED_KEYS);
        Ok(keys)
    }
}

/// Why a key is refused that is on record.
pub(super) fn refusal(record: &Map) -> Result<Reason, Problem> {
    if went_with_account(record) { Ok(Reason::Retired) } else { reason(record).map(Into::into) }
}

/// Why a key was retired by itself or by an admin.
pub(super) fn reason(record: &Map) -> Result<RetiredReason, Problem> {
    Reader(record).get(attribute::REASON, |value| RetiredReason::parse(codec::text(value)?))
}

/// Whether a key was retired with its account.
pub(super) fn went_with_account(record: &Map) -> bool {
    record.get(attribute::REASON).and_then(codec::text) == Some(schema::ACCOUNT_DELETED)
}

fn retired_key(record: &Map) -> Result<RetiredKey, Problem> {
    let reader = Reader(record);
    let text = |name: &str| reader.get_optional(name, |value| codec::text(value).map(ToOwned::to_owned));
    let seconds = |name: &str| record.contains_key(name).then(|| reader.seconds(name)).transpose();
    let actor = |name: &str| record.contains_key(name).then(|| reader.actor(name)).transpose();
    Ok(RetiredKey {
        id: reader.parse(schema::SK, str::parse)?,
        name: text(attribute::NAME)?,
        hint: text(attribute::HINT)?,
        role: reader.role_of_key()?,
        cidrs: reader.cidrs()?,
        created_at: seconds(attribute::CREATED_AT)?,
        created_by: actor(attribute::CREATED_BY)?,
        expires_at: seconds(attribute::EXPIRES_AT)?,
        reason: reason(record)?,
        retired_at: reader.seconds(attribute::RETIRED_AT)?,
        retired_by: actor(attribute::RETIRED_BY)?,
        replaced_by: reader.get_optional(attribute::REPLACED_BY, |value| codec::text(value)?.parse().ok())?,
    })
}
