//! `GET /attention`: all that wants attention.

use std::time::Duration;

use askama::Template;
use axum::extract::Query;
use axum::response::Response;

use super::request::After;
use crate::auth::session::Visit;
use crate::error::PageError;
use crate::view::attention::{self, Attention};
use crate::view::layout::{Page, Shown};

/// So long it is looked for: less than a page may take.
const LIMIT: Duration = Duration::from_secs(20);

const ADDRESS: &str = "/attention";

/// So much is on a page: it stays small, whatever the accounts are called.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "attention.html")]
struct AllAttention {
    page: Page,
    after: usize,
    shown: Vec<Attention>,
    /// How many accounts were looked at, if not all.
    cut: Option<usize>,
    /// The addresses of the first page and of the next one.
    first: Option<String>,
    next: Option<String>,
}

pub(super) async fn show(visit: Visit, Query(After { after }): Query<After>) -> Result<Response, PageError> {
    let found = attention::look(visit.api(), visit.now(), LIMIT).await?;
    let next = after.saturating_add(SHOWN);
    let page = AllAttention {
        page: visit.page(),
        after,
        first: (after > 0).then(|| ADDRESS.to_owned()),
        next: (next < found.all.len()).then(|| format!("{ADDRESS}?after={next}")),
        cut: found.is_cut.then_some(found.accounts),
        shown: found.all.into_iter().skip(after).take(SHOWN).collect(),
    };
    Ok(visit.show(Shown(page)))
}
