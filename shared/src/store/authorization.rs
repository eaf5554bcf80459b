//! The read of an authorization: one consistent read of the base table.

use super::codec::{Attribute, Attributes, MalformedItem, Map, Reader};
use super::get_item::{FromItem, GetItem};
use super::retired::{is_account_deleted, refusal, retired_reason};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{AccountId, ApiKey, KeyId, KeySpec, RetiredReason, RoleName, Rotation, VerifierEntry};
use crate::policy::Reason;

/// The account of a presented key, and the key if the account has it.
#[derive(Debug)]
pub struct CredentialLookup {
    /// The account's name.
    pub account_name: String,
    /// The account's role.
    pub role: RoleName,
    /// Whether the account is enabled.
    pub enabled: bool,
    /// The key, if it is one of the account's keys.
    pub credential: Option<Credential>,
}

/// A key of an account, as an authorization needs it.
#[derive(Debug)]
pub struct Credential {
    /// The key's expiry, role and networks.
    pub spec: KeySpec,
    /// The key's rotation, if a successor replaces it.
    pub rotation: Option<Rotation>,
    /// The verifier that the presented key must match.
    pub verifier: VerifierEntry,
}

/// The record of a retired key, as an authorization needs it.
#[derive(Clone, Debug)]
pub struct RetiredCredential {
    /// The refusal reason.
    pub reason: Reason,
    /// The key's expiry, role and networks.
    pub spec: KeySpec,
    /// The verifier that the presented key must match. Without a match, the record
    /// says nothing about the presented key.
    pub verifier: VerifierEntry,
}

/// The attributes of a retired key's record that identify the key and name the
/// refusal reason.
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
    /// Finds the account and the key that `key` names. This costs one consistent
    /// read, of one unit for an ordinary account with up to ten keys.
    pub async fn find_credential(&self, key: &ApiKey) -> Result<Option<CredentialLookup>, StoreError> {
        let id = key.id.to_string();
        let request = GetItem {
            table: &self.table,
            pk: &schema::account_partition(key.account),
            sk: schema::ACCOUNT,
            projection: "#name,#role,#enabled,#keys.#id.#expiresAt,#keys.#id.#role,#keys.#id.#cidrs,\
                         #keys.#id.#retiresAt,#keys.#id.#replacedBy,#verifiers.#id",
            names: &[
                ("#name", attribute::NAME),
                ("#role", attribute::ROLE),
                ("#enabled", attribute::ENABLED),
                ("#keys", attribute::KEYS),
                ("#expiresAt", attribute::EXPIRES_AT),
                ("#cidrs", attribute::CIDRS),
                ("#retiresAt", attribute::RETIRES_AT),
                ("#replacedBy", attribute::REPLACED_BY),
                ("#verifiers", attribute::VERIFIERS),
                ("#id", &id),
            ],
        };
        self.get_item(&request, id.as_str(), key.account).await
    }

    /// Finds the record of `key`, if the key is retired and its record has a
    /// verifier. (A record that an operator wrote by hand may have none.) Only used
    /// to name the refusal reason in the log.
    pub async fn find_retired(&self, key: &ApiKey) -> Result<Option<RetiredCredential>, StoreError> {
        let record = self.read(schema::retired_key(key.account, key.id), &RECORD).await?;
        let record = record.filter(|record| record.contains_key(attribute::VERIFIER));
        let retired = |record: Map| retired_credential(&record).map_err(|error| error.in_item(key.id));
        record.map(retired).transpose()
    }

    /// Finds why a key was retired, without reading its verifier. `None` for a key
    /// that was deleted with its account: it is as unknown as the account.
    pub async fn find_retired_reason(
        &self,
        account: AccountId,
        key: KeyId,
    ) -> Result<Option<RetiredReason>, StoreError> {
        let record = self.read(schema::retired_key(account, key), &[schema::PK, attribute::REASON]).await?;
        let record = record.filter(|record| !is_account_deleted(record));
        record.map(|record| retired_reason(&record).map_err(|error| error.in_item(key))).transpose()
    }
}

impl FromItem<&str> for CredentialLookup {
    fn from_item<M: Attributes>(account: Reader<'_, M>, key_id: &str) -> Result<Self, MalformedItem> {
        let entry = |attribute| {
            let entries = account.get_optional(attribute, Attribute::map)?.map(Reader);
            let entry = entries.map(|entries| entries.get_optional(key_id, Attribute::map)).transpose()?;
            Ok::<_, MalformedItem>(entry.flatten().map(Reader))
        };
        let credential = match (entry(attribute::KEYS)?, entry(attribute::VERIFIERS)?) {
            (Some(key), Some(verifier)) => Some(Credential {
                spec: key.key_spec()?,
                rotation: key.rotation()?,
                verifier: verifier.verifier()?,
            }),
            (None, None) => None,
            // A key without a verifier, or the reverse, is an error, so that an operator
            // notices.
            (Some(_), None) => return Err(MalformedItem::missing(attribute::VERIFIERS)),
            (None, Some(_)) => return Err(MalformedItem::missing(attribute::KEYS)),
        };
        Ok(CredentialLookup {
            account_name: account.text(attribute::NAME)?.to_owned(),
            role: account.parse(attribute::ROLE, RoleName::parse)?,
            enabled: account.boolean(attribute::ENABLED)?,
            credential,
        })
    }
}

fn retired_credential(record: &Map) -> Result<RetiredCredential, MalformedItem> {
    let reader = Reader(record);
    Ok(RetiredCredential { reason: refusal(record)?, spec: reader.key_spec()?, verifier: reader.verifier()? })
}
