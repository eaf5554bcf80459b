//! What an authorization reads: one consistent read of the base table.

use std::collections::HashMap;

use super::codec::{Map, Problem, Reader};
use super::retired::{reason, refusal, went_with_account};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{AccountId, ApiKey, KeyId, KeySpec, RetiredReason, RoleName, Rotation, VerifierEntry};
use crate::policy::Reason;

/// What the table says of a presented key's account.
#[derive(Debug)]
pub struct Found {
    /// The account's name.
    pub account_name: String,
    /// The account's role.
    pub role: RoleName,
    /// Whether the account's keys work at all.
    pub enabled: bool,
    /// The key, if it is one of the account's live ones.
    pub credential: Option<Credential>,
}

/// What the table says of a key that is one of its account's.
#[derive(Debug)]
pub struct Credential {
    /// What it may do and until when.
    pub spec: KeySpec,
    /// That another key replaces it, if one does.
    pub rotation: Option<Rotation>,
    /// What the presented key must match.
    pub verifier: VerifierEntry,
}

/// The record of a key that no longer is one of its account's.
#[derive(Debug)]
pub struct RetiredCredential {
    /// Why it is refused.
    pub reason: Reason,
    /// What it could do and until when.
    pub spec: KeySpec,
    /// What a presented key must match for the record to be believed.
    pub verifier: VerifierEntry,
}

/// What is read of a key's record to recognise the key.
const RECORD: [&str; 7] = [
    schema::PK,
    attribute::REASON,
    attribute::EXPIRES_AT,
    attribute::ROLE,
    attribute::CIDRS,
    attribute::VERIFIER,
    attribute::PEPPER,
];

impl Store {
    /// The account and key that `key` says it is: one consistent read, of one
    /// unit for an ordinary account of up to ten keys.
    ///
    /// # Errors
    /// When the table cannot be reached, or the item has not the one
    /// well-formed shape.
    pub async fn find_credential(&self, key: &ApiKey) -> Result<Option<Found>, StoreError> {
        let id = key.id.to_string();
        let answer = self
            .client
            .get_item()
            .table_name(&*self.table)
            .set_key(Some(schema::account_key(key.account)))
            // Every earlier successful revocation is seen. An index or an
            // eventually consistent read would not see it.
            .consistent_read(true)
            .projection_expression("#name,#role,#enabled,#keys.#id,#verifiers.#id")
            .set_expression_attribute_names(Some(HashMap::from([
                ("#name".to_owned(), attribute::NAME.to_owned()),
                ("#role".to_owned(), attribute::ROLE.to_owned()),
                ("#enabled".to_owned(), attribute::ENABLED.to_owned()),
                ("#keys".to_owned(), attribute::KEYS.to_owned()),
                ("#verifiers".to_owned(), attribute::VERIFIERS.to_owned()),
                ("#id".to_owned(), id.clone()),
            ])))
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        answer.item.map(|item| found(&item, &id).map_err(|problem| problem.in_item(key.account))).transpose()
    }

    /// The record of `key`, if it is retired and has its verifier. (One that was
    /// made by hand may have none.) Read only to name the reason of a refusal in
    /// the log.
    ///
    /// # Errors
    /// When the table cannot be reached, or the record is not well-formed.
    pub async fn find_retired(&self, key: &ApiKey) -> Result<Option<RetiredCredential>, StoreError> {
        let record = self.read(schema::retired_key(key.account, key.id), &RECORD).await?;
        let record = record.filter(|record| record.contains_key(attribute::VERIFIER));
        record.map(|record| retired(&record).map_err(|problem| problem.in_item(key.id))).transpose()
    }

    /// Why a key is no longer one of its account's, if its record says so. This
    /// reads no verifier. A key that went with its account says nothing: it is as
    /// unknown as the account.
    ///
    /// # Errors
    /// When the table cannot be reached, or the record is not well-formed.
    pub async fn find_retired_reason(
        &self,
        account: AccountId,
        key: KeyId,
    ) -> Result<Option<RetiredReason>, StoreError> {
        let record = self.read(schema::retired_key(account, key), &[schema::PK, attribute::REASON]).await?;
        let record = record.filter(|record| !went_with_account(record));
        record.map(|record| reason(&record).map_err(|problem| problem.in_item(key))).transpose()
    }
}

fn found(item: &Map, id: &str) -> Result<Found, Problem> {
    let reader = Reader(item);
    let entry = |attribute| -> Result<Option<Reader<'_>>, Problem> {
        let entries = reader.get_optional(attribute, |value| value.as_m().ok().map(Reader))?;
        let entry = entries
            .map(|entries| entries.get_optional(id, |value| value.as_m().ok().map(Reader)))
            .transpose()?;
        Ok(entry.flatten())
    };
    let credential = match (entry(attribute::KEYS)?, entry(attribute::VERIFIERS)?) {
        (Some(key), Some(verifier)) => Some(Credential {
            spec: key.key_spec()?,
            rotation: key.rotation()?,
            verifier: verifier.verifier()?,
        }),
        (None, None) => None,
        // Half a key is no key, and somebody should look at it.
        (Some(_), None) => return Err(Problem::missing(attribute::VERIFIERS)),
        (None, Some(_)) => return Err(Problem::missing(attribute::KEYS)),
    };
    Ok(Found {
        account_name: reader.text(attribute::NAME)?.to_owned(),
        role: reader.parse(attribute::ROLE, RoleName::parse)?,
        enabled: reader.boolean(attribute::ENABLED)?,
        credential,
    })
}

fn retired(record: &Map) -> Result<RetiredCredential, Problem> {
    let reader = Reader(record);
    Ok(RetiredCredential { reason: refusal(record)?, spec: reader.key_spec()?, verifier: reader.verifier()? })
}
