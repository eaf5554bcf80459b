//! `GET /iam/v1/service-accounts`: lists service accounts and when their keys
//! were last used.

use serde::Deserialize;
use shared::api::{List, ListedServiceAccount};
use shared::domain::{Account, AccountName, FoldedName, RoleName};
use shared::http::{Failure, Paging, Reply, Request, query_parameter};
use shared::store::{AccountCursor, AccountFilter};
use utoipa::IntoParams;

use crate::ListServiceAccounts;

/// The maximum length of a prefix, in characters. Folded names are not longer, and
/// DynamoDB refuses a condition on a key of more than 1,024 bytes.
const MAX_PREFIX_CHARS: usize = 2 * AccountName::MAX_CHARS;

/// The filters, and the fields of [`Paging`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccountsQuery {
    /// Only accounts whose name begins with this text, ignoring case. At most 128
    /// characters.
    #[param(max_length = 128, example = "nightly")]
    prefix: Option<String>,
    /// Only accounts with this role. Names of roles are case-sensitive.
    #[param(max_length = 64, example = "ServiceAccountReader")]
    role: Option<String>,
    /// `true` for only enabled accounts, `false` for only disabled ones.
    enabled: Option<bool>,
    #[param(ignore)]
    cursor: Option<String>,
    #[param(ignore)]
    limit: Option<String>,
}

/// List service accounts
///
/// Returns service accounts sorted by name, ignoring case, each with the last
/// use of its keys. An account must match all filters.
///
/// The list is eventually consistent: a change may take a moment to appear in it.
/// `getServiceAccount` and every authorization use the current state.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts",
    operation_id = "listServiceAccounts",
    tag = "Service accounts",
    params(AccountsQuery, Paging),
    responses(
        (status = 200, description = "A page of service accounts.", body = List<ListedServiceAccount>),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn list_service_accounts(
    function: &ListServiceAccounts,
    request: &Request,
) -> Result<Reply, Failure> {
    let query: AccountsQuery = request.query()?;
    let filter = AccountFilter {
        prefix: query_parameter("prefix", query.prefix.as_deref(), prefix)?,
        role: query_parameter("role", query.role.as_deref(), RoleName::parse)?,
        enabled: query.enabled,
    };
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let page = paging.page(|cursor| AccountCursor::decode(cursor, filter.prefix.as_ref()))?;
    let accounts = function.store.list_accounts(&filter, &page).await?;
    let ids = accounts.items.iter().map(|account| account.id).collect();
    let mut last_uses = function.store.list_last_uses(ids).await?.into_iter();
    let now = function.clock.now();
    let show =
        |account: Account| ListedServiceAccount::new(&account, &last_uses.next().unwrap_or_default(), now);
    Ok(Reply::ok(&List::new(accounts, show)))
}

fn prefix(text: &str) -> Result<FoldedName, String> {
    let folded = FoldedName::new(text);
    if folded.as_str().chars().count() > MAX_PREFIX_CHARS {
        return Err(format!("must be at most {MAX_PREFIX_CHARS} characters"));
    }
    Ok(folded)
}
