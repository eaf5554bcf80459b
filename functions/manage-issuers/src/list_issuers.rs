//! `GET /iam/v1/issuers`: lists the trusted issuers.

use shared::api::{TrustedIssuer, TrustedIssuerList};
use shared::http::{Failure, Reply, Request};

use crate::ManageIssuers;

/// List trusted issuers
///
/// Returns all trusted issuers, at most about 50, sorted by name, capital letters first. The
/// list is read consistently.
#[utoipa::path(
    get,
    path = "/iam/v1/issuers",
    operation_id = "listIssuers",
    tag = "Trusted issuers",
    responses(
        (status = 200, description = "The trusted issuers.", body = TrustedIssuerList),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn list_issuers(function: &ManageIssuers, request: &Request) -> Result<Reply, Failure> {
    request.has_no_query()?;
    let issuers = function.store.list_issuers().await?;
    Ok(Reply::ok(&TrustedIssuerList { items: issuers.into_iter().map(TrustedIssuer::from).collect() }))
}
