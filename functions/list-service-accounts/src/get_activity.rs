//! `GET /iam/v1/activity`: returns how many requests all keys made.

use shared::api::Activity;
use shared::http::{Failure, Reply, Request};

use crate::ListServiceAccounts;

/// Get the activity of all keys
///
/// Returns how many requests with keys of this deployment were allowed and refused.
/// Requests with retired keys count, also with keys of deleted service accounts.
/// Requests with other credentials do not count: tokens of admins, unknown keys and
/// keys with a wrong secret.
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
