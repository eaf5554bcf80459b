//! `GET /iam/v1/issuers/{name}`: returns a trusted issuer.

use shared::api::TrustedIssuer;
use shared::http::{Failure, Reply, Request};

use crate::ManageIssuers;

/// Get a trusted issuer
///
/// Returns a trusted issuer, read consistently.
#[utoipa::path(
    get,
    path = "/iam/v1/issuers/{name}",
    operation_id = "getIssuer",
    tag = "Trusted issuers",
    params(("name" = String, Path, description = "The name of the issuer. Names are case-sensitive.", example = "github")),
    responses(
        (status = 200, description = "The trusted issuer.", body = TrustedIssuer, headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request"),
        (status = 404, description = "issuer_not_found"),
    )
)]
pub async fn get_issuer(function: &ManageIssuers, request: &Request) -> Result<Reply, Failure> {
    let name = request.issuer_name()?;
    request.has_no_query()?;
    let issuer = function.store.get_issuer(&name).await?;
    let version = issuer.version;
    Ok(Reply::ok(&TrustedIssuer::from(issuer)).with_version(version))
}
