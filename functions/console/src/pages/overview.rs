//! `GET /`: all accounts.

use askama::Template;
use axum::extract::Query;
use axum::response::{Redirect, Response};
use shared::http::representation::ServiceAccount;

use super::roles::{self, RoleChoice};
use crate::api::AccountsQuery;
use crate::page::{Page, Shown};
use crate::session::Visit;
use crate::trouble::Trouble;
use crate::words::When;

struct Row {
    account: ServiceAccount,
    expires: Option<When>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    query: AccountsQuery,
    roles: Vec<RoleChoice>,
    rows: Vec<Row>,
    /// The next page's address.
    next: Option<String>,
}

impl Overview {
    fn is_filtered(&self) -> bool {
        !(self.query.prefix.is_empty() && self.query.role.is_empty() && self.query.enabled.is_empty())
    }
}

pub(super) async fn show(visit: Visit, Query(mut query): Query<AccountsQuery>) -> Result<Response, Trouble> {
    // What a person types around a name is none of it.
    query.prefix = query.prefix.trim().to_owned();
    let (list, roles) = tokio::join!(visit.api().accounts(&query), roles::choices(&visit));
    let (list, roles) = (list?, roles?);
    let now = visit.now();
    let next = list.next_cursor.map(|cursor| AccountsQuery { cursor, ..query.clone() });
    let next =
        next.map(|query| serde_html_form::to_string(query).map(|query| format!("/?{query}"))).transpose();
    let rows = list.items.into_iter().map(|account| Row {
        expires: account.next_key_expires_at.as_deref().map(|at| When::of(at, now)),
        account,
    });
    let overview = Overview {
        page: visit.page(),
        roles: roles::with(roles, &query.role, ""),
        rows: rows.collect(),
        next: next.map_err(|error| Trouble::unavailable(error.to_string()))?,
        query,
    };
    Ok(visit.show(Shown(overview)))
}

/// Where a form was sent to, there is a page to come back to.
pub(super) async fn go() -> Redirect {
    Redirect::to("/")
}
