//! `POST /iam/v1/roles/explain`: explains what the authorizer would decide. The
//! authorizer's own code makes the decision. It needs no secret and reads no verifier.

use std::net::IpAddr;

use shared::api::{ExplainRequest, ExplainedRole, Explanation, RoleHolder};
use shared::domain::{Account, AccountId, KeyId, LiveKey, RoleName};
use shared::http::{Failure, Fields, Reply, Request};
use shared::policy::{
    ConsultedRole, ConsultedRoles, ExplainedDecision, GrantKind, Method, Reason, Source, Target,
    check_path_form, check_use,
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
        (status = 400, description = "malformed_json, malformed_request"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn explain(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    request.has_no_query()?;
    let body: ExplainRequest = request.json()?;
    let (principal, source) = validate(&body)?;
    let found = find(function, &principal).await?;
    // The authorizer's checks, in its order. Between the first and the second it
    // also checks the secret.
    let (decision, roles) = match (Target::parse(&body.method, &body.path), &found) {
        (Err(_), _) => (Reason::AmbiguousPath.into(), Vec::new()),
        (Ok(_), Found::RetiredKey(reason)) => ((*reason).into(), Vec::new()),
        (Ok(target), Found::Role(role)) => decide_by_roles(&target, RoleHolder::Role, role.clone(), None),
        (Ok(target), Found::Account(account)) => {
            decide_for_account(function, &target, account, source).await?
        }
    };
    let allowed_cidrs = if let Found::Account(found) = &found {
        found.key.iter().flat_map(|key| key.spec.cidrs.iter()).collect()
    } else {
        Vec::new()
    };
    Ok(Reply::ok(&Explanation::new(decision, roles, allowed_cidrs)))
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
    fields.check("/method", Method::parse(&body.method));
    fields.check("/path", check_path_form(&body.path));
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

async fn find(function: &ManageRoles, principal: &Principal) -> Result<Found, Failure> {
    let (id, key) = match principal {
        Principal::Role(name) => {
            let role = find_role(function, name).await?;
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

async fn find_role(function: &ManageRoles, name: &RoleName) -> Result<ConsultedRole, Failure> {
    Ok(ConsultedRole::new(name, function.roles.find(name).await?))
}

async fn decide_for_account(
    function: &ManageRoles,
    target: &Target<'_>,
    AccountAndKey { account, key }: &AccountAndKey,
    source: Source,
) -> Result<(ExplainedDecision, Vec<ExplainedRole>), Failure> {
    let usable = match key {
        Some(key) => {
            check_use(&key.spec, key.rotation.as_ref(), account.enabled, function.clock.now(), source)
        }
        None if account.enabled => Ok(()),
        None => Err(Reason::Disabled),
    };
    if let Err(reason) = usable {
        return Ok((reason.into(), Vec::new()));
    }
    let role = find_role(function, &account.role).await?;
    let key_role = match key.as_ref().and_then(|key| key.spec.role.as_ref()) {
        Some(name) => Some(find_role(function, name).await?),
        None => None,
    };
    Ok(decide_by_roles(target, RoleHolder::ServiceAccount, role, key_role))
}

/// The decision for a valid credential, and the roles that it depends on. All of them must
/// permit the request.
fn decide_by_roles(
    target: &Target<'_>,
    holder: RoleHolder,
    role: ConsultedRole,
    key_role: Option<ConsultedRole>,
) -> (ExplainedDecision, Vec<ExplainedRole>) {
    let grant = key_role.map(|role| (GrantKind::Key, role));
    let roles = ConsultedRoles { account: role, grant, token: Vec::new() };
    let decision = ExplainedDecision::for_service_account(target, &roles);
    if decision.reason == Reason::Reserved {
        return (decision, Vec::new());
    }
    let holders = [holder, RoleHolder::Key];
    let roles = holders.into_iter().zip(roles.iter()).map(|(holder, consulted)| ExplainedRole {
        holder,
        role: consulted.role.name.clone(),
        exists: consulted.exists,
        permission: consulted.role.permission_for(target).map(ToString::to_string),
    });
    (decision, roles.collect())
}
