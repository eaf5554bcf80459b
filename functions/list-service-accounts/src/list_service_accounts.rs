//! `GET /iam/v1/service-accounts`: lists service accounts and when their keys
//! were last used.

use serde::Deserialize;
use shared::domain::{Account, AccountName, FoldedName, RoleName};
use shared::http::representation::{List, ListedServiceAccount};
use shared::http::{Failure, Paging, Problem, Reply, Request};
use shared::store::{AccountFilter, Cursor};

use crate::ListServiceAccounts;

/// The most characters of a prefix: no folded name is longer, and DynamoDB
/// takes no condition on a key of more than 1,024 bytes.
const MAX_PREFIX_CHARS: usize = 2 * AccountName::MAX_CHARS;

/// The query of the list of accounts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsQuery {
    prefix: Option<String>,
    role: Option<String>,
    enabled: Option<bool>,
    cursor: Option<String>,
    limit: Option<String>,
}

/// List service accounts
///
/// In the order of their names, each with when its keys were last used. The list
/// may be a moment behind; an account itself and every authorization never are.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts",
    operation_id = "listServiceAccounts",
    tag = "Service accounts",
    params(
        ("prefix" = Option<String>, Query, description = "Only names that begin so, whatever their case"),
        ("role" = Option<String>, Query, description = "Only accounts with this role"),
        ("enabled" = Option<bool>, Query, description = "Only enabled or only disabled accounts"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses((status = 200, description = "A page", body = List<ListedServiceAccount>), (status = 400, body = Problem))
)]
pub async fn list_service_accounts(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let query: AccountsQuery = request.query()?;
    let role = query.role.as_deref().map(RoleName::parse).transpose();
    let prefix = query.prefix.as_deref().map(FoldedName::new);
    if prefix.as_ref().is_some_and(|prefix| prefix.as_str().chars().count() > MAX_PREFIX_CHARS) {
        let problem = format!("In the query, `prefix` must be at most {MAX_PREFIX_CHARS} characters.");
        return Err(Failure::MalformedRequest(problem));
    }
    let filter = AccountFilter {
        prefix,
        role: role.map_err(|error| Failure::MalformedRequest(format!("In the query, {error}.")))?,
        enabled: query.enabled,
    };
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let page = paging.page(|cursor| Cursor::decode_account(cursor, filter.prefix.as_ref()))?;
    let accounts = function.store.list_accounts(&filter, &page).await?;
    let ids = accounts.items.iter().map(|account| account.id).collect();
    let mut usage = function.store.list_last_usage(ids).await?.into_iter();
    let now = function.clock.now();
    let show = |account: Account| ListedServiceAccount::of(&account, &usage.next().unwrap_or_default(), now);
    Ok(Reply::ok(&List::of(accounts, show)))
}
