//! What can go wrong in the store, each with its meaning.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::{AccountCursor, RoleUsers};
use crate::domain::{AccountId, EntropyError, KeyId, RoleName};
use crate::telemetry;

/// Why an operation of the store did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such account.
    #[error("there is no service account {0}")]
    AccountNotFound(AccountId),
    /// The account has no such key, nor a record of one.
    #[error("service account {0} has no key {1}")]
    KeyNotFound(AccountId, KeyId),
    /// Another account has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The account or role is not of the version that the caller saw.
    #[error("it has changed")]
    Stale,
    /// The account is disabled.
    #[error("the service account is disabled")]
    Disabled,
    /// The account has as many live keys as it may.
    #[error("the service account has {most} live keys, as many as it may")]
    KeyLimit {
        /// So many.
        most: usize,
        /// Whether it was to have one more for a rotation with a grace.
        is_rotation: bool,
    },
    /// The key was revoked, and cannot be rotated.
    #[error("key {0} was revoked")]
    KeyRevoked(KeyId),
    /// The key has expired, and cannot be rotated.
    #[error("key {0} has expired")]
    KeyExpired(KeyId),
    /// The key was rotated before.
    #[error("key {key} was rotated before, and key {replaced_by} replaces it")]
    AlreadyRotated {
        /// The key.
        key: KeyId,
        /// Its successor.
        replaced_by: KeyId,
    },
    /// There is no such role.
    #[error("there is no role {0}")]
    UnknownRole(RoleName),
    /// There is no such custom role.
    #[error("there is no role {0}")]
    RoleNotFound(RoleName),
    /// Accounts or live keys have the role.
    #[error("role {0} is in use")]
    RoleInUse(RoleName, Box<RoleUsers>),
    /// No account that was checked uses the role, and there are more accounts than
    /// one check may read.
    #[error("only {checked} service accounts were checked")]
    RoleCheckIncomplete {
        /// The number of accounts that were checked.
        checked: usize,
        /// The last of them.
        next: AccountCursor,
    },
    /// This very request has issued this key before.
    #[error("this request has issued key {0} before")]
    AlreadyIssued(KeyId),
    /// The account that this very request made has been deleted since.
    #[error("the service account {0} that this request made has been deleted")]
    CreatedAndDeleted(AccountId),
    /// The `Idempotency-Key` was used for another request.
    #[error("the Idempotency-Key was used for another request")]
    IdempotencyKeyReused,
    /// Others changed the same account at the same time, again and again.
    #[error("too many changes of one service account at the same time")]
    Contention,
    /// `DynamoDB` takes no more requests for now.
    #[error("the table is throttled: {0}")]
    Throttled(String),
    /// `DynamoDB` did not answer, or not as it should.
    #[error("the table cannot be reached: {0}")]
    Unavailable(String),
    /// An item is not of the one well-formed shape.
    #[error("the item of {item} is not well-formed: {problem}")]
    Corrupt {
        /// Which item.
        item: String,
        /// What is wrong with it. Names attributes, and quotes no value.
        problem: String,
    },
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl StoreError {
    /// The meaning of a failed call that has no meaning of its own.
    pub(super) fn from_sdk<E>(error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let throttled = matches!(
            error.code(),
            Some("ProvisionedThroughputExceededException" | "RequestLimitExceeded" | "ThrottlingException")
        );
        let cause = telemetry::cause(&error);
        if throttled { Self::Throttled(cause) } else { Self::Unavailable(cause) }
    }
}
