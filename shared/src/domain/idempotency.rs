//! The `Idempotency-Key` of a POST, and the ids derived from it.

use super::random::{DerivedEntropy, Entropy, EntropyError};
use super::{AccountId, Actor, KeyId};

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
        match self.derived("createServiceAccount", b"") {
            Some(derived) => AccountId::generate(&derived),
            None => AccountId::generate(entropy),
        }
    }

    /// The id of the key that this request issues for `account`, derived like
    /// [`Self::new_account_id`].
    ///
    /// # Errors
    /// The random source fails.
    pub fn new_key_id(&self, account: AccountId, entropy: &dyn Entropy) -> Result<KeyId, EntropyError> {
        match self.derived("issueKey", account.bare().as_bytes()) {
            Some(derived) => KeyId::generate(&derived),
            None => KeyId::generate(entropy),
        }
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
        match self.derived("rotateKey", [account.bare(), key.bare()].concat().as_bytes()) {
            Some(derived) => KeyId::generate(&derived),
            None => KeyId::generate(entropy),
        }
    }

    fn derived(&self, operation: &str, scope: &[u8]) -> Option<DerivedEntropy> {
        let key = self.idempotency_key.as_ref()?;
        Some(DerivedEntropy::new(&[operation.as_bytes(), self.actor.id.as_bytes(), scope, key.0.as_bytes()]))
    }
}
