//! The reads and the write of an exchange of a workload's JWT. Confirmations of requests use the
//! same write.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::authorization::{CredentialLookup, StoredGrant};
use super::codec::{Attributes, MalformedItem, Reader, s, seconds};
use super::get_item::{FromItem, GetItem};
use super::schema::{self, attribute};
use super::{Store, StoreError, issuers};
use crate::domain::{
    AccountId, IdentityId, IdentitySpec, IssuerId, IssuerKeys, IssuerName, IssuerUrl, SealEntry,
    SealedVerifier, SigningAlgorithm, TokenId,
};

/// A federated identity of an account, with the seal that proves that Keyward wrote it.
#[derive(Debug)]
pub struct SealedIdentity {
    pub spec: IdentitySpec,
    pub sealed: SealedVerifier,
}

/// A trusted issuer, with the seal that proves that Keyward wrote it.
#[derive(Debug)]
pub struct SealedIssuer {
    pub id: IssuerId,
    /// The `iss` claim of the issuer's JWTs.
    pub url: IssuerUrl,
    pub keys: IssuerKeys,
    /// The accepted algorithms, at least one.
    pub algorithms: Vec<SigningAlgorithm>,
    pub seal: SealEntry,
}

impl Store {
    /// Finds an account and one of its federated identities, with everything that the seal
    /// covers. This costs one consistent read.
    pub async fn find_sealed_identity(
        &self,
        account: AccountId,
        identity: IdentityId,
    ) -> Result<Option<CredentialLookup<SealedIdentity>>, StoreError> {
        let id = identity.to_string();
        let request = GetItem {
            table: &self.table,
            pk: &schema::account_partition(account),
            sk: schema::ACCOUNT,
            projection: "#name,#role,#enabled,#keys.#id,#verifiers.#id",
            names: &[
                ("#name", attribute::NAME),
                ("#role", attribute::ROLE),
                ("#enabled", attribute::ENABLED),
                ("#keys", attribute::KEYS),
                ("#verifiers", attribute::VERIFIERS),
                ("#id", &id),
            ],
        };
        self.get_item(&request, id.as_str(), account).await
    }

    /// Finds a trusted issuer, with everything that the seal covers. `None` if no issuer has
    /// this name, or if the issuer was deleted. This costs one consistent read.
    pub async fn find_sealed_issuer(&self, name: &IssuerName) -> Result<Option<SealedIssuer>, StoreError> {
        let request = GetItem {
            table: &self.table,
            pk: schema::partition::ISSUERS,
            sk: name.as_str(),
            projection: "#id,#issuer,#jwksUri,#jwks,#algorithms,#pepper,#seal",
            names: &[
                ("#id", attribute::ID),
                ("#issuer", attribute::ISSUER),
                ("#jwksUri", attribute::JWKS_URI),
                ("#jwks", attribute::JWKS),
                ("#algorithms", attribute::ALGORITHMS),
                ("#pepper", attribute::PEPPER),
                ("#seal", attribute::SEAL),
            ],
        };
        let found: Option<Option<SealedIssuer>> = self.get_item(&request, (), name).await?;
        Ok(found.flatten())
    }

    /// Records that the JWT or confirmation with this hash was used for `token`. Returns `false`
    /// if it was used for another token before. DynamoDB deletes the record after
    /// `remembered_until`.
    pub async fn use_once(
        &self,
        hash: &[u8; 32],
        token: TokenId,
        remembered_until: Timestamp,
    ) -> Result<bool, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(schema::assertion_key(&URL_SAFE_NO_PAD.encode(hash))))
            .item(attribute::ID, s(token))
            .item(schema::TTL, seconds(remembered_until))
            // If the response of an attempt is lost, the next attempt finds its own record.
            .condition_expression("attribute_not_exists(#pk) OR #id = :id")
            .expression_attribute_names("#pk", schema::PK)
            .expression_attribute_names("#id", attribute::ID)
            .expression_attribute_values(":id", s(token))
            .send()
            .await;
        let Err(error) = put else { return Ok(true) };
        let is_used =
            error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception);
        if is_used { Ok(false) } else { Err(StoreError::from_sdk(error)) }
    }
}

impl FromItem<()> for Option<SealedIssuer> {
    fn from_item<M: Attributes>(issuer: Reader<'_, M>, (): ()) -> Result<Self, MalformedItem> {
        // A deleted issuer has no id.
        if issuer.find(attribute::ID).is_none() {
            return Ok(None);
        }
        Ok(Some(SealedIssuer {
            id: issuer.parse(attribute::ID, str::parse)?,
            url: issuer.parse(attribute::ISSUER, IssuerUrl::from_stored)?,
            keys: issuers::issuer_keys(issuer)?,
            algorithms: issuers::algorithms(issuer)?,
            seal: issuer.seal()?,
        }))
    }
}

impl StoredGrant for SealedIdentity {
    fn read<M: Attributes>(entry: Reader<'_, M>, verifier: Reader<'_, M>) -> Result<Self, MalformedItem> {
        Ok(Self { spec: entry.identity_spec()?, sealed: verifier.sealed_verifier()? })
    }
}
