//! Rotates a key: issues its successor and ends the old key after a grace period.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

use super::accounts::AccountToChange;
use super::codec::{self, MalformedItem, Map, Reader, s, seconds};
use super::commit::{Attempt, Expression, Outcome};
use super::events::NewEvent;
use super::grants::{EndedGrants, RetirementDetails, add_key, changed_by, limit_keys, remove_grant};
use super::keys::{NewKey, issued_before};
use super::retired::retired_reason;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, ChangeRequest, EventType, FieldChange, Fingerprint, KeyId, LiveKey, RetiredReason,
    Rotation,
};

/// A requested rotation.
pub struct NewRotation<'a> {
    /// The successor's id.
    pub successor: KeyId,
    /// The fingerprint of the request.
    pub fingerprint: Fingerprint,
    /// The grace period, during which the old key still works. The old key expires
    /// at its own time if that is earlier.
    pub grace: SignedDuration,
    /// The maximum number of live keys of an account.
    pub most: usize,
    /// Makes the successor of a key at an instant.
    pub make: &'a (dyn Fn(&LiveKey, Timestamp) -> NewKey + Sync),
}

/// A completed rotation.
#[derive(Clone, Debug)]
pub struct RotatedKey {
    /// The new key.
    pub successor: NewKey,
    /// The rotation, as the old key records it.
    pub rotation: Rotation,
}

/// The conditions of a rotation, in order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RotateCondition {
    SuccessorNotRetired,
    /// The account has not changed since it was read, and no record or event exists
    /// yet.
    Unchanged,
}

impl Store {
    /// Issues a successor for a key. The old key works until its grace period is over.
    /// Without a grace period, the old key becomes a retired key in the same
    /// transaction, as do the account's grants that have ended.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::KeyNotFound`],
    /// [`StoreError::KeyRevoked`], [`StoreError::KeyExpired`],
    /// [`StoreError::AlreadyRotated`], [`StoreError::Disabled`],
    /// [`StoreError::KeyLimit`] or [`StoreError::GrantLimit`] if the account cannot have both keys,
    /// [`StoreError::AlreadyIssued`] or [`StoreError::IdempotencyKeyReused`] if a
    /// key with the successor's id exists, or [`StoreError::Contention`].
    pub async fn rotate_key(
        &self,
        id: AccountId,
        key: KeyId,
        new: &NewRotation<'_>,
        request: &ChangeRequest,
    ) -> Result<RotatedKey, StoreError> {
        // Created only once, so that a retry recognizes a commit whose response was
        // lost.
        let plan: OnceLock<RotatedKey> = OnceLock::new();
        self.retry(|| async {
            let AccountToChange { account, verifiers, entry } = self.get_account_to_change(id).await?;
            if let Some(made) = account.keys.iter().find(|live| live.id == new.successor) {
                return match plan.get() {
                    Some(plan) if plan.successor.is_stored_as(verifiers.keys.get(&made.id)) => {
                        Ok(Attempt::Done(plan.clone()))
                    }
                    _ => Err(issued_before(made.id, made.fingerprint == new.fingerprint)),
                };
            }
            let now = self.clock.now();
            let old = match self.find_rotatable(&account, key, new, now).await {
                Ok(old) => old,
                Err(refusal) => {
                    // A retry gets the result of its first attempt, even if a new
                    // request would be refused.
                    self.check_not_retired(id, new.successor, new.fingerprint).await?;
                    return Err(refusal);
                }
            };
            let planned = plan.get_or_init(|| new.plan(old, now));
            let ended = EndedGrants::find(&account, now);
            let mut expression = changed_by(&request.actor, now);
            add_key(&mut expression, &planned.successor);
            replace_key(&mut expression, old, planned, new);
            entry.change(&mut expression, &account, &new.account_after(&account, &ended, old, planned));
            if !new.stops_at_once() {
                limit_keys(&mut expression, &account, new.most, &ended);
            }
            let mut records = self.retire_ended(&mut expression, &account, &verifiers, &ended, now)?;
            let event = rotation_event(&account, old, planned);
            let mut actions = vec![
                (RotateCondition::Unchanged, self.update(schema::account_key(id), expression)?),
                (
                    RotateCondition::SuccessorNotRetired,
                    self.check_absent(schema::retired_key(id, new.successor))?,
                ),
                (RotateCondition::Unchanged, self.record(event, request, now)?),
            ];
            if new.stops_at_once() {
                let replaced = LiveKey { rotation: Some(planned.rotation), ..old.clone() };
                let retirement = RetirementDetails::by(&request.actor, RetiredReason::Rotated, now);
                records.push(self.retire(&account, &replaced, verifiers.keys.get(&key), &retirement)?);
            }
            actions.extend(records.into_iter().map(|record| (RotateCondition::Unchanged, record)));
            match self.commit(actions).await? {
                Outcome::Committed => Ok(Attempt::Done(planned.clone())),
                Outcome::Refused(RotateCondition::SuccessorNotRetired) => {
                    self.check_not_retired(id, new.successor, new.fingerprint).await?;
                    Ok(Attempt::Again)
                }
                Outcome::Refused(RotateCondition::Unchanged) | Outcome::Conflict => Ok(Attempt::Again),
            }
        })
        .await
    }

    /// Finds a key of `account` that can be rotated now.
    ///
    /// # Errors
    /// The reason why the key cannot be rotated, or an error of the read.
    async fn find_rotatable<'a>(
        &self,
        account: &'a Account,
        key: KeyId,
        new: &NewRotation<'_>,
        now: Timestamp,
    ) -> Result<&'a LiveKey, StoreError> {
        let Some(old) = account.keys.iter().find(|live| live.id == key) else {
            let attributes = [schema::PK, attribute::REASON, attribute::REPLACED_BY];
            let record = self.read(schema::retired_key(account.id, key), &attributes).await?;
            let record = record.ok_or(StoreError::KeyNotFound(account.id, key))?;
            return Err(retired_key_refusal(key, &record).unwrap_or_else(|error| error.in_item(key)));
        };
        if let Some(Rotation { replaced_by, .. }) = old.rotation {
            Err(StoreError::AlreadyRotated { key, replaced_by })
        } else if old.ended(now).is_some() {
            Err(StoreError::KeyExpired(key))
        } else if !account.enabled {
            Err(StoreError::Disabled)
        } else if new.stops_at_once() {
            Ok(old)
        } else {
            EndedGrants::find(account, now).check_room_for_key(account, new.most, true).map(|()| old)
        }
    }
}

/// The reason why a retired key cannot be rotated, from the key's record.
fn retired_key_refusal(key: KeyId, record: &Map) -> Result<StoreError, MalformedItem> {
    let replaced_by =
        Reader(record).get_optional(attribute::REPLACED_BY, |value| codec::text(value)?.parse().ok())?;
    match (retired_reason(record)?, replaced_by) {
        (RetiredReason::Revoked, _) => Ok(StoreError::KeyRevoked(key)),
        (RetiredReason::Rotated | RetiredReason::Expired, Some(replaced_by)) => {
            Ok(StoreError::AlreadyRotated { key, replaced_by })
        }
        (RetiredReason::Expired, None) => Ok(StoreError::KeyExpired(key)),
        (RetiredReason::Rotated, None) => Err(MalformedItem::missing(attribute::REPLACED_BY)),
    }
}

impl NewRotation<'_> {
    /// Whether the old key stops working immediately, without a grace period.
    fn stops_at_once(&self) -> bool {
        self.grace.is_zero()
    }

    /// `account` after the rotation of `old`.
    fn account_after(
        &self,
        account: &Account,
        ended: &EndedGrants<'_>,
        old: &LiveKey,
        planned: &RotatedKey,
    ) -> Account {
        let mut after = ended.removed_from(account);
        if self.stops_at_once() {
            after.keys.retain(|key| key.id != old.id);
        } else if let Some(replaced) = after.keys.iter_mut().find(|key| key.id == old.id) {
            replaced.rotation = Some(planned.rotation);
        }
        after.keys.push(planned.successor.key.clone());
        after
    }

    fn plan(&self, old: &LiveKey, now: Timestamp) -> RotatedKey {
        let expires_at = old.spec.expires_at;
        let retires_at = now.saturating_add(self.grace).map_or(expires_at, |end| end.min(expires_at));
        let rotation = Rotation { retires_at, replaced_by: self.successor };
        RotatedKey { successor: (self.make)(old, now), rotation }
    }
}

/// Records that a successor replaces the key, or removes the key if it has no grace
/// period. Requires that the account has the key, and that the key was not replaced
/// before.
fn replace_key(expression: &mut Expression, old: &LiveKey, planned: &RotatedKey, new: &NewRotation<'_>) {
    let (keys, id) = (expression.name(attribute::KEYS), expression.name(old.id));
    let replaced_by = expression.name(attribute::REPLACED_BY);
    expression.require(format!("attribute_not_exists({keys}.{id}.{replaced_by})"));
    if new.stops_at_once() {
        remove_grant(expression, old.id);
        return;
    }
    let retires_at = expression.name(attribute::RETIRES_AT);
    expression.require(format!("attribute_exists({keys}.{id})"));
    expression.set_path(&format!("{keys}.{id}.{retires_at}"), seconds(planned.rotation.retires_at));
    expression.set_path(&format!("{keys}.{id}.{replaced_by}"), s(planned.rotation.replaced_by));
}

fn rotation_event(account: &Account, old: &LiveKey, rotated: &RotatedKey) -> NewEvent {
    let RotatedKey { successor, rotation } = rotated;
    let change = |field: &str, to: String| FieldChange { field: field.to_owned(), from: String::new(), to };
    let mut event = NewEvent::key(EventType::KeyRotated, account, old);
    event.keys.push((&successor.key).into());
    event.changes = vec![
        change(attribute::REPLACED_BY, rotation.replaced_by.to_string()),
        change(attribute::RETIRES_AT, format!("{:.0}", rotation.retires_at)),
    ];
    event
}
