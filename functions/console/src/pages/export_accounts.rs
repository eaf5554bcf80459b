//! `GET /accounts/export`: accounts, or keys and federated identities, as a CSV or JSON file, with the filters of the
//! list of accounts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use shared::api::{
    EndedFederatedIdentity, FederatedIdentity, IdentityRule, Key, ListedServiceAccount, RetiredKey,
    ServiceAccount, ServiceAccountWithKeys, Usage,
};
use shared::domain::{Actor, ClaimValue, GrantId, KeyId, RoleName};
use tokio::time::{Instant, timeout_at};

use crate::api::{AccountsQuery, ApiResult, MAX_PAGE_SIZE};
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::export::{Column, Export, ExportFormat, instant};

/// The largest number of accounts in an export.
const MAX_ACCOUNTS: usize = 10_000;
/// The largest number of accounts whose keys are exported. Each account is one call to the
/// API.
const MAX_ACCOUNTS_WITH_KEYS: usize = 1000;
/// How many of these calls are made at the same time.
const CALLS_AT_A_TIME: usize = 8;
/// The time limit, below the deadline of a page.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
pub(super) const OUT_OF_TIME: &str = "the time limit was reached";
pub(super) const API_FAILED: &str = "the API did not respond";

const ACCOUNT_COLUMNS: &[Column<ListedServiceAccount>] = &[
    ("id", |listed| listed.account.id.to_string().into()),
    ("name", |listed| listed.account.name.clone().into()),
    ("description", |listed| listed.account.description.clone().into()),
    ("enabled", |listed| listed.account.enabled.into()),
    ("role", |listed| listed.account.role.to_string().into()),
    ("owner", |listed| listed.account.owner.clone().into()),
    ("tags", |listed| listed.account.tags.clone().into_iter().collect()),
    ("liveKeyCount", |listed| listed.account.live_key_count.into()),
    ("liveIdentityCount", |listed| listed.account.live_identity_count.into()),
    ("unusedKeyCount", |listed| listed.unused_key_count.into()),
    ("nextKeyExpiresAt", |listed| instant(listed.account.next_key_expires_at)),
    ("lastUsedAt", |listed| instant(listed.last_used_at)),
    ("usedAfterEndAt", |listed| instant(listed.used_after_end_at)),
    ("createdAt", |listed| instant(listed.account.created_at)),
    ("createdBy", |listed| listed.account.created_by.name.clone().into()),
    ("updatedAt", |listed| instant(listed.account.updated_at)),
    ("updatedBy", |listed| listed.account.updated_by.name.clone().into()),
];

const GRANT_COLUMNS: &[Column<ExportedGrant>] = &[
    ("accountId", |key| key.account.id.to_string().into()),
    ("accountName", |key| key.account.name.clone().into()),
    ("accountEnabled", |key| key.account.enabled.into()),
    ("accountRole", |key| key.account.role.to_string().into()),
    ("owner", |key| key.account.owner.clone().into()),
    ("id", |key| key.id.to_string().into()),
    ("name", |key| key.name.clone().into()),
    ("hint", |key| key.hint.clone().into()),
    ("state", |key| key.state.clone()),
    ("role", |key| key.role.as_ref().map(ToString::to_string).into()),
    ("allowedCidrs", |key| key.allowed_cidrs.clone().into()),
    ("createdAt", |key| instant(key.created_at)),
    ("createdBy", |key| key.created_by.as_ref().map(|actor| actor.name.clone()).into()),
    ("expiresAt", |key| instant(key.expires_at)),
    ("retiresAt", |key| instant(key.retires_at)),
    ("retiredAt", |key| instant(key.retired_at)),
    ("retiredBy", |key| key.retired_by.as_ref().map(|actor| actor.name.clone()).into()),
    ("replacedBy", |key| key.replaced_by.as_ref().map(ToString::to_string).into()),
    ("lastUsedAt", |key| instant(key.usage.last_use.last_used_at)),
    ("usedAfterEndAt", |key| instant(key.usage.last_use.used_after_end_at)),
    ("allowedIn30Days", |key| key.usage.recent.last_30_days.allowed.into()),
    ("refusedIn30Days", |key| key.usage.recent.last_30_days.refused.into()),
    ("kind", |key| if key.rule.is_some() { "federatedIdentity" } else { "key" }.into()),
    ("issuer", |key| key.rule.as_ref().map(|rule| rule.issuer.to_string()).into()),
    ("audience", |key| key.rule.as_ref().map(|rule| rule.audience.clone()).into()),
    ("claims", |key| key.rule.as_ref().map_or(Value::Null, |rule| claims(&rule.claims))),
];

/// A live or ended key or federated identity, with its account.
struct ExportedGrant {
    account: Arc<ServiceAccount>,
    id: GrantId,
    name: Option<String>,
    /// The last characters of a key.
    hint: Option<String>,
    /// The state of a live grant, or how the grant ended.
    state: Value,
    role: Option<RoleName>,
    allowed_cidrs: Vec<String>,
    created_at: Option<Timestamp>,
    created_by: Option<Actor>,
    expires_at: Option<Timestamp>,
    retires_at: Option<Timestamp>,
    retired_at: Option<Timestamp>,
    retired_by: Option<Actor>,
    replaced_by: Option<KeyId>,
    /// What a federated identity accepts. `None` for a key.
    rule: Option<IdentityRule>,
    usage: Usage,
}

impl ExportedGrant {
    fn live(account: Arc<ServiceAccount>, key: Key) -> PageResult<Self> {
        Ok(Self {
            account,
            id: key.id.into(),
            name: Some(key.name),
            hint: Some(key.hint),
            state: serde_json::to_value(key.state).map_err(PageError::unavailable)?,
            role: key.role,
            allowed_cidrs: key.allowed_cidrs,
            created_at: Some(key.created_at),
            created_by: Some(key.created_by),
            expires_at: Some(key.expires_at),
            retires_at: key.retires_at,
            retired_at: None,
            retired_by: None,
            replaced_by: key.replaced_by,
            rule: None,
            usage: key.usage,
        })
    }

    fn retired(account: Arc<ServiceAccount>, key: RetiredKey) -> PageResult<Self> {
        Ok(Self {
            account,
            id: key.id.into(),
            name: key.name,
            hint: key.hint,
            state: serde_json::to_value(key.reason).map_err(PageError::unavailable)?,
            role: key.role,
            allowed_cidrs: key.allowed_cidrs,
            created_at: key.created_at,
            created_by: key.created_by,
            expires_at: key.expires_at,
            retires_at: None,
            retired_at: Some(key.retired_at),
            retired_by: key.retired_by,
            replaced_by: key.replaced_by,
            rule: None,
            usage: key.usage,
        })
    }
}

impl ExportedGrant {
    fn live_identity(account: Arc<ServiceAccount>, identity: FederatedIdentity) -> Self {
        Self {
            account,
            id: identity.id.into(),
            name: Some(identity.name),
            hint: None,
            state: identity.state.name().into(),
            role: identity.rule.role.clone(),
            allowed_cidrs: Vec::new(),
            created_at: Some(identity.created_at),
            created_by: Some(identity.created_by),
            expires_at: identity.rule.expires_at,
            retires_at: None,
            retired_at: None,
            retired_by: None,
            replaced_by: None,
            rule: Some(identity.rule),
            usage: identity.usage,
        }
    }

    fn ended_identity(account: Arc<ServiceAccount>, identity: EndedFederatedIdentity) -> Self {
        Self {
            account,
            id: identity.id.into(),
            name: Some(identity.name),
            hint: None,
            state: identity.state.name().into(),
            role: identity.rule.role.clone(),
            allowed_cidrs: Vec::new(),
            created_at: Some(identity.created_at),
            created_by: Some(identity.created_by),
            expires_at: identity.rule.expires_at,
            retires_at: None,
            retired_at: Some(identity.ended_at),
            retired_by: identity.ended_by,
            replaced_by: None,
            rule: Some(identity.rule),
            usage: identity.usage,
        }
    }
}

/// A cell with required claims.
fn claims(claims: &BTreeMap<String, Vec<ClaimValue>>) -> Value {
    serde_json::to_value(claims).unwrap_or_default()
}

/// What an export contains.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    Accounts,
    Keys,
}

#[derive(Deserialize)]
pub(super) struct Form {
    what: Content,
    format: ExportFormat,
}

pub(super) async fn download(
    session: Session,
    Query(form): Query<Form>,
    Query(query): Query<AccountsQuery>,
) -> PageResult {
    let query = AccountsQuery { limit: Some(MAX_PAGE_SIZE), ..query.trimmed() };
    let name = |what| format!("keyward-{}-{what}", session.console.environment.as_str());
    match form.what {
        Content::Accounts => {
            accounts(&session, query, form.format).await?.into_response(&name("accounts"), session.now())
        }
        Content::Keys => {
            keys(&session, query, form.format).await?.into_response(&name("keys"), session.now())
        }
    }
}

async fn accounts(
    session: &Session,
    query: AccountsQuery,
    format: ExportFormat,
) -> PageResult<Export<ListedServiceAccount>> {
    let mut export = Export::new(format, ACCOUNT_COLUMNS);
    let mut list = AccountPages::new(session, query);
    while let Some(page) = list.next(&mut export).await? {
        for listed in page {
            export.push(&listed)?;
        }
        if export.rows() >= MAX_ACCOUNTS && list.has_more() {
            export.truncate("an export has at most 10,000 accounts");
        }
    }
    Ok(export)
}

async fn keys(
    session: &Session,
    query: AccountsQuery,
    format: ExportFormat,
) -> PageResult<Export<ExportedGrant>> {
    let mut export = Export::new(format, GRANT_COLUMNS);
    let mut list = AccountPages::new(session, query);
    let mut accounts = 0;
    while let Some(page) = list.next(&mut export).await? {
        accounts += page.len();
        let deadline = list.deadline;
        let calls = page.into_iter().map(|listed| session.api().account(listed.account.id));
        let mut calls = futures::stream::iter(calls).buffered(CALLS_AT_A_TIME);
        while !export.is_truncated() {
            match timeout_at(deadline, calls.next()).await {
                Ok(Some(Ok(account))) => add_grants(&mut export, account)?,
                // The account was deleted after it was listed.
                Ok(Some(Err(error))) if error.is_not_found() => {}
                Ok(Some(Err(_))) => export.truncate(API_FAILED),
                Ok(None) => break,
                Err(_) => export.truncate(OUT_OF_TIME),
            }
        }
        if accounts >= MAX_ACCOUNTS_WITH_KEYS && list.has_more() {
            export.truncate("an export has the keys of at most 1,000 accounts");
        }
    }
    Ok(export)
}

/// The pages of the list of accounts, until the time limit.
struct AccountPages<'a> {
    session: &'a Session,
    /// The query of the next page, if there is one.
    query: Option<AccountsQuery>,
    is_first: bool,
    deadline: Instant,
}

impl<'a> AccountPages<'a> {
    fn new(session: &'a Session, query: AccountsQuery) -> Self {
        Self { session, query: Some(query), is_first: true, deadline: Instant::now() + LIMIT }
    }

    fn has_more(&self) -> bool {
        self.query.is_some()
    }

    /// The next page, if there is one and the export has room. A failure after the first page
    /// only truncates the export.
    async fn next<Row>(&mut self, export: &mut Export<Row>) -> ApiResult<Option<Vec<ListedServiceAccount>>> {
        let Some(query) = self.query.take().filter(|_| !export.is_truncated()) else { return Ok(None) };
        let is_first = std::mem::replace(&mut self.is_first, false);
        match timeout_at(self.deadline, self.session.api().accounts(&query)).await {
            Ok(Ok(list)) => {
                self.query = list.next_cursor.map(|cursor| AccountsQuery { cursor, ..query });
                Ok(Some(list.items))
            }
            Ok(Err(error)) if is_first => Err(error),
            Ok(Err(_)) => {
                export.truncate(API_FAILED);
                Ok(None)
            }
            Err(_) => {
                export.truncate(OUT_OF_TIME);
                Ok(None)
            }
        }
    }
}

/// Adds a row for each live and ended key and federated identity of an account.
fn add_grants(export: &mut Export<ExportedGrant>, read: ServiceAccountWithKeys) -> PageResult<()> {
    let account = Arc::new(read.account);
    for key in read.keys {
        export.push(&ExportedGrant::live(Arc::clone(&account), key)?)?;
    }
    for key in read.retired_keys {
        export.push(&ExportedGrant::retired(Arc::clone(&account), key)?)?;
    }
    for identity in read.federated_identities {
        export.push(&ExportedGrant::live_identity(Arc::clone(&account), identity))?;
    }
    for identity in read.ended_federated_identities {
        export.push(&ExportedGrant::ended_identity(Arc::clone(&account), identity))?;
    }
    Ok(())
}
