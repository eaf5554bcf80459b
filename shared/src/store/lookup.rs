//! Looks up live and retired keys for admins.

use jiff::Timestamp;

use super::codec::{MalformedItem, Map, Reader};
use super::retired::refusal;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{Account, AccountId, Actor, ApiKey, GrantId, KeyId, LiveKey, VerifierEntry};
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

/// How a key was retired.
#[derive(Debug)]
pub struct Retirement {
    /// Why requests with the key are refused.
    pub reason: Reason,
    /// When the key was retired.
    pub at: Timestamp,
    /// The admin who retired the key. `None` if it expired or its grace period was
    /// over.
    pub by: Option<Actor>,
}

impl Store {
    /// Reads the account and the key that `key` names, live or retired. The caller
    /// must check the key's secret.
    ///
    /// # Errors
    /// [`StoreError::KeyNotFound`] if neither the key nor its record exists.
    pub async fn get_known_key(&self, key: &ApiKey) -> Result<KnownKey, StoreError> {
        let found = self.find_account_with_verifiers(key.account).await?;
        let (account, verifiers) = found.unzip();
        let live = account.iter().flat_map(|account| &account.keys).find(|live| live.id == key.id).cloned();
        if live.is_some() {
            let verifier = verifiers.and_then(|mut verifiers| verifiers.keys.remove(&key.id));
            return Ok(KnownKey { account, key: live, verifier, retirement: None });
        }
        let record = self.read(schema::retired_key(key.account, key.id), &RECORD).await?;
        let record = record.ok_or(StoreError::KeyNotFound(key.account, key.id))?;
        retired_key(account, key.id, &record).map_err(|error| error.in_item(key.id))
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
        retirement: Some(Retirement {
            reason: refusal(record)?,
            at: reader.seconds(attribute::RETIRED_AT)?,
            by: reader.optional(attribute::RETIRED_BY, Reader::actor)?,
        }),
    })
}
