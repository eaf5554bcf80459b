//! Reads service accounts and audit events:
//!
//! - `GET /iam/v1/service-accounts`: those of a prefix, role or state, with when
//!   they were last used;
//! - `GET /iam/v1/service-accounts/{id}`: one with its keys and their use;
//! - `GET /iam/v1/service-accounts/{id}/events`: its audit events;
//! - `GET /iam/v1/events`: the audit events of all accounts.

use std::sync::Arc;

use serde::Deserialize;
use shared::config::{ConfigError, Setup};
use shared::domain::{
    Account, AccountId, AccountName, Clock, EventType, FoldedName, RoleName, parse_instant,
};
use shared::http::representation::{AuditEvent, List, ListedServiceAccount, ServiceAccountWithKeys};
use shared::http::{Admin, Failure, Operation, Paging, Problem, Reply, Request, parameter};
use shared::store::{AccountFilter, Cursor, EventFilter, Store};

/// The most characters of a prefix: no folded name is longer, and DynamoDB
/// takes no condition on a key of more than 1,024 bytes.
const MAX_PREFIX_CHARS: usize = 2 * AccountName::MAX_CHARS;

/// The function.
pub struct ListServiceAccounts {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Operation for ListServiceAccounts {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        Ok(Self { store: setup.store()?, clock: Arc::clone(&setup.clock) })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, _: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "GET /iam/v1/service-accounts" => list_service_accounts(self, request).await,
            "GET /iam/v1/service-accounts/{id}" => get_service_account(self, request).await,
            "GET /iam/v1/service-accounts/{id}/events" => list_events(self, request).await,
            "GET /iam/v1/events" => list_all_events(self, request).await,
            _ => Err(Failure::RouteNotFound),
        }
    }
}

/// The query of the list of accounts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsQuery {
    prefix: Option<String>,
    role: Option<String>,
    enabled: Option<bool>,
    cursor: Option<String>,
    limit: Option<String>,
}

/// The query of the list of all events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    actor: Option<String>,
    account: Option<String>,
    r#type: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

impl EventsQuery {
    /// What is asked for, and which page of it.
    fn read(self) -> Result<(EventFilter, Paging), Failure> {
        let malformed = |problem: String| Failure::MalformedRequest(format!("In the query, {problem}."));
        if self.actor.as_deref() == Some("") {
            return Err(malformed("`actor` must be a person's id or name".to_owned()));
        }
        let account = self.account.map(|id| id.parse::<AccountId>()).transpose();
        let event_type = self.r#type.map(|name| {
            let known = || EventType::ALL.iter().map(|known| known.name()).collect::<Vec<_>>().join(", ");
            EventType::parse(&name).ok_or_else(|| malformed(format!("`type` must be one of {}", known())))
        });
        let instant = |name: &str, text: Option<String>| {
            let parsed = text.map(|text| parse_instant(&text)).transpose();
            parsed.map_err(|error| malformed(format!("`{name}` is not acceptable: {error}")))
        };
        let filter = EventFilter {
            actor: self.actor,
            account: account.map_err(|error| malformed(format!("`account` is not acceptable: {error}")))?,
            event_type: event_type.transpose()?,
            from: instant("from", self.from)?,
            to: instant("to", self.to)?,
        };
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from > to) {
            return Err(malformed("`from` must not be later than `to`".to_owned()));
        }
        Ok((filter, Paging { cursor: self.cursor, limit: self.limit }))
    }
}

/// List service accounts
///
/// In the order of their names, each with when its keys were last used. The list
/// may be a moment behind; an account itself and every authorization never are.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts",
    operation_id = "listServiceAccounts",
    tag = "Service accounts",
    params(
        ("prefix" = Option<String>, Query, description = "Only names that begin so, whatever their case"),
        ("role" = Option<String>, Query, description = "Only accounts with this role"),
        ("enabled" = Option<bool>, Query, description = "Only enabled or only disabled accounts"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses((status = 200, description = "A page", body = List<ListedServiceAccount>), (status = 400, body = Problem))
)]
pub async fn list_service_accounts(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let query: AccountsQuery = request.query()?;
    let role = query.role.as_deref().map(RoleName::parse).transpose();
    let prefix = query.prefix.as_deref().map(FoldedName::of);
    if prefix.as_ref().is_some_and(|prefix| prefix.as_str().chars().count() > MAX_PREFIX_CHARS) {
        let problem = format!("In the query, `prefix` must be at most {MAX_PREFIX_CHARS} characters.");
        return Err(Failure::MalformedRequest(problem));
    }
    let filter = AccountFilter {
        prefix,
        role: role.map_err(|error| Failure::MalformedRequest(format!("In the query, {error}.")))?,
        enabled: query.enabled,
    };
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let page = paging.page(|cursor| Cursor::decode_account(cursor, filter.prefix.as_ref()))?;
    let accounts = function.store.list_accounts(&filter, &page).await?;
    let ids = accounts.items.iter().map(|account| account.id).collect();
    let mut usage = function.store.list_last_usage(ids).await?.into_iter();
    let now = function.clock.now();
    let show = |account: Account| ListedServiceAccount::of(&account, &usage.next().unwrap_or_default(), now);
    Ok(Reply::ok(&List::of(accounts, show)))
}

/// Get a service account
///
/// With its keys, those that were retired, and how each was used.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}",
    operation_id = "getServiceAccount",
    tag = "Service accounts",
    params(("id" = String, Path, description = "The account's id")),
    responses(
        (status = 200, description = "The account", body = ServiceAccountWithKeys,
            headers(("ETag" = String, description = "Its version"))),
        (status = 400, body = Problem), (status = 404, body = Problem),
    )
)]
pub async fn get_service_account(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let id: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    let account = function.store.get_account(id).await?;
    let usage = function.store.list_usage(id).await?;
    let retired = function.store.list_retired_keys(id).await?;
    let body = ServiceAccountWithKeys::of(&account, retired, &usage, function.clock.now());
    Ok(Reply::ok(&body).with_version(account.version))
}

/// List a service account's events
///
/// The newest first. Those of a deleted account stay.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/events",
    operation_id = "listEvents",
    tag = "Service accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses(
        (status = 200, description = "A page", body = List<AuditEvent>),
        (status = 400, body = Problem), (status = 404, body = Problem),
    )
)]
pub async fn list_events(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let id: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    let page = request.query::<Paging>()?.page(Cursor::decode_event)?;
    let is_first = page.cursor.is_none();
    let events = function.store.list_events(id, &page).await?;
    // Every account has the event of its creation.
    if is_first && events.items.is_empty() {
        return Err(Failure::AccountNotFound(id));
    }
    Ok(Reply::ok(&List::of(events, AuditEvent::from)))
}

/// List all events
///
/// Of all service accounts, deleted ones among them, the newest first. The list
/// may be a moment behind; with `account` it never is. A page may have fewer
/// items than `limit`, or none, and still name a next one.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    get,
    path = "/iam/v1/events",
    operation_id = "listAllEvents",
    tag = "Events",
    params(
        ("actor" = Option<String>, Query, description = "Only those by the person of this id or name, as events show it"),
        ("account" = Option<String>, Query, description = "Only those of the account of this id"),
        ("type" = Option<String>, Query, description = "Only those of this type, such as `key.revoked`"),
        ("from" = Option<String>, Query, format = DateTime, description = "Only those at this instant (RFC 3339) and later"),
        ("to" = Option<String>, Query, format = DateTime, description = "Only those before this instant (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses((status = 200, description = "A page", body = List<AuditEvent>), (status = 400, body = Problem))
)]
pub async fn list_all_events(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let query: EventsQuery = request.query()?;
    let (filter, paging) = query.read()?;
    let page = paging.page(Cursor::decode_all_events)?;
    let events = function.store.list_all_events(&filter, &page).await?;
    Ok(Reply::ok(&List::of(events, AuditEvent::from)))
}
