//! `GET /`: what needs attention, and all accounts.

use std::time::Duration;

use askama::Template;
use axum::extract::Query;
use axum::response::Redirect;
use jiff::Timestamp;
use shared::api::{List, ListedServiceAccount};

use crate::api::{AccountsQuery, ApiError};
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::attention::{self, AttentionItem, AttentionList};
use crate::view::excerpt::Excerpt;
use crate::view::form::FormErrors;
use crate::view::formatting::TimeText;
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::{self, RoleNames};

/// The time limit of the check for what needs attention. The page waits for it.
const LIMIT: Duration = Duration::from_secs(3);
/// How many items that need attention are shown.
const MAX_SHOWN: usize = 10;

struct AccountRow {
    listed: ListedServiceAccount,
    expires: Option<TimeText>,
    /// When one of the account's keys was last used.
    used: Option<TimeText>,
    /// Whether a retired key was used recently.
    is_retired_key_used: bool,
}

impl AccountRow {
    fn new(listed: ListedServiceAccount, now: Timestamp) -> Self {
        let when = |at: Option<Timestamp>| at.map(|at| TimeText::new(at, now));
        Self {
            expires: when(listed.account.next_key_expires_at),
            used: when(listed.last_used_at),
            is_retired_key_used: attention::used_after_end(&listed, now).is_some(),
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
    errors: FormErrors,
    rows: Vec<AccountRow>,
    attention: Excerpt<AttentionItem>,
    /// How many accounts were checked, if not all.
    cut: Option<usize>,
    /// The addresses of the first page and of the next page.
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

pub(super) async fn show(session: Session, Query(mut query): Query<AccountsQuery>) -> PageResult {
    query.prefix = query.prefix.trim().to_owned();
    query.role = query.role.trim().to_owned();
    let errors = role_chooser::check_name(&query.role);
    let is_invalid = !errors.is_empty();
    let is_front = !is_filtered(&query) && query.cursor.is_empty();
    let (list, roles, found) = tokio::join!(
        list(&session, &query, is_invalid),
        role_chooser::available_or_built_in(&session),
        find_attention(&session, is_front)
    );
    let list = list?;
    let overview = Overview {
        page: session.page(),
        roles: roles.names(),
        errors,
        first: if query.cursor.is_empty() { None } else { Some(address(&query, String::new())?) },
        next: list.next_cursor.map(|cursor| address(&query, cursor)).transpose()?,
        rows: list.items.into_iter().map(|listed| AccountRow::new(listed, session.now())).collect(),
        attention: Excerpt::first(found.all, MAX_SHOWN),
        cut: found.is_truncated.then_some(found.accounts),
        query,
    };
    if is_invalid {
        return with_status(overview.errors.status(), overview);
    }
    session.show(overview)
}

/// The address of another page with the same filters.
fn address(query: &AccountsQuery, cursor: String) -> PageResult<String> {
    let query = serde_html_form::to_string(AccountsQuery { cursor, ..query.clone() });
    query.map(|query| format!("/?{query}")).map_err(PageError::unavailable)
}

/// The accounts of the page. An invalid filter matches none.
async fn list(
    session: &Session,
    query: &AccountsQuery,
    is_invalid: bool,
) -> Result<List<ListedServiceAccount>, ApiError> {
    if is_invalid {
        return Ok(List { items: Vec::new(), next_cursor: None });
    }
    session.api().accounts(query).await
}

/// What needs attention, for the unfiltered first page. The page works without it.
async fn find_attention(session: &Session, is_front: bool) -> AttentionList {
    if !is_front {
        return AttentionList::default();
    }
    let found = attention::find(session.api(), session.now(), LIMIT).await;
    found.unwrap_or(AttentionList { is_truncated: true, ..AttentionList::default() })
}

/// Redirects a reload of a form's address to a page.
pub(super) async fn redirect() -> Redirect {
    Redirect::to("/")
}
