//! `GET /iam/v1/activity`: returns the activity of all keys.

use shared::api::Activity;
use shared::http::{Failure, Reply, Request};

use crate::ListServiceAccounts;

/// Get the activity of all keys
///
/// Returns how many requests with this deployment's keys were allowed and refused.
/// Requests with retired keys count too, even if the service account was deleted.
/// Requests with an admin's token, an unknown key or a wrong secret do not count.
#[utoipa::path(
    get,
    path = "/iam/v1/activity",
    operation_id = "getActivity",
    tag = "Activity",
    responses(
        (status = 200, description = "The activity of all keys.", body = Activity),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn get_activity(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    request.has_no_query()?;
    let series = function.store.total_activity().await?;
    Ok(Reply::ok(&Activity::new(&series, function.clock.now())))
}
