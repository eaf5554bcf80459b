//! Adds and deletes federated identities.

use super::accounts::AccountToChange;
use super::commit::{Attempt, Expression, Outcome};
use super::events::NewEvent;
use super::grants::{
    EndedGrants, RecordFingerprint, RetirementDetails, add_identity, changed_by, limit_grants, remove_grant,
};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    Account, AccountId, ChangeRequest, EventType, FederatedIdentity, FieldChange, Fingerprint, IdentityId,
    IssuerName, RetiredReason, RoleName, SealedVerifier,
};

/// A federated identity to store.
#[derive(Clone, Debug)]
pub struct NewIdentity {
    pub identity: FederatedIdentity,
    pub verifier: SealedVerifier,
}

/// The conditions of adding an identity, in order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AddCondition<'a> {
    IdentityNotEnded,
    IssuerExists(&'a IssuerName),
    RoleExists(&'a RoleName),
    /// The account has not changed since it was read, and no record or event exists
    /// yet.
    Unchanged,
}

impl Store {
    /// Adds a federated identity to an account, and returns it. In the same transaction, the
    /// account's expired grants, and its rotated keys whose grace period is over, move to
    /// their records. A retry returns the identity that the first attempt added.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::GrantLimit`],
    /// [`StoreError::UnknownIssuer`], [`StoreError::UnknownRole`],
    /// [`StoreError::IdempotencyKeyReused`] or [`StoreError::CreatedAndEnded`] if an earlier
    /// request had the same id, or [`StoreError::Contention`].
    pub async fn add_identity(
        &self,
        id: AccountId,
        new: &NewIdentity,
        request: &ChangeRequest,
    ) -> Result<FederatedIdentity, StoreError> {
        let identity = &new.identity;
        self.retry(|| async {
            let AccountToChange { account, verifiers, entry } = self.get_account_to_change(id).await?;
            if let Some(earlier) = account.identities.iter().find(|earlier| earlier.id == identity.id) {
                return if earlier.fingerprint == identity.fingerprint {
                    Ok(Attempt::Done(earlier.clone()))
                } else {
                    Err(StoreError::IdempotencyKeyReused)
                };
            }
            let now = self.clock.now();
            let ended = EndedGrants::find(&account, now);
            if let Err(refusal) = ended.check_room(&account) {
                // A retry gets the result of its first attempt, even if a new request would
                // be refused.
                self.check_identity_not_ended(id, identity.id, identity.fingerprint).await?;
                return Err(refusal);
            }
            let mut expression = changed_by(&request.actor, now);
            add_identity(&mut expression, new);
            limit_grants(&mut expression, &ended);
            let mut after = ended.removed_from(&account);
            after.identities.push(identity.clone());
            entry.change(&mut expression, &account, &after);
            let records = self.retire_ended(&mut expression, &account, &verifiers, &ended, now)?;
            let mut actions = vec![
                (AddCondition::Unchanged, self.update(schema::account_key(id), expression)?),
                (AddCondition::IdentityNotEnded, self.check_absent(schema::retired_key(id, identity.id))?),
                (
                    AddCondition::IssuerExists(&identity.spec.issuer),
                    self.check_issuer(&identity.spec.issuer)?,
                ),
                (AddCondition::Unchanged, self.record(created_event(&account, identity), request, now)?),
            ];
            actions.extend(records.into_iter().map(|record| (AddCondition::Unchanged, record)));
            if let Some(role) = &identity.spec.role {
                let role_check = self.check_role(role)?;
                actions.extend(role_check.map(|check| (AddCondition::RoleExists(role), check)));
            }
            match self.commit(actions).await? {
                Outcome::Committed => Ok(Attempt::Done(identity.clone())),
                Outcome::Refused(AddCondition::IdentityNotEnded) => {
                    self.check_identity_not_ended(id, identity.id, identity.fingerprint).await?;
                    Ok(Attempt::Again)
                }
                Outcome::Refused(AddCondition::IssuerExists(issuer)) => {
                    Err(StoreError::UnknownIssuer(issuer.clone()))
                }
                Outcome::Refused(AddCondition::RoleExists(role)) => {
                    Err(StoreError::UnknownRole(role.clone()))
                }
                Outcome::Refused(AddCondition::Unchanged) | Outcome::Conflict => Ok(Attempt::Again),
            }
        })
        .await
    }

    /// Checks that a new identity's id is not the id of an ended identity, which an earlier
    /// request with the same `Idempotency-Key` added.
    async fn check_identity_not_ended(
        &self,
        account: AccountId,
        id: IdentityId,
        fingerprint: Fingerprint,
    ) -> Result<(), StoreError> {
        match self.record_fingerprint(schema::retired_key(account, id)).await? {
            RecordFingerprint::NoRecord => Ok(()),
            RecordFingerprint::Known(first) if first == fingerprint => Err(StoreError::CreatedAndEnded(id)),
            RecordFingerprint::Known(_) | RecordFingerprint::Unknown => Err(StoreError::IdempotencyKeyReused),
        }
    }

    /// Finds a federated identity of an account with a consistent read.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`] or [`StoreError::IdentityNotFound`].
    pub async fn get_identity(
        &self,
        account: AccountId,
        id: IdentityId,
    ) -> Result<FederatedIdentity, StoreError> {
        let found = self.get_account(account).await?.identities.into_iter().find(|own| own.id == id);
        found.ok_or(StoreError::IdentityNotFound(account, id))
    }

    /// Deletes a federated identity: moves it from its account to a record. From then on, no
    /// token that was made from the identity works.
    ///
    /// Does nothing if the identity has already ended.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`], [`StoreError::IdentityNotFound`] or
    /// [`StoreError::Contention`].
    pub async fn delete_identity(
        &self,
        id: AccountId,
        identity: IdentityId,
        request: &ChangeRequest,
    ) -> Result<(), StoreError> {
        self.retry(|| async {
            let AccountToChange { account, entry, .. } = self.get_account_to_change(id).await?;
            let Some(ended) = account.identities.iter().find(|own| own.id == identity) else {
                let record = self.read(schema::retired_key(id, identity), &[schema::PK]).await?;
                let not_found = StoreError::IdentityNotFound(id, identity);
                return record.map(|_| Attempt::Done(())).ok_or(not_found);
            };
            let now = self.clock.now();
            let details = RetirementDetails::by(&request.actor, RetiredReason::Revoked, now);
            let mut expression = changed_by(&request.actor, now);
            remove_grant(&mut expression, identity);
            let mut after = account.clone();
            after.identities.retain(|own| own.id != identity);
            entry.change(&mut expression, &account, &after);
            let event = NewEvent::identity(EventType::FederatedIdentityDeleted, &account, ended);
            self.commit_unchanged(vec![
                self.update(schema::account_key(id), expression)?,
                self.retire_identity(&account, ended, &details)?,
                self.record(event, request, now)?,
            ])
            .await
        })
        .await
    }

    /// An action that checks that a trusted issuer is registered.
    fn check_issuer(
        &self,
        name: &IssuerName,
    ) -> Result<aws_sdk_dynamodb::types::TransactWriteItem, StoreError> {
        let mut registered = Expression::default();
        let id = registered.name(attribute::ID);
        registered.require(format!("attribute_exists({id})"));
        self.check(schema::issuer_key(name), registered)
    }
}

/// The event of a new identity. Its changes have everything that the identity accepts.
fn created_event(account: &Account, identity: &FederatedIdentity) -> NewEvent {
    let spec = &identity.spec;
    let expires_at = spec.expires_at.map(|at| format!("{at:.0}"));
    let fields = [
        (attribute::ISSUER, Some(spec.issuer.to_string())),
        (attribute::AUDIENCE, Some(spec.audience.to_string())),
        (attribute::CLAIMS, Some(spec.claims.to_json())),
        (attribute::ROLE, spec.role.as_ref().map(ToString::to_string)),
        (attribute::EXPIRES_AT, expires_at),
        (attribute::SINGLE_USE, Some(spec.single_use.to_string())),
        ("maxAgeSeconds", Some(spec.max_age_seconds.to_string())),
    ];
    let mut event = NewEvent::identity(EventType::FederatedIdentityCreated, account, identity);
    event.changes = fields
        .into_iter()
        .filter_map(|(field, to)| Some(FieldChange { field: field.to_owned(), from: String::new(), to: to? }))
        .collect();
    event
}
