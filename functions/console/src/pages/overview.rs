//! `GET /`: what needs attention, and all accounts.

use std::time::Duration;

use askama::Template;
use axum::extract::Query;
use axum::response::Redirect;
use shared::api::{List, ListedServiceAccount};

use crate::api::AccountsQuery;
use crate::auth::session::Session;
use crate::error::{PageError, PageResult};
use crate::view::attention::{self, AttentionItem, AttentionList};
use crate::view::excerpt::Excerpt;
use crate::view::form::FormErrors;
use crate::view::layout::{Page, with_status};
use crate::view::role_chooser::{self, RoleNames};

/// The time limit of the check for what needs attention. The page waits for it.
const LIMIT: Duration = Duration::from_secs(3);
/// How many items that need attention are shown.
const MAX_SHOWN: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    query: AccountsQuery,
    roles: RoleNames,
    errors: FormErrors,
    accounts: Vec<ListedServiceAccount>,
    attention: Excerpt<AttentionItem>,
    /// How many accounts were checked, if not all.
    cut: Option<usize>,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
}

impl AccountsQuery {
    fn is_filtered(&self) -> bool {
        !(self.prefix.is_empty() && self.role.is_empty() && self.enabled.is_empty())
    }
}

pub(super) async fn show(session: Session, Query(query): Query<AccountsQuery>) -> PageResult {
    let query = query.trimmed();
    let errors = role_chooser::check_name(&query.role);
    let is_valid = errors.is_empty();
    let is_front = !query.is_filtered() && query.cursor.is_empty();
    let accounts = async {
        // An invalid filter matches none.
        let none = List { items: Vec::new(), next_cursor: None };
        if is_valid { session.api().accounts(&query).await } else { Ok(none) }
    };
    let (list, roles, found) = tokio::join!(
        accounts,
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
        accounts: list.items,
        attention: Excerpt::first(found.all, MAX_SHOWN),
        cut: found.is_truncated.then_some(found.accounts),
        query,
    };
    if is_valid { session.show(overview) } else { with_status(overview.errors.status(), overview) }
}

/// The address of another page with the same filters.
fn address(query: &AccountsQuery, cursor: String) -> PageResult<String> {
    let query = serde_html_form::to_string(AccountsQuery { cursor, ..query.clone() });
    query.map(|query| format!("/?{query}")).map_err(PageError::unavailable)
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
