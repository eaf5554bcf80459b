//! `POST /iam/v1/roles/explain`: explains what the authorizer would decide. The
//! authorizer's own code makes the decision. It needs no secret and reads no verifier.

use std::net::IpAddr;
use std::sync::Arc;

use shared::api::{ExplainRequest, ExplainedRole, Explanation, RoleHolder};
use shared::domain::{Account, AccountId, KeyId, LiveKey, RoleName};
use shared::http::{Failure, Fields, Reply, Request};
use shared::policy::{
    Api, Grant, Method, Permission, Reason, Refusal, Role, Source, Target, check_use, decide,
};
use shared::store::StoreError;

use crate::ManageRoles;

/// The principal of the hypothetical request.
enum Principal {
    Role(RoleName),
    Account(AccountId, Option<KeyId>),
}

/// Explain a decision
///
/// Returns what the authorizer would decide about a request, and why. The decision
/// is made by the authorizer's own code, from the current state. Name a service
/// account, one of its keys, or a role.
///
/// Without `keyId`, the decision is for a key of the account that is valid and has
/// no role of its own. Nothing is changed, no secret is needed, and the key does
/// not count as used.
#[utoipa::path(
    post,
    path = "/iam/v1/roles/explain",
    operation_id = "explain",
    tag = "Roles",
    request_body = ExplainRequest,
    responses(
        (status = 200, description = "The decision and its reason, whether the request would be allowed or refused.", body = Explanation),
        (status = 400, description = "malformed_json"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn explain(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let body: ExplainRequest = request.json()?;
    let (principal, source) = validate(&body)?;
    let found = find(function, &principal).await?;
    // The authorizer's checks, in its order. Between the first and the second it
    // also checks the secret.
    let explanation = match (Target::parse(&body.method, &body.path), &found) {
        (Err(_), _) => refusal(Reason::AmbiguousPath),
        (Ok(_), Found::RetiredKey(reason)) => refusal(*reason),
        (Ok(target), Found::Role(role)) => decide_by_roles(&target, role, None),
        (Ok(target), Found::Account(account)) => {
            decide_for_account(function, &target, account, source).await?
        }
    };
    let allowed_cidrs = if let Found::Account(found) = &found {
        found.key.iter().flat_map(|key| key.spec.cidrs.iter()).collect()
    } else {
        Vec::new()
    };
    Ok(Reply::ok(&Explanation { allowed_cidrs, ..explanation }))
}

/// Checks the fields. Returns the principal, and the address that a key is used from.
fn validate(body: &ExplainRequest) -> Result<(Principal, Source), Failure> {
    let mut fields = Fields::default();
    let account = body.service_account_id.as_deref();
    let account = account.and_then(|id| fields.check("/serviceAccountId", id.parse::<AccountId>()));
    let key = body.key_id.as_deref().and_then(|id| fields.check("/keyId", id.parse::<KeyId>()));
    let role = body.role.as_deref().and_then(|name| fields.check("/role", RoleName::parse(name)));
    match (&body.service_account_id, &body.role) {
        (None, None) => fields.refuse("/serviceAccountId", "is required unless `role` is given"),
        (Some(_), Some(_)) => fields.refuse("/role", "must not be combined with `serviceAccountId`"),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if body.key_id.is_some() && body.service_account_id.is_none() {
        fields.refuse("/keyId", "requires the `serviceAccountId` of the key's account");
    }
    if body.source_address.is_some() && body.key_id.is_none() {
        fields.refuse("/sourceAddress", "requires `keyId`, because only keys have networks");
    }
    let source = body.source_address.as_deref().and_then(|text| {
        let address = text.parse::<IpAddr>().map_err(|_| "must be an IPv4 or IPv6 address");
        fields.check("/sourceAddress", address)
    });
    if Method::parse(&body.method).is_none() {
        let names = Method::ALL.map(Method::name).join(", ");
        fields.refuse("/method", format!("must be one of {names}, in upper case"));
    }
    if !body.path.starts_with('/') {
        fields.refuse("/path", "must start with `/`");
    } else if body.path.contains(['?', '#']) {
        fields.refuse("/path", "must not contain a query or fragment");
    }
    let principal = match (account, role) {
        (Some(account), None) => Some(Principal::Account(account, key)),
        (None, Some(role)) => Some(Principal::Role(role)),
        (Some(_), Some(_)) | (None, None) => None,
    };
    let source = source.map_or(Source::Permitted, Source::Address);
    fields.finish(principal.map(|principal| (principal, source)))
}

/// The data found for a [`Principal`].
enum Found {
    Role(ConsultedRole),
    Account(Box<AccountAndKey>),
    /// A key that has ended. Contains the reason why it is refused.
    RetiredKey(Reason),
}

/// An account, and one of its keys if the request names one.
struct AccountAndKey {
    account: Account,
    key: Option<LiveKey>,
}

/// A role that must permit the request. A missing role permits nothing.
struct ConsultedRole {
    holder: RoleHolder,
    role: Arc<Role>,
    exists: bool,
}

async fn find(function: &ManageRoles, principal: &Principal) -> Result<Found, Failure> {
    let (id, key) = match principal {
        Principal::Role(name) => {
            let role = find_role(function, RoleHolder::Role, name).await?;
            let unknown = StoreError::UnknownRole(name.clone());
            return if role.exists { Ok(Found::Role(role)) } else { Err(unknown.into()) };
        }
        Principal::Account(id, key) => (*id, *key),
    };
    let account = function.store.find_account(id).await?;
    let unknown = || Failure::invalid_field("/serviceAccountId", StoreError::AccountNotFound(id));
    let Some(key) = key else {
        let account = account.ok_or_else(unknown)?;
        return Ok(Found::Account(Box::new(AccountAndKey { account, key: None })));
    };
    let live = account.as_ref().and_then(|account| account.keys.iter().find(|live| live.id == key)).cloned();
    match (account, live) {
        (Some(account), Some(live)) => {
            Ok(Found::Account(Box::new(AccountAndKey { account, key: Some(live) })))
        }
        (account, _) => match (function.store.find_retired_reason(id, key).await?, account) {
            (Some(retired), _) => Ok(Found::RetiredKey(retired.into())),
            (None, None) => Err(unknown()),
            (None, Some(_)) => Err(Failure::invalid_field("/keyId", StoreError::KeyNotFound(id, key))),
        },
    }
}

async fn find_role(
    function: &ManageRoles,
    holder: RoleHolder,
    name: &RoleName,
) -> Result<ConsultedRole, Failure> {
    let role = function.roles.find(name).await?;
    let exists = role.is_some();
    Ok(ConsultedRole { holder, role: role.unwrap_or_else(|| Arc::new(Role::empty(name.clone()))), exists })
}

async fn decide_for_account(
    function: &ManageRoles,
    target: &Target<'_>,
    AccountAndKey { account, key }: &AccountAndKey,
    source: Source,
) -> Result<Explanation, Failure> {
    let usable = match key {
        Some(key) => {
            check_use(&key.spec, key.rotation.as_ref(), account.enabled, function.clock.now(), source)
        }
        None if account.enabled => Ok(()),
        None => Err(Reason::Disabled),
    };
    if let Err(reason) = usable {
        return Ok(refusal(reason));
    }
    let role = find_role(function, RoleHolder::ServiceAccount, &account.role).await?;
    let key_role = match key.as_ref().and_then(|key| key.spec.role.as_ref()) {
        Some(name) => Some(find_role(function, RoleHolder::Key, name).await?),
        None => None,
    };
    Ok(decide_by_roles(target, &role, key_role.as_ref()))
}

/// The decision for a valid credential. All roles must permit the request.
fn decide_by_roles(
    target: &Target<'_>,
    role: &ConsultedRole,
    key_role: Option<&ConsultedRole>,
) -> Explanation {
    let grant = Grant::Key { role: &role.role, key_role: key_role.map(|key_role| &*key_role.role) };
    let roles: Vec<_> = [role].into_iter().chain(key_role).collect();
    let explanation = match decide(Api::serving(target), grant, target) {
        Ok(allowed) => {
            let text = |permission: Option<&Permission>| permission.map(ToString::to_string);
            let (permission, key_permission) = (text(allowed.permission()), text(allowed.key_permission()));
            let detail = match (&permission, &key_permission, key_role) {
                (Some(one), Some(other), Some(key_role)) => format!(
                    "`{one}` of the account's role {} permits the request, and so does `{other}` of the key's role {}.",
                    role.role.name, key_role.role.name
                ),
                (Some(one), ..) => format!("`{one}` of role {} permits the request.", role.role.name),
                (None, ..) => "Every key can call this operation.".to_owned(),
            };
            Explanation { permission, key_permission, ..explanation(Reason::Allowed, detail) }
        }
        Err(Refusal::Role(_) | Refusal::KeyRole(_)) => {
            let lacking = roles.iter().filter(|consulted| consulted.role.permission_for(target).is_none());
            let sentences = lacking.map(|ConsultedRole { role, exists, .. }| {
                if *exists {
                    format!("No permission of role {} covers the request.", role.name)
                } else {
                    format!("Role {} does not exist, so it permits nothing.", role.name)
                }
            });
            explanation(Reason::Role, sentences.collect::<Vec<_>>().join(" "))
        }
        Err(Refusal::Reserved) => return refusal(Reason::Reserved),
    };
    let roles = roles.into_iter().map(|consulted| ExplainedRole {
        holder: consulted.holder,
        role: consulted.role.name.clone(),
        exists: consulted.exists,
        permission: consulted.role.permission_for(target).map(ToString::to_string),
    });
    Explanation { roles: roles.collect(), ..explanation }
}

/// A refusal that does not depend on a role.
fn refusal(reason: Reason) -> Explanation {
    let detail = match reason {
        Reason::Revoked => "The key was revoked.",
        Reason::Retired => "The key was rotated and its grace period is over.",
        Reason::Expired => "The key has expired.",
        Reason::Disabled => "The service account is disabled.",
        Reason::Network => "The key cannot be used from this address.",
        Reason::AmbiguousPath => {
            "The path could mean something else to the backend: it has an escape that hides a character, a dot \
             segment, an empty segment or a special character."
        }
        Reason::Reserved => {
            "/iam is reserved for admin users. A key can call only `GET /iam/v1/whoami` there."
        }
        Reason::Allowed
        | Reason::Missing
        | Reason::Malformed
        | Reason::ForeignEnvironment
        | Reason::Unknown
        | Reason::WrongSecret
        | Reason::Audience
        | Reason::Scope
        | Reason::Role
        | Reason::PathMismatch
        | Reason::Outage => "The request would be refused.",
    };
    explanation(reason, detail.to_owned())
}

fn explanation(reason: Reason, detail: String) -> Explanation {
    Explanation {
        allowed: reason == Reason::Allowed,
        reason,
        detail,
        permission: None,
        key_permission: None,
        roles: Vec::new(),
        allowed_cidrs: Vec::new(),
    }
}
