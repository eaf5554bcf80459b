//! `GET /`: all accounts, and what wants attention first.
//!
//! The API's list tells how many live keys an account has and when the next one
//! expires. How they are used is with the account itself, so each account on the
//! page is read: a page has at most 25, a few are read at a time, and what is not
//! there in time is left out.

use std::time::Duration;

use askama::Template;
use axum::extract::Query;
use axum::response::{Redirect, Response};
use futures::StreamExt as _;
use shared::http::representation::{List, ServiceAccount};
use tokio::time::Instant;

use super::roles::{self, RoleChoice};
use crate::api::AccountsQuery;
use crate::attention::{self, Attention, Use};
use crate::page::{Page, Shown};
use crate::session::Visit;
use crate::trouble::Trouble;
use crate::words::When;

/// So many accounts are read at a time.
const AT_A_TIME: usize = 8;
/// All of them are given so long.
const USE_LIMIT: Duration = Duration::from_secs(5);
/// So many pages of 100 accounts are looked through for what wants attention.
const SCANNED_PAGES: usize = 3;
/// So much that wants attention is told.
const MOST_TOLD: usize = 10;

struct Row {
    account: ServiceAccount,
    expires: Option<When>,
    /// Nothing, if it was not to be had in time.
    used: Option<Use>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    query: AccountsQuery,
    roles: Vec<RoleChoice>,
    rows: Vec<Row>,
    attention: Vec<Attention>,
    /// How much more there is of it.
    more: usize,
    /// How many accounts were looked through, if there are more.
    looked_through: Option<usize>,
    /// Whether some of it could not be looked for.
    is_blind: bool,
    /// The next page's address.
    next: Option<String>,
}

impl Overview {
    fn is_filtered(&self) -> bool {
        is_filtered(&self.query)
    }
}

fn is_filtered(query: &AccountsQuery) -> bool {
    !(query.prefix.is_empty() && query.role.is_empty() && query.enabled.is_empty())
}

pub(super) async fn show(visit: Visit, Query(mut query): Query<AccountsQuery>) -> Result<Response, Trouble> {
    // What a person types around a name is none of it.
    query.prefix = query.prefix.trim().to_owned();
    let is_front = !is_filtered(&query) && query.cursor.is_empty();
    let (list, roles, scanned) =
        tokio::join!(visit.api().accounts(&query), roles::choices_again(&visit, ""), scan(&visit, is_front));
    let list = list?;
    let is_blind = scanned.is_none();
    let scanned = scanned.unwrap_or(List { items: Vec::new(), next_cursor: None });
    let now = visit.now();
    let next = list.next_cursor.map(|cursor| AccountsQuery { cursor, ..query.clone() });
    let next =
        next.map(|query| serde_html_form::to_string(query).map(|query| format!("/?{query}"))).transpose();
    let used = uses(&visit, &list.items).await;
    let rows: Vec<_> = list
        .items
        .into_iter()
        .zip(used)
        .map(|(account, used)| Row {
            expires: account.next_key_expires_at.as_deref().map(|at| When::of(at, now)),
            account,
            used,
        })
        .collect();
    let mut attention = Vec::new();
    if is_front {
        attention.extend(scanned.items.iter().flat_map(|account| attention::of_listed(account, now)));
        let used = rows.iter().filter_map(|row| Some((&row.account, row.used.as_ref()?)));
        attention.extend(used.flat_map(|(account, used)| used.attention(account, now)));
        attention::sort(&mut attention);
    }
    let more = attention.len().saturating_sub(MOST_TOLD);
    attention.truncate(MOST_TOLD);
    let overview = Overview {
        page: visit.page(),
        roles: roles::with(roles, &query.role, ""),
        rows,
        attention,
        more,
        looked_through: scanned.next_cursor.map(|_| scanned.items.len()),
        is_blind,
        next: next.map_err(|error| Trouble::unavailable(error.to_string()))?,
        query,
    };
    Ok(visit.show(Shown(overview)))
}

/// The accounts to look through, if they are to be had. Without them the page is
/// there all the same.
async fn scan(visit: &Visit, is_front: bool) -> Option<List<ServiceAccount>> {
    if !is_front {
        return Some(List { items: Vec::new(), next_cursor: None });
    }
    visit.api().first_accounts(SCANNED_PAGES).await.ok()
}

/// How the keys of each account are used, as far as it is to be had in time.
async fn uses(visit: &Visit, accounts: &[ServiceAccount]) -> Vec<Option<Use>> {
    let until = Instant::now() + USE_LIMIT;
    let read = async |account: &ServiceAccount| {
        let id = account.id.parse().ok()?;
        let read = tokio::time::timeout_at(until, visit.api().account(id)).await.ok()?.ok()?;
        Some(Use::of(&read.account, visit.now()))
    };
    futures::stream::iter(accounts).map(read).buffered(AT_A_TIME).collect().await
}

/// Where a form was sent to, there is a page to come back to.
pub(super) async fn go() -> Redirect {
    Redirect::to("/")
}
