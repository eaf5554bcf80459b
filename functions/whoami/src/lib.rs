//! `GET /iam/v1/whoami`: returns who the caller is and what it can do. This is the only
//! operation of the IAM API that a key can call.

use std::sync::Arc;

use shared::api::{KeyDetails, WhoamiResponse, permissions};
use shared::config::{ConfigError, Setup};
use shared::domain::{Caller, Environment, KeyCaller, LiveKey, PrincipalType, RoleName};
use shared::http::{Failure, Operation, Reply, Request};
use shared::policy::{RESERVED_PREFIX, Role};
use shared::store::{Roles, Store, StoreError};

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

/// Get the caller
///
/// Returns who the caller is and what it can do. This is the only operation that
/// accepts a service account's key. Any valid key can call it, whatever its role,
/// so use it to check that a key works.
#[utoipa::path(
    get,
    path = "/iam/v1/whoami",
    operation_id = "whoami",
    tag = "Caller",
    responses(
        (status = 200, description = "The caller.", body = WhoamiResponse),
        (status = 403, description = "The authorizer refused the credential (`message`: `Forbidden`): the key or token is invalid, has ended, or cannot be used from this address."),
        (status = 404, description = "service_account_not_found, key_not_found"),
    )
)]
pub async fn whoami(function: &Whoami, caller: Caller) -> Result<Reply, Failure> {
    let environment = function.environment.as_str().to_owned();
    let principal = match caller {
        Caller::Admin(actor) => WhoamiResponse {
            principal_type: PrincipalType::Admin,
            principal_id: actor.id,
            principal_name: actor.name,
            environment,
            // For this API, the authorizer accepts only tokens of an IAM client.
            summary: format!(
                "This token permits every operation below {RESERVED_PREFIX}, so you can manage accounts, keys and \
                 roles. Other APIs do not accept it: they need a token of another client."
            ),
            permissions: vec![format!("ANY {RESERVED_PREFIX}/{{proxy+}}")],
            key: None,
        },
        Caller::Key(caller) => describe_key(function, caller, environment).await?,
    };
    Ok(Reply::ok(&principal))
}

async fn describe_key(
    function: &Whoami,
    caller: KeyCaller,
    environment: String,
) -> Result<WhoamiResponse, Failure> {
    let account = function.store.get_account(caller.account).await?;
    // The authorizer has just found the key. If it is gone, it has ended since.
    let key = account
        .keys
        .iter()
        .find(|key| key.id == caller.key)
        .ok_or(StoreError::KeyNotFound(caller.account, caller.key))?;
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
        principal_type: PrincipalType::ServiceAccount,
        principal_id: caller.account.to_string(),
        principal_name: account.name.to_string(),
        environment,
        summary: summary(key, &missing),
        permissions: permitted(&role),
        key: Some(KeyDetails {
            key_id: key.id,
            expires_at: key.spec.expires_at,
            retires_at: key.rotation.map(|rotation| rotation.retires_at),
            role: account.role.clone(),
            key_role: key.spec.role.clone(),
            key_permissions: key_role.as_ref().map(|(_, role)| permitted(role)),
            allowed_cidrs: key.spec.cidrs.iter().collect(),
        }),
    })
}

/// Describes what `key` can do, for readers who do not know how roles work.
fn summary(key: &LiveKey, missing: &[&RoleName]) -> String {
    let mut sentences = vec![if key.spec.role.is_some() {
        "A request is allowed only if one of `permissions` and one of `keyPermissions` both cover its method and path."
            .to_owned()
    } else {
        "A request is allowed only if one of `permissions` covers its method and path.".to_owned()
    }];
    sentences.push(
        "`ANY` stands for every method, `{name}` for exactly one segment of the path, and `{name+}` for one or \
         more segments at its end. Nothing else is permitted. Below /iam, only this operation is permitted."
            .to_owned(),
    );
    if !key.spec.cidrs.is_empty() {
        sentences.push("The request must come from one of the networks in `allowedCidrs`.".to_owned());
    }
    if key.rotation.is_some() {
        sentences.push("This key was rotated, and is refused from `retiresAt` on.".to_owned());
    }
    sentences
        .extend(missing.iter().map(|name| format!("Role {name} does not exist, so nothing is permitted.")));
    sentences.join(" ")
}
