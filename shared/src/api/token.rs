//! The token endpoint: the form of its requests, its responses, and its metadata. The names
//! are those of OAuth 2.0, in snake case.

use std::net::IpAddr;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::named_enum;
use crate::policy::ExchangeReason;

/// The names that OAuth 2.0 and Keyward give to grant types and token types.
pub mod oauth {
    /// Token exchange (RFC 8693).
    pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
    /// A JWT as an authorization grant (RFC 7523).
    pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    /// Client credentials (RFC 6749, section 4.4).
    pub const CLIENT_CREDENTIALS: &str = "client_credentials";
    /// All grant types.
    pub const GRANT_TYPES: [&str; 3] = [TOKEN_EXCHANGE, JWT_BEARER, CLIENT_CREDENTIALS];
    /// A JWT of a workload.
    pub const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
    /// A JWT of a workload, as an `OpenID` Connect ID token.
    pub const ID_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:id_token";
    /// A Keyward token.
    pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
    /// A Keyward key.
    pub const KEY_TYPE: &str = "urn:keyward:token-type:key";
}

/// A request for a token. Send it as a form. Unknown parameters are ignored, an empty parameter
/// counts as absent, and no parameter can be sent twice.
#[derive(Debug, ToSchema)]
pub struct TokenRequest {
    /// The grant type: `urn:ietf:params:oauth:grant-type:token-exchange`
    /// (any credential), `urn:ietf:params:oauth:grant-type:jwt-bearer` (a workload's JWT) or
    /// `client_credentials` (a key).
    #[schema(example = "urn:ietf:params:oauth:grant-type:token-exchange")]
    pub grant_type: String,
    /// Token exchange: the credential.
    #[schema(required = false, value_type = String)]
    pub subject_token: Option<String>,
    /// Token exchange: the kind of credential. `urn:ietf:params:oauth:token-type:jwt` or
    /// `urn:ietf:params:oauth:token-type:id_token` for a workload's JWT,
    /// `urn:keyward:token-type:key` for a key, or
    /// `urn:ietf:params:oauth:token-type:access_token` for a token, which then gets a child.
    #[schema(required = false, value_type = String, example = "urn:ietf:params:oauth:token-type:jwt")]
    pub subject_token_type: Option<String>,
    /// With a JWT: the federated identity that the workload uses, as
    /// `<account id>/<identity id>`.
    #[schema(
        required = false,
        value_type = String,
        example = "sa_4hQ0bTnYwLzR8sVc/fid_8sVc4hQ0bTnYwLzR"
    )]
    pub audience: Option<String>,
    /// JWT bearer: the workload's JWT.
    #[schema(required = false, value_type = String)]
    pub assertion: Option<String>,
    /// Client credentials: the id of the service account, unless it is in the `Authorization`
    /// header. JWT bearer: the federated identity, if there is no `audience`.
    #[schema(required = false, value_type = String, example = "sa_4hQ0bTnYwLzR8sVc")]
    pub client_id: Option<String>,
    /// Client credentials: the key, unless it is in the `Authorization` header.
    #[schema(required = false, value_type = String)]
    pub client_secret: Option<String>,
    /// The name of a role that narrows the token. The token permits only what this role and
    /// all roles of the credential permit.
    #[schema(required = false, value_type = String, example = "ServiceAccountReader")]
    pub scope: Option<String>,
    /// The lifetime of the token, in seconds. The token ends earlier if the credential does.
    #[schema(required = false, value_type = u16, minimum = 60, maximum = 3600, default = 900)]
    pub expires_in: Option<String>,
    /// The kind of token to issue. Only `urn:ietf:params:oauth:token-type:access_token`.
    #[schema(required = false, value_type = String)]
    pub requested_token_type: Option<String>,
}

/// An issued token.
#[derive(Serialize, ToSchema)]
pub struct TokenResponse<'a> {
    /// The token. Send it as a Bearer token in `Authorization`.
    #[schema(example = "kwst_prod_…")]
    pub access_token: &'a str,
    /// `urn:ietf:params:oauth:token-type:access_token`.
    #[schema(example = "urn:ietf:params:oauth:token-type:access_token")]
    pub issued_token_type: &'static str,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// The lifetime of the token, in seconds.
    #[schema(example = 900)]
    pub expires_in: u16,
    /// The names of the roles that narrow the token, separated by spaces. Absent if the token
    /// permits all that the credential permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String, example = "ServiceAccountReader")]
    pub scope: Option<String>,
}

named_enum! {
    /// The kinds of errors of the token endpoint (RFC 6749, section 5.2, and RFC 8693, section
    /// 2.2.2).
    #[derive(ToSchema)]
    pub enum TokenErrorCode {
        InvalidRequest = "invalid_request",
        UnsupportedGrantType = "unsupported_grant_type",
        InvalidGrant = "invalid_grant",
        InvalidClient = "invalid_client",
        InvalidScope = "invalid_scope",
        InvalidTarget = "invalid_target",
        TemporarilyUnavailable = "temporarily_unavailable",
    }
}

/// An error of the token endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenError {
    /// The kind of error.
    #[schema(value_type = String, example = "invalid_grant")]
    pub error: TokenErrorCode,
    /// What happened and what to do.
    #[schema(
        example = "The credential was refused. An admin can find the reason in the log of the token endpoint."
    )]
    pub error_description: String,
}

/// The metadata of the token endpoint (RFC 8414).
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorizationServer {
    /// The URL of the IAM API.
    #[schema(example = "https://iam.example.com")]
    pub issuer: String,
    /// The URL of the token endpoint.
    #[schema(example = "https://iam.example.com/iam/v1/token")]
    pub token_endpoint: String,
    /// The supported grant types.
    pub grant_types_supported: [&'static str; 3],
    /// How clients authenticate.
    pub token_endpoint_auth_methods_supported: [&'static str; 3],
    /// Empty: there is no authorization endpoint.
    pub response_types_supported: [&'static str; 0],
}

/// The member that marks a [`RequestTokenEvent`].
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum RequestTokenMarker {
    #[serde(rename = "requestToken")]
    RequestToken,
}

/// The event of a direct invocation of the token endpoint's function. It asks for a request
/// token: one that works for a single request, whatever network the request comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestTokenEvent {
    pub keyward: RequestTokenMarker,
    /// The key or token of the client.
    pub credential: SecretString,
    /// The address of the client, if it is known.
    pub source: Option<IpAddr>,
    /// The method of the request.
    pub method: String,
    /// The path of the request as in the ARN that API Gateway invokes: without the stage.
    pub path: String,
}

/// The answer to a [`RequestTokenEvent`]. Not `Debug`, because it can contain a token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestTokenAnswer {
    /// The request is allowed.
    #[serde(rename_all = "camelCase")]
    Issued { token: String, expires_in: u16 },
    /// The request is refused.
    #[serde(rename_all = "camelCase")]
    Refused {
        reason: ExchangeReason,
        /// The narrowest permission that would cover the request, if a role refused it.
        #[serde(skip_serializing_if = "Option::is_none")]
        missing_permission: Option<String>,
    },
}
