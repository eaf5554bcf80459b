//! The IAM API, called over HTTP with an admin's token.

use http::{Method, header};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::api::{
    AuditEvent, CreateServiceAccountRequest, ExplainRequest, Explanation, IssueKeyRequest, IssuedKey,
    KeyLookup, List, ListedServiceAccount, LookupKeyRequest, Problem, ProblemCode, PutRoleRequest,
    RevokedKeys, Role, RotateKeyRequest, RotatedKey, ServiceAccount, ServiceAccountWithKeys,
    UpdateServiceAccountRequest,
};
use shared::domain::{AccountId, EventType, KeyId, RoleName};
use shared::http_client::HttpClient;
use zeroize::Zeroizing;

use crate::auth::token::AccessToken;
use crate::problem::{plain, unmarked};

/// The header in which API Gateway returns its request ID.
const REQUEST_ID: &str = "apigw-requestid";
const ACCOUNTS: &str = "/iam/v1/service-accounts";
const ROLES: &str = "/iam/v1/roles";
/// The largest page size of the API.
pub(crate) const MAX_PAGE_SIZE: u8 = 100;

/// Why a call to the API failed.
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    /// The authorizer refused the request.
    NotPermitted,
    /// The API refused the request with a problem.
    Problem(Box<Problem>),
    /// The API did not respond, or its response is malformed. A change may or may not have
    /// been made.
    Unavailable {
        /// The API's request ID, if the API responded.
        request_id: Option<String>,
        /// The cause, for the log.
        cause: String,
    },
}

/// The filters of a list of accounts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AccountsQuery {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) prefix: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) role: String,
    /// `true`, `false` or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) enabled: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) cursor: String,
    /// The page size, if not the API's default. It is not in the page's address.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u8>,
}

/// The filters of a list of all events.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct EventsQuery {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<AccountId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#type: Option<EventType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cursor: String,
    pub(crate) limit: u8,
}

/// The precondition of saving a role.
#[derive(Clone, Copy)]
pub(crate) enum Precondition<'a> {
    /// The role must not exist.
    NotExists,
    /// The role must have this version.
    Version(&'a str),
}

/// An account with its keys, and its version.
pub(crate) struct VersionedAccount {
    pub(crate) account: ServiceAccountWithKeys,
    pub(crate) version: String,
}

/// A role and its version. A built-in role has no version.
pub(crate) struct VersionedRole {
    pub(crate) role: Role,
    pub(crate) version: String,
}

/// The IAM API.
pub(crate) struct Api {
    base: String,
    http_client: HttpClient,
}

impl Api {
    pub(crate) fn new(base: String, http_client: HttpClient) -> Self {
        Self { base, http_client }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The API, called with `token`.
    pub(crate) fn by<'a>(&'a self, token: &'a AccessToken) -> Caller<'a> {
        Caller { api: self, token }
    }
}

/// The API, called with an admin's token.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    api: &'a Api,
    token: &'a AccessToken,
}

impl Caller<'_> {
    /// Checks that the authorizer accepts the token.
    pub(crate) async fn whoami(self) -> Result<(), ApiError> {
        self.call(Method::GET, "/iam/v1/whoami", &[], None::<&()>).await.map(drop)
    }

    pub(crate) async fn accounts(
        self,
        query: &AccountsQuery,
    ) -> Result<List<ListedServiceAccount>, ApiError> {
        let query = serde_html_form::to_string(query).map_err(|error| unreadable(&error))?;
        read(&self.call(Method::GET, &format!("{ACCOUNTS}?{query}"), &[], None::<&()>).await?)
    }

    pub(crate) async fn account(self, id: AccountId) -> Result<VersionedAccount, ApiError> {
        let answer = self.call(Method::GET, &format!("{ACCOUNTS}/{id}"), &[], None::<&()>).await?;
        Ok(VersionedAccount { version: version(&answer), account: read(&answer)? })
    }

    pub(crate) async fn events(
        self,
        id: AccountId,
        cursor: &str,
        limit: u8,
    ) -> Result<List<AuditEvent>, ApiError> {
        self.list(&format!("{ACCOUNTS}/{id}/events"), cursor, limit).await
    }

    /// A page of the events of all accounts and roles, newest first.
    pub(crate) async fn all_events(self, query: &EventsQuery) -> Result<List<AuditEvent>, ApiError> {
        let query = serde_html_form::to_string(query).map_err(|error| unreadable(&error))?;
        read(&self.call(Method::GET, &format!("/iam/v1/events?{query}"), &[], None::<&()>).await?)
    }

    /// A page of the roles, in the order of their names.
    pub(crate) async fn roles(self, cursor: &str, limit: u8) -> Result<List<Role>, ApiError> {
        self.list(ROLES, cursor, limit).await
    }

    pub(crate) async fn role(self, name: &RoleName) -> Result<VersionedRole, ApiError> {
        let answer = self.call(Method::GET, &format!("{ROLES}/{name}"), &[], None::<&()>).await?;
        Ok(VersionedRole { version: version(&answer), role: read(&answer)? })
    }

    /// Creates or replaces a role.
    pub(crate) async fn put_role(
        self,
        name: &RoleName,
        role: &PutRoleRequest,
        before: Precondition<'_>,
    ) -> Result<Role, ApiError> {
        let precondition = match before {
            Precondition::NotExists => ("if-none-match", "*"),
            Precondition::Version(version) => ("if-match", version),
        };
        read(&self.call(Method::PUT, &format!("{ROLES}/{name}"), &[precondition], Some(role)).await?)
    }

    /// Deletes a role if its version is still `version`. `cursor` is the last account
    /// that an earlier attempt checked, or empty.
    pub(crate) async fn delete_role(
        self,
        name: &RoleName,
        version: &str,
        cursor: &str,
    ) -> Result<(), ApiError> {
        let query = [("cursor", cursor)].into_iter().filter(|(_, value)| !value.is_empty());
        let query =
            serde_html_form::to_string(query.collect::<Vec<_>>()).map_err(|error| unreadable(&error))?;
        let separator = if query.is_empty() { "" } else { "?" };
        let path = format!("{ROLES}/{name}{separator}{query}");
        self.call(Method::DELETE, &path, &[("if-match", version)], None::<&()>).await.map(drop)
    }

    /// Asks what the authorizer would decide.
    pub(crate) async fn explain(self, question: &ExplainRequest) -> Result<Explanation, ApiError> {
        let answer = self.call(Method::POST, &format!("{ROLES}/explain"), &[], Some(question)).await?;
        let explanation: Explanation = read(&answer)?;
        Ok(Explanation { detail: unmarked(&explanation.detail), ..explanation })
    }

    async fn list<T: DeserializeOwned>(
        self,
        path: &str,
        cursor: &str,
        limit: u8,
    ) -> Result<List<T>, ApiError> {
        let query = [("limit", limit.to_string()), ("cursor", cursor.to_owned())];
        let query = query.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>();
        let query = serde_html_form::to_string(query).map_err(|error| unreadable(&error))?;
        read(&self.call(Method::GET, &format!("{path}?{query}"), &[], None::<&()>).await?)
    }

    /// Creates an account. A retry with the same `attempt` returns the same account.
    pub(crate) async fn create_account(
        self,
        account: &CreateServiceAccountRequest,
        attempt: &str,
    ) -> Result<ServiceAccount, ApiError> {
        read(&self.call(Method::POST, ACCOUNTS, &[("idempotency-key", attempt)], Some(account)).await?)
    }

    /// Updates an account if its version is still `version` (`*` matches any).
    pub(crate) async fn update_account(
        self,
        id: AccountId,
        changes: &UpdateServiceAccountRequest,
        version: &str,
    ) -> Result<ServiceAccount, ApiError> {
        let path = format!("{ACCOUNTS}/{id}");
        read(&self.call(Method::PATCH, &path, &[("if-match", version)], Some(changes)).await?)
    }

    pub(crate) async fn delete_account(self, id: AccountId) -> Result<(), ApiError> {
        self.call(Method::DELETE, &format!("{ACCOUNTS}/{id}"), &[], None::<&()>).await.map(drop)
    }

    /// Issues a key. A retry with the same `attempt` never issues a second key.
    pub(crate) async fn issue_key(
        self,
        id: AccountId,
        key: &IssueKeyRequest,
        attempt: &str,
    ) -> Result<IssuedKey, ApiError> {
        self.make_key(&format!("{ACCOUNTS}/{id}/keys"), key, attempt).await
    }

    /// Rotates a key, which works for `grace_seconds` longer. A retry with the same `attempt`
    /// never issues a second key.
    pub(crate) async fn rotate_key(
        self,
        id: AccountId,
        key: KeyId,
        grace_seconds: u32,
        attempt: &str,
    ) -> Result<RotatedKey, ApiError> {
        let path = format!("{ACCOUNTS}/{id}/keys/{key}/rotation");
        self.make_key(&path, &RotateKeyRequest { grace_seconds: Some(grace_seconds) }, attempt).await
    }

    async fn make_key<T: DeserializeOwned>(
        self,
        path: &str,
        wanted: &impl Serialize,
        attempt: &str,
    ) -> Result<T, ApiError> {
        let answer = self.call(Method::POST, path, &[("idempotency-key", attempt)], Some(wanted)).await?;
        let (_, body) = answer.into_parts();
        let body = Zeroizing::new(body);
        // serde_json's messages can quote the input, which contains the secret.
        serde_json::from_slice(&body).map_err(|_| ApiError::Unavailable {
            request_id: None,
            cause: "the issued key cannot be read".to_owned(),
        })
    }

    /// Looks up a leaked key.
    pub(crate) async fn look_up_key(self, pasted: &SecretString) -> Result<KeyLookup, ApiError> {
        let request = LookupKeyRequest { key: pasted.expose_secret() };
        read(&self.call(Method::POST, "/iam/v1/keys/lookup", &[], Some(&request)).await?)
    }

    pub(crate) async fn revoke_key(self, id: AccountId, key: KeyId) -> Result<(), ApiError> {
        self.call(Method::DELETE, &format!("{ACCOUNTS}/{id}/keys/{key}"), &[], None::<&()>).await.map(drop)
    }

    /// Revokes all keys and returns their number.
    pub(crate) async fn revoke_all_keys(self, id: AccountId) -> Result<usize, ApiError> {
        let answer = self.call(Method::DELETE, &format!("{ACCOUNTS}/{id}/keys"), &[], None::<&()>).await?;
        read(&answer).map(|revoked: RevokedKeys| revoked.revoked_key_ids.len())
    }

    async fn call(
        self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&impl Serialize>,
    ) -> Result<http::Response<Vec<u8>>, ApiError> {
        let unavailable =
            |cause: String| ApiError::Unavailable { request_id: None, cause: format!("the API: {cause}") };
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.api.base));
        let mut credential = http::HeaderValue::from_str(&format!("Bearer {}", self.token.reveal()))
            .map_err(|error| unavailable(error.to_string()))?;
        credential.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, credential);
        for (name, value) in headers {
            let value = http::HeaderValue::from_str(value).map_err(|_| damaged())?;
            request = request.header(*name, value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(|error| unavailable(error.to_string()))?
            }
            None => Vec::new(),
        };
        let request = request.body(body).map_err(|error| unavailable(error.to_string()))?;
        let answer =
            self.api.http_client.send(request).await.map_err(|error| unavailable(error.to_string()))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(&answer)) }
    }
}

/// The error for a hidden field whose value cannot be sent as a header. No request was
/// made.
fn damaged() -> ApiError {
    ApiError::Problem(Box::new(Problem {
        r#type: String::new(),
        title: "A hidden field of this form is damaged".to_owned(),
        status: 422,
        detail: "Nothing was changed. Open the page again and fill in the form again.".to_owned(),
        code: ProblemCode::MalformedRequest,
        request_id: String::new(),
        errors: Vec::new(),
        used_by: Vec::new(),
        next_cursor: None,
    }))
}

/// Converts a response that is not a success.
fn refusal(answer: &http::Response<Vec<u8>>) -> ApiError {
    let status = answer.status().as_u16();
    let problem = serde_json::from_slice::<Problem>(answer.body()).ok();
    match (status, problem) {
        (401 | 403, _) => ApiError::NotPermitted,
        (..500, Some(problem)) if status != 429 => ApiError::Problem(Box::new(plain(problem))),
        (_, problem) => {
            let said = answer.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
            let code = problem.as_ref().map_or("no problem details", |problem| problem.code.name());
            ApiError::Unavailable {
                cause: format!("the API: it answered {status} ({code})"),
                request_id: problem.as_ref().map(|problem| problem.request_id.clone()).or(said),
            }
        }
    }
}

/// The version in a response, or `*` if it has none.
fn version(answer: &http::Response<Vec<u8>>) -> String {
    let version = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    version.unwrap_or("*").to_owned()
}

fn read<T: DeserializeOwned>(answer: &http::Response<Vec<u8>>) -> Result<T, ApiError> {
    serde_json::from_slice(answer.body()).map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::error::Error) -> ApiError {
    ApiError::Unavailable { request_id: None, cause: format!("the API: {error}") }
}
