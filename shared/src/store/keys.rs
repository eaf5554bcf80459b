//! Keys: issue and revoke. (Rotating one: `rotation.rs`.)

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use jiff::Timestamp;

use super::accounts::Verifiers;
use super::codec::{self, Map, Reader, n, s, seconds};
use super::commit::{Expression, Outcome};
use super::events::Happened;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, Actor, ChangeRequest, EventType, Fingerprint, KeyEnd, KeyId, LiveKey, RetiredReason,
    VerifierEntry,
};

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
    /// Adds a key to an account, and moves those of its keys that are over to
    /// their records.
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
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        let mut backoff = self.backoff();
        loop {
            let (account, verifiers) = self.get_account_with_verifiers(id).await?;
            if let Some(issued) = account.keys.iter().find(|key| key.id == new.key.id) {
                if new.is_stored_as(verifiers.get(&issued.id)) {
                    return Ok(());
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
                // A retry is told what became of the first attempt, whatever
                // would be said to a new one.
                let issued = self.issued_and_retired(id, new.key.id, new.key.fingerprint).await?;
                return Err(issued.unwrap_or(refusal));
            }
            let mut expression = changed_by(&new.key.created_by, new.key.created_at);
            add_key(&mut expression, new);
            limit_keys(&mut expression, most, &ended);
            for (key, _) in &ended {
                remove_key(&mut expression, key.id);
            }
            let mut actions = vec![
                self.update(schema::account_key(id), expression)?,
                self.check_absent(schema::retired_key(id, new.key.id))?,
                self.record(Happened::to_key(EventType::KeyIssued, &account, new.key.id), request, now)?,
            ];
            actions.extend(self.prune(&account, &verifiers, &ended, now)?);
            let role_check =
                new.key.spec.role.as_ref().map(|role| self.check_role(role)).transpose()?.flatten();
            let role_check_at = actions.len();
            actions.extend(role_check);
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(()),
                Outcome::Refused(failed) if failed.contains(&1) => {
                    match self.issued_and_retired(id, new.key.id, new.key.fingerprint).await? {
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

    /// What a retry is told whose key, of this id, is no longer one of the
    /// account's.
    pub(super) async fn issued_and_retired(
        &self,
        id: AccountId,
        key: KeyId,
        fingerprint: Fingerprint,
    ) -> Result<Option<StoreError>, StoreError> {
        let first = self.fingerprint_of(schema::retired_key(id, key)).await?;
        Ok(first.map(|first| issued_before(key, first == Some(fingerprint))))
    }

    /// The fingerprint in the record of a key or an account, if there is a
    /// record, and if it has one (those made by hand have none).
    pub(super) async fn fingerprint_of(
        &self,
        record: schema::Key,
    ) -> Result<Option<Option<Fingerprint>>, StoreError> {
        let record = self.read(record, &[schema::PK, attribute::FINGERPRINT]).await?;
        Ok(record.map(|record| Reader(&record).fingerprint().ok()))
    }

    /// Revokes a key: moves it from its account to its record. The next
    /// consistent read of the account cannot find it.
    ///
    /// Revoking a key that is on record already, whatever its end, changes
    /// nothing. One that has come to its end by itself and is still among its
    /// account's is revoked as a living one is.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::KeyNotFound`],
    /// [`StoreError::Contention`], or the table cannot be reached.
    pub async fn revoke_key(
        &self,
        id: AccountId,
        key: KeyId,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        let mut backoff = self.backoff();
        loop {
            let (account, verifiers) = self.get_account_with_verifiers(id).await?;
            let Some(revoked) = account.keys.iter().find(|live| live.id == key) else {
                let record = self.read(schema::retired_key(id, key), &[schema::PK]).await?;
                return record.map(|_| ()).ok_or(StoreError::KeyNotFound(id, key));
            };
            let now = self.clock.now();
            let retirement = Retirement::by(&request.actor, RetiredReason::Revoked, now);
            let mut expression = changed_by(&request.actor, now);
            remove_key(&mut expression, key);
            let actions = vec![
                self.update(schema::account_key(id), expression)?,
                self.retire(&account, revoked, verifiers.get(&key), &retirement)?,
                self.record(Happened::to_key(EventType::KeyRevoked, &account, key), request, now)?,
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
    pub async fn revoke_all_keys(
        &self,
        id: AccountId,
        request: &ChangeRequest,
    ) -> Result<RevokedKeys, StoreError> {
        let mut backoff = self.backoff();
        loop {
            let (account, verifiers) = self.get_account_with_verifiers(id).await?;
            let ids: Vec<KeyId> = account.keys.iter().map(|key| key.id).collect();
            if ids.is_empty() {
                return Ok(RevokedKeys { ids });
            }
            let now = self.clock.now();
            let retirement = Retirement::by(&request.actor, RetiredReason::Revoked, now);
            let mut expression = changed_by(&request.actor, now);
            // No key came or went since the read.
            expression.require_equal(attribute::VERSION, n(account.version));
            let mut records = Vec::new();
            for key in &account.keys {
                remove_key(&mut expression, key.id);
                records.push(self.retire(&account, key, verifiers.get(&key.id), &retirement)?);
                let happened = Happened::to_key(EventType::KeyRevoked, &account, key.id);
                records.push(self.record(happened, request, now)?);
            }
            let mut actions = vec![self.update(schema::account_key(id), expression)?];
            actions.append(&mut records);
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(RevokedKeys { ids }),
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
    }

    /// The actions that write the records of keys that are over.
    pub(super) fn prune(
        &self,
        account: &Account,
        verifiers: &Verifiers,
        ended: &[(&LiveKey, KeyEnd)],
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let record = |(key, ended): &(&LiveKey, KeyEnd)| {
            self.retire(account, key, verifiers.get(&key.id), &Retirement::by_itself(*ended, now))
        };
        ended.iter().map(record).collect()
    }

    /// Moves those keys of an account to their records that have come to their
    /// end by themselves. How many those were.
    ///
    /// Nobody did that to the account: it makes no event, and who last changed
    /// the account stays.
    ///
    /// # Errors
    /// [`StoreError::Contention`], or the table cannot be reached.
    pub async fn prune_keys(&self, id: AccountId) -> Result<usize, StoreError> {
        let mut backoff = self.backoff();
        loop {
            let (account, verifiers) = match self.get_account_with_verifiers(id).await {
                Err(StoreError::AccountNotFound(_)) => return Ok(0),
                found => found?,
            };
            let now = self.clock.now();
            let ended = ended_keys(&account, now);
            if ended.is_empty() {
                return Ok(0);
            }
            let mut expression = Expression::default();
            expression.increment(attribute::VERSION);
            for (key, _) in &ended {
                remove_key(&mut expression, key.id);
            }
            let mut actions = vec![self.update(schema::account_key(id), expression)?];
            actions.extend(self.prune(&account, &verifiers, &ended, now)?);
            match self.commit(actions).await? {
                Outcome::Committed => return Ok(ended.len()),
                // Somebody else has changed the account, or moved a key.
                Outcome::Refused(_) | Outcome::Conflict => backoff.pause().await?,
            }
        }
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

/// Why, since when and by whom a key or an account is retired, and when its
/// record is written.
pub(super) struct Retirement<'a> {
    reason: &'static str,
    at: Timestamp,
    by: Option<&'a Actor>,
    now: Timestamp,
}

impl<'a> Retirement<'a> {
    /// A person retires a key now.
    pub(super) fn by(actor: &'a Actor, reason: RetiredReason, now: Timestamp) -> Self {
        Self { reason: reason.name(), at: now, by: Some(actor), now }
    }

    /// A person deletes an account, and its keys with it, now.
    pub(super) fn of_account(actor: &'a Actor, now: Timestamp) -> Self {
        Self { reason: schema::ACCOUNT_DELETED, at: now, by: Some(actor), now }
    }

    /// The key has come to its end by itself, and is moved away now.
    pub(super) fn by_itself(ended: KeyEnd, now: Timestamp) -> Self {
        Self { reason: ended.reason.name(), at: ended.at, by: None, now }
    }

    /// What a record says of it. It is kept for so long from now on, however
    /// long ago the key has come to its end.
    pub(super) fn attributes(&self) -> Map {
        let mut attributes = Map::from([
            (attribute::REASON.to_owned(), s(self.reason)),
            (attribute::RETIRED_AT.to_owned(), seconds(self.at)),
            (schema::TTL.to_owned(), seconds(schema::kept_until(self.now))),
        ]);
        if let Some(by) = self.by {
            attributes.insert(attribute::RETIRED_BY.to_owned(), codec::actor(by));
        }
        attributes
    }
}

impl NewKey {
    /// Whether this very key, and not another one under the same id, is the one
    /// that is stored with this verifier. Then it was this request that stored
    /// it, though it was not told so: only it knows the secret.
    pub(super) fn is_stored_as(&self, stored: Option<&VerifierEntry>) -> bool {
        stored.is_some_and(|stored| stored.verifier.matches(&self.verifier.verifier))
    }
}

/// The keys of an account that are over at `now`, each with its end.
pub(super) fn ended_keys(account: &Account, now: Timestamp) -> Vec<(&LiveKey, KeyEnd)> {
    account.keys.iter().filter_map(|key| Some((key, key.ended(now)?))).collect()
}

/// A change of the account's keys: it counts as a change of the account.
pub(super) fn changed_by(actor: &Actor, at: Timestamp) -> Expression {
    let mut expression = Expression::default();
    expression.increment(attribute::VERSION);
    expression.set(attribute::UPDATED_AT, seconds(at));
    expression.set(attribute::UPDATED_BY, codec::actor(actor));
    expression
}

/// Adds a key, on the condition that the account is there and enabled, and has
/// none of this id.
pub(super) fn add_key(expression: &mut Expression, new: &NewKey) {
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(new.key.id);
    expression.require_equal(attribute::ENABLED, AttributeValue::Bool(true));
    expression.require(format!("attribute_not_exists({keys}.{id})"));
    expression.set_path(&format!("{keys}.{id}"), AttributeValue::M(codec::live_key(&new.key)));
    expression.set_path(&format!("{verifiers}.{id}"), AttributeValue::M(codec::verifier(&new.verifier)));
}

/// Requires that the account has fewer than `most` keys beside those that are
/// over, which go in the same write.
pub(super) fn limit_keys(expression: &mut Expression, most: usize, ended: &[(&LiveKey, KeyEnd)]) {
    let keys = expression.name(attribute::KEYS);
    let most = expression.value(n(most.saturating_add(ended.len())));
    expression.require(format!("size({keys}) < {most}"));
}

/// Takes a key out of both maps, on the condition that it is there.
pub(super) fn remove_key(expression: &mut Expression, key: KeyId) {
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(key);
    expression.require(format!("attribute_exists({keys}.{id})"));
    expression.remove_path(format!("{keys}.{id}"));
    expression.remove_path(format!("{verifiers}.{id}"));
}

/// What a retry is told of the key that its first attempt made.
pub(super) fn issued_before(key: KeyId, same_request: bool) -> StoreError {
    if same_request { StoreError::AlreadyIssued(key) } else { StoreError::IdempotencyKeyReused }
}
