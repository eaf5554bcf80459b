//! Federated identities.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::instant;
use super::keys::Usage;
use crate::activity::GrantActivity;
use crate::domain::{
    self, Actor, ClaimValue, IdentityId, IdentitySpec, IssuerName, RetiredReason, RoleName, named_enum,
};
use crate::store;

named_enum! {
    /// The state of a federated identity. Its tokens only work while its account is enabled.
    pub enum IdentityState {
        /// Workloads can exchange their JWTs.
        Active = "active",
        Expired = "expired",
        /// The issuer is no longer trusted: it was deleted.
        IssuerDeleted = "issuerDeleted",
        /// An admin deleted the identity.
        Deleted = "deleted",
    }
}

/// A federated identity: which workloads of a trusted issuer act as a service account,
/// without a key of their own.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederatedIdentity {
    /// The id: `fid_` and 16 letters and digits. It is not secret.
    #[schema(value_type = String, example = "fid_5tGh8JkLp2WqZ9xC")]
    pub id: IdentityId,
    /// The name of the identity, for people. It need not be unique.
    #[schema(example = "deploy workflow")]
    pub name: String,
    /// The rule that a workload's JWT must match.
    #[serde(flatten)]
    pub rule: IdentityRule,
    /// The state of the identity: `active`, `expired`, or `issuerDeleted` (its trusted issuer
    /// was deleted).
    #[schema(value_type = String, example = "active")]
    pub state: IdentityState,
    /// When the identity was added.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The admin who added the identity.
    pub created_by: Actor,
    /// How the tokens of the identity were used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// The rule of a federated identity: which tokens of workloads it accepts, and what the tokens
/// that it gives for them can do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRule {
    /// The name of the trusted issuer.
    #[schema(value_type = String, example = "github")]
    pub issuer: IssuerName,
    /// The only audience (`aud`) that a workload's JWT can have.
    #[schema(example = "https://keyward.example.com")]
    pub audience: String,
    /// The claims that a workload's JWT must have, each with the accepted values. A claim is
    /// a name or, if it starts with `/`, a JSON pointer.
    #[schema(
        value_type = BTreeMap<String, Vec<Value>>,
        example = json!({ "repository_id": ["1296269"], "repository_owner_id": ["583231"], "environment": ["production"] })
    )]
    pub claims: BTreeMap<String, Vec<ClaimValue>>,
    /// The name of the identity's own role, if it has one. Both this role and the account's
    /// role must permit a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "ReportsReader")]
    pub role: Option<RoleName>,
    /// When the identity expires. Absent if it never expires.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub expires_at: Option<Timestamp>,
    /// Whether each JWT of a workload is accepted only once.
    pub single_use: bool,
    /// The maximum age of a workload's JWT, in seconds since its `iat`.
    #[schema(example = 600)]
    pub max_age_seconds: u32,
}

/// The federated identities of a service account.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederatedIdentityList {
    /// The identities, oldest first. An identity that has expired can stay in this list for a
    /// while: see `state`.
    #[schema(max_items = 40)]
    pub items: Vec<FederatedIdentity>,
}

/// A federated identity that has ended.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedFederatedIdentity {
    /// The id of the identity.
    #[schema(value_type = String, example = "fid_5tGh8JkLp2WqZ9xC")]
    pub id: IdentityId,
    /// The name of the identity.
    #[schema(example = "deploy workflow")]
    pub name: String,
    /// The rule that a workload's JWT had to match.
    #[serde(flatten)]
    pub rule: IdentityRule,
    /// How the identity ended: `deleted` or `expired`.
    #[schema(value_type = String, example = "deleted")]
    pub state: IdentityState,
    /// When the identity ended.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: Timestamp,
    /// The admin who deleted the identity. Absent if it expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub ended_by: Option<Actor>,
    /// When the identity was added.
    #[serde(serialize_with = "instant::seconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The admin who added the identity.
    pub created_by: Actor,
    /// How the tokens of the identity were used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// A new federated identity.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateFederatedIdentityRequest {
    /// The name of the identity, for people: 1 to 64 characters. It need not be unique.
    #[schema(min_length = 1, max_length = 64, example = "deploy workflow")]
    pub name: String,
    /// The name of a trusted issuer.
    #[schema(max_length = 32, example = "github")]
    pub issuer: String,
    /// The only audience (`aud`) that a workload's JWT can have: 1 to 255 visible ASCII
    /// characters. Choose a value that only tokens for this deployment have, such as the URL
    /// of the IAM API.
    #[schema(min_length = 1, max_length = 255, example = "https://keyward.example.com")]
    pub audience: String,
    /// The claims that a workload's JWT must have, each with the value, or an array of the
    /// values, that it can have. Values are compared exactly, with their types: `"1"` is not
    /// `1`. A claim is a name or, if it starts with `/`, a JSON pointer (RFC 6901), such as
    /// `/kubernetes.io/namespace`. At most 10 claims, 10 values for each, 256 characters for
    /// each name and value, and 512 bytes of JSON in total.
    ///
    /// The claims must identify the workload. For known platforms, some are required:
    /// - GitHub Actions: `repository_id`, `repository_owner_id`, and one of `environment`,
    ///   `ref`, `job_workflow_ref` and `workflow_ref`.
    /// - GitLab.com: `project_id`, and one of `environment`, `ref` with `ref_type`,
    ///   `ref_protected` and `ci_config_ref_uri`.
    /// - Kubernetes: `sub`, as `system:serviceaccount:NAMESPACE:NAME`.
    /// - AWS: `sub`, as the ARN of an IAM role.
    /// - Other issuers: a claim that not every workload of the issuer has with the same value.
    #[schema(
        value_type = BTreeMap<String, Value>,
        example = json!({ "repository_id": "1296269", "repository_owner_id": "583231", "environment": "production" })
    )]
    pub claims: BTreeMap<String, Value>,
    /// The name of a role that limits this identity further. Both this role and the account's
    /// role must permit a request.
    #[schema(required = false, value_type = String, max_length = 64, example = "ReportsReader")]
    pub role: Option<String>,
    /// The lifetime in days, from 1 to 3,650. If omitted, the identity never expires.
    #[schema(required = false, value_type = u32, minimum = 1, maximum = 3650, example = 365)]
    pub expires_in_days: Option<u32>,
    /// Whether each JWT of a workload is accepted only once. If omitted, `true` for GitHub
    /// Actions, else `false`.
    #[schema(required = false, value_type = bool)]
    pub single_use: Option<bool>,
    /// The maximum age of a workload's JWT, in seconds since its `iat`: from 60 to 86,400. If
    /// omitted, 600 for GitHub Actions and AWS, else 3,600.
    #[schema(required = false, value_type = u32, minimum = 60, maximum = 86_400, example = 600)]
    pub max_age_seconds: Option<u32>,
}

impl From<&IdentitySpec> for IdentityRule {
    fn from(spec: &IdentitySpec) -> Self {
        Self {
            issuer: spec.issuer.clone(),
            audience: spec.audience.to_string(),
            claims: spec.claims.iter().map(|(path, values)| (path.to_owned(), values.to_vec())).collect(),
            role: spec.role.clone(),
            expires_at: spec.expires_at,
            single_use: spec.single_use,
            max_age_seconds: spec.max_age_seconds,
        }
    }
}

impl FederatedIdentity {
    /// `identity` as the API shows it at `now`. `trusted` are the names of all trusted issuers.
    pub fn new(
        identity: &domain::FederatedIdentity,
        trusted: &HashSet<IssuerName>,
        activity: &GrantActivity,
        now: Timestamp,
    ) -> Self {
        Self {
            id: identity.id,
            name: identity.name.to_string(),
            rule: (&identity.spec).into(),
            state: if identity.ended(now).is_some() {
                IdentityState::Expired
            } else if trusted.contains(&identity.spec.issuer) {
                IdentityState::Active
            } else {
                IdentityState::IssuerDeleted
            },
            created_at: identity.created_at,
            created_by: identity.created_by.clone(),
            usage: Usage::new(activity, now),
        }
    }
}

impl EndedFederatedIdentity {
    /// An ended `identity` as the API shows it at `now`.
    pub(super) fn new(activity: &GrantActivity, identity: store::EndedIdentity, now: Timestamp) -> Self {
        Self {
            id: identity.id,
            name: identity.name.to_string(),
            rule: (&identity.spec).into(),
            state: match identity.reason {
                RetiredReason::Expired => IdentityState::Expired,
                RetiredReason::Revoked | RetiredReason::Rotated => IdentityState::Deleted,
            },
            ended_at: identity.ended_at,
            ended_by: identity.ended_by,
            created_at: identity.created_at,
            created_by: identity.created_by,
            usage: Usage::new(activity, now),
        }
    }
}
