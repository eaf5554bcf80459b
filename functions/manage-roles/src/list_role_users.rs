//! `GET /iam/v1/roles/{name}/users`: lists the accounts and keys that have a role.

use std::collections::HashMap;

use shared::api::{ListedRoleUse, RoleUserList};
use shared::domain::AccountId;
use shared::http::{Failure, Paging, Reply, Request};
use shared::store::{AccountCursor, StoreError};

use crate::ManageRoles;

/// List the users of a role
///
/// Returns the service accounts that have a built-in or custom role, and the live keys
/// that have the role as their own. They are sorted by the service account's name,
/// ignoring case. A service account and its keys are on the same page, so a page can
/// have more items than `limit`.
///
/// One request checks service accounts for up to six seconds, and at most 100 MB of them
/// (tens of thousands). A page can therefore have few items, or none, although there are
/// more: the list is complete only without a `nextCursor`.
///
/// The list is eventually consistent: a change may take a moment to appear in it.
#[utoipa::path(
    get,
    path = "/iam/v1/roles/{name}/users",
    operation_id = "listRoleUsers",
    tag = "Roles",
    params(("name" = String, Path), Paging),
    responses(
        (status = 200, description = "A page of service accounts and keys.", body = RoleUserList),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "role_not_found"),
    )
)]
pub async fn list_role_users(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let name = request.role_name()?;
    let page = request.query::<Paging>()?.page(|cursor| AccountCursor::decode(cursor, None))?;
    if function.roles.find(&name).await?.is_none() {
        return Err(StoreError::RoleNotFound(name).into());
    }
    let found = function.store.list_role_users(&name, &page).await?;
    let mut accounts: Vec<AccountId> = found.users.iter().map(|user| user.account).collect();
    accounts.dedup();
    let last_uses = function.store.list_last_uses(accounts.clone()).await?;
    let last_uses: HashMap<_, _> = accounts.into_iter().zip(last_uses).collect();
    let never = HashMap::new();
    let items = found
        .users
        .iter()
        .map(|user| ListedRoleUse::new(user, last_uses.get(&user.account).unwrap_or(&never)));
    Ok(Reply::ok(&RoleUserList {
        items: items.collect(),
        checked_accounts: found.checked,
        next_cursor: found.next.map(|cursor| cursor.to_string()),
    }))
}
