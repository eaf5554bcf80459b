//! Texts for the reasons of refused requests.

use shared::policy::Reason;

/// A short label of a reason, for lists of counts.
pub(crate) fn label(reason: Reason) -> &'static str {
    match reason {
        Reason::Allowed => "allowed",
        Reason::Missing => "no credential",
        Reason::Malformed => "malformed credential",
        Reason::ForeignEnvironment => "key of another environment",
        Reason::Unknown => "unknown key",
        Reason::Revoked => "key revoked",
        Reason::Retired => "key retired",
        Reason::Expired => "key expired",
        Reason::Disabled => "account disabled",
        Reason::WrongSecret => "wrong secret",
        Reason::Issuer => "issuer not trusted",
        Reason::Request => "token of another request",
        Reason::Audience => "wrong audience",
        Reason::Scope => "scope not accepted",
        Reason::Role => "no permission",
        Reason::Network => "network not allowed",
        Reason::AmbiguousPath => "ambiguous path",
        Reason::PathMismatch => "path and route differ",
        Reason::Reserved => "reserved path",
        Reason::Outage => "Keyward unavailable",
    }
}

/// A sentence that says why a request was refused.
pub(crate) fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Allowed => "The request was allowed.",
        Reason::Missing => "The request had no credential.",
        Reason::Malformed => "The credential was malformed.",
        Reason::ForeignEnvironment => "The key belongs to another environment.",
        Reason::Unknown => "The key is unknown.",
        Reason::Revoked => "The key had been revoked.",
        Reason::Retired => {
            "The key had been rotated and its grace period was over, or its account had been deleted."
        }
        Reason::Expired => "The key had expired.",
        Reason::Disabled => "The account was disabled.",
        Reason::WrongSecret => "The secret was wrong.",
        Reason::Issuer => {
            "The issuer of the federated identity was no longer trusted, or had been registered again."
        }
        Reason::Request => "The token was bound to another request.",
        Reason::Audience => "The token was for another API.",
        Reason::Scope => "The token had a scope that is not accepted.",
        Reason::Role => "A role did not permit the request.",
        Reason::Network => "The key cannot be used from that network.",
        Reason::AmbiguousPath => "The path is ambiguous: your API could interpret it differently.",
        Reason::PathMismatch => "The path did not match the route in API Gateway.",
        Reason::Reserved => "The path is reserved for another kind of credential.",
        Reason::Outage => "A service that Keyward needs was not available, so the request was refused.",
    }
}
