//! `GET /iam/v1/service-accounts/{id}/role-usage`: returns which permissions of an account's
//! role were used, and suggests a smaller role.

use jiff::Timestamp;
use shared::api::{Observation, RoleUsage};
use shared::domain::{AccountId, EventType, RoleName};
use shared::http::{Failure, Reply, Request};
use shared::policy::Role;
use shared::store::{EventCursor, MAX_LIMIT, PageRequest, StoreError};

use crate::ListServiceAccounts;

/// Get the role usage of a service account
///
/// Returns the permissions of a service account's role, each with the routes that needed
/// the permission in the last 90 days, and suggests a smaller role. The routes are those of
/// allowed requests with all keys of the account, including retired keys. Calls of `whoami`
/// need no permission.
///
/// The suggestion permits every observed route that the role permits, and nothing that the
/// role does not permit. A request that the programs make less often than every 90 days may
/// not be observed. `gaps` says what else the observation does not show.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/role-usage",
    operation_id = "getRoleUsage",
    tag = "Activity",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The use of the account's role.", body = RoleUsage),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found"),
    )
)]
pub async fn get_role_usage(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let id = request.account_id()?;
    request.has_no_query()?;
    let store = &function.store;
    let account = store.get_account(id).await?;
    let (role, routes, last_uses, assigned_at) = tokio::try_join!(
        find_role(function, &account.role),
        store.account_routes(id),
        store.last_uses(id),
        role_assigned_at(function, id),
    )?;
    let (role, updated_at) = role.unzip();
    Ok(Reply::ok(&RoleUsage::new(&Observation {
        account: &account,
        role: role.as_ref(),
        routes: &routes,
        last_uses: &last_uses,
        role_changed_at: updated_at.flatten().max(assigned_at),
        now: function.clock.now(),
    })))
}

/// Finds a role, and when it was last changed if it is a custom role.
async fn find_role(
    function: &ListServiceAccounts,
    name: &RoleName,
) -> Result<Option<(Role, Option<Timestamp>)>, StoreError> {
    if let Some(role) = name.built_in() {
        return Ok(Some((function.roles.built_in(role).clone(), None)));
    }
    match function.store.get_role(name).await {
        Ok(role) => Ok(Some((role.role, Some(role.updated_at)))),
        Err(StoreError::RoleNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// When the account last got another role, according to its most recent events.
async fn role_assigned_at(
    function: &ListServiceAccounts,
    id: AccountId,
) -> Result<Option<Timestamp>, StoreError> {
    let page = PageRequest::<EventCursor> { limit: i32::from(MAX_LIMIT), cursor: None };
    let events = function.store.list_events(id, &page).await?;
    let assigned = events.items.into_iter().find(|event| {
        event.event_type == EventType::ServiceAccountUpdated
            && event.changes.iter().any(|change| change.field == "role")
    });
    Ok(assigned.map(|event| event.at))
}
