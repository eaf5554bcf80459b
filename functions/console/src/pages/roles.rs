//! The roles that can be chosen, and what each may do.

use shared::domain::{BuiltInRole, RoleName};
use shared::http::representation::Role;

use crate::Site;
use crate::api::{ApiError, Caller, MOST};
use crate::matching;
use crate::session::Visit;

/// The most pages of roles that are read for a choice: 500 roles. Further ones
/// cannot be chosen.
const MOST_PAGES: usize = 5;

/// A role to choose.
pub(crate) struct RoleChoice {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) permissions: Vec<String>,
}

/// All of them: the built-in ones, the narrowest first, then the custom ones by
/// name.
///
/// # Errors
/// The API's.
pub(crate) async fn choices(visit: &Visit) -> Result<Vec<RoleChoice>, ApiError> {
    let mut choices = built_in(&visit.console);
    choices.extend(custom(visit.api()).await?.into_iter().map(RoleChoice::from));
    Ok(choices)
}

/// Those for a form that is shown again with what was typed, which an API that
/// does not answer must not take away. At least the built-in ones, and `chosen`.
pub(crate) async fn choices_again(visit: &Visit, chosen: &str) -> Vec<RoleChoice> {
    let choices = choices(visit).await.unwrap_or_else(|_| built_in(&visit.console));
    with(choices, chosen, "As you have chosen before.")
}

/// `choices`, and the role `name`, which may be none of them.
pub(crate) fn with(mut choices: Vec<RoleChoice>, name: &str, summary: &str) -> Vec<RoleChoice> {
    if !name.is_empty() && choices.iter().all(|choice| choice.name != name) {
        let (name, summary) = (name.to_owned(), summary.to_owned());
        choices.insert(0, RoleChoice { name, summary, permissions: Vec::new() });
    }
    choices
}

/// What the role `name` may do, if there is such a role.
///
/// # Errors
/// The API's.
pub(crate) async fn find(visit: &Visit, name: &str) -> Result<Option<RoleChoice>, ApiError> {
    if let Some(role) = BuiltInRole::ALL.into_iter().find(|role| role.name() == name) {
        return Ok(Some(choice(&visit.console, role)));
    }
    let Ok(name) = name.parse::<RoleName>() else { return Ok(None) };
    match visit.api().role(&name).await {
        Ok(read) => Ok(Some(read.role.into())),
        Err(ApiError::Problem(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

async fn custom(api: Caller<'_>) -> Result<Vec<Role>, ApiError> {
    let (mut roles, mut cursor) = (Vec::new(), String::new());
    for _ in 0..MOST_PAGES {
        let list = api.roles(&cursor, MOST).await?;
        roles.extend(list.items.into_iter().filter(|role| !role.built_in));
        match list.next_cursor {
            Some(next) => cursor = next,
            None => break,
        }
    }
    Ok(roles)
}

fn built_in(console: &Site) -> Vec<RoleChoice> {
    BuiltInRole::ALL.into_iter().rev().map(|role| choice(console, role)).collect()
}

fn choice(console: &Site, role: BuiltInRole) -> RoleChoice {
    let summary = match role {
        BuiltInRole::Reader => "Reads organization and team data. Changes nothing.",
        BuiltInRole::Writer => "Reads, creates, updates and deletes organization and team data.",
        BuiltInRole::Admin => "Does everything on the API, except manage accounts, keys and roles.",
    };
    let permissions = &console.built_in_roles.get(role).permissions;
    RoleChoice {
        name: role.name().to_owned(),
        summary: summary.to_owned(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
    }
}

impl From<Role> for RoleChoice {
    fn from(role: Role) -> Self {
        let mut permissions = role.permissions;
        matching::widest_first(&mut permissions);
        Self { name: role.name, summary: role.description, permissions }
    }
}
