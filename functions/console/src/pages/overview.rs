//! `GET /`: all accounts, and what wants attention first.

use std::time::Duration;

use askama::Template;
use axum::extract::Query;
use axum::response::{Redirect, Response};
use jiff::Timestamp;
use shared::api::{List, ListedServiceAccount};

use crate::api::{AccountsQuery, ApiError};
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::attention::{self, Attention, Found};
use crate::view::form::Faults;
use crate::view::formatting::When;
use crate::view::layout::{Page, Shown, with_status};
use crate::view::role_chooser::{self as roles, RoleNames};

/// So long it is looked for what wants attention: the page waits for it.
const LIMIT: Duration = Duration::from_secs(3);
/// So much that wants attention is told.
const MOST_TOLD: usize = 10;

struct Row {
    listed: ListedServiceAccount,
    expires: Option<When>,
    /// When one of its keys was last let in.
    used: Option<When>,
    /// Whether one of them came again after its end lately.
    came_again: bool,
}

impl Row {
    fn of(listed: ListedServiceAccount, now: Timestamp) -> Self {
        let when = |at: Option<Timestamp>| at.map(|at| When::of(at, now));
        Self {
            expires: when(listed.account.next_key_expires_at),
            used: when(listed.last_used_at),
            came_again: attention::presented(&listed, now).is_some(),
            listed,
        }
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    query: AccountsQuery,
    roles: RoleNames,
    faults: Faults,
    rows: Vec<Row>,
    attention: Vec<Attention>,
    /// How much more there is of it.
    more: usize,
    /// How many accounts were looked at for it, if not all.
    cut: Option<usize>,
    /// The addresses of the first page and of the next one.
    first: Option<String>,
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

pub(super) async fn show(
    visit: Visit,
    Query(mut query): Query<AccountsQuery>,
) -> Result<Response, PageError> {
    // What a person types around a name is none of it.
    query.prefix = query.prefix.trim().to_owned();
    query.role = query.role.trim().to_owned();
    let faults = roles::faults_of_name(&query.role);
    let is_wrong = faults.is_any();
    let is_front = !is_filtered(&query) && query.cursor.is_empty();
    let (list, roles, found) =
        tokio::join!(list(&visit, &query, is_wrong), roles::known_again(&visit), look(&visit, is_front));
    let list = list?;
    let mut attention = found.all;
    let more = attention.len().saturating_sub(MOST_TOLD);
    attention.truncate(MOST_TOLD);
    let overview = Overview {
        page: visit.page(),
        roles: roles.names(),
        faults,
        first: if query.cursor.is_empty() { None } else { Some(address(&query, String::new())?) },
        next: list.next_cursor.map(|cursor| address(&query, cursor)).transpose()?,
        rows: list.items.into_iter().map(|listed| Row::of(listed, visit.now())).collect(),
        attention,
        more,
        cut: found.is_cut.then_some(found.accounts),
        query,
    };
    if is_wrong {
        return Ok(with_status(overview.faults.status(), overview));
    }
    Ok(visit.show(Shown(overview)))
}

/// The address of another page of the same.
fn address(query: &AccountsQuery, cursor: String) -> Result<String, PageError> {
    let query = serde_html_form::to_string(AccountsQuery { cursor, ..query.clone() });
    query.map(|query| format!("/?{query}")).map_err(|error| PageError::unavailable(error.to_string()))
}

/// The accounts of a page, of which there are none where the filter is wrong.
async fn list(
    visit: &Visit,
    query: &AccountsQuery,
    is_wrong: bool,
) -> Result<List<ListedServiceAccount>, ApiError> {
    if is_wrong {
        return Ok(List { items: Vec::new(), next_cursor: None });
    }
    visit.api().accounts(query).await
}

/// What wants attention, on the front page. Without it the page is there all the
/// same.
async fn look(visit: &Visit, is_front: bool) -> Found {
    if !is_front {
        return Found::default();
    }
    let found = attention::look(visit.api(), visit.now(), LIMIT).await;
    found.unwrap_or(Found { is_cut: true, ..Found::default() })
}

/// Where a form was sent to, there is a page to come back to.
pub(super) async fn go() -> Redirect {
    Redirect::to("/")
}
