//! `GET /iam/v1/service-accounts`: lists service accounts and when their keys
//! were last used.

use serde::Deserialize;
use shared::api::{List, ListedServiceAccount, ServiceAccountList};
use shared::domain::{Account, AccountName, FoldedName, InvalidText, Owner, RoleName, TagKey, TagValue};
use shared::http::{Failure, Paging, Reply, Request, query_parameter};
use shared::store::{AccountCursor, AccountFilter, AccountPage, ListOrder, TagFilter};
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
    /// Only accounts whose owner contains this text, ignoring case. At most 128
    /// characters.
    #[param(min_length = 1, max_length = 128, example = "data-team")]
    owner: Option<String>,
    /// Only accounts with this tag: its name, such as `team`, or its name and value,
    /// such as `team=data`. Tags are case-sensitive.
    #[param(min_length = 1, example = "team=data")]
    tag: Option<String>,
    /// The order of the names: `asc` or `desc`. A cursor is valid in both orders.
    #[param(example = "desc")]
    order: Option<String>,
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
/// If few accounts match, the search for a page stops after reading 10 MB. The page is
/// then shorter than `limit` or empty, although it has a `nextCursor`.
/// `searchedAccounts` says how many accounts were searched.
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
        (status = 200, description = "A page of service accounts.", body = ServiceAccountList),
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
        owner: query_parameter("owner", query.owner.as_deref(), owner)?,
        tag: query_parameter("tag", query.tag.as_deref(), tag)?,
        order: query_parameter("order", query.order.as_deref(), order)?.unwrap_or_default(),
    };
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let page = paging.page(|cursor| AccountCursor::decode(cursor, filter.prefix.as_ref()))?;
    let AccountPage { page, searched } = function.store.list_accounts(&filter, &page).await?;
    let ids = page.items.iter().map(|account| account.id).collect();
    let mut last_uses = function.store.list_last_uses(ids).await?.into_iter();
    let now = function.clock.now();
    let show =
        |account: Account| ListedServiceAccount::new(&account, &last_uses.next().unwrap_or_default(), now);
    let List { items, next_cursor } = List::new(page, show);
    Ok(Reply::ok(&ServiceAccountList { items, next_cursor, searched_accounts: searched }))
}

fn prefix(text: &str) -> Result<FoldedName, String> {
    let folded = FoldedName::new(text);
    if folded.as_str().chars().count() > MAX_PREFIX_CHARS {
        return Err(format!("must be at most {MAX_PREFIX_CHARS} characters"));
    }
    Ok(folded)
}

fn owner(text: &str) -> Result<FoldedName, InvalidText> {
    let owner = Owner::parse(text)?;
    if owner.as_str().is_empty() { Err(InvalidText::Empty) } else { Ok(FoldedName::new(owner.as_str())) }
}

fn tag(text: &str) -> Result<TagFilter, InvalidText> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    Ok(TagFilter { name: TagKey::parse(name)?, value: value.map(TagValue::parse).transpose()? })
}

fn order(text: &str) -> Result<ListOrder, &'static str> {
    match text {
        "asc" => Ok(ListOrder::Ascending),
        "desc" => Ok(ListOrder::Descending),
        _ => Err("must be `asc` or `desc`"),
    }
}
