//! Roles, and explanations of decisions.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use super::problem::RoleUse;
use crate::domain::{Actor, BuiltInRole, GrantId, RoleName};
use crate::policy::{self, ExplainedDecision, Permission, Reason};
use crate::store::{CustomRole, LastUse, ListedRole, RoleUser};

/// A role: a named list of permissions.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// The name. Names are case-sensitive.
    #[schema(value_type = String, example = "ReportsReader")]
    pub name: RoleName,
    /// What the role is for. Can be empty.
    #[schema(example = "Reads reports and writes notes")]
    pub description: String,
    /// Whether the role is built in. A built-in role exists in every deployment
    /// and cannot be changed or deleted.
    pub built_in: bool,
    /// What the role permits, sorted by path. Each permission has methods and a
    /// path (see `putRole`). Nothing else is permitted.
    #[schema(example = json!(["GET /reports/{id}", "ANY /reports/{id}/notes/{proxy+}"]))]
    pub permissions: Vec<String>,
    /// When the role was created. Absent for a built-in role.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub created_at: Option<Timestamp>,
    /// The admin who created the role. Absent for a built-in role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub created_by: Option<Actor>,
    /// When the role was last changed. Absent for a built-in role.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub updated_at: Option<Timestamp>,
    /// The admin who last changed the role. Absent for a built-in role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub updated_by: Option<Actor>,
}

/// The whole content of a custom role.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PutRoleRequest {
    /// What the role is for: at most 256 characters.
    #[serde(default)]
    #[schema(max_length = 256, example = "Reads reports and writes notes", default = "")]
    pub description: String,
    /// What the role permits: at most 100 permissions of at most 256
    /// characters, in any order. If empty, the role permits nothing. Each
    /// permission is `METHODS PATH`: methods separated by commas (or `ANY`),
    /// one space, and a path in API Gateway's route syntax. In the path,
    /// `{name}` is exactly one segment, and `{name+}` at the end is one or more
    /// segments. No two permissions can have the same meaning, and no
    /// permission can be below `/iam`.
    #[schema(max_items = 100, example = json!(["GET /reports/{id}", "ANY /reports/{id}/notes/{proxy+}"]))]
    pub permissions: Vec<String>,
}

/// A page of the service accounts, live keys and federated identities that have a role.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleUserList {
    /// The service accounts, keys and federated identities, in the order of the service
    /// accounts' names.
    pub items: Vec<ListedRoleUse>,
    /// The number of service accounts that were checked for this page.
    pub checked_accounts: usize,
    /// The `cursor` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    pub next_cursor: Option<String>,
}

/// A use of a role in a list.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedRoleUse {
    /// The service account, key or federated identity.
    #[serde(flatten)]
    pub used_by: RoleUse,
    /// Whether the service account is enabled.
    pub service_account_enabled: bool,
    /// The name of the key, if the role is the key's own role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "batch server 1")]
    pub key_name: Option<String>,
    /// The last four characters of the key, if the role is the key's own role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "x7Qz")]
    pub key_hint: Option<String>,
    /// The name of the federated identity, if the role is the identity's own role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "deploy workflow")]
    pub identity_name: Option<String>,
    /// The number of live keys that the role limits. All live keys of a service
    /// account that has the role count, or only the key that has the role as its own.
    pub live_key_count: usize,
    /// The number of live federated identities that the role limits, like `liveKeyCount`.
    pub live_identity_count: usize,
    /// When a request with one of these keys or identities was last allowed. The true time can be
    /// later, but never earlier. Absent if no request was allowed.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub last_used_at: Option<Timestamp>,
}

/// A request to decide on, and its caller. Give either `serviceAccountId` or
/// `role`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExplainRequest {
    /// The service account whose key makes the request. The decision depends on
    /// the account's role and on whether the account is enabled.
    #[schema(required = false, value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub service_account_id: Option<String>,
    /// The key of the account that makes the request. The decision also depends
    /// on the key's own role, expiry and rotation, and on its networks if
    /// `sourceAddress` is given.
    #[schema(required = false, value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub key_id: Option<String>,
    /// The caller's role, if the decision is not for an account.
    #[schema(required = false, value_type = String, max_length = 64, example = "ServiceAccountReader")]
    pub role: Option<String>,
    /// The HTTP method, in upper case: `GET`, `HEAD`, `OPTIONS`, `POST`, `PUT`,
    /// `PATCH` or `DELETE`.
    #[schema(example = "GET")]
    pub method: String,
    /// The path as the API routes it, beginning with `/`, without the stage,
    /// the base path of a custom domain, or the query.
    #[schema(example = "/organizations/42")]
    pub path: String,
    /// The IPv4 or IPv6 address that the key is used from. If omitted, an
    /// address that the key allows is assumed. Requires `keyId`. A REST API's
    /// TOKEN authorizer does not receive the address, so it always refuses keys
    /// with networks.
    #[schema(required = false, value_type = String, example = "203.0.113.7")]
    pub source_address: Option<String>,
}

/// The decision on a request.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whether the request would be allowed.
    pub allowed: bool,
    /// The reason, as in the authorizer's log: `allowed`, `role` (a role does
    /// not permit the request), `reserved` (keys cannot call the IAM API),
    /// `disabled`, `expired`, `retired`, `revoked`, `network` or
    /// `ambiguous_path`.
    #[schema(value_type = String, example = "allowed")]
    pub reason: Reason,
    /// The reason in sentences.
    #[schema(example = "`GET /organizations/{id}` of role ServiceAccountReader permits the request.")]
    pub detail: String,
    /// The permission of the role that permits the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "GET /organizations/{id}")]
    pub permission: Option<String>,
    /// The permission of the key's own role that permits the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "GET /organizations/{id}")]
    pub key_permission: Option<String>,
    /// The narrowest permission that would cover the request. Present only if a
    /// role refuses the request. The permission has the request's path, with
    /// `{name}` in place of each segment that a permission cannot contain
    /// literally, such as one with an escape.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "POST /organizations")]
    pub missing_permission: Option<String>,
    /// The roles that the decision depends on. All of them must permit the
    /// request. Empty if the request is refused before any role is checked.
    pub roles: Vec<ExplainedRole>,
    /// The networks that the key can be used from, in CIDR notation. Absent if
    /// it can be used from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["203.0.113.0/24"]))]
    pub allowed_cidrs: Vec<String>,
}

/// A role in a decision.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedRole {
    /// Where the role comes from: `serviceAccount`, `key`, or `role` if the
    /// request named the role itself.
    #[serde(rename = "of")]
    #[schema(value_type = String, example = "serviceAccount")]
    pub holder: RoleHolder,
    /// The name of the role.
    #[schema(value_type = String, example = "ServiceAccountReader")]
    pub role: RoleName,
    /// Whether the role exists. A missing role permits nothing.
    pub exists: bool,
    /// The first permission of the role that covers the request. Absent if none
    /// does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "GET /organizations/{id}")]
    pub permission: Option<String>,
}

/// What has the role in an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RoleHolder {
    ServiceAccount,
    Key,
    /// The request named the role itself.
    Role,
}

impl Explanation {
    /// Explains `decision`, which depends on `roles`.
    pub fn new(decision: ExplainedDecision, roles: Vec<ExplainedRole>, allowed_cidrs: Vec<String>) -> Self {
        let text = |permission: Option<Permission>| permission.map(|permission| permission.to_string());
        Self {
            allowed: decision.reason == Reason::Allowed,
            reason: decision.reason,
            detail: decision.detail,
            permission: text(decision.permission),
            key_permission: text(decision.grant_permission),
            missing_permission: text(decision.missing_permission),
            roles,
            allowed_cidrs,
        }
    }
}

impl ListedRoleUse {
    /// A `user` of the role, whose account's grants were last used at these times.
    pub fn new(user: &RoleUser, last_uses: &HashMap<GrantId, LastUse>) -> Self {
        let keys = user.keys.iter().map(|key| GrantId::from(key.id));
        let grants = keys.chain(user.identities.iter().map(|identity| identity.id.into()));
        let last_used_at = grants.filter_map(|grant| last_uses.get(&grant)?.last_used_at).max();
        Self {
            used_by: user.into(),
            service_account_enabled: user.is_enabled,
            key_name: user.key().map(|key| key.name.to_string()),
            key_hint: user.key().map(|key| key.hint.clone()),
            identity_name: user.identity().map(|identity| identity.name.to_string()),
            live_key_count: user.keys.len(),
            live_identity_count: user.identities.len(),
            last_used_at,
        }
    }
}

/// The texts of a role's permissions.
pub fn permissions(role: &policy::Role) -> Vec<String> {
    role.permissions.iter().map(ToString::to_string).collect()
}

impl Role {
    /// The built-in `role` with the permissions of `policy`.
    pub fn built_in(role: BuiltInRole, policy: &policy::Role) -> Self {
        Self {
            name: role.into(),
            description: role.description().to_owned(),
            built_in: true,
            permissions: permissions(policy),
            created_at: None,
            created_by: None,
            updated_at: None,
            updated_by: None,
        }
    }
}

impl From<CustomRole> for Role {
    fn from(custom: CustomRole) -> Self {
        Self {
            permissions: permissions(&custom.role),
            name: custom.role.name,
            description: custom.description.to_string(),
            built_in: false,
            created_at: Some(custom.created_at),
            created_by: Some(custom.created_by),
            updated_at: Some(custom.updated_at),
            updated_by: Some(custom.updated_by),
        }
    }
}

impl From<ListedRole> for Role {
    fn from(role: ListedRole) -> Self {
        match role {
            ListedRole::BuiltIn(role, policy) => Self::built_in(role, &policy),
            ListedRole::Custom(custom) => custom.into(),
        }
    }
}
