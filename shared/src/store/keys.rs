//! Issues and revokes keys. Rotation is in `rotation.rs`.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use jiff::Timestamp;

use super::accounts::{AccountToChange, Verifiers};
use super::codec::{self, Map, Reader, n, s, seconds};
use super::commit::{Attempt, Expression, Outcome};
use super::directory::{Entry, retired_key_attributes};
use super::events::NewEvent;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, Actor, ChangeRequest, EventType, Fingerprint, KeyEnd, KeyId, LiveKey, RetiredReason,
    RoleName, VerifierEntry,
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

/// The fingerprint in the record of a retired key or a deleted account.
pub(super) enum RecordFingerprint {
    NoRecord,
    /// The record has no fingerprint: an operator wrote it by hand.
    Unknown,
    Known(Fingerprint),
}

impl Store {
    /// Adds a key to an account. In the same transaction, the account's expired keys,
    /// and its rotated keys whose grace period is over, become retired keys.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Disabled`],
    /// [`StoreError::KeyLimit`] if the account has `most` live keys,
    /// [`StoreError::UnknownRole`], [`StoreError::AlreadyIssued`] or
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
                if new.is_stored_as(verifiers.get(&issued.id)) {
                    return Ok(Attempt::Done(()));
                }
                return Err(issued_before(issued.id, issued.fingerprint == new.key.fingerprint));
            }
            let now = self.clock.now();
            let ended = ended_keys(&account, now);
            let refusal = if !account.enabled {
                Some(StoreError::Disabled)
            } else if account.keys.len() - ended.len() >= most {
                Some(StoreError::KeyLimit { most, is_rotation: false })
            } else {
                None
            };
            if let Some(refusal) = refusal {
                // A retry gets the result of its first attempt, even if a new
                // request would be refused.
                self.check_not_retired(id, new.key.id, new.key.fingerprint).await?;
                return Err(refusal);
            }
            let mut expression = changed_by(&new.key.created_by, new.key.created_at);
            add_key(&mut expression, new);
            limit_keys(&mut expression, most, &ended);
            let mut after = without(&account, &ended);
            after.push(new.key.clone());
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

    /// Reads the fingerprint in the record of a retired key or a deleted account.
    pub(super) async fn record_fingerprint(
        &self,
        record: schema::Key,
    ) -> Result<RecordFingerprint, StoreError> {
        let record = self.read(record, &[schema::PK, attribute::FINGERPRINT]).await?;
        Ok(record.map_or(RecordFingerprint::NoRecord, |record| {
            Reader(&record).fingerprint().map_or(RecordFingerprint::Unknown, RecordFingerprint::Known)
        }))
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
            remove_key(&mut expression, key);
            let after: Vec<_> = account.keys.iter().filter(|live| live.id != key).cloned().collect();
            entry.change(&mut expression, &account, &after);
            let event = NewEvent::key(EventType::KeyRevoked, &account, revoked);
            self.commit_unchanged(vec![
                self.update(schema::account_key(id), expression)?,
                self.retire(&account, revoked, verifiers.get(&key), &retirement)?,
                self.record(event, request, now)?,
            ])
            .await
        })
        .await
    }

    /// Revokes all keys of an account in one transaction, with one event for each
    /// key. Returns the revoked keys.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`] or [`StoreError::Contention`].
    pub async fn revoke_all_keys(
        &self,
        id: AccountId,
        request: &ChangeRequest,
    ) -> Result<Vec<KeyId>, StoreError> {
        self.retry(|| async {
            let AccountToChange { account, verifiers, .. } = self.get_account_to_change(id).await?;
            let ids: Vec<KeyId> = account.keys.iter().map(|key| key.id).collect();
            if ids.is_empty() {
                return Ok(Attempt::Done(ids));
            }
            let now = self.clock.now();
            let retirement = RetirementDetails::by(&request.actor, RetiredReason::Revoked, now);
            let mut expression = changed_by(&request.actor, now);
            // The account's keys have not changed since it was read.
            expression.require_equal(attribute::VERSION, n(account.version));
            Entry::new(&account, []).write(&mut expression);
            let mut actions = Vec::new();
            for key in &account.keys {
                remove_key(&mut expression, key.id);
                actions.push(self.retire(&account, key, verifiers.get(&key.id), &retirement)?);
                let event = NewEvent::key(EventType::KeyRevoked, &account, key);
                actions.push(self.record(event, request, now)?);
            }
            actions.push(self.update(schema::account_key(id), expression)?);
            Ok(self.commit_unchanged(actions).await?.with(ids))
        })
        .await
    }

    /// Removes ended keys from their account, and returns the actions that write their
    /// records.
    pub(super) fn retire_ended(
        &self,
        expression: &mut Expression,
        account: &Account,
        verifiers: &Verifiers,
        ended: &[(&LiveKey, KeyEnd)],
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let retire = |(key, end): &(&LiveKey, KeyEnd)| {
            remove_key(expression, key.id);
            self.retire(account, key, verifiers.get(&key.id), &RetirementDetails::ended(*end, now))
        };
        ended.iter().map(retire).collect()
    }

    /// Moves an account's expired keys, and its rotated keys whose grace period is
    /// over, to their records. Returns the number of moved keys.
    ///
    /// This change is not an admin's, so it has no event and does not set the account's
    /// `updatedAt` and `updatedBy`.
    ///
    /// # Errors
    /// [`StoreError::Contention`].
    pub async fn prune_keys(&self, id: AccountId) -> Result<usize, StoreError> {
        self.retry(|| async {
            let Some(AccountToChange { account, verifiers, .. }) = self.find_account_to_change(id).await?
            else {
                return Ok(Attempt::Done(0));
            };
            let now = self.clock.now();
            let ended = ended_keys(&account, now);
            if ended.is_empty() {
                return Ok(Attempt::Done(0));
            }
            let mut expression = Expression::default();
            expression.increment(attribute::VERSION);
            // The entry in the directory is correct only for the keys that were read.
            expression.require_equal(attribute::VERSION, n(account.version));
            Entry::new(&account, &without(&account, &ended)).write(&mut expression);
            let mut actions = self.retire_ended(&mut expression, &account, &verifiers, &ended, now)?;
            actions.push(self.update(schema::account_key(id), expression)?);
            Ok(self.commit_unchanged(actions).await?.with(ended.len()))
        })
        .await
    }

    /// The action that writes a retired key's record. The record keeps the verifier, so
    /// that the key is recognized if it is used later.
    pub(super) fn retire(
        &self,
        account: &Account,
        key: &LiveKey,
        verifier: Option<&VerifierEntry>,
        retirement: &RetirementDetails<'_>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut record = codec::live_key(key);
        record.extend(verifier.map(codec::verifier).unwrap_or_default());
        record.extend(retirement.attributes());
        record.extend(retired_key_attributes(&key.hint, key.id));
        self.put_new(schema::retired_key(account.id, key.id), record)
    }
}

/// Why, when and by whom a key or an account is retired.
pub(super) struct RetirementDetails<'a> {
    reason: &'static str,
    at: Timestamp,
    by: Option<&'a Actor>,
    /// When the record is written.
    now: Timestamp,
}

impl<'a> RetirementDetails<'a> {
    /// An admin retires a key now.
    pub(super) fn by(actor: &'a Actor, reason: RetiredReason, now: Timestamp) -> Self {
        Self { reason: reason.name(), at: now, by: Some(actor), now }
    }

    /// An admin deletes an account, and its keys with it, now.
    pub(super) fn account_deleted(actor: &'a Actor, now: Timestamp) -> Self {
        Self { reason: schema::ACCOUNT_DELETED, at: now, by: Some(actor), now }
    }

    /// A key has expired or its grace period is over. The record is written now.
    pub(super) fn ended(end: KeyEnd, now: Timestamp) -> Self {
        Self { reason: end.reason.name(), at: end.at, by: None, now }
    }

    /// The record's attributes. The record is kept for its full time from now on, even
    /// if the key ended long ago.
    pub(super) fn attributes(&self) -> Map {
        let mut attributes = codec::map([
            (attribute::REASON, s(self.reason)),
            (attribute::RETIRED_AT, seconds(self.at)),
            (schema::TTL, seconds(schema::kept_until(self.now))),
        ]);
        if let Some(by) = self.by {
            attributes.insert(attribute::RETIRED_BY.to_owned(), codec::actor(by));
        }
        attributes
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

/// The keys of an account that have ended at `now`: expired keys, and rotated keys
/// whose grace period is over.
pub(super) fn ended_keys(account: &Account, now: Timestamp) -> Vec<(&LiveKey, KeyEnd)> {
    account.keys.iter().filter_map(|key| Some((key, key.ended(now)?))).collect()
}

/// The keys of an account without its ended keys.
pub(super) fn without(account: &Account, ended: &[(&LiveKey, KeyEnd)]) -> Vec<LiveKey> {
    let has_ended = |key: &LiveKey| ended.iter().any(|(ended, _)| ended.id == key.id);
    account.keys.iter().filter(|key| !has_ended(key)).cloned().collect()
}

/// The start of an admin's change of an account's keys. It counts as a change of the
/// account.
pub(super) fn changed_by(actor: &Actor, at: Timestamp) -> Expression {
    let mut expression = Expression::default();
    expression.increment(attribute::VERSION);
    expression.set(attribute::UPDATED_AT, seconds(at));
    expression.set(attribute::UPDATED_BY, codec::actor(actor));
    expression
}

/// Adds a key. Requires that the account is enabled and has no key with this id.
pub(super) fn add_key(expression: &mut Expression, new: &NewKey) {
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(new.key.id);
    expression.require_equal(attribute::ENABLED, AttributeValue::Bool(true));
    expression.require(format!("attribute_not_exists({keys}.{id})"));
    expression.set_path(&format!("{keys}.{id}"), AttributeValue::M(codec::live_key(&new.key)));
    expression.set_path(&format!("{verifiers}.{id}"), AttributeValue::M(codec::verifier(&new.verifier)));
}

/// Requires that the account has fewer than `most` keys, not counting the ended
/// keys that the same write removes.
pub(super) fn limit_keys(expression: &mut Expression, most: usize, ended: &[(&LiveKey, KeyEnd)]) {
    let keys = expression.name(attribute::KEYS);
    let most = expression.value(n(most.saturating_add(ended.len())));
    expression.require(format!("size({keys}) < {most}"));
}

/// Removes a key and its verifier. Requires that the account has the key.
pub(super) fn remove_key(expression: &mut Expression, key: KeyId) {
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(key);
    expression.require(format!("attribute_exists({keys}.{id})"));
    expression.remove_path(format!("{keys}.{id}"));
    expression.remove_path(format!("{verifiers}.{id}"));
}

/// The error for a request whose key already exists. `same_request` says whether an
/// earlier attempt of the same request issued the key.
pub(super) fn issued_before(key: KeyId, same_request: bool) -> StoreError {
    if same_request { StoreError::AlreadyIssued(key) } else { StoreError::IdempotencyKeyReused }
}
