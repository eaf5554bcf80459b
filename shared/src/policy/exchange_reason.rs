//! The reasons for the outcomes of exchanges. Each exchange has exactly one reason, which is
//! only logged: all refusals of a credential look the same to the client.

use super::Reason;
use crate::domain::named_enum;

named_enum! {
    /// The reason for the outcome of an exchange of a credential for a token.
    pub enum ExchangeReason {
        /// A token was issued.
        Issued = "issued",
        /// The permissions of the credential were returned.
        Listed = "listed",
        /// The roles permit the request, but its confirmation is missing.
        Unconfirmed = "unconfirmed",
        /// The request is malformed.
        MalformedRequest = "malformed_request",
        /// The grant type is not supported.
        UnsupportedGrantType = "unsupported_grant_type",
        /// The request names a resource or audience that tokens cannot be limited to.
        Target = "target",
        /// The scope is not the name of a role, or two other roles already narrow the token.
        Scope = "scope",
        /// The credential is malformed, or a JWT has an unsupported or ambiguous form.
        Malformed = "malformed",
        /// The key or token belongs to another environment.
        ForeignEnvironment = "foreign_environment",
        /// The account, key or federated identity does not exist.
        Unknown = "unknown",
        /// The key or federated identity was revoked.
        Revoked = "revoked",
        /// The key was rotated and its grace period is over, or the account of the key or federated
        /// identity was deleted.
        Retired = "retired",
        /// The key, token or JWT has expired.
        Expired = "expired",
        /// The federated identity has expired.
        IdentityExpired = "identity_expired",
        /// The account is disabled.
        Disabled = "disabled",
        /// The key's secret or the token's tag is wrong.
        WrongSecret = "wrong_secret",
        /// The key does not belong to the account that the client id names.
        Client = "client",
        /// The key cannot be used from this network.
        Network = "network",
        /// Request tokens cannot be exchanged.
        RequestToken = "request_token",
        /// The token already has the maximum number of ancestors.
        Depth = "depth",
        /// The seal of the identity or the issuer is wrong: the item in the table was changed outside Keyward.
        Seal = "seal",
        /// The identity's issuer is not registered, or was registered again after the token was issued.
        IssuerUnknown = "issuer_unknown",
        /// The JWT is from another issuer.
        Issuer = "issuer",
        /// The issuer may not sign with the JWT's algorithm.
        Algorithm = "algorithm",
        /// The issuer has no key with the JWT's key id, or the JWT does not say which key it
        /// was signed with.
        SigningKey = "signing_key",
        /// The JWT's signature is wrong.
        Signature = "signature",
        /// The JWT is not for the identity's audience, or has several audiences.
        Audience = "audience",
        /// A claim does not have a required value.
        Claim = "claim",
        /// The JWT is not valid yet.
        NotYetValid = "not_yet_valid",
        /// The JWT is older than the identity permits.
        TooOld = "too_old",
        /// The JWT was used before.
        Replayed = "replayed",
        /// The issuer has an address that is not public, or a URL that is not https.
        IssuerAddress = "issuer_address",
        /// The issuer cannot be reached.
        IssuerUnreachable = "issuer_unreachable",
        /// The issuer did not respond in time.
        IssuerTimeout = "issuer_timeout",
        /// The issuer redirects to another URL.
        IssuerRedirect = "issuer_redirect",
        /// The issuer's document is too large.
        IssuerTooLarge = "issuer_too_large",
        /// The issuer's response is an error or incomplete.
        IssuerResponse = "issuer_response",
        /// The issuer's metadata is malformed or names another issuer.
        IssuerMetadata = "issuer_metadata",
        /// The issuer's keys are malformed, or there are too many.
        IssuerKeys = "issuer_keys",
        /// A role does not permit the request.
        Role = "role",
        /// The method or path could mean something else to the backend.
        AmbiguousPath = "ambiguous_path",
        /// The confirmation is forged, has expired, or is for another grant or another request.
        ConfirmationInvalid = "confirmation_invalid",
        /// The confirmation was used before.
        ConfirmationUsed = "confirmation_used",
        /// The path is reserved for another kind of credential.
        Reserved = "reserved",
        /// A dependency failed.
        Outage = "outage",
    }
}

impl From<Reason> for ExchangeReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Allowed => Self::Issued,
            Reason::Missing | Reason::Malformed | Reason::PathMismatch => Self::Malformed,
            Reason::ForeignEnvironment => Self::ForeignEnvironment,
            Reason::Unknown => Self::Unknown,
            Reason::Revoked => Self::Revoked,
            Reason::Retired => Self::Retired,
            Reason::Expired => Self::Expired,
            Reason::Disabled => Self::Disabled,
            Reason::WrongSecret => Self::WrongSecret,
            Reason::Issuer => Self::IssuerUnknown,
            Reason::Request => Self::RequestToken,
            Reason::Audience => Self::Audience,
            Reason::Scope => Self::Scope,
            Reason::Role => Self::Role,
            Reason::Network => Self::Network,
            Reason::AmbiguousPath => Self::AmbiguousPath,
            Reason::Reserved => Self::Reserved,
            Reason::Outage => Self::Outage,
        }
    }
}
