//! `GET /iam/v1/service-accounts/{id}/events`: lists the audit events of a
//! service account.

use shared::domain::AccountId;
use shared::http::representation::{AuditEvent, List};
use shared::http::{Failure, Paging, Problem, Reply, Request, parameter};
use shared::store::Cursor;

use crate::ListServiceAccounts;

/// List a service account's events
///
/// The newest first. Those of a deleted account stay.
#[utoipa::path(
    get,
    path = "/iam/v1/service-accounts/{id}/events",
    operation_id = "listEvents",
    tag = "Service accounts",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses(
        (status = 200, description = "A page", body = List<AuditEvent>),
        (status = 400, body = Problem), (status = 404, body = Problem),
    )
)]
pub async fn list_events(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let id: AccountId = request.parameter(parameter::ACCOUNT_ID)?;
    let page = request.query::<Paging>()?.page(Cursor::decode_event)?;
    let is_first = page.cursor.is_none();
    let events = function.store.list_events(id, &page).await?;
    // Every account has the event of its creation.
    if is_first && events.items.is_empty() {
        return Err(Failure::AccountNotFound(id));
    }
    Ok(Reply::ok(&List::of(events, AuditEvent::from)))
}
