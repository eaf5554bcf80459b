//! `POST /iam/v1/roles/explain`: what the authorizer would decide, and why,
//! through the code that it decides by. No secret is needed and no verifier read.

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

/// Whom a request is by.
enum Principal {
    Role(RoleName),
    Account(AccountId, Option<KeyId>),
}

/// What was made of a request.
struct Question<'a> {
    principal: Principal,
    method: &'a str,
    path: &'a str,
    source: Source,
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
        (status = 413, description = "body_too_large"),
        (status = 415, description = "unsupported_media_type"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn explain(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let body: ExplainRequest = request.json()?;
    let question = question(&body)?;
    let asked = find(function, &question.principal).await?;
    // The steps of the authorizer, in its order. What it does between the first
    // and the second is to find the secret right.
    let explanation = match (Target::parse(question.method, question.path), &asked) {
        (Err(_), _) => refused(Reason::AmbiguousPath),
        (Ok(_), Asked::Retired(reason)) => refused(*reason),
        (Ok(target), Asked::Role(role)) => decided(&target, role, None),
        (Ok(target), Asked::Account(holder)) => {
            of_account(function, &target, holder, question.source).await?
        }
    };
    Ok(Reply::ok(&Explanation { allowed_cidrs: asked.networks(), ..explanation }))
}

fn question(body: &ExplainRequest) -> Result<Question<'_>, Failure> {
    let mut fields = Fields::default();
    let account = body.service_account_id.as_deref();
    let account = account.and_then(|id| fields.check("/serviceAccountId", id.parse::<AccountId>()));
    let key = body.key_id.as_deref().and_then(|id| fields.check("/keyId", id.parse::<KeyId>()));
    let role = body.role.as_deref().and_then(|name| fields.check("/role", RoleName::parse(name)));
    match (&body.service_account_id, &body.role) {
        (None, None) => fields.refuse("/serviceAccountId", "must name an account, or `role` a role"),
        (Some(_), Some(_)) => fields.refuse("/role", "must not stand beside `serviceAccountId`"),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if body.key_id.is_some() && body.service_account_id.is_none() {
        fields.refuse("/keyId", "must stand beside the `serviceAccountId` of its account");
    }
    if body.source_address.is_some() && body.key_id.is_none() {
        fields.refuse("/sourceAddress", "must stand beside a `keyId`: only keys have networks");
    }
    let source = body.source_address.as_deref().map(|text| {
        let address = text.parse::<IpAddr>().map_err(|_| "must be an IPv4 or IPv6 address");
        fields.check("/sourceAddress", address)
    });
    if Method::parse(&body.method).is_none() {
        let names = Method::ALL.map(Method::name).join(", ");
        fields.refuse("/method", format!("must be one of {names}, in capitals"));
    }
    if !body.path.starts_with('/') {
        fields.refuse("/path", "must begin with `/`");
    } else if body.path.contains(['?', '#']) {
        fields.refuse("/path", "must be a path alone, without `?` or `#` and what follows");
    }
    let principal = match (account, role) {
        (Some(account), None) => Some(Principal::Account(account, key)),
        (None, Some(role)) => Some(Principal::Role(role)),
        (Some(_), Some(_)) | (None, None) => None,
    };
    let question = principal.map(|principal| Question {
        principal,
        method: &body.method,
        path: &body.path,
        source: source.flatten().map_or(Source::Permitted, Source::Address),
    });
    fields.finish(question)
}

/// What a question is about, as the table has it.
enum Asked {
    Role(Named),
    Account(Box<Holder>),
    /// A key that is no longer its account's, for this reason.
    Retired(Reason),
}

/// An account, and the key of it that was asked about.
struct Holder {
    account: Account,
    key: Option<LiveKey>,
}

/// A role that somebody has, and whether it is there.
struct Named {
    holder: RoleHolder,
    role: Arc<Role>,
    exists: bool,
}

impl Asked {
    /// The networks of the key.
    fn networks(&self) -> Vec<String> {
        match self {
            Self::Account(holder) => holder.key.iter().flat_map(|key| key.spec.cidrs.iter()).collect(),
            Self::Role(_) | Self::Retired(_) => Vec::new(),
        }
    }
}

async fn find(function: &ManageRoles, principal: &Principal) -> Result<Asked, Failure> {
    let (id, key) = match principal {
        Principal::Role(name) => {
            let named = named(function, RoleHolder::Role, name).await?;
            let missing = || StoreError::UnknownRole(name.clone()).into();
            return if named.exists { Ok(Asked::Role(named)) } else { Err(missing()) };
        }
        Principal::Account(id, key) => (*id, *key),
    };
    let account = function.store.find_account(id).await?;
    let unknown = || Failure::invalid_field("/serviceAccountId", StoreError::AccountNotFound(id));
    let Some(key) = key else {
        return Ok(Asked::Account(Box::new(Holder { account: account.ok_or_else(unknown)?, key: None })));
    };
    let live = account.as_ref().and_then(|account| account.keys.iter().find(|live| live.id == key)).cloned();
    match (account, live) {
        (Some(account), Some(live)) => Ok(Asked::Account(Box::new(Holder { account, key: Some(live) }))),
        (account, _) => match (function.store.find_retired_reason(id, key).await?, account) {
            (Some(retired), _) => Ok(Asked::Retired(retired.into())),
            (None, None) => Err(unknown()),
            (None, Some(_)) => Err(Failure::invalid_field("/keyId", StoreError::KeyNotFound(id, key))),
        },
    }
}

async fn named(function: &ManageRoles, holder: RoleHolder, name: &RoleName) -> Result<Named, Failure> {
    let role = function.roles.find(name).await?;
    let exists = role.is_some();
    Ok(Named { holder, role: role.unwrap_or_else(|| Arc::new(Role::empty(name.clone()))), exists })
}

async fn of_account(
    function: &ManageRoles,
    target: &Target<'_>,
    Holder { account, key }: &Holder,
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
        return Ok(refused(reason));
    }
    let role = named(function, RoleHolder::ServiceAccount, &account.role).await?;
    let key_role = match key.as_ref().and_then(|key| key.spec.role.as_ref()) {
        Some(name) => Some(named(function, RoleHolder::Key, name).await?),
        None => None,
    };
    Ok(decided(target, &role, key_role.as_ref()))
}

/// The decision, by the roles that have a part in it.
fn decided(target: &Target<'_>, role: &Named, key_role: Option<&Named>) -> Explanation {
    let grant = Grant::Key { role: &role.role, key_role: key_role.map(|key_role| &*key_role.role) };
    let roles = [Some(role), key_role].into_iter().flatten();
    match decide(Api::serving(target), grant, target) {
        Ok(allowed) => {
            let text = |permission: Option<&Permission>| permission.map(ToString::to_string);
            let (permission, key_permission) = (text(allowed.permission()), text(allowed.key_permission()));
            let detail = match (&permission, &key_permission, key_role) {
                (Some(one), Some(other), Some(key_role)) => format!(
                    "`{one}` of the account's role {} permits it, and so does `{other}` of the key's role {}.",
                    role.role.name, key_role.role.name
                ),
                (Some(one), ..) => format!("`{one}` of role {} permits it.", role.role.name),
                (None, ..) => "Every key may ask who it is.".to_owned(),
            };
            Explanation {
                permission,
                key_permission,
                roles: shown(roles, target),
                ..told(Reason::Allowed, detail)
            }
        }
        Err(Refusal::Role | Refusal::KeyRole) => {
            let lacking = roles.clone().filter(|named| named.role.permission_for(target).is_none());
            let sentences: Vec<String> = lacking
                .map(|named| {
                    if named.exists {
                        format!("No permission of role {} covers it.", named.role.name)
                    } else {
                        format!("There is no role {}, so it permits nothing.", named.role.name)
                    }
                })
                .collect();
            Explanation { roles: shown(roles, target), ..told(Reason::Role, sentences.join(" ")) }
        }
        Err(Refusal::Reserved) => refused(Reason::Reserved),
    }
}

fn shown<'a>(roles: impl Iterator<Item = &'a Named>, target: &Target<'_>) -> Vec<ExplainedRole> {
    let show = |named: &Named| ExplainedRole {
        holder: named.holder,
        role: named.role.name.clone(),
        exists: named.exists,
        permission: named.role.permission_for(target).map(ToString::to_string),
    };
    roles.map(show).collect()
}

/// A refusal before any role was asked.
fn refused(reason: Reason) -> Explanation {
    let detail = match reason {
        Reason::Revoked => "The key was revoked.",
        Reason::Retired => "The key was rotated, and its grace is over.",
        Reason::Expired => "The key has expired.",
        Reason::Disabled => "The service account is disabled.",
        Reason::Network => "The key may not be used from this address.",
        Reason::AmbiguousPath => {
            "The path could mean something else to the backend than it does here: it has an escape that hides \
             something, a dot segment, an empty segment or a special character."
        }
        Reason::Reserved => "/iam is for admin users. No role opens it, but for `GET /iam/v1/whoami`.",
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
        | Reason::Outage => "It would be refused.",
    };
    told(reason, detail.to_owned())
}

fn told(reason: Reason, detail: String) -> Explanation {
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
