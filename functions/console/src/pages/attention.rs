//! `GET /attention`: all that wants attention.

use std::time::Duration;

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use crate::attention::{self, Attention};
use crate::page::{Page, Shown};
use crate::session::Visit;
use crate::trouble::Trouble;

/// So long it is looked for: less than a page may take.
const LIMIT: Duration = Duration::from_secs(20);

/// So much is on a page: it stays small, whatever the accounts are called.
const SHOWN: usize = 50;

#[derive(Deserialize)]
pub(super) struct Paging {
    /// So much that is more pressing is on the pages before.
    #[serde(default)]
    after: usize,
}

#[derive(Template)]
#[template(path = "attention.html")]
struct AllAttention {
    page: Page,
    after: usize,
    shown: Vec<Attention>,
    /// How many accounts were looked at, if not all.
    cut: Option<usize>,
    next: Option<usize>,
}

pub(super) async fn show(visit: Visit, Query(Paging { after }): Query<Paging>) -> Result<Response, Trouble> {
    let found = attention::look(visit.api(), visit.now(), LIMIT).await?;
    let next = after.saturating_add(SHOWN);
    let page = AllAttention {
        page: visit.page(),
        after,
        next: Some(next).filter(|next| *next < found.all.len()),
        cut: found.is_cut.then_some(found.accounts),
        shown: found.all.into_iter().skip(after).take(SHOWN).collect(),
    };
    Ok(visit.show(Shown(page)))
}
