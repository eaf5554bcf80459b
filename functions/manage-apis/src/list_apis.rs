//! `GET /iam/v1/apis`: lists the protected APIs.

use shared::api::ApiList;
use shared::http::{Failure, Reply, Request};

use crate::ManageApis;
use crate::registered_api::settings;

/// List protected APIs
///
/// Returns all protected APIs, at most about 50, sorted by name, without their tools. The list is
/// eventually consistent: an API may take a moment to appear in it.
#[utoipa::path(
    get,
    path = "/iam/v1/apis",
    operation_id = "listApis",
    tag = "Protected APIs",
    responses(
        (status = 200, description = "The protected APIs.", body = ApiList),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn list_apis(function: &ManageApis, request: &Request) -> Result<Reply, Failure> {
    request.has_no_query()?;
    let apis = function.store.list_apis().await?;
    Ok(Reply::ok(&ApiList { items: apis.into_iter().map(settings).collect() }))
}
