//! The token endpoint: the form of its requests, its responses, and its metadata. The names
//! are those of OAuth 2.0, in snake case.

use std::net::IpAddr;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::instant;
use crate::domain::{AccountId, ApiId, ApiName, ConfirmationDigest, GrantId, named_enum};
use crate::policy::{self, ExchangeReason, Permission};

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

/// A request for a token. Send it as a form. Unknown parameters are ignored, and so is `resource`
/// (RFC 8707), because a token works for all APIs. An empty parameter counts as absent, and no
/// parameter can be sent twice.
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
    /// The URL of an endpoint that refuses every request. RFC 8414 makes this member optional for
    /// these grant types, but the official MCP clients refuse metadata without it.
    #[schema(example = "https://iam.example.com/iam/v1/authorize")]
    pub authorization_endpoint: String,
    /// The URL of the token endpoint.
    #[schema(example = "https://iam.example.com/iam/v1/token")]
    pub token_endpoint: String,
    /// The supported grant types.
    pub grant_types_supported: [&'static str; 3],
    /// How clients authenticate.
    pub token_endpoint_auth_methods_supported: [&'static str; 3],
    /// Empty: there is no sign-in page.
    pub response_types_supported: [&'static str; 0],
}

/// The event of a direct invocation of the token endpoint's function. Its member `keyward` says
/// which kind of event it is.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "keyward", rename_all = "camelCase")]
pub enum DirectEvent {
    Permissions(PermissionsEvent),
    RequestToken(RequestTokenEvent),
}

/// The answer to a [`DirectEvent`], of the same kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum DirectAnswer {
    Permissions(PermissionsAnswer),
    RequestToken(RequestTokenAnswer),
}

/// Asks what a credential permits.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PermissionsEvent {
    /// The key or token of the client.
    #[serde(serialize_with = "expose")]
    pub credential: SecretString,
    /// The address of the client, if it is known.
    pub source: Option<IpAddr>,
}

/// The answer to a [`PermissionsEvent`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PermissionsAnswer {
    /// The credential is valid.
    Permitted(CredentialPermissions),
    /// The credential is refused. The reason is for the log: the client gets 401. If the grant is not
    /// live, the reason is `unknown`, because `exchange-token` finds out why only after its answer.
    Refused { reason: ExchangeReason },
    /// No decision was possible, because a dependency failed. The client gets 503.
    Unavailable {},
}

/// What a valid credential permits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPermissions {
    pub account: AccountId,
    /// The key, or the federated identity that the token was made from.
    pub grant: GrantId,
    /// The account's name.
    pub name: String,
    /// The roles that must all permit a request. A role that does not exist has no permissions.
    pub roles: Vec<policy::Role>,
    /// The first second in which the credential is refused.
    #[serde(serialize_with = "instant::optional_seconds")]
    pub expires_at: Option<Timestamp>,
}

/// Asks for a request token: a token that works for a single request, whatever network the request
/// comes from.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestTokenEvent {
    /// The key or token of the client.
    #[serde(serialize_with = "expose")]
    pub credential: SecretString,
    /// The address of the client, if it is known.
    pub source: Option<IpAddr>,
    /// The API's id in API Gateway, as in the ARN that API Gateway invokes.
    pub api: ApiId,
    /// The method of the request.
    pub method: String,
    /// The path of the request: as in the ARN, so without the stage, or percent-encoded.
    pub path: String,
    /// The name of the called tool, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The name under which the API is registered, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_api: Option<ApiName>,
    /// Present if the request has to be confirmed before it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<RequestConfirmation>,
}

/// The confirmation of a request by the person who uses the agent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestConfirmation {
    /// The hash of all that is confirmed.
    pub digest: ConfirmationDigest,
    /// The state of an earlier [`RequestTokenAnswer::Unconfirmed`], once the request is
    /// confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

named_enum! {
    /// Why a confirmation is refused.
    pub enum ConfirmationRefusal {
        /// The state is forged, has expired, or is for another grant or digest.
        Invalid = "confirmation_invalid",
        /// The state was used before.
        Used = "confirmation_used",
    }
}

/// The answer to a [`RequestTokenEvent`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestTokenAnswer {
    /// The request is allowed.
    #[serde(rename_all = "camelCase")]
    Issued {
        #[serde(serialize_with = "expose")]
        token: SecretString,
        /// The lifetime of the token, in seconds.
        expires_in: u16,
    },
    /// The roles permit the request. Ask again with this state once the request is confirmed.
    Unconfirmed { state: String },
    /// The credential is valid, but does not permit the request.
    #[serde(rename_all = "camelCase")]
    NotPermitted {
        /// The narrowest permission that would cover the request. Absent if no permission can:
        /// the path is reserved or ambiguous.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing_permission: Option<Permission>,
    },
    /// The confirmation is refused.
    ConfirmationRefused { reason: ConfirmationRefusal },
    /// The credential is refused. The reason is for the log: the client gets 401. If the grant is not
    /// live, the reason is `unknown`, because `exchange-token` finds out why only after its answer.
    Refused { reason: ExchangeReason },
    /// No decision was possible, because a dependency failed. The client gets 503.
    Unavailable {},
}

/// Serializes a secret for the function that is invoked, or that invoked this one.
fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
