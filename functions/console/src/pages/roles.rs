//! The roles that can be chosen, and what each may do.

use shared::domain::BuiltInRole;

use crate::Site;

/// A role to choose.
pub(crate) struct RoleChoice {
    pub(crate) name: String,
    pub(crate) summary: &'static str,
    pub(crate) permissions: Vec<String>,
}

/// All of them, the narrowest first.
pub(crate) fn choices(console: &Site) -> Vec<RoleChoice> {
    let mut choices: Vec<_> = BuiltInRole::ALL.into_iter().map(|role| choice(console, role)).collect();
    choices.reverse();
    choices
}

/// All of them and the role `name`, which may be none that can be chosen.
pub(crate) fn choices_with(console: &Site, name: &str) -> Vec<RoleChoice> {
    let mut choices = choices(console);
    if choices.iter().all(|choice| choice.name != name) {
        let summary = "The account's present role.";
        choices.insert(0, RoleChoice { name: name.to_owned(), summary, permissions: Vec::new() });
    }
    choices
}

/// What the role `name` may do, if it is a known one.
pub(crate) fn find(console: &Site, name: &str) -> Option<RoleChoice> {
    BuiltInRole::ALL.into_iter().find(|role| role.name() == name).map(|role| choice(console, role))
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
        summary,
        permissions: permissions.iter().map(ToString::to_string).collect(),
    }
}
