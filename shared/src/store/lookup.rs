//! What the table knows of a key that somebody has in hand.

use jiff::Timestamp;

use super::codec::{Map, Problem, Reader};
use super::retired::refusal;
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{Account, Actor, ApiKey, KeyId, LiveKey, VerifierEntry};
use crate::policy::Reason;

/// What is read of a key's record.
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

/// What the table knows of a key.
#[derive(Debug)]
pub struct KnownKey {
    /// Its account, unless that has been deleted.
    pub account: Option<Account>,
    /// The key itself, unless only its end is on record.
    pub key: Option<LiveKey>,
    /// What a presented key must match, if it was kept.
    pub verifier: Option<VerifierEntry>,
    /// How it ended, if it is no longer one of its account's.
    pub end: Option<End>,
}

/// How a key ended.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
    /// Who ended it, if anybody.
    pub by: Option<Actor>,
}

impl Store {
    /// The account and key that `key` says it is, live or on record. Whether its
    /// secret is right is up to the caller.
    ///
    /// # Errors
    /// [`StoreError::KeyNotFound`] if there is neither, or the table cannot be
    /// reached, or an item is not well-formed.
    pub async fn get_known_key(&self, key: &ApiKey) -> Result<KnownKey, StoreError> {
        let account = match self.get_account_with_verifiers(key.account).await {
            Ok((account, mut verifiers)) => {
                if let Some(live) = account.keys.iter().find(|live| live.id == key.id).cloned() {
                    let verifier = verifiers.remove(&key.id);
                    return Ok(KnownKey { account: Some(account), key: Some(live), verifier, end: None });
                }
                Some(account)
            }
            Err(StoreError::AccountNotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let record = self.read(schema::retired_key(key.account, key.id), &RECORD).await?;
        let record = record.ok_or(StoreError::KeyNotFound(key.account, key.id))?;
        on_record(account, key.id, &record).map_err(|problem| problem.in_item(key.id))
    }
}

fn on_record(account: Option<Account>, id: KeyId, record: &Map) -> Result<KnownKey, Problem> {
    let reader = Reader(record);
    let has = |attribute| record.contains_key(attribute);
    Ok(KnownKey {
        account,
        // A record of the end alone is well-formed too: earlier commands for an
        // emergency wrote no more.
        key: has(attribute::NAME).then(|| reader.live_key(id)).transpose()?,
        verifier: has(attribute::VERIFIER).then(|| reader.verifier()).transpose()?,
        end: Some(End {
            reason: refusal(record)?,
            at: reader.seconds(attribute::RETIRED_AT)?,
            by: has(attribute::RETIRED_BY).then(|| reader.actor(attribute::RETIRED_BY)).transpose()?,
        }),
    })
}
