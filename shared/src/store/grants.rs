//! What changes of keys and federated identities have in common: their limits, their places
//! in an account, and the records of ended ones.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use jiff::Timestamp;

use super::accounts::AccountToChange;
use super::codec::{self, Map, Reader, Verifiers, n, s, seconds};
use super::commit::{Attempt, Expression};
use super::directory::{Entry, ended_identity_attributes, retired_key_attributes};
use super::events::NewEvent;
use super::identities::NewIdentity;
use super::keys::NewKey;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, Actor, ChangeRequest, EventType, FederatedIdentity, Fingerprint, GrantId, IdentityId,
    KeyEnd, KeyId, LiveKey, MAX_GRANTS, RetiredReason, VerifierEntry,
};

/// The grants of an account that have ended: expired keys and federated identities, and
/// rotated keys whose grace period is over.
pub(super) struct EndedGrants<'a> {
    keys: Vec<(&'a LiveKey, KeyEnd)>,
    identities: Vec<(&'a FederatedIdentity, KeyEnd)>,
}

impl<'a> EndedGrants<'a> {
    /// The grants of `account` that have ended at `now`.
    pub(super) fn find(account: &'a Account, now: Timestamp) -> Self {
        Self {
            keys: account.keys.iter().filter_map(|key| Some((key, key.ended(now)?))).collect(),
            identities: account
                .identities
                .iter()
                .filter_map(|identity| Some((identity, identity.ended(now)?)))
                .collect(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len() + self.identities.len()
    }

    /// `account` without these grants.
    pub(super) fn removed_from(&self, account: &Account) -> Account {
        let mut after = account.clone();
        after.keys.retain(|key| self.keys.iter().all(|(ended, _)| ended.id != key.id));
        after.identities.retain(|own| self.identities.iter().all(|(ended, _)| ended.id != own.id));
        after
    }

    /// Checks that `account` can have one more federated identity.
    ///
    /// # Errors
    /// [`StoreError::GrantLimit`].
    pub(super) fn check_room(&self, account: &Account) -> Result<(), StoreError> {
        let live = account.keys.len() + account.identities.len() - self.count();
        if live < MAX_GRANTS { Ok(()) } else { Err(StoreError::GrantLimit) }
    }

    /// Checks that `account` can have one more key, if `most` keys are permitted.
    ///
    /// # Errors
    /// [`StoreError::KeyLimit`] or [`StoreError::GrantLimit`].
    pub(super) fn check_room_for_key(
        &self,
        account: &Account,
        most: usize,
        is_rotation: bool,
    ) -> Result<(), StoreError> {
        if account.keys.len() - self.keys.len() >= most {
            return Err(StoreError::KeyLimit { most, is_rotation });
        }
        self.check_room(account)
    }
}

/// The grants that an admin ended together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedIds {
    pub keys: Vec<KeyId>,
    pub identities: Vec<IdentityId>,
}

/// The fingerprint in the record of an ended grant or a deleted account.
pub(super) enum RecordFingerprint {
    NoRecord,
    /// The record has no fingerprint: an operator wrote it by hand.
    Unknown,
    Known(Fingerprint),
}

impl Store {
    /// Reads the fingerprint in the record of an ended grant or a deleted account.
    pub(super) async fn record_fingerprint(
        &self,
        record: schema::Key,
    ) -> Result<RecordFingerprint, StoreError> {
        let record = self.read(record, &[schema::PK, attribute::FINGERPRINT]).await?;
        Ok(record.map_or(RecordFingerprint::NoRecord, |record| {
            Reader(&record).fingerprint().map_or(RecordFingerprint::Unknown, RecordFingerprint::Known)
        }))
    }

    /// Ends all grants of an account in one transaction, with one event for each: revokes its
    /// keys and deletes its federated identities.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`] or [`StoreError::Contention`].
    pub async fn end_all_grants(
        &self,
        id: AccountId,
        request: &ChangeRequest,
    ) -> Result<EndedIds, StoreError> {
        self.retry(|| async {
            let AccountToChange { account, verifiers, .. } = self.get_account_to_change(id).await?;
            let ids = EndedIds {
                keys: account.keys.iter().map(|key| key.id).collect(),
                identities: account.identities.iter().map(|identity| identity.id).collect(),
            };
            if ids == EndedIds::default() {
                return Ok(Attempt::Done(ids));
            }
            let now = self.clock.now();
            let retirement = RetirementDetails::by(&request.actor, RetiredReason::Revoked, now);
            let mut expression = changed_by(&request.actor, now);
            // The account's grants have not changed since it was read.
            expression.require_equal(attribute::VERSION, n(account.version));
            let after = Account { keys: Vec::new(), identities: Vec::new(), ..account.clone() };
            Entry::new(&after).write(&mut expression);
            let mut actions = self.retire_all(&account, &verifiers, &retirement)?;
            for key in &account.keys {
                remove_grant(&mut expression, key.id);
                let event = NewEvent::key(EventType::KeyRevoked, &account, key);
                actions.push(self.record(event, request, now)?);
            }
            for identity in &account.identities {
                remove_grant(&mut expression, identity.id);
                let event = NewEvent::identity(EventType::FederatedIdentityDeleted, &account, identity);
                actions.push(self.record(event, request, now)?);
            }
            actions.push(self.update(schema::account_key(id), expression)?);
            Ok(self.commit_unchanged(actions).await?.with(ids))
        })
        .await
    }

    /// Moves an account's expired grants, and its rotated keys whose grace period is over, to
    /// their records. Returns the number of moved grants.
    ///
    /// This change is not an admin's, so it has no event and does not set the account's
    /// `updatedAt` and `updatedBy`.
    ///
    /// # Errors
    /// [`StoreError::Contention`].
    pub async fn prune_grants(&self, id: AccountId) -> Result<usize, StoreError> {
        self.retry(|| async {
            let Some(AccountToChange { account, verifiers, .. }) = self.find_account_to_change(id).await?
            else {
                return Ok(Attempt::Done(0));
            };
            let now = self.clock.now();
            let ended = EndedGrants::find(&account, now);
            if ended.count() == 0 {
                return Ok(Attempt::Done(0));
            }
            let mut expression = Expression::default();
            expression.increment(attribute::VERSION);
            // The entry in the directory is correct only for the grants that were read.
            expression.require_equal(attribute::VERSION, n(account.version));
            Entry::new(&ended.removed_from(&account)).write(&mut expression);
            let mut actions = self.retire_ended(&mut expression, &account, &verifiers, &ended, now)?;
            actions.push(self.update(schema::account_key(id), expression)?);
            Ok(self.commit_unchanged(actions).await?.with(ended.count()))
        })
        .await
    }

    /// Removes ended grants from their account, and returns the actions that write their
    /// records.
    pub(super) fn retire_ended(
        &self,
        expression: &mut Expression,
        account: &Account,
        verifiers: &Verifiers,
        ended: &EndedGrants<'_>,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut actions = Vec::new();
        for (key, end) in &ended.keys {
            remove_grant(expression, key.id);
            let details = RetirementDetails::ended(*end, now);
            actions.push(self.retire(account, key, verifiers.keys.get(&key.id), &details)?);
        }
        for (identity, end) in &ended.identities {
            remove_grant(expression, identity.id);
            let details = RetirementDetails::ended(*end, now);
            actions.push(self.retire_identity(account, identity, &details)?);
        }
        Ok(actions)
    }

    /// The actions that write the records of all grants of an account.
    pub(super) fn retire_all(
        &self,
        account: &Account,
        verifiers: &Verifiers,
        details: &RetirementDetails<'_>,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let keys = account.keys.iter();
        let keys = keys.map(|key| self.retire(account, key, verifiers.keys.get(&key.id), details));
        let identities = account.identities.iter();
        keys.chain(identities.map(|own| self.retire_identity(account, own, details))).collect()
    }

    /// The action that writes a retired key's record. The record keeps the verifier, so
    /// that the key is recognized if it is used later.
    pub(super) fn retire(
        &self,
        account: &Account,
        key: &LiveKey,
        verifier: Option<&VerifierEntry>,
        details: &RetirementDetails<'_>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut record = codec::live_key(key);
        record.extend(verifier.map(codec::verifier).unwrap_or_default());
        record.extend(details.attributes());
        record.extend(retired_key_attributes(&key.hint, key.id));
        self.put_new(schema::retired_key(account.id, key.id), record)
    }

    /// The action that writes the record of an ended federated identity. The record has no
    /// verifier: the outer tag of a token is enough to recognize the token later.
    pub(super) fn retire_identity(
        &self,
        account: &Account,
        identity: &FederatedIdentity,
        details: &RetirementDetails<'_>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut record = codec::federated_identity(identity);
        record.extend(details.attributes());
        record.extend(ended_identity_attributes(identity.id));
        self.put_new(schema::retired_key(account.id, identity.id), record)
    }
}

/// Why, when and by whom a grant or an account is retired.
pub(super) struct RetirementDetails<'a> {
    reason: &'static str,
    at: Timestamp,
    by: Option<&'a Actor>,
    /// When the record is written.
    now: Timestamp,
}

impl<'a> RetirementDetails<'a> {
    /// An admin retires a grant now.
    pub(super) fn by(actor: &'a Actor, reason: RetiredReason, now: Timestamp) -> Self {
        Self { reason: reason.name(), at: now, by: Some(actor), now }
    }

    /// An admin deletes an account, and its grants with it, now.
    pub(super) fn account_deleted(actor: &'a Actor, now: Timestamp) -> Self {
        Self { reason: schema::ACCOUNT_DELETED, at: now, by: Some(actor), now }
    }

    /// A grant has expired, or the grace period of a key is over. The record is written now.
    pub(super) fn ended(end: KeyEnd, now: Timestamp) -> Self {
        Self { reason: end.reason.name(), at: end.at, by: None, now }
    }

    /// The record's attributes. The record is kept for its full time from now on, even
    /// if the grant ended long ago.
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

/// The start of an admin's change of an account's grants. It counts as a change of the
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
    expression.require_equal(attribute::ENABLED, AttributeValue::Bool(true));
    add_grant(expression, new.key.id, codec::live_key(&new.key), codec::verifier(&new.verifier));
}

/// Adds a federated identity. Requires that the account has no identity with this id.
pub(super) fn add_identity(expression: &mut Expression, new: &NewIdentity) {
    let entry = codec::federated_identity(&new.identity);
    add_grant(expression, new.identity.id, entry, codec::sealed_verifier(&new.verifier));
}

fn add_grant(expression: &mut Expression, id: impl Into<GrantId>, entry: Map, verifier: Map) {
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(id.into());
    expression.require(format!("attribute_not_exists({keys}.{id})"));
    expression.set_path(&format!("{keys}.{id}"), AttributeValue::M(entry));
    expression.set_path(&format!("{verifiers}.{id}"), AttributeValue::M(verifier));
}

/// Requires that the account has fewer than `most` keys and fewer than [`MAX_GRANTS`] grants,
/// not counting the ended grants that the same write removes.
pub(super) fn limit_keys(
    expression: &mut Expression,
    account: &Account,
    most: usize,
    ended: &EndedGrants<'_>,
) {
    if account.identities.is_empty() {
        // An identity that was added in the meantime counts as a key.
        limit_size(expression, most.min(MAX_GRANTS), ended);
    } else {
        // The number of grants does not tell how many of them are keys.
        expression.require_equal(attribute::VERSION, n(account.version));
    }
}

/// Requires that the account has fewer than [`MAX_GRANTS`] grants, not counting the ended
/// grants that the same write removes.
pub(super) fn limit_grants(expression: &mut Expression, ended: &EndedGrants<'_>) {
    limit_size(expression, MAX_GRANTS, ended);
}

fn limit_size(expression: &mut Expression, most: usize, ended: &EndedGrants<'_>) {
    let keys = expression.name(attribute::KEYS);
    let most = expression.value(n(most.saturating_add(ended.count())));
    expression.require(format!("size({keys}) < {most}"));
}

/// Removes a key or a federated identity and its verifier. Requires that the account has it.
pub(super) fn remove_grant(expression: &mut Expression, id: impl Into<GrantId>) {
    let (keys, verifiers) = (expression.name(attribute::KEYS), expression.name(attribute::VERIFIERS));
    let id = expression.name(id.into());
    expression.require(format!("attribute_exists({keys}.{id})"));
    expression.remove_path(format!("{keys}.{id}"));
    expression.remove_path(format!("{verifiers}.{id}"));
}
