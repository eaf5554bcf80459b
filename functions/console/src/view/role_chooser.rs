//! The choice of a role in a form.
//!
//! A form shows the first roles as cards. For any other role, the admin enters its name,
//! and the form shows the role as a card before it can be chosen.

use shared::api::Role;
use shared::domain::{BuiltInRole, RoleName};

use crate::api::{ApiError, MAX_PAGE_SIZE};
use crate::app_state::AppState;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::form::FormErrors;
use crate::view::permissions;

/// How many custom roles have a card in a form.
const CARDS: usize = 20;

/// A role with its permissions.
#[derive(Clone)]
pub(crate) struct RoleChoice {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) permissions: Vec<String>,
}

/// The roles to choose from.
pub(crate) struct AvailableRoles {
    /// Roles that permit least come first.
    built_in: Vec<RoleChoice>,
    /// In the order of their names.
    custom: Vec<RoleChoice>,
    /// Whether there are more roles.
    is_truncated: bool,
    /// The account's role, if the roles are for a key.
    account_role: Option<String>,
}

/// The role fields of a form.
pub(crate) struct RoleChooser {
    pub(crate) cards: Vec<RoleChoice>,
    /// Names of further roles, as suggestions.
    pub(crate) further: Vec<String>,
    /// Whether there are more roles than cards.
    pub(crate) has_more: bool,
    /// Whether the selected role was just entered by name.
    pub(crate) is_requested: bool,
}

/// Role names to filter by.
pub(crate) struct RoleNames {
    pub(crate) names: Vec<String>,
    /// Whether there are more roles. If so, the filter is a text field.
    pub(crate) is_truncated: bool,
}

/// The built-in roles and the first custom roles by name.
pub(crate) async fn available(session: &Session) -> Result<AvailableRoles, ApiError> {
    let list = session.api().roles("", MAX_PAGE_SIZE).await?;
    let custom = list.items.into_iter().filter(|role| !role.built_in).map(RoleChoice::from);
    Ok(AvailableRoles {
        custom: custom.collect(),
        is_truncated: list.next_cursor.is_some(),
        ..AvailableRoles::built_in(session)
    })
}

/// Like [`available`], but returns only the built-in roles if the API is not available, so
/// that a form keeps its values.
pub(crate) async fn available_or_built_in(session: &Session) -> AvailableRoles {
    available(session).await.unwrap_or_else(|_| AvailableRoles::built_in(session))
}

impl AvailableRoles {
    fn built_in(session: &Session) -> Self {
        let built_in =
            BuiltInRole::ALL.into_iter().rev().map(|role| choice(&session.console, role)).collect();
        // A form can still read other roles from the API by name.
        Self { built_in, custom: Vec::new(), is_truncated: true, account_role: None }
    }

    /// Keeps the roles that permit less than `account_role`.
    pub(crate) fn narrower_than(mut self, account_role: &str) -> Self {
        self.built_in.retain(|choice| is_narrower(&choice.name, account_role));
        self.custom.retain(|choice| is_narrower(&choice.name, account_role));
        self.account_role = Some(account_role.to_owned());
        self
    }

    pub(crate) fn names(self) -> RoleNames {
        let names = self.built_in.into_iter().chain(self.custom).map(|choice| choice.name);
        RoleNames { names: names.collect(), is_truncated: self.is_truncated }
    }

    /// The role fields with `chosen` selected. `not_found` is the description of a chosen role
    /// that no longer exists.
    pub(crate) async fn chooser(self, session: &Session, chosen: &str, not_found: &str) -> RoleChooser {
        if chosen.is_empty() {
            return self.chooser_with(None);
        }
        let without_permissions = |summary: &str| RoleChoice {
            name: chosen.to_owned(),
            summary: summary.to_owned(),
            permissions: Vec::new(),
        };
        let card = match self.find(session, chosen).await {
            Ok(Some(choice)) => choice,
            Ok(None) => without_permissions(not_found),
            Err(_) => without_permissions("The permissions of this role are currently unavailable."),
        };
        self.chooser_with(Some(card))
    }

    fn chooser_with(self, chosen: Option<RoleChoice>) -> RoleChooser {
        let (mut cards, mut custom) = (self.built_in, self.custom);
        let mut further = custom.split_off(CARDS.min(custom.len()));
        if let Some(chosen) = chosen {
            let is_shown = cards.iter().chain(&custom).any(|choice| choice.name == chosen.name);
            further.retain(|choice| choice.name != chosen.name);
            cards.extend(Some(chosen).filter(|_| !is_shown));
        }
        cards.extend(custom);
        let further: Vec<_> = further.into_iter().map(|choice| choice.name).collect();
        RoleChooser {
            cards,
            has_more: self.is_truncated || !further.is_empty(),
            further,
            is_requested: false,
        }
    }

    /// Finds the role `name`, and reads it from the API if necessary.
    async fn find(&self, session: &Session, name: &str) -> Result<Option<RoleChoice>, ApiError> {
        match self.built_in.iter().chain(&self.custom).find(|choice| choice.name == name) {
            Some(choice) => Ok(Some(choice.clone())),
            None if self.is_truncated => find(session, name).await,
            None => Ok(None),
        }
    }

    /// Selects the role whose name was entered: moves the name from `typed` to `role`, or
    /// returns why that is not possible.
    pub(crate) async fn choose(
        self,
        session: &Session,
        role: &mut String,
        typed: &mut String,
    ) -> PageResult<(RoleChooser, FormErrors)> {
        let name = typed.trim();
        let error = |problem: String| FormErrors::field(OTHER_ROLE, problem);
        let not_narrower =
            self.account_role.as_deref().filter(|account_role| !is_narrower(name, account_role));
        let errors = match self.find(session, name).await {
            _ if name.is_empty() => error("enter the name of a role".to_owned()),
            Ok(Some(_)) if not_narrower.is_some() => {
                error("must permit less than the account's role. Choose another role".to_owned())
            }
            Ok(Some(choice)) => {
                role.clone_from(&choice.name);
                typed.clear();
                let chooser = self.chooser_with(Some(choice));
                return Ok((RoleChooser { is_requested: true, ..chooser }, FormErrors::default()));
            }
            Ok(None) => error(format!("role {name} not found. Role names are case-sensitive")),
            Err(failure) => FormErrors::from_api(failure)?,
        };
        Ok((self.chooser(session, role, CHOSEN_BEFORE).await, errors))
    }
}

/// Whether to show the role whose name was entered. A role must be shown before it is used.
pub(crate) fn is_requested(button: &str, typed: &str) -> bool {
    button == "role" || !typed.trim().is_empty()
}

/// Checks a role name to filter by.
pub(crate) fn check_name(name: &str) -> FormErrors {
    if name.is_empty() || name.parse::<RoleName>().is_ok() {
        return FormErrors::default();
    }
    FormErrors::field("role", "is not a valid role name. Use letters, digits, dots, underscores and hyphens")
}

/// The field to enter the name of a role.
const OTHER_ROLE: &str = "other_role";
/// The description of a role that can no longer be found.
pub(crate) const CHOSEN_BEFORE: &str = "Your previous choice.";

/// Whether a role can limit a key of an account: a built-in role with fewer permissions
/// or, if one of the two roles is custom, any other role.
fn is_narrower(name: &str, account_role: &str) -> bool {
    let rank = |name: &str| BuiltInRole::ALL.into_iter().rev().position(|role| role.name() == name);
    match (rank(name), rank(account_role)) {
        (Some(rank), Some(account_rank)) => rank < account_rank,
        _ => name != account_role,
    }
}

/// Finds the role `name`.
pub(crate) async fn find(session: &Session, name: &str) -> Result<Option<RoleChoice>, ApiError> {
    if let Some(role) = BuiltInRole::ALL.into_iter().find(|role| role.name() == name) {
        return Ok(Some(choice(&session.console, role)));
    }
    let Ok(name) = name.parse::<RoleName>() else { return Ok(None) };
    match session.api().role(&name).await {
        Ok(role) => Ok(Some(role.into())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn choice(console: &AppState, role: BuiltInRole) -> RoleChoice {
    let summary = match role {
        BuiltInRole::Reader => "Read-only access to the data paths of this deployment.",
        BuiltInRole::Writer => "Read and write access to the data paths of this deployment.",
        BuiltInRole::Admin => "Full access to the API, except managing accounts, keys and roles.",
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
        permissions::widest_first(&mut permissions);
        Self { name: role.name.to_string(), summary: role.description, permissions }
    }
}
