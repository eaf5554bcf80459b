//! The HTTP responses that replace an MCP response.

use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::record::Outcome;

/// Why a request gets no MCP response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The `Host` header does not name this server.
    WrongHost,
    /// The path belongs to no route.
    NoRoute,
    /// The request has no `Authorization` header.
    NoCredential,
    /// The request has several credentials.
    SeveralCredentials,
    /// The client did not replace a variable such as `${KEYWARD_KEY}`, or the variable is empty.
    UnsetVariable,
    /// The credential is not a key or token of this environment.
    MalformedCredential,
    /// `exchange-token` refused the credential.
    Credential,
    /// No API is registered under the name in the path.
    UnknownApi,
    /// A dependency failed.
    Unavailable,
    /// The request took too long.
    Timeout,
}

/// The body of a refusal: problem details (RFC 9457). Clients show it to their users.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute | Self::UnknownApi => StatusCode::NOT_FOUND,
            Self::NoCredential
            | Self::SeveralCredentials
            | Self::UnsetVariable
            | Self::MalformedCredential
            | Self::Credential => StatusCode::UNAUTHORIZED,
            Self::Unavailable | Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The outcome for the log.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::WrongHost => Outcome::WrongHost,
            Self::NoRoute => Outcome::NoRoute,
            Self::NoCredential => Outcome::NoCredential,
            Self::SeveralCredentials | Self::UnsetVariable | Self::MalformedCredential => {
                Outcome::MalformedCredential
            }
            Self::Credential => Outcome::CredentialRefused,
            Self::UnknownApi => Outcome::UnknownApi,
            Self::Unavailable => Outcome::Outage,
            Self::Timeout => Outcome::Timeout,
        }
    }

    /// The stable code, the title and the detail.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::WrongHost => ("wrong_host", "Wrong host", "The Host header does not name this server."),
            Self::NoRoute => (
                "route_not_found",
                "Route not found",
                "The MCP server of an API is at /mcp/NAME, where NAME is the name of the API.",
            ),
            Self::NoCredential => (
                "no_credential",
                "No key or token",
                "Send a key or token of a service account in the Authorization header: Authorization: Bearer KEY.",
            ),
            Self::SeveralCredentials => (
                "malformed_credential",
                "More than one credential",
                "Send exactly one key or token in the Authorization header.",
            ),
            Self::UnsetVariable => (
                "unset_variable",
                "The client did not insert the key",
                "The Authorization header contains the name of a variable instead of a key, or no key. Set the \
                 environment variable before you start the client, and check how the client's configuration refers to \
                 variables.",
            ),
            Self::MalformedCredential => (
                "malformed_credential",
                "Not a key or token",
                "The Authorization header must contain Bearer and a complete key or token of this Keyward environment.",
            ),
            Self::Credential => (
                "credential_refused",
                "The key or token was refused",
                "The key or token is unknown, revoked or expired, or cannot be used from this network, or its account \
                 is disabled. An admin can find the reason in the key's activity or in the log.",
            ),
            Self::UnknownApi => (
                "api_not_found",
                "API not found",
                "No API is registered under this name. Check the end of the URL, /mcp/NAME.",
            ),
            Self::Unavailable | Self::Timeout => (
                "dependency_unavailable",
                "A dependency is unavailable",
                "Keyward could not complete the request. Try again.",
            ),
        }
    }

    /// The whole response. `metadata` is the URL of the metadata with which clients find the
    /// authorization server (RFC 9728, section 5.1).
    pub(crate) fn render(self, metadata: impl Display, request_id: &str) -> Response {
        let (status, (code, title, detail)) = (self.status(), self.texts());
        let r#type = format!("urn:keyward:problem:{code}");
        let problem = Problem { r#type, title, status: status.as_u16(), detail, code, request_id };
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            // Without a credential, there is no error (RFC 6750, section 3.1).
            let error = if self == Self::NoCredential { "" } else { "error=\"invalid_token\", " };
            let challenge = format!("Bearer {error}resource_metadata=\"{metadata}\"");
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for Refusal {
    /// A response without a body. [`guard`](crate::guard) renders the refusal.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
