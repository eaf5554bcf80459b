//! Looks up live and ended grants for admins.

use jiff::Timestamp;

use super::codec::{MalformedItem, Map, Reader};
use super::retired::refusal;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{Account, AccountId, Actor, GrantId, IdentityId, KeyId, LiveKey, VerifierEntry};
use crate::policy::Reason;

/// The attributes of a retired key's record.
const RECORD: [&str; 16] = [
    schema::PK,
    attribute::CIDRS,
    attribute::CREATED_AT,
    attribute::CREATED_BY,
    attribute::EXPIRES_AT,
    attribute::FINGERPRINT,
    attribute::HINT,
    attribute::NAME,
    attribute::PEPPER,
    attribute::REASON,
    attribute::REPLACED_BY,
    attribute::RETIRED_AT,
    attribute::RETIRED_BY,
    attribute::RETIRES_AT,
    attribute::ROLE,
    attribute::VERIFIER,
];

/// The stored data about a key.
#[derive(Debug)]
pub struct KnownKey {
    /// The account, unless it has been deleted.
    pub account: Option<Account>,
    /// The key. `None` if its record says only why and when it was retired.
    pub key: Option<LiveKey>,
    /// The verifier that the presented key must match, if the record has one.
    pub verifier: Option<VerifierEntry>,
    /// How the key was retired, if it is not a live key.
    pub retirement: Option<Retirement>,
}

/// The stored data about a federated identity.
#[derive(Debug)]
pub struct KnownIdentity {
    /// The account, unless it has been deleted.
    pub account: Option<Account>,
    /// How the identity ended, if the account no longer has it.
    pub retirement: Option<Retirement>,
}

/// How a grant ended.
#[derive(Debug)]
pub struct Retirement {
    /// Why requests with the grant are refused.
    pub reason: Reason,
    /// When the grant ended.
    pub at: Timestamp,
    /// The admin who ended the grant. `None` if it expired or, for a key, if its grace period
    /// was over.
    pub by: Option<Actor>,
}

impl Store {
    /// Reads an account and one of its keys, live or retired. The caller must check the
    /// secret of a presented key.
    ///
    /// # Errors
    /// [`StoreError::KeyNotFound`] if neither the key nor its record exists.
    pub async fn get_known_key(&self, id: AccountId, key: KeyId) -> Result<KnownKey, StoreError> {
        let (account, verifiers) = self.find_account_with_verifiers(id).await?.unzip();
        let live = account.iter().flat_map(|account| &account.keys).find(|live| live.id == key).cloned();
        if live.is_some() {
            let verifier = verifiers.and_then(|mut verifiers| verifiers.keys.remove(&key));
            return Ok(KnownKey { account, key: live, verifier, retirement: None });
        }
        let record = self.read(schema::retired_key(id, key), &RECORD).await?;
        let record = record.ok_or(StoreError::KeyNotFound(id, key))?;
        retired_key(account, key, &record).map_err(|error| error.in_item(key))
    }

    /// Reads an account and one of its federated identities, live or ended.
    ///
    /// # Errors
    /// [`StoreError::IdentityNotFound`] if neither the identity nor its record exists.
    pub async fn get_known_identity(
        &self,
        id: AccountId,
        identity: IdentityId,
    ) -> Result<KnownIdentity, StoreError> {
        let account = self.find_account(id).await?;
        if account.iter().flat_map(|account| &account.identities).any(|own| own.id == identity) {
            return Ok(KnownIdentity { account, retirement: None });
        }
        let record = self.read(schema::retired_key(id, identity), &RECORD).await?;
        let record = record.ok_or(StoreError::IdentityNotFound(id, identity))?;
        let retirement = retirement(&record).map_err(|error| error.in_item(identity))?;
        Ok(KnownIdentity { account, retirement: Some(retirement) })
    }

    /// Checks that an account has a grant or, even after the account's deletion, a record of
    /// the grant.
    ///
    /// # Errors
    /// [`StoreError::KeyNotFound`] or [`StoreError::IdentityNotFound`], or
    /// [`StoreError::AccountNotFound`] if the account does not exist either.
    pub async fn check_grant_exists(&self, account: AccountId, grant: GrantId) -> Result<(), StoreError> {
        // A grant moves to its record in one transaction, so one of these reads finds it.
        let found = self.find_account(account).await?;
        let has_grant = |account: &Account| match grant {
            GrantId::Key(id) => account.keys.iter().any(|key| key.id == id),
            GrantId::Identity(id) => account.identities.iter().any(|identity| identity.id == id),
        };
        if found.as_ref().is_some_and(has_grant) {
            return Ok(());
        }
        if self.read(schema::retired_key(account, grant), &[schema::SK]).await?.is_some() {
            return Ok(());
        }
        Err(match (found, grant) {
            (None, _) => StoreError::AccountNotFound(account),
            (Some(_), GrantId::Key(id)) => StoreError::KeyNotFound(account, id),
            (Some(_), GrantId::Identity(id)) => StoreError::IdentityNotFound(account, id),
        })
    }
}

fn retired_key(account: Option<Account>, id: KeyId, record: &Map) -> Result<KnownKey, MalformedItem> {
    let reader = Reader(record);
    Ok(KnownKey {
        account,
        // A record with only the reason and the time is valid too. Earlier break-glass
        // commands wrote such records.
        key: reader.optional(attribute::NAME, |reader, _| reader.live_key(id))?,
        verifier: reader.optional(attribute::VERIFIER, |reader, _| reader.verifier())?,
        retirement: Some(retirement(record)?),
    })
}

fn retirement(record: &Map) -> Result<Retirement, MalformedItem> {
    let reader = Reader(record);
    Ok(Retirement {
        reason: refusal(record)?,
        at: reader.seconds(attribute::RETIRED_AT)?,
        by: reader.optional(attribute::RETIRED_BY, Reader::actor)?,
    })
}
