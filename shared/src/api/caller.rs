//! The response of `whoami`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use crate::domain::{IdentityId, KeyId, PrincipalType, RoleName, TokenId};
use crate::policy::{ExplainedDecision, Reason};

/// The caller and what it can do. The fields from `keyId` to `token` are present only
/// if the caller is a service account.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoamiResponse {
    /// The kind of caller: `serviceAccount` or `admin`.
    #[schema(value_type = String, example = "serviceAccount")]
    pub principal_type: PrincipalType,
    /// The id of the service account, or the `sub` claim of the admin's token.
    #[schema(example = "sa_4hQ0bTnYwLzR8sVc")]
    pub principal_id: String,
    /// The name of the service account, or of the admin.
    #[schema(example = "nightly-batch")]
    pub principal_name: String,
    /// The name of this deployment's environment.
    #[schema(example = "prod")]
    pub environment: String,
    /// What the other fields mean, in sentences.
    pub summary: String,
    /// The permissions of the account's role. For an admin: what the token can
    /// do.
    #[schema(example = json!(["GET /reports/{id}"]))]
    pub permissions: Vec<String>,
    /// Whether the caller's request with `method` and `path` would be allowed.
    /// Present only if the query has these parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = RequestCheck)]
    pub check: Option<RequestCheck>,
    /// The key or token that called, and what it can do.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = CredentialDetails)]
    pub credential: Option<CredentialDetails>,
}

/// The decision on a request that the caller asked about.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestCheck {
    /// Whether the request would be allowed if it came from a network that the
    /// key permits.
    pub allowed: bool,
    /// The reason, as in the authorizer's log: `allowed`, `role` (a role does
    /// not permit the request), `reserved` (the path is for another kind of
    /// credential) or `ambiguous_path`.
    #[schema(value_type = String, example = "role")]
    pub reason: Reason,
    /// The reason in sentences.
    #[schema(example = "No permission of role ServiceAccountReader covers the request.")]
    pub detail: String,
    /// The narrowest permission that would cover the request. Present only if a
    /// role refuses the request. The permission has the request's path, with
    /// `{name}` in place of each segment that a permission cannot contain
    /// literally, such as one with an escape.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "POST /organizations")]
    pub missing_permission: Option<String>,
}

impl From<ExplainedDecision> for RequestCheck {
    fn from(decision: ExplainedDecision) -> Self {
        Self {
            allowed: decision.reason == Reason::Allowed,
            reason: decision.reason,
            detail: decision.detail,
            missing_permission: decision.missing_permission.map(|missing| missing.to_string()),
        }
    }
}

/// A key or token that called `whoami`, and what it can do. No field is required,
/// because the response to an admin contains none of them.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialDetails {
    /// The id of the key, or of the key that the token was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "key_9fKd2LmXo5PqZ7aB")]
    pub key_id: Option<KeyId>,
    /// The id of the federated identity that the token was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "fid_8sVc4hQ0bTnYwLzR")]
    pub identity_id: Option<IdentityId>,
    /// When the key or federated identity expires. It is refused from this instant on.
    /// Absent if a federated identity never expires.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub expires_at: Option<Timestamp>,
    /// When the grace period of a rotated key ends. The key is refused from
    /// this instant on. Absent if the key was not rotated.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub retires_at: Option<Timestamp>,
    /// The name of the account's role.
    #[schema(value_type = String, required = false, example = "ServiceAccountReader")]
    pub role: RoleName,
    /// The name of the own role of the key or federated identity, if it has one. Both roles
    /// must permit a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "ReportsReader")]
    pub key_role: Option<RoleName>,
    /// The permissions of the own role of the key or federated identity, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Vec<String>, example = json!(["GET /reports/{id}"]))]
    pub key_permissions: Option<Vec<String>>,
    /// The networks that the key can be used from, in CIDR notation. Empty if
    /// it can be used from anywhere.
    #[schema(required = false, example = json!(["203.0.113.0/24"]))]
    pub allowed_cidrs: Vec<String>,
    /// The token. Absent if the caller used a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = TokenDetails)]
    pub token: Option<TokenDetails>,
}

/// A token that called `whoami`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenDetails {
    /// The id of the token.
    #[schema(value_type = String, example = "tok_4hQ0bTnYwLzR8sVc")]
    pub id: TokenId,
    /// When the token expires. It is refused from this instant on.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The roles that narrow the token. Each must permit a request too.
    pub roles: Vec<TokenRole>,
    /// The ids of the tokens that this token was made from, oldest first.
    #[schema(value_type = Vec<String>, example = json!(["tok_8sVc4hQ0bTnYwLzR"]))]
    pub actors: Vec<TokenId>,
}

/// A role that narrows a token.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRole {
    /// The name of the role.
    #[schema(value_type = String, example = "ReportsReader")]
    pub role: RoleName,
    /// The permissions of the role. Empty if the role does not exist.
    #[schema(example = json!(["GET /reports/{id}"]))]
    pub permissions: Vec<String>,
}
