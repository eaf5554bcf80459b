//! Rotating a key: another one replaces it, and it works until its grace is over.

use jiff::{SignedDuration, Timestamp};

use super::codec::{self, Reader, s, seconds};
use super::commit::{Expression, Outcome};
use super::events::Happened;
use super::keys::{
    NewKey, Retirement, add_key, changed_by, ended_keys, issued_before, limit_keys, remove_key,
};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, ChangeRequest, EventType, FieldChange, Fingerprint, KeyId, LiveKey, RetiredReason,
    Rotation,
};

/// A rotation to be done.
pub struct NewRotation<'a> {
    /// The successor's id.
    pub successor: KeyId,
    /// The fingerprint of the request.
    pub fingerprint: Fingerprint,
    /// For how long the old key still works, at most.
    pub grace: SignedDuration,
    /// The most live keys of an account.
    pub most: usize,
    /// Makes the successor of a key at an instant.
    pub make: &'a (dyn Fn(&LiveKey, Timestamp) -> NewKey + Sync),
}

/// A rotation that was done.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The successor.
    pub successor: NewKey,
    /// What became of the old key.
    pub rotation: Rotation,
}

impl Store {
    /// Gives a key a successor. The old key works until its grace is over, or
    /// goes to its record in the same write where there is none. Those of the
    /// account's keys that are over go to theirs.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::KeyNotFound`],
    /// [`StoreError::KeyRevoked`], [`StoreError::KeyExpired`],
    /// [`StoreError::AlreadyRotated`], [`StoreError::Disabled`],
    /// [`StoreError::KeyLimit`] if both keys together would be too many,
    /// [`StoreError::AlreadyIssued`] or [`StoreError::IdempotencyKeyReused`] if
    /// the successor's id exists already, [`StoreError::Contention`], or the
    /// table cannot be reached.
    pub async fn rotate_key(
        &self,
        id: AccountId,
        key: KeyId,
        new: &NewRotation<'_>,
        request: &ChangeRequest,
    ) -> Result<Rotated, StoreError> {
        let mut backoff = self.backoff();
        let mut plan: Option<Rotated> = None;
        loop {
            let (account, verifiers) = self.get_account_with_verifiers(id).await?;
            if let Some(made) = account.keys.iter().find(|live| live.id == new.successor) {
                return match plan {
                    Some(plan) if plan.successor.is_stored_as(verifiers.get(&made.id)) => Ok(plan),
                    _ => Err(issued_before(made.id, made.fingerprint == new.fingerprint)),
                };
            }
            let now = self.clock.now();
            let old = match self.rotatable(&account, key, new, now).await? {
                Ok(old) => old,
                Err(refusal) => {
                    // A retry is told what became of the first attempt, whatever
                    // would be said to a new one.
                    let issued = self.issued_and_retired(id, new.successor, new.fingerprint).await?;
                    return Err(issued.unwrap_or(refusal));
                }
            };
            // Made once, so that its own commit is recognised whose answer was lost.
            let planned = plan.get_or_insert_with(|| new.plan(old, now));
            let ended = ended_keys(&account, now);
            let mut expression = changed_by(&request.actor, now);
            add_key(&mut expression, &planned.successor);
            replace_key(&mut expression, old, planned, new);
            if !new.stops_at_once() {
                limit_keys(&mut expression, new.most, &ended);
            }
            for (key, _) in &ended {
                remove_key(&mut expression, key.id);
            }
            let mut actions = vec![
                self.update(schema::account_key(id), expression)?,
                self.check_absent(schema::retired_key(id, new.successor))?,
                self.record(happened(&account, old, &planned.rotation), request, now)?,
            ];
            if new.stops_at_once() {
                let gone = LiveKey { rotation: Some(planned.rotation), ..old.clone() };
                let retirement = Retirement::by(&request.actor, RetiredReason::Rotated, now);
                actions.push(self.retire(&account, &gone, verifiers.get(&key), &retirement)?);
            }
            actions.extend(self.prune(&account, &verifiers, &ended, now)?);
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(planned.clone()),
                Outcome::Refused(failed) if failed.contains(&1) => {
                    match self.issued_and_retired(id, new.successor, new.fingerprint).await? {
                        Some(issued) => return Err(issued),
                        None => backoff.pause().await?,
                    }
                }
                // The account has changed since it was read: reading it again
                // tells what that means.
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    /// The key, if it can be rotated now, or why not.
    async fn rotatable<'a>(
        &self,
        account: &'a Account,
        key: KeyId,
        new: &NewRotation<'_>,
        now: Timestamp,
    ) -> Result<Result<&'a LiveKey, StoreError>, StoreError> {
        let Some(old) = account.keys.iter().find(|live| live.id == key) else {
            return self.why_gone(account.id, key).await.map(Err);
        };
        let live = account.keys.len() - ended_keys(account, now).len();
        let refusal = if let Some(Rotation { replaced_by, .. }) = old.rotation {
            StoreError::AlreadyRotated { key, replaced_by }
        } else if old.ended(now).is_some() {
            StoreError::KeyExpired(key)
        } else if !account.enabled {
            StoreError::Disabled
        } else if live >= new.most && !new.stops_at_once() {
            StoreError::KeyLimit { most: new.most, is_rotation: true }
        } else {
            return Ok(Ok(old));
        };
        Ok(Err(refusal))
    }

    /// Why a key that is not among its account's cannot be rotated.
    async fn why_gone(&self, id: AccountId, key: KeyId) -> Result<StoreError, StoreError> {
        let named = [schema::PK, attribute::REASON, attribute::REPLACED_BY];
        let Some(record) = self.read(schema::retired_key(id, key), &named).await? else {
            return Ok(StoreError::KeyNotFound(id, key));
        };
        let reader = Reader(&record);
        let reason = reader.get(attribute::REASON, |value| RetiredReason::parse(codec::text(value)?));
        let replaced_by =
            reader.get_optional(attribute::REPLACED_BY, |value| codec::text(value)?.parse().ok());
        let corrupt = |problem: codec::Problem| problem.in_item(key);
        match (reason.map_err(corrupt)?, replaced_by.map_err(corrupt)?) {
            (RetiredReason::Revoked, _) => Ok(StoreError::KeyRevoked(key)),
            (RetiredReason::Rotated | RetiredReason::Expired, Some(replaced_by)) => {
                Ok(StoreError::AlreadyRotated { key, replaced_by })
            }
            (RetiredReason::Expired, None) => Ok(StoreError::KeyExpired(key)),
            (RetiredReason::Rotated, None) => Err(corrupt(codec::Problem::missing(attribute::REPLACED_BY))),
        }
    }
}

impl NewRotation<'_> {
    /// Whether the old key stops with this very write.
    fn stops_at_once(&self) -> bool {
        self.grace.is_zero()
    }

    fn plan(&self, old: &LiveKey, now: Timestamp) -> Rotated {
        let expires_at = old.spec.expires_at;
        let retires_at = now.saturating_add(self.grace).map_or(expires_at, |end| end.min(expires_at));
        let rotation = Rotation { retires_at, replaced_by: self.successor };
        Rotated { successor: (self.make)(old, now), rotation }
    }
}

/// Notes that the key was replaced, or takes it away where it has no grace: on
/// the condition that it is there and that no other one replaces it.
fn replace_key(expression: &mut Expression, old: &LiveKey, planned: &Rotated, new: &NewRotation<'_>) {
    let (keys, id) = (expression.name(attribute::KEYS), expression.name(old.id));
    let replaced_by = expression.name(attribute::REPLACED_BY);
    expression.require(format!("attribute_not_exists({keys}.{id}.{replaced_by})"));
    if new.stops_at_once() {
        remove_key(expression, old.id);
        return;
    }
    let retires_at = expression.name(attribute::RETIRES_AT);
    expression.require(format!("attribute_exists({keys}.{id})"));
    expression.set_path(&format!("{keys}.{id}.{retires_at}"), seconds(planned.rotation.retires_at));
    expression.set_path(&format!("{keys}.{id}.{replaced_by}"), s(planned.rotation.replaced_by));
}

fn happened(account: &Account, old: &LiveKey, rotation: &Rotation) -> Happened {
    let change = |field: &str, to: String| FieldChange { field: field.to_owned(), from: String::new(), to };
    let mut happened = Happened::to_key(EventType::KeyRotated, account, old.id);
    happened.changes = vec![
        change(attribute::REPLACED_BY, rotation.replaced_by.to_string()),
        change(attribute::RETIRES_AT, format!("{:.0}", rotation.retires_at)),
    ];
    happened
}
