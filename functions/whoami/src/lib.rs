//! `GET /iam/v1/whoami`: who the caller is and what it may do. The one
//! operation of the IAM API that a key may call.

use serde::Serialize;
use shared::config::{ConfigError, Setup};
use shared::domain::{Caller, KeyCaller, PrincipalType, RoleName};
use shared::http::representation::seconds;
use shared::http::{Failure, Operation, Problem, Reply, Request};
use shared::policy::BuiltInRoles;
use shared::store::Store;
use utoipa::ToSchema;

/// The function.
pub struct Whoami {
    store: Store,
    built_in_roles: BuiltInRoles,
}

impl Operation for Whoami {
    type Caller = Caller;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, built_in_roles: setup.built_in_roles()? })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, caller: Caller, _: &Request) -> Result<Reply, Failure> {
        whoami(self, caller).await
    }
}

/// A caller, as it is to itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoamiResponse {
    /// `serviceAccount` or `admin`.
    principal_type: &'static str,
    /// The account's id, or the person's.
    principal_id: String,
    /// The account's name, or the person's.
    principal_name: String,
    /// What a service account's key is and may do.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = KeyDetails)]
    key: Option<KeyDetails>,
}

/// What a key is and may do. An admin's answer has none of it, so nothing of it
/// is required.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyDetails {
    /// The key.
    #[schema(required = false)]
    key_id: String,
    /// The environment that it belongs to.
    #[schema(required = false)]
    environment: String,
    /// From this instant on it is refused.
    #[schema(format = DateTime, required = false)]
    expires_at: String,
    /// Another key replaces it: from this instant on it is refused already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, required = false)]
    retires_at: Option<String>,
    /// The account's role.
    #[schema(required = false)]
    role: String,
    /// What that role permits.
    #[schema(required = false)]
    permissions: Vec<String>,
    /// The key's own role. Both must permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    key_role: Option<String>,
    /// What the key's own role permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    key_permissions: Option<Vec<String>>,
    /// The networks that it may be used from. Empty: from anywhere.
    #[schema(required = false)]
    allowed_cidrs: Vec<String>,
}

/// Tell the caller who it is and what it may do
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    get,
    path = "/iam/v1/whoami",
    operation_id = "whoami",
    tag = "Caller",
    responses((status = 200, description = "The caller", body = WhoamiResponse), (status = 404, body = Problem))
)]
pub async fn whoami(function: &Whoami, caller: Caller) -> Result<Reply, Failure> {
    let principal = match caller {
        Caller::Admin(actor) => WhoamiResponse {
            principal_type: PrincipalType::Admin.name(),
            principal_id: actor.id,
            principal_name: actor.name,
            key: None,
        },
        Caller::Key(caller) => WhoamiResponse {
            principal_type: PrincipalType::ServiceAccount.name(),
            principal_id: caller.account.to_string(),
            principal_name: caller.account_name.clone(),
            key: Some(key_details(function, &caller).await?),
        },
    };
    Ok(Reply::ok(&principal))
}

async fn key_details(function: &Whoami, caller: &KeyCaller) -> Result<KeyDetails, Failure> {
    let account = function.store.get_account(caller.account).await?;
    // It was there a moment ago, when the authorizer let the caller in.
    let key = account.keys.iter().find(|key| key.id == caller.key).ok_or(Failure::KeyNotFound(caller.key))?;
    let key_permissions = match &key.spec.role {
        Some(role) => Some(permissions(function, role).await?),
        None => None,
    };
    Ok(KeyDetails {
        key_id: key.id.to_string(),
        environment: caller.environment.as_str().to_owned(),
        expires_at: seconds(key.spec.expires_at),
        retires_at: key.rotation.map(|rotation| seconds(rotation.retires_at)),
        permissions: permissions(function, &account.role).await?,
        role: account.role.to_string(),
        key_role: key.spec.role.as_ref().map(ToString::to_string),
        key_permissions,
        allowed_cidrs: key.spec.cidrs.iter().collect(),
    })
}

/// What a role permits. A role that is missing permits nothing.
async fn permissions(function: &Whoami, name: &RoleName) -> Result<Vec<String>, Failure> {
    let list = |role: &shared::policy::Role| role.permissions.iter().map(ToString::to_string).collect();
    Ok(match name.built_in() {
        Some(role) => list(function.built_in_roles.get(role)),
        None => function.store.find_role(name).await?.as_ref().map(list).unwrap_or_default(),
    })
}
