//! The `Idempotency-Key` of a POST, and the ids derived from it.

use super::random::{DerivedEntropy, Entropy, EntropyError};
use super::{AccountId, Actor, IdentityId, KeyId, ReviewId};

/// The maximum length of an `Idempotency-Key`, in characters.
const MAX_LENGTH: usize = 255;

/// A client-chosen value that identifies a request and its retries.
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Text that is not an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "must be 1 to {MAX_LENGTH} visible ASCII characters except backslashes, with double quotes only around the whole \
     value"
)]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// Parses the header's value. Quotes around the value (a string of a structured
    /// field) are optional.
    ///
    /// # Errors
    /// The value is not 1–255 visible ASCII characters, or contains a quote or a
    /// backslash.
    pub fn parse(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        let is_valid = (1..=MAX_LENGTH).contains(&bare.len())
            && bare.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if is_valid { Ok(Self(bare.to_owned())) } else { Err(InvalidIdempotencyKey) }
    }
}

/// The origin of a change: the admin, the request's id and its [`IdempotencyKey`].
#[derive(Clone, Debug)]
pub struct ChangeRequest {
    pub actor: Actor,
    pub request_id: String,
    pub idempotency_key: Option<IdempotencyKey>,
}

impl ChangeRequest {
    /// The id of the account that this request creates: the same id for the same admin
    /// and `Idempotency-Key`, and a new id without a key.
    ///
    /// # Errors
    /// The random source fails.
    pub fn new_account_id(&self, entropy: &dyn Entropy) -> Result<AccountId, EntropyError> {
        self.generate("createServiceAccount", "", entropy, AccountId::generate)
    }

    /// The id of the review of `account` that this request records, derived like
    /// [`Self::new_account_id`].
    ///
    /// # Errors
    /// The random source fails.
    pub fn new_review_id(&self, account: AccountId, entropy: &dyn Entropy) -> Result<ReviewId, EntropyError> {
        self.generate("reviewServiceAccount", account.bare(), entropy, ReviewId::generate)
    }

    /// The id of the key that this request issues for `account`, derived like
    /// [`Self::new_account_id`].
    ///
    /// # Errors
    /// The random source fails.
    pub fn new_key_id(&self, account: AccountId, entropy: &dyn Entropy) -> Result<KeyId, EntropyError> {
        self.generate("issueKey", account.bare(), entropy, KeyId::generate)
    }

    /// The id of the federated identity that this request adds to `account`, derived like
    /// [`Self::new_account_id`].
    ///
    /// # Errors
    /// The random source fails.
    pub fn new_identity_id(
        &self,
        account: AccountId,
        entropy: &dyn Entropy,
    ) -> Result<IdentityId, EntropyError> {
        self.generate("createFederatedIdentity", account.bare(), entropy, IdentityId::generate)
    }

    /// The id of the key that this request issues to replace `key` of `account`,
    /// derived like [`Self::new_account_id`].
    ///
    /// # Errors
    /// The random source fails.
    pub fn new_successor_id(
        &self,
        account: AccountId,
        key: KeyId,
        entropy: &dyn Entropy,
    ) -> Result<KeyId, EntropyError> {
        let scope = [account.bare(), key.bare()].concat();
        self.generate("rotateKey", &scope, entropy, KeyId::generate)
    }

    /// Generates an id. The same admin, operation, scope and `Idempotency-Key` always have
    /// the same id.
    fn generate<T>(
        &self,
        operation: &str,
        scope: &str,
        entropy: &dyn Entropy,
        generate: impl FnOnce(&dyn Entropy) -> Result<T, EntropyError>,
    ) -> Result<T, EntropyError> {
        let Some(key) = &self.idempotency_key else {
            return generate(entropy);
        };
        let parts = [operation, &self.actor.id, scope, &key.0].map(str::as_bytes);
        generate(&DerivedEntropy::new(&parts))
    }
}
