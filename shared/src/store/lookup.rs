//! Looks up a key that an admin holds, live or retired.

use jiff::Timestamp;

use super::codec::{MalformedItem, Map, Reader};
use super::retired::refusal;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{Account, Actor, ApiKey, KeyId, LiveKey, VerifierEntry};
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
    /// How the key was retired, if its account no longer has it.
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
        let account = match self.get_account_with_verifiers(key.account).await {
            Ok((account, mut verifiers)) => {
                if let Some(live) = account.keys.iter().find(|live| live.id == key.id).cloned() {
                    let verifier = verifiers.remove(&key.id);
                    return Ok(KnownKey {
                        account: Some(account),
                        key: Some(live),
                        verifier,
                        retirement: None,
                    });
                }
                Some(account)
            }
            Err(StoreError::AccountNotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let record = self.read(schema::retired_key(key.account, key.id), &RECORD).await?;
        let record = record.ok_or(StoreError::KeyNotFound(key.account, key.id))?;
        retired_key(account, key.id, &record).map_err(|error| error.in_item(key.id))
    }
}

fn retired_key(account: Option<Account>, id: KeyId, record: &Map) -> Result<KnownKey, MalformedItem> {
    let reader = Reader(record);
    let has = |attribute| record.contains_key(attribute);
    Ok(KnownKey {
        account,
        // A record with only the reason and the time is valid too: earlier
        // emergency commands wrote no more.
        key: has(attribute::NAME).then(|| reader.live_key(id)).transpose()?,
        verifier: has(attribute::VERIFIER).then(|| reader.verifier()).transpose()?,
        retirement: Some(Retirement {
            reason: refusal(record)?,
            at: reader.seconds(attribute::RETIRED_AT)?,
            by: has(attribute::RETIRED_BY).then(|| reader.actor(attribute::RETIRED_BY)).transpose()?,
        }),
    })
}
