//! `GET /apis/{name}`: a protected API with its tools, and the roles that can call them.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Redirect;
use serde::Serialize;
use shared::api::{ApiSettings, SkippedOperation};
use shared::domain::{ApiName, Confirmation};

use super::request::Offset;
use crate::api::{AccountsQuery, MAX_PAGE_SIZE};
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::excerpt::Excerpt;
use crate::view::form::FormErrors;
use crate::view::formatting::count;
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser;
use crate::view::snippets::{self, Tab, VARIABLE};
use crate::view::tools::{Tool, ToolAccess, ToolFilter};

/// Tools per page.
const TOOLS: usize = 100;
/// How many roles are shown for each tool.
const ROLES_OF_TOOL: usize = 4;
/// How many roles are shown for the API.
const ROLES: usize = 50;
/// How many pages of accounts are counted by their roles.
const COUNTED_PAGES: usize = 5;
/// A list with at most this many tools has no filter.
const WITHOUT_FILTER: usize = 10;

/// A tool, and the first roles that can call it.
struct ToolRow {
    tool: Tool,
    roles: Excerpt<String>,
}

/// A role that can call tools of the API.
struct RoleRow {
    name: String,
    tools: usize,
    /// For example, `3 accounts`. `None` if the accounts are not available.
    accounts: Option<String>,
}

#[derive(Template)]
#[template(path = "protected_api.html")]
struct ProtectedApi {
    page: Page,
    api: ApiSettings,
    mcp_url: String,
    filter: ToolFilter,
    errors: FormErrors,
    tools: Vec<ToolRow>,
    /// How many tools match the filter.
    matches: usize,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
    roles: Excerpt<RoleRow>,
    /// Whether there are roles that were not checked.
    has_more_roles: bool,
    /// The custom roles to which permissions can be added.
    custom_roles: Vec<String>,
    skipped: Vec<SkippedOperation>,
    tabs: Vec<Tab>,
}

impl ProtectedApi {
    fn has_filter(&self) -> bool {
        self.api.tool_count > WITHOUT_FILTER || self.filter.is_set()
    }
}

/// The accounts with each role.
struct AccountCounts {
    by_role: BTreeMap<String, u64>,
    /// Whether all accounts were counted.
    is_complete: bool,
}

pub(super) async fn redirect(Path(name): Path<ApiName>) -> Redirect {
    Redirect::to(&format!("/apis/{name}"))
}

pub(super) async fn show(
    session: Session,
    Path(name): Path<ApiName>,
    Query(filter): Query<ToolFilter>,
    Query(Offset { after }): Query<Offset>,
) -> PageResult {
    let page = page(&session, &name, filter, after, FormErrors::default()).await?;
    session.show(page)
}

/// Shows the page with the errors of the form that makes a role.
pub(super) async fn show_again(
    session: &Session,
    name: &ApiName,
    filter: ToolFilter,
    errors: FormErrors,
) -> PageResult {
    with_status(errors.status(), page(session, name, filter, 0, errors).await?)
}

async fn page(
    session: &Session,
    name: &ApiName,
    filter: ToolFilter,
    after: usize,
    errors: FormErrors,
) -> PageResult<ProtectedApi> {
    let (api, roles, accounts) = tokio::join!(
        session.api().protected_api_with_version(name),
        role_chooser::all_or_built_in(session),
        count_accounts(session)
    );
    let (api, _) = api?;
    let mut has_more_roles = roles.is_truncated();
    let custom_roles = roles.custom_names();
    let roles: Vec<_> = roles.into_choices().collect();
    let tools = Tool::all(api.tools);
    let (access, are_all_checked) = ToolAccess::check(&roles, &tools);
    has_more_roles |= !are_all_checked;
    let of_role = access.iter().find(|access| access.role == filter.role);
    let is_listed = |(position, tool): &(usize, Tool)| {
        let is_permitted = filter.role.is_empty() || of_role.is_some_and(|role| role.can_call(*position));
        is_permitted && filter.lists(tool)
    };
    let matching: Vec<_> = tools.into_iter().enumerate().filter(is_listed).collect();
    let matches = matching.len();
    let row = |(position, tool): (usize, Tool)| {
        let permitted = access.iter().filter(|access| access.can_call(position));
        let roles = permitted.map(|access| access.role.clone()).collect();
        ToolRow { tool, roles: Excerpt::first(roles, ROLES_OF_TOOL) }
    };
    let tools = matching.into_iter().skip(after).take(TOOLS).map(row).collect();
    let able = access.iter().filter(|access| access.count() > 0).map(|access| RoleRow {
        name: access.role.clone(),
        tools: access.count(),
        accounts: accounts.as_ref().map(|accounts| accounts.words(&access.role)),
    });
    let mcp_url = mcp_url(session, name);
    Ok(ProtectedApi {
        page: session.page(),
        tools,
        matches,
        first: if after == 0 { None } else { Some(address(name, &filter, 0)?) },
        next: if matches > after.saturating_add(TOOLS) {
            Some(address(name, &filter, after.saturating_add(TOOLS))?)
        } else {
            None
        },
        roles: Excerpt::first(able.collect(), ROLES),
        has_more_roles,
        custom_roles,
        skipped: api.skipped,
        tabs: snippets::agent_tabs(name, &mcp_url),
        mcp_url,
        api: api.settings,
        filter,
        errors,
    })
}

/// The URL of the MCP server of an API.
pub(super) fn mcp_url(session: &Session, name: &ApiName) -> String {
    format!("{}/{name}", session.console.mcp_url)
}

/// The address of a page of the list of tools.
fn address(name: &ApiName, filter: &ToolFilter, after: usize) -> PageResult<String> {
    #[derive(Serialize)]
    struct Query<'a> {
        #[serde(flatten)]
        filter: &'a ToolFilter,
        after: usize,
    }
    let query = serde_html_form::to_string(Query { filter, after }).map_err(PageError::unavailable)?;
    Ok(format!("/apis/{name}?{query}#tools"))
}

/// Counts the first accounts by their roles. `None` if the accounts are not available.
async fn count_accounts(session: &Session) -> Option<AccountCounts> {
    let mut counts = AccountCounts { by_role: BTreeMap::new(), is_complete: false };
    let mut query = AccountsQuery { limit: Some(MAX_PAGE_SIZE), ..AccountsQuery::default() };
    for _ in 0..COUNTED_PAGES {
        let list = session.api().accounts(&query).await.ok()?;
        for listed in list.items {
            *counts.by_role.entry(listed.account.role.to_string()).or_default() += 1;
        }
        match list.next_cursor {
            Some(next) => query.cursor = next,
            None => return Some(AccountCounts { is_complete: true, ..counts }),
        }
    }
    Some(counts)
}

impl AccountCounts {
    /// The number of accounts with a role, for example `3 accounts`.
    fn words(&self, role: &str) -> String {
        let number = self.by_role.get(role).copied().unwrap_or_default();
        match (self.is_complete, number) {
            (true, 0) => "No accounts".to_owned(),
            (true, number) => count(number, "account"),
            (false, 0) => "View accounts".to_owned(),
            (false, number) => format!("At least {}", count(number, "account")),
        }
    }
}

/// What happens before a call that changes something.
fn confirmation(confirmation: Confirmation) -> &'static str {
    match confirmation {
        Confirmation::Off => "Off: calls are not confirmed",
        Confirmation::Ask => {
            "Ask: the agent's user confirms calls that change something, if the client can ask"
        }
        Confirmation::Require => "Require: the agent's user must confirm calls that change something",
    }
}
