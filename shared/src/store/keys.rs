//! Issues and revokes keys. Rotation is in `rotation.rs`, and what keys and federated
//! identities have in common in `grants.rs`.

use super::accounts::AccountToChange;
use super::commit::{Attempt, Outcome};
use super::events::NewEvent;
use super::grants::{
    EndedGrants, RecordFingerprint, RetirementDetails, add_key, changed_by, limit_keys, remove_grant,
};
use super::schema;
use super::{Store, StoreError};
use crate::domain::{
    AccountId, ChangeRequest, EventType, Fingerprint, KeyId, LiveKey, RetiredReason, RoleName, VerifierEntry,
};

/// A key to store.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key without its secret.
    pub key: LiveKey,
    /// The verifier that a presented key must match.
    pub verifier: VerifierEntry,
}

/// The conditions of issuing a key, in order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum IssueCondition<'a> {
    KeyNotRetired,
    RoleExists(&'a RoleName),
    /// The account has not changed since it was read, and no record or event exists
    /// yet.
    Unchanged,
}

impl Store {
    /// Adds a key to an account. In the same transaction, the account's expired grants,
    /// and its rotated keys whose grace period is over, move to their records.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Disabled`],
    /// [`StoreError::KeyLimit`] if the account has `most` live keys,
    /// [`StoreError::GrantLimit`], [`StoreError::UnknownRole`], [`StoreError::AlreadyIssued`] or
    /// [`StoreError::IdempotencyKeyReused`] if a key with this id exists, or
    /// [`StoreError::Contention`].
    pub async fn issue_key(
        &self,
        id: AccountId,
        new: &NewKey,
        most: usize,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        self.retry(|| async {
            let AccountToChange { account, verifiers, entry } = self.get_account_to_change(id).await?;
            if let Some(issued) = account.keys.iter().find(|key| key.id == new.key.id) {
                if new.is_stored_as(verifiers.keys.get(&issued.id)) {
                    return Ok(Attempt::Done(()));
                }
                return Err(issued_before(issued.id, issued.fingerprint == new.key.fingerprint));
            }
            let now = self.clock.now();
            let ended = EndedGrants::find(&account, now);
            let refusal = if account.enabled {
                ended.check_room_for_key(&account, most, false).err()
            } else {
                Some(StoreError::Disabled)
            };
            if let Some(refusal) = refusal {
                // A retry gets the result of its first attempt, even if a new
                // request would be refused.
                self.check_not_retired(id, new.key.id, new.key.fingerprint).await?;
                return Err(refusal);
            }
            let mut expression = changed_by(&new.key.created_by, new.key.created_at);
            add_key(&mut expression, new);
            limit_keys(&mut expression, &account, most, &ended);
            let mut after = ended.removed_from(&account);
            after.keys.push(new.key.clone());
            entry.change(&mut expression, &account, &after);
            let records = self.retire_ended(&mut expression, &account, &verifiers, &ended, now)?;
            let event = NewEvent::key(EventType::KeyIssued, &account, &new.key);
            let mut actions = vec![
                (IssueCondition::Unchanged, self.update(schema::account_key(id), expression)?),
                (IssueCondition::KeyNotRetired, self.check_absent(schema::retired_key(id, new.key.id))?),
                (IssueCondition::Unchanged, self.record(event, request, now)?),
            ];
            actions.extend(records.into_iter().map(|record| (IssueCondition::Unchanged, record)));
            if let Some(role) = &new.key.spec.role {
                let role_check = self.check_role(role)?;
                actions.extend(role_check.map(|check| (IssueCondition::RoleExists(role), check)));
            }
            match self.commit(actions).await? {
                Outcome::Committed => Ok(Attempt::Done(())),
                Outcome::Refused(IssueCondition::KeyNotRetired) => {
                    self.check_not_retired(id, new.key.id, new.key.fingerprint).await?;
                    Ok(Attempt::Again)
                }
                Outcome::Refused(IssueCondition::RoleExists(role)) => {
                    Err(StoreError::UnknownRole(role.clone()))
                }
                Outcome::Refused(IssueCondition::Unchanged) | Outcome::Conflict => Ok(Attempt::Again),
            }
        })
        .await
    }

    /// Checks that a new key's id is not the id of a retired key, which an earlier
    /// request with the same `Idempotency-Key` issued.
    ///
    /// # Errors
    /// [`StoreError::AlreadyIssued`] if the fingerprint of that request is
    /// `fingerprint`, else [`StoreError::IdempotencyKeyReused`].
    pub(super) async fn check_not_retired(
        &self,
        id: AccountId,
        key: KeyId,
        fingerprint: Fingerprint,
    ) -> Result<(), StoreError> {
        match self.record_fingerprint(schema::retired_key(id, key)).await? {
            RecordFingerprint::NoRecord => Ok(()),
            RecordFingerprint::Unknown => Err(issued_before(key, false)),
            RecordFingerprint::Known(first) => Err(issued_before(key, first == fingerprint)),
        }
    }

    /// Revokes a key: moves it from its account to a record. From then on, consistent
    /// reads of the account no longer find the key.
    ///
    /// Does nothing if the key is already retired, whatever the reason. Revokes an
    /// expired key that is still in its account like a live key.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::KeyNotFound`] or
    /// [`StoreError::Contention`].
    pub async fn revoke_key(
        &self,
        id: AccountId,
        key: KeyId,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        self.retry(|| async {
            let AccountToChange { account, verifiers, entry } = self.get_account_to_change(id).await?;
            let Some(revoked) = account.keys.iter().find(|live| live.id == key) else {
                let record = self.read(schema::retired_key(id, key), &[schema::PK]).await?;
                return record.map(|_| Attempt::Done(())).ok_or(StoreError::KeyNotFound(id, key));
            };
            let now = self.clock.now();
            let retirement = RetirementDetails::by(&request.actor, RetiredReason::Revoked, now);
            let mut expression = changed_by(&request.actor, now);
            remove_grant(&mut expression, key);
            let mut after = account.clone();
            after.keys.retain(|live| live.id != key);
            entry.change(&mut expression, &account, &after);
            let event = NewEvent::key(EventType::KeyRevoked, &account, revoked);
            self.commit_unchanged(vec![
                self.update(schema::account_key(id), expression)?,
                self.retire(&account, revoked, verifiers.keys.get(&key), &retirement)?,
                self.record(event, request, now)?,
            ])
            .await
        })
        .await
    }
}

impl NewKey {
    /// Whether `stored` is the verifier of exactly this key, and not of another key
    /// with the same id. Only this request knows the secret, so a match means that
    /// an earlier attempt of this request stored the key and its response was lost.
    pub(super) fn is_stored_as(&self, stored: Option<&VerifierEntry>) -> bool {
        stored.is_some_and(|stored| stored.verifier.matches(&self.verifier.verifier))
    }
}

/// The error for a request whose key already exists. `same_request` says whether an
/// earlier attempt of the same request issued the key.
pub(super) fn issued_before(key: KeyId, same_request: bool) -> StoreError {
    if same_request { StoreError::AlreadyIssued(key) } else { StoreError::IdempotencyKeyReused }
}
