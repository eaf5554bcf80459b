//! The caller, from the authorizer's context.

use std::collections::HashMap;

use super::Failure;
use crate::domain::{
    Actor, Caller, Environment, GrantId, PrincipalType, RoleName, ServiceAccountCaller, TokenCaller, context,
    parse_instant,
};

/// An admin. A function with this type of caller refuses all other callers.
#[derive(Clone, Debug)]
pub struct Admin(pub Actor);

/// Any client. For routes without an authorizer.
#[derive(Clone, Copy, Debug)]
pub struct Anyone;

/// A type of caller that a function accepts.
pub trait FromCaller: Sized + Send {
    /// Converts `caller` to this type. Without an authorizer, there is no caller.
    ///
    /// # Errors
    /// [`Failure::Unauthenticated`] or [`Failure::NotPermitted`] if the function does not
    /// accept the caller.
    fn from_caller(caller: Option<Caller>) -> Result<Self, Failure>;
}

impl FromCaller for Anyone {
    fn from_caller(_: Option<Caller>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl FromCaller for Admin {
    fn from_caller(caller: Option<Caller>) -> Result<Self, Failure> {
        match caller {
            Some(Caller::Admin(actor)) => Ok(Self(actor)),
            Some(Caller::ServiceAccount(_)) => Err(Failure::NotPermitted),
            None => Err(Failure::Unauthenticated),
        }
    }
}

impl FromCaller for Caller {
    fn from_caller(caller: Option<Caller>) -> Result<Self, Failure> {
        caller.ok_or(Failure::Unauthenticated)
    }
}

/// Reads the caller from the authorizer's context. Returns `None` if the context is
/// malformed.
pub(super) fn read(fields: &HashMap<String, serde_json::Value>) -> Option<Caller> {
    let get = |name: &str| fields.get(name)?.as_str().filter(|text| !text.is_empty());
    let kind = get(context::PRINCIPAL_TYPE)?;
    let (id, name) = (get(context::PRINCIPAL_ID)?, get(context::PRINCIPAL_NAME)?);
    if kind == PrincipalType::Admin.name() {
        return Some(Caller::Admin(Actor { id: id.to_owned(), name: name.to_owned() }));
    }
    if kind != PrincipalType::ServiceAccount.name() {
        return None;
    }
    let grant = match (get(context::KEY_ID), get(context::IDENTITY_ID)) {
        (Some(key), None) => GrantId::Key(key.parse().ok()?),
        (None, Some(identity)) => GrantId::Identity(identity.parse().ok()?),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(Caller::ServiceAccount(ServiceAccountCaller {
        account: id.parse().ok()?,
        account_name: name.to_owned(),
        grant,
        role: RoleName::parse(get(context::ROLE)?).ok()?,
        grant_role: match get(context::KEY_ROLE) {
            Some(role) => Some(RoleName::parse(role).ok()?),
            None => None,
        },
        token: match get(context::TOKEN_ID) {
            Some(id) => Some(TokenCaller {
                id: id.parse().ok()?,
                expires_at: parse_instant(get(context::TOKEN_EXPIRES_AT)?).ok()?,
                roles: list(get(context::TOKEN_ROLES), |name| RoleName::parse(name).ok())?,
                parents: list(get(context::ACTORS), |id| id.parse().ok())?,
            }),
            None => None,
        },
        environment: Environment::parse(get(context::ENVIRONMENT)?).ok()?,
    }))
}

/// Reads items that are separated by spaces. `None` if one is malformed.
fn list<T>(text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.map_or_else(|| Some(Vec::new()), |text| text.split(' ').map(parse).collect())
}
