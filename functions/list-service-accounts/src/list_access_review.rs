//! `GET /iam/v1/access-review`: lists service accounts with what a review of their access
//! needs to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use shared::api::{List, Observation, ReviewedServiceAccount};
use shared::domain::{RoleName, parse_instant};
use shared::http::{Failure, Paging, Reply, Request, query_parameter};
use shared::policy::Role;
use shared::store::{AccountCursor, Page, ReviewedAccount, StoreError};
use utoipa::IntoParams;

use crate::ListServiceAccounts;

/// The maximum number of accounts, or of roles, whose data is read in parallel.
const READS_AT_A_TIME: usize = 8;

/// The filter, and the fields of [`Paging`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ReviewQuery {
    /// Only accounts that were not reviewed at this instant or later (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime, example = "2026-09-01T00:00:00Z")]
    reviewed_before: Option<String>,
    #[param(ignore)]
    cursor: Option<String>,
    #[param(ignore)]
    limit: Option<String>,
}

/// List service accounts for an access review
///
/// Returns service accounts sorted by name, ignoring case, each with its role, the last use
/// of its keys, the number of unused permissions, and the most recent review. To record an
/// answer, call `reviewServiceAccount`.
///
/// With `reviewedBefore`, a response checks at most 500 accounts, so a page can have few or
/// no items and still have a `nextCursor`.
///
/// The list is eventually consistent: a change of an account may take a moment to appear in
/// it. Reviews appear at once.
#[utoipa::path(
    get,
    path = "/iam/v1/access-review",
    operation_id = "listAccessReview",
    tag = "Access review",
    params(ReviewQuery, Paging),
    responses(
        (status = 200, description = "A page of service accounts.", body = List<ReviewedServiceAccount>),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn list_access_review(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let query: ReviewQuery = request.query()?;
    let before = query_parameter("reviewedBefore", query.reviewed_before.as_deref(), parse_instant)?;
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let page = paging.page(|cursor| AccountCursor::decode(cursor, None))?;
    let Page { items, next } = function.store.list_reviewed_accounts(before, &page).await?;
    let roles = Box::pin(read_roles(function, &items)).await?;
    let show = |reviewed| show(function, reviewed, &roles);
    let items = futures::stream::iter(items).map(show).buffered(READS_AT_A_TIME).try_collect().await?;
    Ok(Reply::ok(&List { items, next_cursor: next.map(|cursor| cursor.to_string()) }))
}

/// The roles of accounts, by name. Roles that do not exist are absent, and so are malformed
/// ones, which must not hide the other accounts.
async fn read_roles(
    function: &ListServiceAccounts,
    accounts: &[ReviewedAccount],
) -> Result<BTreeMap<RoleName, Arc<Role>>, StoreError> {
    let mut names: Vec<_> = accounts.iter().map(|reviewed| reviewed.account.role.clone()).collect();
    names.sort();
    names.dedup();
    let read = |name: RoleName| async move {
        match function.roles.find(&name).await {
            Ok(role) => Ok(role.map(|role| (name, role))),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let roles: Vec<_> =
        futures::stream::iter(names).map(read).buffered(READS_AT_A_TIME).try_collect().await?;
    Ok(roles.into_iter().flatten().collect())
}

async fn show(
    function: &ListServiceAccounts,
    ReviewedAccount { account, review }: ReviewedAccount,
    roles: &BTreeMap<RoleName, Arc<Role>>,
) -> Result<ReviewedServiceAccount, StoreError> {
    let store = &function.store;
    let (routes, last_uses) =
        tokio::try_join!(store.account_routes(account.id), store.last_uses(account.id))?;
    let observation = Observation {
        account: &account,
        role: roles.get(&account.role).map(Arc::as_ref),
        routes: &routes,
        last_uses: &last_uses,
        role_changed_at: None,
        now: function.clock.now(),
    };
    Ok(ReviewedServiceAccount::new(review, &observation))
}
