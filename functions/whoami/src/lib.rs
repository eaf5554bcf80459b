//! `GET /iam/v1/whoami`: who the caller is and what it may do. The one
//! operation of the IAM API that a key may call.

use std::sync::Arc;

use serde::Serialize;
use shared::config::{ConfigError, Setup};
use shared::domain::{Caller, Environment, KeyCaller, LiveKey, PrincipalType, RoleName};
use shared::http::representation::{permissions, seconds};
use shared::http::{Failure, Operation, Reply, Request};
use shared::policy::{RESERVED_PREFIX, Role};
use shared::store::{Roles, Store};
use utoipa::ToSchema;

/// The function.
pub struct Whoami {
    store: Store,
    roles: Roles,
    environment: Environment,
}

impl Operation for Whoami {
    type Caller = Caller;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let store = setup.store()?;
        let roles = Roles::new(store.clone(), setup.built_in_roles()?);
        Ok(Self { store, roles, environment: setup.environment()? })
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
    /// The environment that this is.
    environment: String,
    /// How to read the rest, in plain words: what is permitted, and what is not.
    summary: String,
    /// What the account's role permits; of an admin, what this token may do.
    permissions: Vec<String>,
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

/// Get the caller
///
/// Returns who the caller is and what it may do. This is the only operation that
/// accepts a service account's key. Any valid key may call it, whatever its role,
/// so use it to check that a key works.
#[utoipa::path(
    get,
    path = "/iam/v1/whoami",
    operation_id = "whoami",
    tag = "Caller",
    responses(
        (status = 200, description = "The caller.", body = WhoamiResponse),
        (status = 403, description = "The authorizer refused the credential (`message`: `Forbidden`): the key or token is invalid, has ended, or may not be used from this address."),
        (status = 404, description = "service_account_not_found, key_not_found"),
    )
)]
pub async fn whoami(function: &Whoami, caller: Caller) -> Result<Reply, Failure> {
    let environment = function.environment.as_str().to_owned();
    let principal = match caller {
        Caller::Admin(actor) => WhoamiResponse {
            principal_type: PrincipalType::Admin.name(),
            principal_id: actor.id,
            principal_name: actor.name,
            environment,
            // The authorizer lets no other token in here.
            summary: format!(
                "With this token an admin user manages accounts, keys and roles: it may do everything below \
                 {RESERVED_PREFIX}, and is accepted nowhere else. Other APIs take a token of another client."
            ),
            permissions: vec![format!("ANY {RESERVED_PREFIX}/{{proxy+}}")],
            key: None,
        },
        Caller::Key(caller) => of_key(function, caller, environment).await?,
    };
    Ok(Reply::ok(&principal))
}

async fn of_key(
    function: &Whoami,
    caller: KeyCaller,
    environment: String,
) -> Result<WhoamiResponse, Failure> {
    let account = function.store.get_account(caller.account).await?;
    // It was there a moment ago, when the authorizer let the caller in.
    let key = account.keys.iter().find(|key| key.id == caller.key).ok_or(Failure::KeyNotFound(caller.key))?;
    let role = function.roles.find(&account.role).await?;
    let key_role = match &key.spec.role {
        Some(name) => Some((name, function.roles.find(name).await?)),
        None => None,
    };
    let permitted = |role: &Option<Arc<Role>>| role.as_deref().map(permissions).unwrap_or_default();
    let mut missing = Vec::new();
    missing.extend(role.is_none().then_some(&account.role));
    missing.extend(key_role.iter().filter(|(_, role)| role.is_none()).map(|(name, _)| *name));
    Ok(WhoamiResponse {
        principal_type: PrincipalType::ServiceAccount.name(),
        principal_id: caller.account.to_string(),
        principal_name: account.name.to_string(),
        environment,
        summary: summary(key, &missing),
        permissions: permitted(&role),
        key: Some(KeyDetails {
            key_id: key.id.to_string(),
            expires_at: seconds(key.spec.expires_at),
            retires_at: key.rotation.map(|rotation| seconds(rotation.retires_at)),
            role: account.role.to_string(),
            key_role: key.spec.role.as_ref().map(ToString::to_string),
            key_permissions: key_role.as_ref().map(|(_, role)| permitted(role)),
            allowed_cidrs: key.spec.cidrs.iter().collect(),
        }),
    })
}

/// What `key` may do, for a reader who knows nothing of roles.
fn summary(key: &LiveKey, missing: &[&RoleName]) -> String {
    let mut sentences = vec![if key.spec.role.is_some() {
        "A request passes only if one of `permissions` and one of `keyPermissions` cover its method and path: \
         both must."
            .to_owned()
    } else {
        "A request passes only if one of `permissions` covers its method and path.".to_owned()
    }];
    sentences.push(
        "`ANY` is every method, `{name}` exactly one segment of the path, and `{name+}` one or more at its end. \
         Nothing else is permitted, and below /iam nothing but this operation."
            .to_owned(),
    );
    if !key.spec.cidrs.is_empty() {
        sentences.push("The request must come from one of `allowedCidrs`.".to_owned());
    }
    if key.rotation.is_some() {
        sentences.push("Another key has replaced this one, which is refused from `retiresAt` on.".to_owned());
    }
    sentences.extend(
        missing.iter().map(|name| format!("There is no role {name} any more, so nothing is permitted.")),
    );
    sentences.join(" ")
}
