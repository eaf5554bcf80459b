//! `GET /.well-known/oauth-authorization-server`: the metadata of the token endpoint.

use shared::api::{AuthorizationServer, oauth};
use shared::domain::UrlHosts;
use shared::http::{Failure, Reply, Request};

use crate::ExchangeToken;

/// Get the metadata of the token endpoint
///
/// Returns the OAuth 2.0 authorization server metadata (RFC 8414), with which clients find
/// the token endpoint. This operation needs no credential.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "getTokenEndpointMetadata",
    tag = "Tokens",
    security(()),
    responses(
        (status = 200, description = "The metadata.", body = AuthorizationServer),
        (status = 400, description = "malformed_request"),
    )
)]
pub fn get_metadata(function: &ExchangeToken, request: &Request) -> Result<Reply, Failure> {
    request.has_no_query()?;
    let domain = request.domain().ok_or_else(|| Failure::Internal("the event has no domain".to_owned()))?;
    // API Gateway serves only https. Local mode serves http.
    let scheme = match function.issuer_hosts {
        UrlHosts::Public => "https",
        UrlHosts::PublicAndLoopback => "http",
    };
    let issuer = format!("{scheme}://{domain}");
    Ok(Reply::ok(&AuthorizationServer {
        authorization_endpoint: format!("{issuer}/iam/v1/authorize"),
        token_endpoint: format!("{issuer}/iam/v1/token"),
        issuer,
        grant_types_supported: oauth::GRANT_TYPES,
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
        response_types_supported: [],
    }))
}
