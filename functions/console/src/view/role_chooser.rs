//! The choice of a role in a form.
//!
//! A form lists the built-in roles and the first custom roles. A filter finds the others.

use shared::api::{List, Role};
use shared::domain::{BuiltInRole, RoleName};
use shared::policy::PathPrefix;

use crate::api::{ApiError, MAX_PAGE_SIZE};
use crate::app_state::AppState;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::form::FormErrors;
use crate::view::permissions;

/// How many custom roles a form lists.
const LISTED: usize = 20;
/// A form with at most this many roles has no filter.
const WITHOUT_FILTER: usize = 5;
/// How many pages of roles a filter searches. The first page is already known.
const SEARCHED_PAGES: usize = 5;

/// How many data prefixes the summary of a built-in role shows.
const SHOWN_PREFIXES: usize = 3;

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
    /// The API's cursor of further roles. `None` if all roles are known.
    next: Option<String>,
    /// The account's role, if the roles are for a key.
    account_role: Option<String>,
}

/// The role fields of a form.
pub(crate) struct RoleChooser {
    pub(crate) choices: Vec<RoleChoice>,
    /// Whether there are more roles, or more matches, than choices.
    pub(crate) has_more: bool,
    /// The filter that was applied. Empty for all roles.
    pub(crate) filter: String,
    /// How many roles match the filter.
    pub(crate) matches: usize,
    /// How many roles the filter searched, if there are more.
    pub(crate) searched: Option<usize>,
    /// The role whose radio button gets the focus, after a search.
    pub(crate) focused: Option<String>,
}

/// Role names to filter by.
pub(crate) struct RoleNames {
    pub(crate) names: Vec<String>,
    /// Whether there are more roles. If so, the filter is a text field.
    pub(crate) is_truncated: bool,
}

impl RoleChoice {
    /// Whether the name, the summary or a permission contains `text`, which is in lower case.
    fn matches(&self, text: &str) -> bool {
        let mut texts = [&self.name, &self.summary].into_iter().chain(&self.permissions);
        texts.any(|own| own.to_lowercase().contains(text))
    }
}

impl RoleChooser {
    /// Lists the chosen role, and then the first `most` of `choices`.
    fn new(mut choices: Vec<RoleChoice>, most: usize, chosen: Option<RoleChoice>) -> Self {
        let has_more = choices.len() > most;
        choices.truncate(most);
        if let Some(chosen) = chosen {
            choices.retain(|choice| choice.name != chosen.name);
            choices.insert(0, chosen);
        }
        Self { choices, has_more, filter: String::new(), matches: 0, searched: None, focused: None }
    }

    /// Whether the form has a filter.
    pub(crate) fn has_filter(&self) -> bool {
        self.has_more || !self.filter.is_empty() || self.choices.len() > WITHOUT_FILTER
    }

    /// Whether the radio button of `role` gets the focus.
    pub(crate) fn is_focused(&self, role: &str) -> bool {
        self.focused.as_deref() == Some(role)
    }
}

/// The built-in roles and the first custom roles by name.
pub(crate) async fn available(session: &Session) -> Result<AvailableRoles, ApiError> {
    let mut available = AvailableRoles { next: None, ..AvailableRoles::built_in(session) };
    available.add(session.api().roles("", MAX_PAGE_SIZE).await?);
    Ok(available)
}

/// Like [`available`], but returns only the built-in roles if the API is not available, so
/// that a form keeps its values.
pub(crate) async fn available_or_built_in(session: &Session) -> AvailableRoles {
    available(session).await.unwrap_or_else(|_| AvailableRoles::built_in(session))
}

/// The built-in roles and the custom roles that a filter would search. Only the built-in roles if
/// the API is not available.
pub(crate) async fn all_or_built_in(session: &Session) -> AvailableRoles {
    let mut available = available_or_built_in(session).await;
    available.read_more(session).await;
    available
}

impl AvailableRoles {
    fn built_in(session: &Session) -> Self {
        let built_in =
            BuiltInRole::ALL.into_iter().rev().map(|role| choice(&session.console, role)).collect();
        // A form can still read other roles from the API.
        Self { built_in, custom: Vec::new(), next: Some(String::new()), account_role: None }
    }

    /// Adds the custom roles of a page of the API's list.
    fn add(&mut self, page: List<Role>) {
        let custom = page.items.into_iter().filter(|role| !role.built_in).map(RoleChoice::from);
        self.custom.extend(custom.filter(|choice| is_narrower(&choice.name, self.account_role.as_deref())));
        self.next = page.next_cursor;
    }

    /// Keeps the roles that permit less than `account_role`.
    pub(crate) fn narrower_than(mut self, account_role: &str) -> Self {
        self.account_role = Some(account_role.to_owned());
        self.built_in.retain(|choice| is_narrower(&choice.name, Some(account_role)));
        self.custom.retain(|choice| is_narrower(&choice.name, Some(account_role)));
        self
    }

    /// All known roles. The built-in roles come first.
    pub(crate) fn into_choices(self) -> impl Iterator<Item = RoleChoice> {
        self.built_in.into_iter().chain(self.custom)
    }

    /// The names of the known custom roles.
    pub(crate) fn custom_names(&self) -> Vec<String> {
        self.custom.iter().map(|choice| choice.name.clone()).collect()
    }

    /// Whether there are more roles than the known ones.
    pub(crate) fn is_truncated(&self) -> bool {
        self.next.is_some()
    }

    pub(crate) fn names(&self) -> RoleNames {
        let names = self.built_in.iter().chain(&self.custom).map(|choice| choice.name.clone());
        RoleNames { names: names.collect(), is_truncated: self.is_truncated() }
    }

    /// The role fields with `chosen` selected. `not_found` is the description of a chosen role
    /// that no longer exists.
    pub(crate) async fn chooser(self, session: &Session, chosen: &str, not_found: &str) -> RoleChooser {
        let chosen = self.chosen(session, chosen, not_found).await;
        let (is_truncated, most) = (self.is_truncated(), self.built_in.len() + LISTED);
        let chooser = RoleChooser::new(self.into_choices().collect(), most, chosen);
        RoleChooser { has_more: chooser.has_more || is_truncated, ..chooser }
    }

    /// The chosen role. `None` if no role is chosen.
    async fn chosen(&self, session: &Session, name: &str, not_found: &str) -> Option<RoleChoice> {
        if name.is_empty() {
            return None;
        }
        let without_permissions = |summary: &str| RoleChoice {
            name: name.to_owned(),
            summary: summary.to_owned(),
            permissions: Vec::new(),
        };
        Some(match self.find(session, name).await {
            Ok(Some(choice)) => choice,
            Ok(None) => without_permissions(not_found),
            Err(_) => without_permissions("The permissions of this role are currently unavailable."),
        })
    }

    /// Finds the role `name`, and reads it from the API if necessary.
    async fn find(&self, session: &Session, name: &str) -> Result<Option<RoleChoice>, ApiError> {
        match self.built_in.iter().chain(&self.custom).find(|choice| choice.name == name) {
            Some(choice) => Ok(Some(choice.clone())),
            None if self.is_truncated() => find(session, name).await,
            None => Ok(None),
        }
    }

    /// Applies the entered filter. If the filter is the name of a role, selects the role.
    /// Otherwise, lists the roles that match. Returns an error if there are none.
    pub(crate) async fn search(
        mut self,
        session: &Session,
        role: &mut String,
        typed: &mut String,
    ) -> PageResult<(RoleChooser, FormErrors)> {
        let text = typed.trim().to_owned();
        let error = |problem: String| FormErrors::field(FIND_ROLE, problem);
        let errors = match self.find(session, &text).await {
            _ if text.is_empty() => {
                return Ok((self.chooser(session, role, CHOSEN_BEFORE).await, FormErrors::default()));
            }
            Ok(Some(_)) if !is_narrower(&text, self.account_role.as_deref()) => {
                error("must permit less than the account's role. Choose another role".to_owned())
            }
            Ok(Some(choice)) => {
                role.clone_from(&choice.name);
                typed.clear();
                let focused = Some(choice.name.clone());
                let chooser = self.chooser(session, role, "").await;
                return Ok((RoleChooser { focused, ..chooser }, FormErrors::default()));
            }
            Ok(None) => {
                self.read_more(session).await;
                let searched = self.is_truncated().then(|| self.built_in.len() + self.custom.len());
                let lower = text.to_lowercase();
                let matches = self.built_in.iter().chain(&self.custom).filter(|role| role.matches(&lower));
                let matches: Vec<_> = matches.cloned().collect();
                if let Some(first) = matches.first() {
                    let (focused, count) = (Some(first.name.clone()), matches.len());
                    let chosen = self.chosen(session, role, CHOSEN_BEFORE).await;
                    typed.clear();
                    let chooser = RoleChooser::new(matches, LISTED, chosen);
                    let chooser = RoleChooser { filter: text, matches: count, searched, focused, ..chooser };
                    return Ok((chooser, FormErrors::default()));
                }
                error(match searched {
                    None => format!("no role matches “{text}”"),
                    Some(searched) => format!(
                        "none of the first {searched} roles matches “{text}”. To find another role, enter its exact \
                         name"
                    ),
                })
            }
            Err(failure) => FormErrors::from_api(failure)?,
        };
        Ok((self.chooser(session, role, CHOSEN_BEFORE).await, errors))
    }

    /// Reads the next pages of the API's list. Stops early if the API is not available.
    async fn read_more(&mut self, session: &Session) {
        for _ in 1..SEARCHED_PAGES {
            let Some(cursor) = &self.next else { return };
            let Ok(page) = session.api().roles(cursor, MAX_PAGE_SIZE).await else { return };
            self.add(page);
        }
    }
}

/// Whether to apply the entered filter instead of the form's main action. An admin who enters
/// the name of a role may not notice that another role is still selected.
pub(crate) fn is_search(button: &str, typed: &str) -> bool {
    button == "role" || !typed.trim().is_empty()
}

/// Checks a role name to filter by.
pub(crate) fn check_name(name: &str) -> FormErrors {
    if name.is_empty() || name.parse::<RoleName>().is_ok() {
        return FormErrors::default();
    }
    FormErrors::field("role", "is not a valid role name. Use letters, digits, dots, underscores and hyphens")
}

/// The field of the filter.
const FIND_ROLE: &str = "find_role";
/// The description of a role that can no longer be found.
pub(crate) const CHOSEN_BEFORE: &str = "Your previous choice.";

/// Whether a role can limit a key of an account: a built-in role with fewer permissions
/// or, if one of the two roles is custom, any other role. Without an `account_role`, the
/// role is not for a key.
fn is_narrower(name: &str, account_role: Option<&str>) -> bool {
    let Some(account_role) = account_role else { return true };
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

/// What a built-in role permits in this deployment.
pub(crate) fn summary(console: &AppState, role: BuiltInRole) -> String {
    let prefixes = console.built_in_roles.data_prefixes();
    let shown: Vec<_> = prefixes.iter().take(SHOWN_PREFIXES).map(PathPrefix::as_str).collect();
    let paths = match (shown.as_slice(), prefixes.len().saturating_sub(shown.len())) {
        ([], _) => "no path".to_owned(),
        ([one], 0) => (*one).to_owned(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (shown, more) => format!("{} and {more} more paths", shown.join(", ")),
    };
    match role {
        BuiltInRole::Reader => format!("Read-only access to {paths}."),
        BuiltInRole::Writer => format!("Read and write access to {paths}."),
        BuiltInRole::Admin => "Full access to the API, except managing accounts, keys and roles.".to_owned(),
    }
}

fn choice(console: &AppState, role: BuiltInRole) -> RoleChoice {
    let permissions = &console.built_in_roles.get(role).permissions;
    RoleChoice {
        name: role.name().to_owned(),
        summary: summary(console, role),
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
