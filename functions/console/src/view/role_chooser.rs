//! The roles that can be chosen, and what each may do.
//!
//! A form shows the first of them as cards. Any other one is typed by its name,
//! and shown as a card before it can be chosen: so no form becomes large, however
//! many roles there are, and nobody chooses what was not shown.

use shared::api::Role;
use shared::domain::{BuiltInRole, RoleName};

use crate::api::{ApiError, MOST};
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::site::Site;
use crate::view::form::Faults;
use crate::view::permissions as matching;

/// How many custom roles have a card in a form.
const CARDS: usize = 20;

/// A role to choose.
#[derive(Clone)]
pub(crate) struct RoleChoice {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) permissions: Vec<String>,
}

/// The roles that one page of the API tells of.
pub(crate) struct Known {
    /// The narrowest first.
    built_in: Vec<RoleChoice>,
    /// By name.
    custom: Vec<RoleChoice>,
    /// Whether there are more than these.
    is_cut: bool,
    /// They are for a key of an account with this role.
    account_role: Option<String>,
}

/// The roles that a form offers.
pub(crate) struct Chooser {
    /// Those that are shown with what they permit.
    pub(crate) cards: Vec<RoleChoice>,
    /// Further ones, by name. They need not be all.
    pub(crate) further: Vec<String>,
    /// Whether there are more than the cards.
    pub(crate) has_more: bool,
    /// Whether the one that is chosen was just asked for by its name.
    pub(crate) is_asked_for: bool,
}

/// The names of roles to filter by.
pub(crate) struct RoleNames {
    pub(crate) names: Vec<String>,
    /// Whether there are more than these, so that any other must be typed.
    pub(crate) is_cut: bool,
}

/// The roles: the built-in ones, and the first custom ones by name.
///
/// # Errors
/// The API's.
pub(crate) async fn known(visit: &Visit) -> Result<Known, ApiError> {
    let list = visit.api().roles("", MOST).await?;
    let custom = list.items.into_iter().filter(|role| !role.built_in).map(RoleChoice::from);
    Ok(Known { custom: custom.collect(), is_cut: list.next_cursor.is_some(), ..Known::built_in(visit) })
}

/// Those for a form that is shown again with what was typed, which an API that
/// does not answer must not take away: at least the built-in ones.
pub(crate) async fn known_again(visit: &Visit) -> Known {
    known(visit).await.unwrap_or_else(|_| Known::built_in(visit))
}

impl Known {
    fn built_in(visit: &Visit) -> Self {
        let built_in = BuiltInRole::ALL.into_iter().rev().map(|role| choice(&visit.console, role)).collect();
        // Of any other one the API is asked.
        Self { built_in, custom: Vec::new(), is_cut: true, account_role: None }
    }

    /// Those that make a key narrower than its account, which has `account_role`.
    pub(crate) fn narrower_than(mut self, account_role: &str) -> Self {
        self.built_in.retain(|choice| is_narrower(&choice.name, account_role));
        self.custom.retain(|choice| is_narrower(&choice.name, account_role));
        self.account_role = Some(account_role.to_owned());
        self
    }

    /// Their names.
    pub(crate) fn names(self) -> RoleNames {
        let names = self.built_in.into_iter().chain(self.custom).map(|choice| choice.name);
        RoleNames { names: names.collect(), is_cut: self.is_cut }
    }

    /// The form's roles, of which `chosen` is one. Where there is no such role any
    /// more, that is said as `gone`.
    pub(crate) async fn chooser(self, visit: &Visit, chosen: &str, gone: &str) -> Chooser {
        if chosen.is_empty() {
            return self.chooser_with(None);
        }
        let without = |summary: &str| RoleChoice {
            name: chosen.to_owned(),
            summary: summary.to_owned(),
            permissions: Vec::new(),
        };
        let card = match self.find(visit, chosen).await {
            Ok(Some(choice)) => choice,
            Ok(None) => without(gone),
            Err(_) => without("The permissions of this role are currently unavailable."),
        };
        self.chooser_with(Some(card))
    }

    fn chooser_with(self, chosen: Option<RoleChoice>) -> Chooser {
        let (mut cards, mut custom) = (self.built_in, self.custom);
        let mut further = custom.split_off(CARDS.min(custom.len()));
        if let Some(chosen) = chosen {
            let is_shown = cards.iter().chain(&custom).any(|choice| choice.name == chosen.name);
            further.retain(|choice| choice.name != chosen.name);
            cards.extend(Some(chosen).filter(|_| !is_shown));
        }
        cards.extend(custom);
        let further: Vec<_> = further.into_iter().map(|choice| choice.name).collect();
        Chooser { cards, has_more: self.is_cut || !further.is_empty(), further, is_asked_for: false }
    }

    /// What the role `name` may do, if there is such a role. It is read if it is
    /// not known yet.
    async fn find(&self, visit: &Visit, name: &str) -> Result<Option<RoleChoice>, ApiError> {
        let known = self.built_in.iter().chain(&self.custom).find(|choice| choice.name == name);
        match known {
            Some(choice) => Ok(Some(choice.clone())),
            None if self.is_cut => find(visit, name).await,
            None => Ok(None),
        }
    }

    /// Chooses the role whose name was `typed` beside the cards: `role` is then
    /// that one, and nothing is typed any more. Or says why it cannot be.
    ///
    /// # Errors
    /// What ends the form itself.
    pub(crate) async fn choose(
        self,
        visit: &Visit,
        role: &mut String,
        typed: &mut String,
    ) -> Result<(Chooser, Faults), PageError> {
        let name = typed.trim();
        let fault = |problem: String| Faults::field(OTHER_ROLE, problem);
        let not_narrower =
            self.account_role.as_deref().filter(|account_role| !is_narrower(name, account_role));
        let faults = match self.find(visit, name).await {
            _ if name.is_empty() => fault("enter the name of a role".to_owned()),
            Ok(Some(_)) if not_narrower.is_some() => {
                fault("must permit less than the account's role. Choose another role".to_owned())
            }
            Ok(Some(choice)) => {
                role.clone_from(&choice.name);
                typed.clear();
                let chooser = self.chooser_with(Some(choice));
                return Ok((Chooser { is_asked_for: true, ..chooser }, Faults::default()));
            }
            Ok(None) => fault(format!("role {name} not found. Role names are case-sensitive")),
            Err(error) => Faults::of(error)?,
        };
        Ok((self.chooser(visit, role, CHOSEN_BEFORE).await, faults))
    }
}

/// Whether a form asks to show the role whose name was typed beside the cards: by
/// its `button`, or because it must be seen before anything is done with it.
pub(crate) fn is_asked_for(button: &str, typed: &str) -> bool {
    button == "role" || !typed.trim().is_empty()
}

/// What is wrong with a name to filter by, if it can be no role's.
pub(crate) fn faults_of_name(name: &str) -> Faults {
    if name.is_empty() || name.parse::<RoleName>().is_ok() {
        return Faults::default();
    }
    Faults::field("role", "is not a valid role name. Use letters, digits, dots, underscores and dashes")
}

/// The field that a further role is typed into.
const OTHER_ROLE: &str = "other_role";
/// What is said of a role that cannot be told.
pub(crate) const CHOSEN_BEFORE: &str = "Your previous choice.";

/// Whether a role makes a key narrower than its account: a built-in one that is
/// below the account's, and any other than the account's where one of the two is
/// custom.
fn is_narrower(name: &str, account_role: &str) -> bool {
    let rank = |name: &str| BuiltInRole::ALL.into_iter().rev().position(|role| role.name() == name);
    match (rank(name), rank(account_role)) {
        (Some(one), Some(most)) => one < most,
        _ => name != account_role,
    }
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

fn choice(console: &Site, role: BuiltInRole) -> RoleChoice {
    let summary = match role {
        BuiltInRole::Reader => "Read-only access to organization and team data.",
        BuiltInRole::Writer => "Read, create, update and delete organization and team data.",
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
        matching::widest_first(&mut permissions);
        Self { name: role.name.to_string(), summary: role.description, permissions }
    }
}
