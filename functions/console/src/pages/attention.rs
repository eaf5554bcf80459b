//! `GET /attention`: everything that needs attention.

use std::time::Duration;

use askama::Template;
use axum::extract::Query;

use super::request::Offset;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::attention::{self, AttentionItem};
use crate::view::layout::Page;

/// The time limit of the check, below the deadline of a page.
const LIMIT: Duration = Duration::from_secs(20);

const ADDRESS: &str = "/attention";

/// Items per page.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "attention.html")]
struct AllAttention {
    page: Page,
    after: usize,
    shown: Vec<AttentionItem>,
    /// How many accounts were checked, if not all.
    cut: Option<usize>,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
}

pub(super) async fn show(session: Session, Query(Offset { after }): Query<Offset>) -> PageResult {
    let found = attention::find(session.api(), session.now(), LIMIT).await?;
    let next = after.saturating_add(SHOWN);
    let page = AllAttention {
        page: session.page(),
        after,
        first: (after > 0).then(|| ADDRESS.to_owned()),
        next: (next < found.all.len()).then(|| format!("{ADDRESS}?after={next}")),
        cut: found.is_truncated.then_some(found.accounts),
        shown: found.all.into_iter().skip(after).take(SHOWN).collect(),
    };
    session.show(page)
}
