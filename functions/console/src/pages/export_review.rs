//! `GET /review/export`: the access review as a CSV or JSON file.

use std::time::Duration;

use axum::extract::Query;
use serde::Deserialize;
use shared::api::ReviewedServiceAccount;
use tokio::time::{Instant, timeout_at};

use super::review::Place;
use crate::api::MAX_PAGE_SIZE;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::export::{Column, Export, ExportFormat, instant};

/// The largest number of accounts in an export.
const MAX_ACCOUNTS: usize = 10_000;
/// The time limit, below the deadline of a page.
const LIMIT: Duration = Duration::from_secs(20);

const COLUMNS: &[Column<ReviewedServiceAccount>] = &[
    ("id", |reviewed| reviewed.listed.account.id.to_string().into()),
    ("name", |reviewed| reviewed.listed.account.name.clone().into()),
    ("owner", |reviewed| reviewed.listed.account.owner.clone().into()),
    ("enabled", |reviewed| reviewed.listed.account.enabled.into()),
    ("role", |reviewed| reviewed.listed.account.role.to_string().into()),
    ("permissionCount", |reviewed| reviewed.permission_count.into()),
    ("unusedPermissionCount", |reviewed| reviewed.unused_permission_count.into()),
    ("lastUsedAt", |reviewed| instant(reviewed.listed.last_used_at)),
    ("liveKeyCount", |reviewed| reviewed.listed.account.live_key_count.into()),
    ("expiringKeyCount", |reviewed| reviewed.expiring_key_count.into()),
    ("unusedKeyCount", |reviewed| reviewed.listed.unused_key_count.into()),
    ("liveIdentityCount", |reviewed| reviewed.listed.account.live_identity_count.into()),
    ("expiringIdentityCount", |reviewed| reviewed.expiring_identity_count.into()),
    ("lastReviewAt", |reviewed| instant(reviewed.last_review.as_ref().map(|review| review.at))),
    ("lastReviewBy", |reviewed| reviewed.last_review.as_ref().map(|review| review.by.name.clone()).into()),
    ("lastReviewDecision", |reviewed| {
        reviewed.last_review.as_ref().map(|review| review.decision.name()).into()
    }),
    ("lastReviewNote", |reviewed| reviewed.last_review.as_ref().map(|review| review.note.clone()).into()),
];

#[derive(Deserialize)]
pub(super) struct Form {
    format: ExportFormat,
    #[serde(default)]
    days: String,
}

pub(super) async fn download(session: Session, Query(form): Query<Form>) -> PageResult {
    let place = Place { days: form.days, ..Place::default() };
    let mut query = place.query(session.now(), MAX_PAGE_SIZE)?;
    let mut export = Export::new(form.format, COLUMNS);
    let deadline = Instant::now() + LIMIT;
    let mut is_first = true;
    loop {
        let page = match timeout_at(deadline, session.api().access_review(&query)).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) if is_first => return Err(error.into()),
            // A failure after the first page only ends the export.
            Ok(Err(_)) => {
                export.truncate("the API did not respond");
                break;
            }
            Err(_) => {
                export.truncate("the time limit was reached");
                break;
            }
        };
        is_first = false;
        for reviewed in &page.items {
            export.push(reviewed)?;
        }
        let Some(next) = page.next_cursor else { break };
        query.cursor = next;
        if export.rows() >= MAX_ACCOUNTS {
            export.truncate("an export has at most 10,000 accounts");
        }
        if export.is_truncated() {
            break;
        }
    }
    let name = format!("keyward-{}-access-review", session.console.environment.as_str());
    export.into_response(&name, session.now())
}
