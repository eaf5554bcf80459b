//! Explanations of decisions, for admins and for the holders of credentials.

use std::sync::Arc;

use super::{Api, Grant, GrantRoles, Permission, Reason, Refusal, Role, Target, decide};
use crate::domain::{GrantId, RoleName};

/// A role that must permit a request. A missing role permits nothing.
#[derive(Clone, Debug)]
pub struct ConsultedRole {
    pub role: Arc<Role>,
    /// Whether the role exists.
    pub exists: bool,
}

impl ConsultedRole {
    /// The role that was found under `name`, if there is one.
    pub fn new(name: &RoleName, found: Option<Arc<Role>>) -> Self {
        let exists = found.is_some();
        Self { role: found.unwrap_or_else(|| Arc::new(Role::empty(name.clone()))), exists }
    }
}

/// The kind of a grant, for explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    Key,
    Identity,
}

impl GrantKind {
    /// The noun for people.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Identity => "federated identity",
        }
    }
}

impl From<GrantId> for GrantKind {
    fn from(id: GrantId) -> Self {
        match id {
            GrantId::Key(_) => Self::Key,
            GrantId::Identity(_) => Self::Identity,
        }
    }
}

/// The roles that must all permit a request with a credential of a service account.
#[derive(Clone, Debug)]
pub struct ConsultedRoles {
    /// The account's role.
    pub account: ConsultedRole,
    /// The own role of the key or federated identity, if it has one.
    pub grant: Option<(GrantKind, ConsultedRole)>,
    /// The roles that narrow the token. Empty for a key.
    pub token: Vec<ConsultedRole>,
}

impl ConsultedRoles {
    /// All roles, in the order in which they are checked.
    pub fn iter(&self) -> impl Iterator<Item = &ConsultedRole> {
        [&self.account].into_iter().chain(self.grant.iter().map(|(_, role)| role)).chain(&self.token)
    }
}

/// A decision on a request, and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedDecision {
    pub reason: Reason,
    /// The reason in sentences.
    pub detail: String,
    /// The permission of the account's role that allows the request.
    pub permission: Option<Permission>,
    /// The permission of the grant's own role that allows the request.
    pub grant_permission: Option<Permission>,
    /// The narrowest permission that would cover the request, if a role refused it.
    pub missing_permission: Option<Permission>,
}

impl ExplainedDecision {
    /// A decision that depends on no permission.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            permission: None,
            grant_permission: None,
            missing_permission: None,
        }
    }

    /// Decides on a request with a credential of a service account that can be used. All roles
    /// must permit the request.
    pub fn for_service_account(target: &Target<'_>, roles: &ConsultedRoles) -> Self {
        let token: Vec<_> = roles.token.iter().map(|consulted| Arc::clone(&consulted.role)).collect();
        let grant = roles.grant.as_ref().map(|(_, consulted)| &*consulted.role);
        let grant = Grant::ServiceAccount(GrantRoles { account: &roles.account.role, grant, token: &token });
        match decide(Api::serving(target), grant, target) {
            Ok(allowed) => Self {
                permission: allowed.permission().cloned(),
                grant_permission: allowed.grant_permission().cloned(),
                ..Self::new(Reason::Allowed, allowed_detail(target, roles))
            },
            Err(refusal) => {
                let reason = Reason::from(&refusal);
                match refusal {
                    Refusal::Reserved => reason.into(),
                    Refusal::Role(missing) | Refusal::GrantRole(missing) | Refusal::TokenRole(missing) => {
                        Self {
                            missing_permission: Some(missing),
                            ..Self::new(reason, refused_detail(target, roles))
                        }
                    }
                }
            }
        }
    }

    /// Decides on a request with an admin's token of an IAM client.
    pub fn for_iam_admin(target: &Target<'_>) -> Self {
        match decide(Api::serving(target), Grant::IamAdmin, target) {
            Ok(_) => Self::new(Reason::Allowed, "The token permits every request below /iam."),
            Err(refusal) => Self::new(
                Reason::from(&refusal),
                "The token permits only requests below /iam. Other APIs need a token of another client.",
            ),
        }
    }
}

/// A refusal that depends on no permission.
impl From<Reason> for ExplainedDecision {
    fn from(reason: Reason) -> Self {
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
                "/iam is reserved for admin users. A key or token of a service account can call only `GET \
                 /iam/v1/whoami` there."
            }
            Reason::Issuer => "The issuer of the federated identity is no longer trusted.",
            Reason::Request => "The request token is bound to another request.",
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
        Self::new(reason, detail)
    }
}

fn allowed_detail(target: &Target<'_>, roles: &ConsultedRoles) -> String {
    let permission = |consulted: &ConsultedRole| consulted.role.permission_for(target).cloned();
    let Some(one) = permission(&roles.account).filter(|_| !target.is_reserved()) else {
        return "Every key and token of a service account can call this operation.".to_owned();
    };
    let own = roles.grant.iter().map(|(kind, consulted)| (format!("the {}'s role", kind.noun()), consulted));
    let narrowing = roles.token.iter().map(|consulted| ("the token's role".to_owned(), consulted));
    let others: Vec<_> = own
        .chain(narrowing)
        .filter_map(|(whose, consulted)| {
            Some(format!("`{}` of {whose} {}", permission(consulted)?, consulted.role.name))
        })
        .collect();
    let name = &roles.account.role.name;
    match others.as_slice() {
        [] => format!("`{one}` of role {name} permits the request."),
        [other] => {
            format!("`{one}` of the account's role {name} permits the request, and so does {other}.")
        }
        others => {
            let others = others.join(" and ");
            format!("`{one}` of the account's role {name} permits the request, and so do {others}.")
        }
    }
}

fn refused_detail(target: &Target<'_>, roles: &ConsultedRoles) -> String {
    let lacking = roles.iter().filter(|consulted| consulted.role.permission_for(target).is_none());
    let sentences = lacking.map(|ConsultedRole { role, exists }| {
        if *exists {
            format!("No permission of role {} covers the request.", role.name)
        } else {
            format!("Role {} does not exist, so it permits nothing.", role.name)
        }
    });
    sentences.collect::<Vec<_>>().join(" ")
}
