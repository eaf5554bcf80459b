//! The reads of an authorization: one consistent read of the base table and, for a token of
//! a federated identity, another one of its issuer.

use jiff::Timestamp;

use super::codec::{Attribute, Attributes, MalformedItem, Map, Reader};
use super::get_item::{FromItem, GetItem};
use super::retired::{is_account_deleted, refusal, retired_reason};
use super::schema::{self, attribute};
use super::{Store, StoreError};
use crate::domain::{
    AccountId, GrantId, IdentityId, IssuerId, IssuerName, KeyId, KeySpec, RetiredReason, RoleName, Rotation,
    Verifier, VerifierEntry,
};
use crate::policy::Reason;

/// The account of a presented credential, and the grant if the account has it.
#[derive(Debug)]
pub struct CredentialLookup<G> {
    /// The account's name.
    pub account_name: String,
    /// The account's role.
    pub role: RoleName,
    /// Whether the account is enabled.
    pub enabled: bool,
    /// The grant, if it is one of the account's grants.
    pub grant: Option<G>,
}

/// A key of an account, as an authorization needs it.
#[derive(Debug)]
pub struct StoredKey {
    /// The key's expiry, role and networks.
    pub spec: KeySpec,
    /// The key's rotation, if a successor replaces it.
    pub rotation: Option<Rotation>,
    /// The verifier that the presented key must match.
    pub verifier: VerifierEntry,
}

/// A federated identity of an account, as an authorization needs it.
#[derive(Debug)]
pub struct StoredIdentity {
    /// The name of the identity's issuer.
    pub issuer: IssuerName,
    /// The identity's own role.
    pub role: Option<RoleName>,
    /// The first second in which the identity is refused. `None` if it never expires.
    pub expires_at: Option<Timestamp>,
    /// The verifier that keys the inner tag of the identity's tokens.
    pub verifier: Verifier,
}

/// The registration of a trusted issuer, which ends with the issuer.
#[derive(Clone, Copy, Debug)]
pub struct IssuerRegistration {
    pub id: IssuerId,
    pub created_at: Timestamp,
}

/// The record of an ended grant, as an authorization needs it.
#[derive(Clone, Debug)]
pub struct RetiredCredential {
    /// The refusal reason.
    pub reason: Reason,
    /// The key's limits and its verifier. Without a match, the record says nothing about the
    /// presented credential. `None` for a federated identity, whose record has no verifier.
    pub key: Option<RetiredVerifier>,
}

/// What identifies a retired key.
#[derive(Clone, Debug)]
pub struct RetiredVerifier {
    /// The key's expiry, role and networks.
    pub spec: KeySpec,
    pub verifier: VerifierEntry,
}

/// The attributes of an ended grant's record that identify a key and name the refusal
/// reason.
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
    /// Finds an account and one of its keys. This costs one consistent read, of one unit for
    /// an ordinary account with up to ten keys.
    pub async fn find_key_credential(
        &self,
        account: AccountId,
        key: KeyId,
    ) -> Result<Option<CredentialLookup<StoredKey>>, StoreError> {
        let id = key.to_string();
        let request = GetItem {
            table: &self.table,
            pk: &schema::account_partition(account),
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
        self.get_item(&request, id.as_str(), account).await
    }

    /// Finds an account and one of its federated identities. This costs one consistent read.
    pub async fn find_identity_credential(
        &self,
        account: AccountId,
        identity: IdentityId,
    ) -> Result<Option<CredentialLookup<StoredIdentity>>, StoreError> {
        let id = identity.to_string();
        let request = GetItem {
            table: &self.table,
            pk: &schema::account_partition(account),
            sk: schema::ACCOUNT,
            projection: "#name,#role,#enabled,#keys.#id.#issuer,#keys.#id.#role,#keys.#id.#expiresAt,\
                         #verifiers.#id.#verifier",
            names: &[
                ("#name", attribute::NAME),
                ("#role", attribute::ROLE),
                ("#enabled", attribute::ENABLED),
                ("#keys", attribute::KEYS),
                ("#issuer", attribute::ISSUER),
                ("#expiresAt", attribute::EXPIRES_AT),
                ("#verifiers", attribute::VERIFIERS),
                ("#verifier", attribute::VERIFIER),
                ("#id", &id),
            ],
        };
        self.get_item(&request, id.as_str(), account).await
    }

    /// Finds the registration of a trusted issuer. `None` if no issuer has this name, or if
    /// the issuer was deleted. This costs one consistent read.
    pub async fn find_issuer_registration(
        &self,
        issuer: &IssuerName,
    ) -> Result<Option<IssuerRegistration>, StoreError> {
        let request = GetItem {
            table: &self.table,
            pk: schema::partition::ISSUERS,
            sk: issuer.as_str(),
            projection: "#id,#createdAt",
            names: &[("#id", attribute::ID), ("#createdAt", attribute::CREATED_AT)],
        };
        let found: Option<Option<IssuerRegistration>> = self.get_item(&request, (), issuer).await?;
        Ok(found.flatten())
    }

    /// Finds the record of an ended grant. A record of a key without a verifier does not
    /// count: an operator may have written it by hand. Only used to name the refusal reason
    /// in the log.
    pub async fn find_retired(
        &self,
        account: AccountId,
        grant: GrantId,
    ) -> Result<Option<RetiredCredential>, StoreError> {
        let record = self.read(schema::retired_key(account, grant), &RECORD).await?;
        let is_usable = |record: &Map| grant.key().is_none() || record.contains_key(attribute::VERIFIER);
        let retired = |record: Map| retired_credential(&record, grant).map_err(|error| error.in_item(grant));
        record.filter(is_usable).map(retired).transpose()
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

/// A grant that is read from its entry and its verifier in an account.
pub(super) trait StoredGrant: Sized {
    fn read<M: Attributes>(entry: Reader<'_, M>, verifier: Reader<'_, M>) -> Result<Self, MalformedItem>;
}

impl StoredGrant for StoredKey {
    fn read<M: Attributes>(entry: Reader<'_, M>, verifier: Reader<'_, M>) -> Result<Self, MalformedItem> {
        Ok(Self { spec: entry.key_spec()?, rotation: entry.rotation()?, verifier: verifier.verifier()? })
    }
}

impl StoredGrant for StoredIdentity {
    fn read<M: Attributes>(entry: Reader<'_, M>, verifier: Reader<'_, M>) -> Result<Self, MalformedItem> {
        Ok(Self {
            issuer: entry.parse(attribute::ISSUER, IssuerName::parse)?,
            role: entry.role_of_key()?,
            expires_at: entry.optional(attribute::EXPIRES_AT, Reader::seconds)?,
            verifier: verifier.get(attribute::VERIFIER, |value| Verifier::from_bytes(value.bytes()?))?,
        })
    }
}

impl<G: StoredGrant> FromItem<&str> for CredentialLookup<G> {
    fn from_item<M: Attributes>(account: Reader<'_, M>, id: &str) -> Result<Self, MalformedItem> {
        let entry = |attribute| {
            let entries = account.get_optional(attribute, Attribute::map)?.map(Reader);
            let entry = entries.map(|entries| entries.get_optional(id, Attribute::map)).transpose()?;
            Ok::<_, MalformedItem>(entry.flatten().map(Reader))
        };
        let grant = match (entry(attribute::KEYS)?, entry(attribute::VERIFIERS)?) {
            (Some(entry), Some(verifier)) => Some(G::read(entry, verifier)?),
            (None, None) => None,
            // A grant without a verifier, or the reverse, is an error, so that an operator
            // notices.
            (Some(_), None) => return Err(MalformedItem::missing(attribute::VERIFIERS)),
            (None, Some(_)) => return Err(MalformedItem::missing(attribute::KEYS)),
        };
        Ok(CredentialLookup {
            account_name: account.text(attribute::NAME)?.to_owned(),
            role: account.parse(attribute::ROLE, RoleName::parse)?,
            enabled: account.boolean(attribute::ENABLED)?,
            grant,
        })
    }
}

impl FromItem<()> for Option<IssuerRegistration> {
    fn from_item<M: Attributes>(issuer: Reader<'_, M>, (): ()) -> Result<Self, MalformedItem> {
        let id = issuer.get_optional(attribute::ID, |value| value.text()?.parse().ok())?;
        let registration =
            |id| Ok(IssuerRegistration { id, created_at: issuer.seconds(attribute::CREATED_AT)? });
        id.map(registration).transpose()
    }
}

fn retired_credential(record: &Map, grant: GrantId) -> Result<RetiredCredential, MalformedItem> {
    let reader = Reader(record);
    let key = || Ok(RetiredVerifier { spec: reader.key_spec()?, verifier: reader.verifier()? });
    Ok(RetiredCredential { reason: refusal(record)?, key: grant.key().map(|_| key()).transpose()? })
}
