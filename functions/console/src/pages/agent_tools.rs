//! `GET, POST /agent-tools`: what an agent with a key, a federated identity or any access of an
//! account sees at the MCP server of an API.
//!
//! The form uses POST, so that a key pasted into a field does not stay in an address. The result
//! has its own address, with IDs only.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use shared::api::{ApiSettings, IdentityState, KeyState, ServiceAccountWithKeys};
use shared::domain::{AccountId, ApiName, GrantId, RoleName};
use shared::policy::Role;

use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::{PageError, PageResult};
use crate::view::excerpt::Excerpt;
use crate::view::find_account::by_id_or_name;
use crate::view::form::{FormError, FormErrors};
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser;
use crate::view::tools::{Tool, ToolFilter, policy_role};

/// How many tools each of the two lists has.
const LISTED: usize = 200;
/// How many APIs are compared if no API is chosen.
const APIS: usize = 20;
/// How many APIs are read at the same time.
const CALLS_AT_A_TIME: usize = 8;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Form {
    /// The name of an API. Empty for all APIs.
    #[serde(skip_serializing_if = "String::is_empty")]
    api: String,
    /// The account's ID or name, or the ID of a key or federated identity.
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    /// The ID of a key or a federated identity. Empty for one without a role of its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    grant: String,
    /// Only tools that contain this text are listed.
    #[serde(skip_serializing_if = "String::is_empty")]
    find: String,
}

/// A key or federated identity that gives access.
struct GrantChoice {
    id: GrantId,
    name: String,
    role: Option<RoleName>,
}

/// An account, and the chosen grant.
struct Agent {
    account: ServiceAccountWithKeys,
    grants: Vec<GrantChoice>,
    /// The position of the chosen grant.
    chosen: Option<usize>,
}

/// A role of the agent. `permissions` is `None` if the role does not exist.
struct AgentRole {
    /// `account`, `key` or `identity`.
    holder: &'static str,
    name: RoleName,
    role: Option<Role>,
}

/// A tool that the agent does not see.
struct HiddenTool {
    tool: Tool,
    /// The roles that permit no call.
    refused_by: Vec<RoleName>,
}

/// What the agent sees of one API.
struct ToolList {
    api: ApiSettings,
    seen: Excerpt<Tool>,
    seen_count: usize,
    hidden: Excerpt<HiddenTool>,
    hidden_count: usize,
}

/// How many tools of an API the agent sees. `None` if the API could not be read.
struct Summary {
    api: ApiSettings,
    seen: Option<usize>,
}

#[derive(Template)]
#[template(path = "agent_tools.html")]
struct AgentTools {
    page: Page,
    form: Form,
    errors: FormErrors,
    apis: Vec<ApiSettings>,
    agent: Option<Agent>,
    roles: Vec<AgentRole>,
    list: Option<ToolList>,
    summaries: Excerpt<Summary>,
}

impl Agent {
    fn new(account: ServiceAccountWithKeys) -> Self {
        let is_live = |state| matches!(state, KeyState::Active | KeyState::Retiring);
        let keys = account.keys.iter().rev().filter(|key| is_live(key.state)).map(|key| GrantChoice {
            id: GrantId::Key(key.id),
            name: format!("Key {}, ending in {}", key.name, key.hint),
            role: key.role.clone(),
        });
        let identities = account.federated_identities.iter().rev();
        let identities =
            identities.filter(|identity| matches!(identity.state, IdentityState::Active)).map(|identity| {
                GrantChoice {
                    id: GrantId::Identity(identity.id),
                    name: format!("Federated identity {}", identity.name),
                    role: identity.rule.role.clone(),
                }
            });
        let grants = keys.chain(identities).collect();
        Self { account, grants, chosen: None }
    }

    fn grant(&self) -> Option<&GrantChoice> {
        self.grants.get(self.chosen?)
    }

    fn is_chosen(&self, grant: &GrantChoice) -> bool {
        self.grant().is_some_and(|chosen| chosen.id == grant.id)
    }

    /// The networks from which the chosen key works, if it is restricted.
    fn networks(&self) -> Option<String> {
        let id = self.grant()?.id.key()?;
        let key = self.account.keys.iter().find(|key| key.id == id)?;
        (!key.allowed_cidrs.is_empty()).then(|| key.allowed_cidrs.join(", "))
    }

    /// Reads the roles of the account and of the chosen grant.
    async fn roles(&self, session: &Session) -> Result<Vec<AgentRole>, ApiError> {
        let of_grant = self.grant().and_then(|grant| {
            let holder = if grant.id.key().is_some() { "key" } else { "identity" };
            Some((holder, grant.role.clone()?))
        });
        let mut roles = Vec::new();
        for (holder, name) in [("account", self.account.account.role.clone())].into_iter().chain(of_grant) {
            let found = role_chooser::find(session, name.as_str()).await?;
            roles.push(AgentRole { holder, role: found.as_ref().and_then(policy_role), name });
        }
        Ok(roles)
    }
}

pub(super) async fn show(session: Session, Query(form): Query<Form>) -> PageResult {
    let page = check(&session, form).await?;
    if page.errors.is_empty() { session.show(page) } else { with_status(page.errors.status(), page) }
}

pub(super) async fn submit(Posted(session, mut form): Posted<Form>) -> PageResult {
    let error = match find(&session, &mut form).await {
        Ok(()) => {
            let query = serde_html_form::to_string(&form).map_err(PageError::unavailable)?;
            return Ok(Redirect::to(&format!("/agent-tools?{query}")).into_response());
        }
        Err(error) => error.errors()?,
    };
    let apis = session.api().protected_apis().await?;
    let page = AgentTools { errors: error, ..AgentTools::new(session.page(), form, apis) };
    with_status(page.errors.status(), page)
}

/// Replaces the entered account, key or identity by its IDs.
async fn find(session: &Session, form: &mut Form) -> Result<(), FormError> {
    let entered = form.account.trim().to_owned();
    let not_found = |problem: &str| FormErrors::field("account", problem);
    if entered.is_empty() {
        return Err(not_found("enter an account, a key or a federated identity").into());
    }
    if let Ok(grant) = entered.parse::<GrantId>() {
        let found = session.api().search(&entered, "").await?;
        let account = match grant {
            GrantId::Key(id) => {
                found.keys.into_iter().find(|found| found.key.id == id).map(|found| found.account.id)
            }
            GrantId::Identity(id) => found
                .federated_identities
                .into_iter()
                .find(|found| found.identity.id == id)
                .map(|found| found.account.id),
        };
        let account = account.ok_or_else(|| not_found("no key or federated identity has this ID"))?;
        (form.account, form.grant) = (account.to_string(), entered);
        return Ok(());
    }
    let account = by_id_or_name(session, &entered).await?;
    let account = account.ok_or_else(|| {
        not_found("account not found. Enter its name or ID, or the ID of a key or federated identity")
    })?;
    if form.account.trim() != account.to_string() {
        form.grant.clear();
    }
    form.account = account.to_string();
    Ok(())
}

impl AgentTools {
    fn new(page: Page, form: Form, apis: Vec<ApiSettings>) -> Self {
        Self {
            page,
            form,
            errors: FormErrors::default(),
            apis,
            agent: None,
            roles: Vec::new(),
            list: None,
            summaries: Excerpt::first(Vec::new(), 0),
        }
    }

    /// The address of the same check for one API.
    fn address(&self, api: &ApiName) -> String {
        let Form { account, grant, .. } = &self.form;
        let form = Form {
            api: api.to_string(),
            account: account.clone(),
            grant: grant.clone(),
            find: String::new(),
        };
        format!("/agent-tools?{}", serde_html_form::to_string(form).unwrap_or_default())
    }
}

async fn check(session: &Session, form: Form) -> PageResult<AgentTools> {
    let Ok(id) = form.account.parse::<AccountId>() else {
        let apis = session.api().protected_apis().await?;
        return Ok(AgentTools::new(session.page(), form, apis));
    };
    let (apis, account) = tokio::join!(session.api().protected_apis(), session.api().account(id));
    let mut page = AgentTools::new(session.page(), form, apis?);
    let mut agent = Agent::new(account?);
    if !page.form.grant.is_empty() {
        agent.chosen = agent.grants.iter().position(|grant| grant.id.to_string() == page.form.grant);
        if agent.chosen.is_none() {
            page.errors =
                FormErrors::field("grant", "does not give access to this account. Choose another one");
            page.agent = Some(agent);
            return Ok(page);
        }
    }
    page.roles = agent.roles(session).await?;
    page.agent = Some(agent);
    // With one API, there is nothing to choose.
    if let ([only], true) = (page.apis.as_slice(), page.form.api.is_empty()) {
        page.form.api = only.name.to_string();
    }
    match page.form.api.parse::<ApiName>() {
        Ok(name) => {
            let (api, _) = session.api().protected_api_with_version(&name).await?;
            let filter = ToolFilter { find: page.form.find.clone(), ..ToolFilter::default() };
            page.list = Some(ToolList::new(api.settings, Tool::all(api.tools), &page.roles, &filter));
        }
        Err(_) => page.summaries = summaries(session, &page.apis, &page.roles).await,
    }
    Ok(page)
}

/// The number of tools that the agent sees of each API.
async fn summaries(session: &Session, apis: &[ApiSettings], roles: &[AgentRole]) -> Excerpt<Summary> {
    let apis = Excerpt::first(apis.to_vec(), APIS);
    let summary = async |api: ApiSettings| {
        let read = session.api().protected_api_with_version(&api.name).await.ok();
        let seen =
            read.map(|(read, _)| Tool::all(read.tools).iter().filter(|tool| is_seen(tool, roles)).count());
        Summary { api, seen }
    };
    let items = futures::stream::iter(apis.items).map(summary).buffered(CALLS_AT_A_TIME).collect().await;
    Excerpt { items, more: apis.more }
}

/// Whether all roles exist and together permit a call of the tool.
fn is_seen(tool: &Tool, roles: &[AgentRole]) -> bool {
    let existing: Option<Vec<_>> = roles.iter().map(|role| role.role.as_ref()).collect();
    existing.is_some_and(|roles| tool.is_permitted_by(&roles))
}

impl ToolList {
    fn new(api: ApiSettings, tools: Vec<Tool>, roles: &[AgentRole], filter: &ToolFilter) -> Self {
        let (seen, hidden): (Vec<_>, Vec<_>) = tools.into_iter().partition(|tool| is_seen(tool, roles));
        let (seen_count, hidden_count) = (seen.len(), hidden.len());
        let refused = |tool: Tool| {
            let refuses =
                |role: &&AgentRole| role.role.as_ref().is_none_or(|role| !tool.is_permitted_by(&[role]));
            let refused_by = roles.iter().filter(refuses).map(|role| role.name.clone()).collect();
            HiddenTool { tool, refused_by }
        };
        let seen = seen.into_iter().filter(|tool| filter.lists(tool)).collect();
        let hidden = hidden.into_iter().filter(|tool| filter.lists(tool)).map(refused).collect();
        Self {
            api,
            seen: Excerpt::first(seen, LISTED),
            seen_count,
            hidden: Excerpt::first(hidden, LISTED),
            hidden_count,
        }
    }
}
