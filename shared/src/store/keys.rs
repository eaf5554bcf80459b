//! Keys: issue and revoke.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use jiff::Timestamp;

use super::codec::{self, Map, Reader, n, s, seconds};
use super::commit::{Expression, Outcome};
use super::events::Happened;
use super::schema::{self, attribute};
use super::{RetiredReason, Store, StoreError};
use crate::domain::{Account, AccountId, Actor, EventType, KeyId, LiveKey, Origin, VerifierEntry};

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// All that people may see of it.
    pub key: LiveKey,
    /// What a presented key is checked against.
    pub verifier: VerifierEntry,
}

/// The outcome of revoking all keys of an account.
#[derive(Debug)]
pub struct RevokedKeys {
    /// The keys that this revoked.
    pub ids: Vec<KeyId>,
}

impl Store {
    /// Adds a key to an account, and moves its expired keys to their records.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Disabled`],
    /// [`StoreError::KeyLimit`] if it has `most` live keys,
    /// [`StoreError::UnknownRole`], [`StoreError::AlreadyIssued`] or
    /// [`StoreError::IdempotencyKeyReused`] if this key's id exists already,
    /// [`StoreError::Contention`], or the table cannot be reached.
    pub async fn issue_key(
        &self,
        id: AccountId,
        new: &NewKey,
        most: usize,
        origin: &Origin,
    ) -> Result<(), StoreError> {
        let mut backoff = self.backoff();
        loop {
            let (account, verifiers) = self.get_account_with_verifiers(id).await?;
            if let Some(issued) = account.keys.iter().find(|key| key.id == new.key.id) {
                return Err(issued_before(new, issued.fingerprint == new.key.fingerprint));
            }
            let now = self.clock.now();
            let (expired, live): (Vec<_>, Vec<_>) = account.keys.iter().partition(|key| key.is_expired(now));
            let refusal = if !account.enabled {
                Some(StoreError::Disabled)
            } else if live.len() >= most {
                Some(StoreError::KeyLimit(most))
            } else {
                None
            };
            if let Some(refusal) = refusal {
                // A retry is told what became of the first attempt, whatever
                // would be said to a new one.
                return Err(self.issued_and_retired(id, new).await?.unwrap_or(refusal));
            }
            let mut actions = vec![
                self.update(schema::account_key(id), issue_expression(new, &expired, most))?,
                self.check_absent(schema::retired_key(id, new.key.id))?,
                self.record(Happened::to_key(EventType::KeyIssued, &account, new.key.id), origin)?,
            ];
            for key in &expired {
                let retirement =
                    Retirement { reason: RetiredReason::Expired, at: key.spec.expires_at, by: None };
                actions.push(self.retire(&account, key, verifiers.get(&key.id), &retirement)?);
            }
            let role_check =
                new.key.spec.role.as_ref().map(|role| self.check_role(role)).transpose()?.flatten();
            let role_check_at = actions.len();
            actions.extend(role_check);
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(()),
                Outcome::Refused(failed) if failed.contains(&1) => {
                    match self.issued_and_retired(id, new).await? {
                        Some(issued) => return Err(issued),
                        None => backoff.pause().await?,
                    }
                }
                Outcome::Refused(failed) if failed.contains(&role_check_at) => {
                    return Err(new
                        .key
                        .spec
                        .role
                        .clone()
                        .map_or(StoreError::Contention, StoreError::UnknownRole));
                }
                // The account has changed since it was read: reading it again
                // tells what that means.
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    /// What a retry is told whose key has been revoked or has expired since.
    async fn issued_and_retired(
        &self,
        id: AccountId,
        new: &NewKey,
    ) -> Result<Option<StoreError>, StoreError> {
        let record = self.read_retired(schema::retired_key(id, new.key.id)).await?;
        Ok(record.map(|record| {
            let fingerprint = Reader(&record).fingerprint().ok();
            issued_before(new, fingerprint == Some(new.key.fingerprint))
        }))
    }

    /// Revokes a key: moves it from its account to its record. The next
    /// consistent read of the account cannot find it.
    ///
    /// Revoking a key that is revoked or expired already changes nothing.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::KeyNotFound`],
    /// [`StoreError::Contention`], or the table cannot be reached.
    pub async fn revoke_key(&self, id: AccountId, key: KeyId, origin: &Origin) -> Result<(), StoreError> {
        let mut backoff = self.backoff();
        loop {
            let (account, verifiers) = self.get_account_with_verifiers(id).await?;
            let Some(revoked) = account.keys.iter().find(|live| live.id == key) else {
                let record = self.read_retired(schema::retired_key(id, key)).await?;
                return record.map(|_| ()).ok_or(StoreError::KeyNotFound(id, key));
            };
            let retirement = self.revocation(RetiredReason::Revoked, origin);
            let mut expression = changed_by(&origin.actor, retirement.at);
            remove_key(&mut expression, key);
            let actions = vec![
                self.update(schema::account_key(id), expression)?,
                self.retire(&account, revoked, verifiers.get(&key), &retirement)?,
                self.record(Happened::to_key(EventType::KeyRevoked, &account, key), origin)?,
            ];
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(()),
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    /// Revokes every key of an account, in one transaction. Each has its event.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::Contention`], or the
    /// table cannot be reached.
    pub async fn revoke_all_keys(&self, id: AccountId, origin: &Origin) -> Result<RevokedKeys, StoreError> {
        let mut backoff = self.backoff();
        loop {
            let (account, verifiers) = self.get_account_with_verifiers(id).await?;
            let ids: Vec<KeyId> = account.keys.iter().map(|key| key.id).collect();
            if ids.is_empty() {
                return Ok(RevokedKeys { ids });
            }
            let retirement = self.revocation(RetiredReason::Revoked, origin);
            let mut expression = changed_by(&origin.actor, retirement.at);
            // No key came or went since the read.
            expression.require_equal(attribute::VERSION, n(account.version));
            let mut records = Vec::new();
            for key in &account.keys {
                remove_key(&mut expression, key.id);
                records.push(self.retire(&account, key, verifiers.get(&key.id), &retirement)?);
                records.push(self.record(Happened::to_key(EventType::KeyRevoked, &account, key.id), origin)?);
            }
            let mut actions = vec![self.update(schema::account_key(id), expression)?];
            actions.append(&mut records);
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(RevokedKeys { ids }),
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    /// A retirement by a person, now.
    pub(super) fn revocation<'a>(&self, reason: RetiredReason, origin: &'a Origin) -> Retirement<'a> {
        Retirement { reason, at: self.clock.now(), by: Some(&origin.actor) }
    }

    /// The action that writes a retired key's record. With its verifier the key
    /// is recognised should it be presented again.
    pub(super) fn retire(
        &self,
        account: &Account,
        key: &LiveKey,
        verifier: Option<&VerifierEntry>,
        retirement: &Retirement<'_>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut record = codec::live_key(key);
        record.extend(verifier.map(codec::verifier).unwrap_or_default());
        record.extend(retirement.attributes());
        self.put_new(schema::retired_key(account.id, key.id), record)
    }
}

/// Why, when and by whom a key or an account was retired.
pub(super) struct Retirement<'a> {
    reason: RetiredReason,
    at: Timestamp,
    by: Option<&'a Actor>,
}

impl Retirement<'_> {
    pub(super) fn attributes(&self) -> Map {
        let kept = jiff::SignedDuration::from_hours(24 * schema::RETIRED_KEPT_DAYS);
        let mut attributes = Map::from([
            (attribute::REASON.to_owned(), s(self.reason.name())),
            (attribute::RETIRED_AT.to_owned(), seconds(self.at)),
            (schema::TTL.to_owned(), seconds(self.at.saturating_add(kept).unwrap_or(self.at))),
        ]);
        if let Some(by) = self.by {
            attributes.insert(attribute::RETIRED_BY.to_owned(), codec::actor(by));
        }
        attributes
    }
}

/// A change of the account's keys: it counts as a change of the account.
fn changed_by(actor: &Actor, at: Timestamp) -> Expression {
    let mut expression = Expression::default();
    expression.increment(attribute::VERSION);
    expression.set(attribute::UPDATED_AT, seconds(at));
    expression.set(attribute::UPDATED_BY, codec::actor(actor));
    expression
}

/// Every rule about a new key as one condition on one write: the account is
/// there and enabled, has no key of this id, and fewer than `most` beside the
/// expired ones, which go in the same write.
fn issue_expression(new: &NewKey, expired: &[&LiveKey], most: usize) -> Expression {
    let mut expression = changed_by(&new.key.created_by, new.key.created_at);
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(new.key.id);
    expression.require_equal(attribute::ENABLED, AttributeValue::Bool(true));
    expression.require(format!("attribute_not_exists({keys}.{id})"));
    let most = expression.value(n(most.saturating_add(expired.len())));
    expression.require(format!("size({keys}) < {most}"));
    expression.set_path(&format!("{keys}.{id}"), AttributeValue::M(codec::live_key(&new.key)));
    expression.set_path(&format!("{verifiers}.{id}"), AttributeValue::M(codec::verifier(&new.verifier)));
    for key in expired {
        remove_key(&mut expression, key.id);
    }
    expression
}

/// Takes a key out of both maps, on the condition that it is there.
fn remove_key(expression: &mut Expression, key: KeyId) {
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(key);
    expression.require(format!("attribute_exists({keys}.{id})"));
    expression.remove_path(format!("{keys}.{id}"));
    expression.remove_path(format!("{verifiers}.{id}"));
}

fn issued_before(new: &NewKey, same_request: bool) -> StoreError {
    if same_request { StoreError::AlreadyIssued(new.key.id) } else { StoreError::IdempotencyKeyReused }
}
