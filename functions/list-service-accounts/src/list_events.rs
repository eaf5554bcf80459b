//! `GET /iam/v1/service-accounts/{id}/events`: lists the audit events of a
//! service account.

use shared::api::{AuditEvent, List};
use shared::http::{Failure, Paging, Reply, Request};
use shared::store::{EventCursor, StoreError};

use crate::ListServiceAccounts;

/// List a service account's audit events
///
/// Returns the audit events of a service account and its keys, newest first. The
/// list is always up to date. The events of a deleted account stay available.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/events",
    operation_id = "listEvents",
    tag = "Audit events",
    params(("id" = String, Path), Paging),
    responses(
        (status = 200, description = "A page of audit events.", body = List<AuditEvent>),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "service_account_not_found"),
    )
)]
pub async fn list_events(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let id = request.account_id()?;
    let page = request.query::<Paging>()?.page(EventCursor::decode)?;
    let is_first = page.cursor.is_none();
    let events = function.store.list_events(id, &page).await?;
    // Every account, even a deleted one, has at least the event of its creation.
    if is_first && events.items.is_empty() {
        return Err(StoreError::AccountNotFound(id).into());
    }
    Ok(Reply::ok(&List::new(events, AuditEvent::from)))
}
