//! Accounts, keys, roles, callers and time. This module does no I/O. Its types are
//! valid by construction: text is parsed once, at the edge.
//!
//! The message of a parse error completes a sentence that starts with the name of the
//! field, parameter or variable, such as "must not be empty".

mod account;
mod caller;
mod confirmation;
mod event;
mod frame;
mod idempotency;
mod identity;
mod ids;
mod issuer;
mod jwks;
mod key;
mod named;
mod network;
mod notice;
mod pasted;
mod pepper;
mod preset;
mod protected_api;
mod random;
mod review;
mod role;
mod text;
mod time;
mod token;
mod url_hosts;
mod verifier;

pub(crate) use named::named_enum;

pub use account::{Account, AccountChanges, MAX_GRANTS, MAX_TAGS, NewAccount, Tags};
pub use caller::{Actor, ActorSearch, Caller, PrincipalType, ServiceAccountCaller, TokenCaller, context};
pub use confirmation::{
    CONFIRMATION_SECONDS, ConfirmationDigest, ConfirmationState, ConfirmedRequest, InvalidDigest,
};
pub use event::{Event, EventIdentity, EventKey, EventType, FieldChange, Subject};
pub use idempotency::{ChangeRequest, IdempotencyKey, InvalidIdempotencyKey};
pub use identity::{
    AGE_SECONDS, Audience, ClaimValue, FederatedIdentity, IdentitySpec, InvalidAudience, InvalidClaims,
    MAX_CLAIM_CHARS, MAX_CLAIM_VALUES, MAX_CLAIMS, MAX_CLAIMS_BYTES, RequiredClaims,
};
pub use ids::{
    AccountId, BuildId, EventId, GrantId, IdentityId, InvalidId, IssuerId, KeyId, ReviewId, TokenId,
};
pub use issuer::{
    InvalidIssuerName, InvalidIssuerUrl, IssuerKeys, IssuerName, IssuerUrl, SigningAlgorithm, TrustedIssuer,
};
pub use jwks::{InvalidKeySet, MAX_ISSUER_KEYS, read_key_set};
pub use key::{
    ApiKey, DisplayedKey, Environment, InvalidEnvironment, KEY_PREFIX, KeyEnd, KeyError, KeySpec, LiveKey,
    RetiredReason, Rotation, Secret,
};
pub use network::{AllowedCidrs, InvalidCidrs, MAX_CIDRS};
pub use notice::{Notice, NoticeKind, UNUSED_NOTICE_DAYS, unused_since};
pub use pasted::{
    FindCredentialError, KEY_PATTERN, PastedCredential, TOKEN_PATTERN, contains_credential,
    may_contain_credential, redact_credentials,
};
pub use pepper::{MIN_PEPPER_LENGTH, Pepper, PepperText, SecretVersion};
pub use preset::{Platform, UnsafeRule, check_rule};
pub(crate) use protected_api::is_literal_segment;
pub use protected_api::{
    ApiId, ApiName, BaseUrl, Confirmation, InvalidApiId, InvalidApiName, InvalidBaseUrl, InvalidRoutePrefix,
    RoutePrefix,
};
pub use random::{DerivedEntropy, Entropy, EntropyError, OsEntropy};
pub use review::{NewReview, Review, ReviewDecision};
pub use role::{BuiltInRole, CustomRoleName, InvalidRoleName, RoleName};
pub use text::{
    AccountName, ApiTitle, Description, FoldedName, IdentityName, InvalidText, KeyName, Owner, ReviewNote,
    TagKey, TagValue, is_control, is_invisible,
};
pub use time::{Clock, InvalidInstant, SystemClock, parse_instant, seconds, utc_day};
pub use token::{
    BoundRequest, DEFAULT_TOKEN_SECONDS, DisplayedToken, GrantBinding, MAX_TOKEN_DEPTH, MAX_TOKEN_ROLES,
    MAX_TOKEN_SECONDS, REQUEST_TOKEN_SECONDS, SealedToken, TOKEN_PREFIX, Token, TokenClaims, TokenGrant,
    TokenKey,
};
pub use url_hosts::UrlHosts;
pub use verifier::{Fingerprint, Seal, SealEntry, SealedVerifier, Verifier, VerifierEntry};
