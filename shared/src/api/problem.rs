//! Problem details (RFC 9457).

use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{AccountId, IdentityId, KeyId, redact_credentials};
use crate::store::RoleUser;

macro_rules! problem_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident, $title:literal;)*) => {
        /// The kind of a problem. A code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
        pub enum ProblemCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl ProblemCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code's name in a problem document.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status of a response with this code.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// The problem document's title.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

problem_codes! {
    MalformedRequest = "malformed_request", BAD_REQUEST, "Malformed request";
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not JSON";
    MalformedId = "malformed_id", BAD_REQUEST, "Malformed ID";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Not signed in";
    NotPermitted = "not_permitted", FORBIDDEN, "Not permitted";
    RouteNotFound = "route_not_found", NOT_FOUND, "Route not found";
    ServiceAccountNotFound = "service_account_not_found", NOT_FOUND, "Service account not found";
    KeyNotFound = "key_not_found", NOT_FOUND, "Key not found";
    FederatedIdentityNotFound = "federated_identity_not_found", NOT_FOUND, "Federated identity not found";
    IssuerNotFound = "issuer_not_found", NOT_FOUND, "Trusted issuer not found";
    ApiNotFound = "api_not_found", NOT_FOUND, "Protected API not found";
    RoleNotFound = "role_not_found", NOT_FOUND, "Role not found";
    RoleBuiltIn = "role_built_in", CONFLICT, "The role is built in";
    RoleInUse = "role_in_use", CONFLICT, "The role is in use";
    RoleCheckIncomplete = "role_check_incomplete", CONFLICT, "Not all service accounts were checked";
    NameTaken = "name_taken", CONFLICT, "The name is taken";
    ServiceAccountDisabled = "service_account_disabled", CONFLICT, "The service account is disabled";
    KeyLimitReached = "key_limit_reached", CONFLICT, "The service account has too many keys";
    GrantLimitReached = "grant_limit_reached", CONFLICT, "The service account has too many keys and federated identities";
    KeyRevoked = "key_revoked", CONFLICT, "The key was revoked";
    KeyExpired = "key_expired", CONFLICT, "The key has expired";
    KeyAlreadyRotated = "key_already_rotated", CONFLICT, "The key was already rotated";
    KeyAlreadyIssued = "key_already_issued", CONFLICT, "The key was already issued";
    /// The federated identity that an earlier attempt of this request added has ended.
    FederatedIdentityEnded = "federated_identity_ended", CONFLICT, "The federated identity has ended";
    /// The issuer of a name never changes, even after its deletion.
    IssuerChanged = "issuer_changed", CONFLICT, "The name belongs to another issuer";
    IssuerLimitReached = "issuer_limit_reached", CONFLICT, "The deployment has too many trusted issuers";
    ApiLimitReached = "api_limit_reached", CONFLICT, "The deployment has too many protected APIs";
    /// The account that an earlier attempt of this request created has been
    /// deleted.
    ServiceAccountDeleted = "service_account_deleted", CONFLICT, "The service account was deleted";
    ConcurrentChanges = "concurrent_changes", CONFLICT, "Too many concurrent changes";
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "Precondition failed";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    InvalidFields = "invalid_fields", UNPROCESSABLE_ENTITY, "Invalid fields";
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for another request";
    Throttled = "throttled", TOO_MANY_REQUESTS, "Too many requests";
    InternalError = "internal_error", INTERNAL_SERVER_ERROR, "Internal error";
    DependencyUnavailable = "dependency_unavailable", SERVICE_UNAVAILABLE, "A dependency is unavailable";
}

/// A problem document (RFC 9457): the body of every error that does not come
/// from API Gateway.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[schema(example = "urn:keyward:problem:name_taken")]
    pub r#type: String,
    /// The kind of problem, for people.
    #[schema(example = "The name is taken")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// What happened, and what to do.
    #[schema(example = "Another service account has this name (case is ignored). Choose another name.")]
    pub detail: String,
    /// The kind of problem, for programs. A code never changes its meaning.
    #[schema(schema_with = code_schema)]
    pub code: ProblemCode,
    /// The id of the request. Give it to the operator of the deployment when
    /// you report the problem.
    #[schema(example = "JKJaXmPLvHcESHA=")]
    pub request_id: String,
    /// The fields of the body to correct. Only with `invalid_fields`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// The first 20 service accounts, keys and federated identities that have the role. Only with
    /// `role_in_use`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub used_by: Vec<RoleUse>,
    /// The `cursor` of the next request. Only with `role_check_incomplete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    pub next_cursor: Option<String>,
}

/// What is wrong with a field of the body.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, as a JSON pointer (RFC 6901). Empty for the whole body.
    #[schema(example = "/name")]
    pub pointer: String,
    /// What is wrong. Completes a sentence that starts with the name of the field.
    #[schema(example = "must be at most 64 characters")]
    pub detail: String,
}

/// A use of a role: a service account that has the role, or a key or federated identity that
/// has the role as its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleUse {
    /// The id of the service account.
    #[schema(value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub service_account_id: AccountId,
    /// The name of the service account.
    #[schema(example = "nightly-batch")]
    pub service_account_name: String,
    /// The id of the key, if the role is the key's own role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "key_9fKd2LmXo5PqZ7aB")]
    pub key_id: Option<KeyId>,
    /// The id of the federated identity, if the role is the identity's own role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "fid_5tGh8JkLp2WqZ9xC")]
    pub identity_id: Option<IdentityId>,
}

impl FieldError {
    /// Redacts the credentials in names and values that the client sent.
    #[must_use]
    pub fn redacted(self) -> Self {
        let redact = |text: &str| redact_credentials(text).into_owned();
        Self { pointer: redact(&self.pointer), detail: redact(&self.detail) }
    }
}

impl From<&RoleUser> for RoleUse {
    fn from(user: &RoleUser) -> Self {
        Self {
            service_account_id: user.account,
            service_account_name: user.account_name.to_string(),
            key_id: user.key().map(|key| key.id),
            identity_id: user.identity().map(|identity| identity.id),
        }
    }
}

fn code_schema() -> utoipa::openapi::schema::Object {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(ProblemCode::ALL.iter().map(|code| code.name())))
        .description(Some("The kind of problem, for programs. A code never changes its meaning."))
        .build()
}
