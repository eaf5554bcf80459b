//! The errors of the store.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::{AccountCursor, RoleUsers};
use crate::domain::{
    AccountId, ApiName, EntropyError, IdentityId, IssuerName, IssuerUrl, KeyId, MAX_GRANTS, RoleName,
};
use crate::telemetry;

/// Why an operation of the store failed. Unless the variant says otherwise, nothing
/// was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("service account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The account has neither the key nor a record of it.
    #[error("service account {0} has no key {1}")]
    KeyNotFound(AccountId, KeyId),
    /// The account has neither the federated identity nor a record of it.
    #[error("service account {0} has no federated identity {1}")]
    IdentityNotFound(AccountId, IdentityId),
    #[error("another service account has the name")]
    NameTaken,
    /// The account or role does not have the version that the caller requires.
    #[error("the precondition failed")]
    Stale,
    #[error("the service account is disabled")]
    Disabled,
    /// The account has the maximum number of live keys.
    #[error("the service account has {most} live keys, which is the limit")]
    KeyLimit {
        /// The limit.
        most: usize,
        /// Whether the refused key is the successor of a rotation with a grace period.
        is_rotation: bool,
    },
    /// The account has [`MAX_GRANTS`] keys and federated identities.
    #[error("the service account has {MAX_GRANTS} keys and federated identities, which is the limit")]
    GrantLimit,
    /// The key was revoked, and cannot be rotated.
    #[error("key {0} was revoked")]
    KeyRevoked(KeyId),
    /// The key has expired, and cannot be rotated.
    #[error("key {0} has expired")]
    KeyExpired(KeyId),
    #[error("key {key} was already rotated, and key {replaced_by} replaces it")]
    AlreadyRotated {
        /// The key.
        key: KeyId,
        /// Its successor.
        replaced_by: KeyId,
    },
    /// The role that the request gives an account or key does not exist.
    #[error("role {0} does not exist")]
    UnknownRole(RoleName),
    /// The trusted issuer that the request gives a federated identity is not registered.
    #[error("no trusted issuer is named {0}")]
    UnknownIssuer(IssuerName),
    /// The trusted issuer that the request reads or deletes is not registered.
    #[error("no trusted issuer is named {0}")]
    IssuerNotFound(IssuerName),
    /// The issuer of this name has, or had before its deletion, another URL.
    #[error("trusted issuer {0} has the URL {1}")]
    IssuerUrlChanged(IssuerName, IssuerUrl),
    /// The deployment has the maximum number of trusted issuers.
    #[error("the deployment has {} trusted issuers, which is the limit", super::MAX_ISSUERS)]
    IssuerLimit,
    /// The protected API that the request reads or deletes is not registered.
    #[error("no protected API is named {0}")]
    ApiNotFound(ApiName),
    /// The deployment has the maximum number of protected APIs.
    #[error("the deployment has {} protected APIs, which is the limit", super::MAX_APIS)]
    ApiLimit,
    /// A chunk of the API's build does not exist. The API was changed after it was read, or an
    /// operator deleted the chunk.
    #[error("the tools of protected API {0} are incomplete")]
    BuildMissing(ApiName),
    /// The custom role that the request reads or deletes does not exist.
    #[error("role {0} does not exist")]
    RoleNotFound(RoleName),
    /// Accounts or live grants have the role.
    #[error("role {0} is in use")]
    RoleInUse(RoleName, Box<RoleUsers>),
    /// No account that was checked uses the role, but there are more accounts than one
    /// check can read.
    #[error("only {checked} service accounts were checked")]
    RoleCheckIncomplete {
        /// The number of accounts that were checked.
        checked: usize,
        /// The last of them.
        next: AccountCursor,
    },
    /// An earlier attempt of this request issued the key.
    #[error("an earlier attempt issued key {0}")]
    AlreadyIssued(KeyId),
    /// The account that an earlier attempt of this request created was deleted.
    #[error("service account {0}, which an earlier attempt created, was deleted")]
    CreatedAndDeleted(AccountId),
    /// The federated identity that an earlier attempt of this request added has ended.
    #[error("federated identity {0}, which an earlier attempt added, has ended")]
    CreatedAndEnded(IdentityId),
    /// The `Idempotency-Key` was used for another request.
    #[error("the Idempotency-Key was used for another request")]
    IdempotencyKeyReused,
    /// Concurrent changes of the same item won every attempt.
    #[error("too many concurrent changes of one item")]
    Contention,
    /// DynamoDB throttles the table. A change may have been made.
    #[error("the table is throttled: {0}")]
    Throttled(String),
    /// DynamoDB did not respond, or responded with an error. A change may have been
    /// made.
    #[error("the table cannot be reached: {0}")]
    Unavailable(String),
    /// An item is not well-formed.
    #[error("the item of {item} is not well-formed: {problem}")]
    Corrupt {
        /// The item, by its id or kind.
        item: String,
        /// The problem. It names attributes and quotes no value.
        problem: String,
    },
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl StoreError {
    /// Converts an error of the SDK that the operation does not handle.
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
