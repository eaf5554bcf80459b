//! `GET /accounts`: the list of accounts.
//!
//! The API's cursors only lead forward, so the address of a page has the cursors of the pages
//! before it: the trail.

use askama::Template;
use axum::extract::Query;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::api::{FieldError, ListedServiceAccount, ServiceAccountList};
use shared::domain::{InvalidText, Owner, TagKey, TagValue};

use crate::api::{AccountsQuery, MAX_PAGE_SIZE};
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::form::FormErrors;
use crate::view::formatting::count;
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::{self, RoleNames};

const ADDRESS: &str = "/accounts";
/// The largest size of a trail, in bytes. Sign-in returns to an address of at most 1,024
/// bytes.
const MAX_TRAIL_BYTES: usize = 600;
/// How long an account is marked after one of its retired keys was used.
const RECENTLY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The position of a page in the list.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Position {
    /// The number of the page, from 1. 0 also stands for the first page.
    page: usize,
    /// The cursors of the pages before this page, except the first page, which has none. If
    /// there are too many, only the last of them. Cursors contain no dots.
    #[serde(skip_serializing_if = "String::is_empty")]
    trail: String,
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountList {
    page: Page,
    query: AccountsQuery,
    roles: RoleNames,
    errors: FormErrors,
    accounts: Vec<ListedServiceAccount>,
    /// For example, `10,000 accounts`: those that were searched, if the search stopped before
    /// the page was full.
    searched: Option<String>,
    /// The number of the page.
    number: usize,
    /// The addresses of the first, the previous and the next page.
    first: Option<String>,
    previous: Option<String>,
    next: Option<String>,
    /// The filters, for the addresses of exports.
    filters: String,
}

impl AccountList {
    /// Whether the deployment has no accounts.
    fn is_new(&self) -> bool {
        self.accounts.is_empty() && !self.query.is_filtered() && self.query.cursor.is_empty()
    }

    /// Whether a retired key of `account` was used in the last 30 days.
    fn is_used_after_end(&self, account: &ListedServiceAccount) -> bool {
        let is_recent = |at: Timestamp| self.page.now.duration_since(at) < RECENTLY;
        account.used_after_end_at.is_some_and(is_recent)
    }
}

pub(super) async fn show(
    session: Session,
    Query(query): Query<AccountsQuery>,
    Query(position): Query<Position>,
) -> PageResult {
    let query = query.trimmed();
    let errors = check(&query);
    let is_valid = errors.is_empty();
    let accounts = async {
        // Invalid filters match nothing.
        let none = ServiceAccountList { items: Vec::new(), next_cursor: None, searched_accounts: None };
        if is_valid { session.api().accounts(&query).await } else { Ok(none) }
    };
    let (list, roles) = tokio::join!(accounts, role_chooser::available_or_built_in(&session));
    let list = list?;
    let number = position.page.max(1);
    let filters = AccountsQuery { cursor: String::new(), limit: None, ..query.clone() };
    let accounts = AccountList {
        page: session.page(),
        roles: roles.names(),
        errors,
        accounts: list.items,
        searched: list
            .searched_accounts
            .map(|searched| count(u64::try_from(searched).unwrap_or(u64::MAX), "account")),
        number,
        first: if query.cursor.is_empty() { None } else { Some(address(&query, "", &Position::default())?) },
        previous: previous(&query, &position)?,
        next: list.next_cursor.map(|cursor| next(&query, &position, &cursor)).transpose()?,
        filters: serde_html_form::to_string(filters).map_err(PageError::unavailable)?,
        query,
    };
    if is_valid { session.show(accounts) } else { with_status(accounts.errors.status(), accounts) }
}

/// The address of another page with the same filters.
fn address(query: &AccountsQuery, cursor: &str, position: &Position) -> PageResult<String> {
    let text = |query| serde_html_form::to_string(query).map_err(PageError::unavailable);
    let query = text(AccountsQuery { cursor: cursor.to_owned(), ..query.clone() })?;
    if cursor.is_empty() {
        return Ok(if query.is_empty() { ADDRESS.to_owned() } else { format!("{ADDRESS}?{query}") });
    }
    let position = serde_html_form::to_string(position).map_err(PageError::unavailable)?;
    Ok(format!("{ADDRESS}?{query}&{position}"))
}

fn next(query: &AccountsQuery, position: &Position, cursor: &str) -> PageResult<String> {
    let trail = format!("{}.{}", position.trail, query.cursor);
    let mut trail = trail.trim_matches('.');
    while trail.len() > MAX_TRAIL_BYTES {
        trail = trail.split_once('.').map_or("", |(_, rest)| rest);
    }
    let position = Position { page: position.page.max(1).saturating_add(1), trail: trail.to_owned() };
    address(query, cursor, &position)
}

/// The address of the previous page, if the trail leads to it.
fn previous(query: &AccountsQuery, position: &Position) -> PageResult<Option<String>> {
    let page = position.page.saturating_sub(1);
    let (trail, cursor) = position.trail.rsplit_once('.').unwrap_or(("", &position.trail));
    // The first page has no cursor.
    if query.cursor.is_empty() || (cursor.is_empty() && page != 1) {
        return Ok(None);
    }
    address(query, cursor, &Position { page, trail: trail.to_owned() }).map(Some)
}

/// Checks the filters that an admin enters as text.
fn check(query: &AccountsQuery) -> FormErrors {
    let tag = |text: &str| {
        let (name, value) = text.split_once('=').map_or((text, ""), |(name, value)| (name, value));
        TagKey::parse(name).and_then(|_| TagValue::parse(value)).err()
    };
    let owner = Owner::parse(&query.owner).err();
    let tag = if query.tag.is_empty() { None } else { tag(&query.tag) };
    let error = |field: &str, problem: Option<InvalidText>| {
        problem.map(|problem| FieldError { pointer: format!("/{field}"), detail: problem.to_string() })
    };
    let errors: Vec<_> = error("owner", owner).into_iter().chain(error("tag", tag)).collect();
    if errors.is_empty() { role_chooser::check_name(&query.role) } else { FormErrors::fields(errors) }
}
