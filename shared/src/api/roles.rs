//! Roles, and explanations of decisions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant;
use crate::domain::{Actor, BuiltInRole, RoleName};
use crate::policy::{self, Reason};
use crate::store::{CustomRole, ListedRole};

/// A role.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// Its name.
    #[schema(value_type = String, example = "ReportsReader")]
    pub name: RoleName,
    /// What it is for.
    pub description: String,
    /// Whether every deployment has it. Such a role cannot be put or deleted.
    pub built_in: bool,
    /// What it permits, in the order of the paths. Nothing else is permitted.
    #[schema(example = json!(["GET /reports/{id}", "ANY /reports/{id}/notes/{proxy+}"]))]
    pub permissions: Vec<String>,
    /// When it was created.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub created_at: Option<Timestamp>,
    /// Who created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub created_by: Option<Actor>,
    /// When it was last changed.
    #[serde(serialize_with = "instant::optional_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, required = false)]
    pub updated_at: Option<Timestamp>,
    /// Who last changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Actor)]
    pub updated_by: Option<Actor>,
}

/// What a custom role is to be: all of it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PutRoleRequest {
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub description: String,
    /// What it permits, each as `METHODS PATH`: methods separated by commas or
    /// `ANY`, one space, and a path in API Gateway's route syntax, where
    /// `{name}` is exactly one segment and `{name+}` one or more at the end.
    /// They are a set, of which no two may mean the same, and are kept in the
    /// order of their paths. None: the role permits nothing.
    #[schema(max_items = 100, example = json!(["GET /reports/{id}", "ANY /reports/{id}/notes/{proxy+}"]))]
    pub permissions: Vec<String>,
}

/// A request that nobody makes: by whom, and what for.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExplainRequest {
    /// By a key of this account: whether the account is enabled counts.
    #[schema(required = false, value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub service_account_id: Option<String>,
    /// By this key of the account: its own role, its expiry and, with
    /// `sourceAddress`, its networks count.
    #[schema(required = false, value_type = String, example = "key_9fKd2LmXo5PqZ7aB")]
    pub key_id: Option<String>,
    /// By anybody of this role. In place of an account.
    #[schema(required = false, value_type = String, max_length = 64)]
    pub role: Option<String>,
    /// The method.
    #[schema(example = "GET")]
    pub method: String,
    /// The path as the API routes it: without a stage, a custom domain's base path, or a query.
    #[schema(example = "/organizations/42")]
    pub path: String,
    /// The key is used from this address. If not said, from one that it may be
    /// used from. (A TOKEN authorizer is told no address, and refuses a key with
    /// networks always.)
    #[schema(required = false, value_type = String, example = "203.0.113.7")]
    pub source_address: Option<String>,
}

/// What would be decided.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whether the request would pass.
    pub allowed: bool,
    /// Why, in the word that the authorizer's log has for it.
    #[schema(value_type = String, example = "allowed")]
    pub reason: Reason,
    /// The same as a sentence.
    pub detail: String,
    /// The permission that decided, if it was allowed by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub permission: Option<String>,
    /// The permission of the key's own role that decided too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub key_permission: Option<String>,
    /// Each role that has a part in it: all of them must permit. None where the
    /// decision is made before any role is asked.
    pub roles: Vec<ExplainedRole>,
    /// The networks that the key may be used from, if it is not from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub allowed_cidrs: Vec<String>,
}

/// A role's part in a decision.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedRole {
    /// Whose: `serviceAccount`, `key`, or `role` where the role itself was asked
    /// about.
    #[serde(rename = "of")]
    #[schema(value_type = String)]
    pub holder: RoleHolder,
    /// Its name.
    #[schema(value_type = String)]
    pub role: RoleName,
    /// Whether there is such a role. A missing one permits nothing.
    pub exists: bool,
    /// The first of its permissions that covers the request, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub permission: Option<String>,
}

/// What has the role in an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RoleHolder {
    ServiceAccount,
    Key,
    /// The question was about the role itself.
    Role,
}

/// The permissions of `role` as texts.
#[must_use]
pub fn permissions(role: &policy::Role) -> Vec<String> {
    role.permissions.iter().map(ToString::to_string).collect()
}

impl Role {
    /// The built-in `role`, which permits what `permits` says.
    #[must_use]
    pub fn built_in(role: BuiltInRole, permits: &policy::Role) -> Self {
        Self {
            name: role.into(),
            description: role.description().to_owned(),
            built_in: true,
            permissions: permissions(permits),
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
            ListedRole::BuiltIn(role, permits) => Self::built_in(role, &permits),
            ListedRole::Custom(custom) => custom.into(),
        }
    }
}
