//! Explanations of decisions, for admins and for the holders of keys.

use std::sync::Arc;

use super::{Allowed, Api, Grant, Permission, Reason, Refusal, Role, Target, decide};
use crate::domain::RoleName;

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

/// A decision on a request, and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedDecision {
    pub reason: Reason,
    /// The reason in sentences.
    pub detail: String,
    /// The permission of the account's role that allows the request.
    pub permission: Option<Permission>,
    /// The permission of the key's own role that allows the request.
    pub key_permission: Option<Permission>,
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
            key_permission: None,
            missing_permission: None,
        }
    }

    /// Decides on a request with a key that can be used. Both roles must permit the
    /// request.
    pub fn for_key(target: &Target<'_>, role: &ConsultedRole, key_role: Option<&ConsultedRole>) -> Self {
        let grant = Grant::Key { role: &role.role, key_role: key_role.map(|key_role| &*key_role.role) };
        match decide(Api::serving(target), grant, target) {
            Ok(allowed) => Self {
                permission: allowed.permission().cloned(),
                key_permission: allowed.key_permission().cloned(),
                ..Self::new(Reason::Allowed, allowed_detail(&allowed, role, key_role))
            },
            Err(refusal) => {
                let reason = Reason::from(&refusal);
                match refusal {
                    Refusal::Reserved => reason.into(),
                    Refusal::Role(missing) | Refusal::KeyRole(missing) => Self {
                        missing_permission: Some(missing),
                        ..Self::new(reason, refused_detail(target, [role].into_iter().chain(key_role)))
                    },
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
        Self::new(reason, detail)
    }
}

fn allowed_detail(allowed: &Allowed<'_>, role: &ConsultedRole, key_role: Option<&ConsultedRole>) -> String {
    match (allowed.permission(), allowed.key_permission(), key_role) {
        (Some(one), Some(other), Some(key_role)) => format!(
            "`{one}` of the account's role {} permits the request, and so does `{other}` of the key's role {}.",
            role.role.name, key_role.role.name
        ),
        (Some(one), ..) => format!("`{one}` of role {} permits the request.", role.role.name),
        (None, ..) => "Every key can call this operation.".to_owned(),
    }
}

fn refused_detail<'a>(target: &Target<'_>, roles: impl Iterator<Item = &'a ConsultedRole>) -> String {
    let lacking = roles.filter(|consulted| consulted.role.permission_for(target).is_none());
    let sentences = lacking.map(|ConsultedRole { role, exists }| {
        if *exists {
            format!("No permission of role {} covers the request.", role.name)
        } else {
            format!("Role {} does not exist, so it permits nothing.", role.name)
        }
    });
    sentences.collect::<Vec<_>>().join(" ")
}
