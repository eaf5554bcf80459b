//! The IAM API, called over HTTP with an admin's token.

use std::fmt::Display;

use http::request::Builder;
use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::api::{
    Activity, ApiList, ApiSettings, Attention, AttentionReason, AuditEvent, CreateFederatedIdentityRequest,
    CreateServiceAccountRequest, ExplainRequest, Explanation, FederatedIdentity, FoundEvents,
    IssueKeyRequest, IssuedKey, KeyActivity, KeyLookup, List, LookupKeyRequest, Problem, ProblemCode,
    PutApiRequest, PutIssuerRequest, PutRoleRequest, RegisteredApi, Review, ReviewServiceAccountRequest,
    ReviewedServiceAccount, RevokedKeys, Role, RoleUsage, RoleUserList, RotateKeyRequest, RotatedKey,
    SearchResults, ServiceAccount, ServiceAccountList, ServiceAccountWithKeys, TrustedIssuer,
    TrustedIssuerList, UpdateServiceAccountRequest,
};
use shared::domain::{AccountId, ApiName, EventType, GrantId, IdentityId, IssuerName, KeyId, RoleName};
use shared::http_client::HttpClient;
use zeroize::Zeroizing;

use crate::auth::token::AccessToken;
use crate::problem::{for_console, without_backticks};

/// The header in which API Gateway returns its request ID.
const REQUEST_ID: &str = "apigw-requestid";
const ACCOUNTS: &str = "/iam/v1/service-accounts";
const ROLES: &str = "/iam/v1/roles";
const ISSUERS: &str = "/iam/v1/issuers";
const APIS: &str = "/iam/v1/apis";
/// The largest page size of the API.
pub(crate) const MAX_PAGE_SIZE: u8 = 100;

/// How many accounts and keys with a role a page shows.
const ROLE_USERS: u8 = 25;

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

/// The response to a call, or why the call failed.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// The filters of a list of accounts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AccountsQuery {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) prefix: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) role: String,
    /// `true`, `false` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) enabled: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
    /// A tag's name, or its name and value, such as `team=data`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) tag: String,
    /// `desc`, or empty for ascending names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) order: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cursor: String,
    /// The page size, if not the API's default.
    pub(crate) limit: Option<u8>,
}

/// Which keys and accounts need attention.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttentionQuery {
    /// `None` for the most urgent of all.
    pub(crate) reason: Option<AttentionReason>,
    /// Only for keys that expire.
    pub(crate) within_days: Option<u8>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cursor: String,
    pub(crate) limit: u8,
}

/// A text to search for.
#[derive(Serialize)]
struct SearchQuery<'a> {
    q: &'a str,
    /// Empty for the first page.
    #[serde(skip_serializing_if = "str::is_empty")]
    cursor: &'a str,
}

/// The filters of a list of all events.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct EventsQuery {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) actor: String,
    pub(crate) account: Option<AccountId>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) role: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) issuer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) api: String,
    pub(crate) r#type: Option<EventType>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cursor: String,
    pub(crate) limit: u8,
}

/// A page of the access review.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessReviewQuery {
    /// Only accounts without a review since this instant.
    pub(crate) reviewed_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cursor: String,
    pub(crate) limit: u8,
}

/// A page of a list without filters.
#[derive(Serialize)]
struct PageQuery<'a> {
    limit: u8,
    /// Empty for the first page.
    #[serde(skip_serializing_if = "str::is_empty")]
    cursor: &'a str,
}

impl AccountsQuery {
    /// The filters without spaces around them.
    pub(crate) fn trimmed(self) -> Self {
        let trimmed = |text: String| text.trim().to_owned();
        Self {
            prefix: trimmed(self.prefix),
            role: trimmed(self.role),
            owner: trimmed(self.owner),
            tag: trimmed(self.tag),
            ..self
        }
    }

    /// Whether the query has filters.
    pub(crate) fn is_filtered(&self) -> bool {
        let Self { prefix, role, enabled, owner, tag, order: _, cursor: _, limit: _ } = self;
        [prefix, role, enabled, owner, tag].iter().any(|value| !value.is_empty())
    }
}

impl ApiError {
    /// The code of the API's problem.
    pub(crate) fn code(&self) -> Option<ProblemCode> {
        if let Self::Problem(problem) = self { Some(problem.code) } else { None }
    }

    /// Whether the authorizer refused the request.
    pub(crate) fn is_not_permitted(&self) -> bool {
        matches!(self, Self::NotPermitted)
    }

    /// Whether the API found no such resource.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status == 404)
    }
}

/// The headers of a request.
type Headers<'a> = [(&'static str, &'a str)];
/// A response with its body.
type Response = http::Response<Vec<u8>>;

/// The IAM API.
pub(crate) struct Api {
    pub(crate) base: String,
    pub(crate) http_client: HttpClient,
}

impl Api {
    /// The API, called with `token`.
    pub(crate) fn with_token<'a>(&'a self, token: &'a AccessToken) -> AdminApi<'a> {
        AdminApi { api: self, token }
    }
}

/// The IAM API, called with an admin's token.
#[derive(Clone, Copy)]
pub(crate) struct AdminApi<'a> {
    api: &'a Api,
    token: &'a AccessToken,
}

impl AdminApi<'_> {
    /// Checks that the authorizer accepts the token.
    pub(crate) async fn whoami(self) -> ApiResult<()> {
        self.send(Method::GET, "/iam/v1/whoami", &[]).await.map(drop)
    }

    pub(crate) async fn accounts(self, query: &AccountsQuery) -> ApiResult<ServiceAccountList> {
        self.get(&with_query(ACCOUNTS, query)?).await
    }

    pub(crate) async fn account(self, id: AccountId) -> ApiResult<ServiceAccountWithKeys> {
        self.get(&format!("{ACCOUNTS}/{id}")).await
    }

    /// An account and its version.
    pub(crate) async fn account_with_version(self, id: AccountId) -> ApiResult<(ServiceAccount, String)> {
        self.get_with_version(&format!("{ACCOUNTS}/{id}")).await
    }

    pub(crate) async fn events(self, id: AccountId, cursor: &str, limit: u8) -> ApiResult<List<AuditEvent>> {
        self.get(&with_query(&format!("{ACCOUNTS}/{id}/events"), &PageQuery { limit, cursor })?).await
    }

    /// A page of the events of all accounts and roles, newest first.
    pub(crate) async fn all_events(self, query: &EventsQuery) -> ApiResult<FoundEvents> {
        self.get(&with_query("/iam/v1/events", query)?).await
    }

    /// A page of the accounts to review, in the order of their names.
    pub(crate) async fn access_review(
        self,
        query: &AccessReviewQuery,
    ) -> ApiResult<List<ReviewedServiceAccount>> {
        self.get(&with_query("/iam/v1/access-review", query)?).await
    }

    /// Records a review of an account's access. A retry with the same `attempt` records nothing.
    pub(crate) async fn review_account(
        self,
        id: AccountId,
        answer: &ReviewServiceAccountRequest,
        attempt: &str,
    ) -> ApiResult<Review> {
        let path = format!("{ACCOUNTS}/{id}/reviews");
        parse(&self.send_json(Method::POST, &path, &[("idempotency-key", attempt)], answer).await?)
    }

    /// Which permissions of the account's role were used.
    pub(crate) async fn role_usage(self, id: AccountId) -> ApiResult<RoleUsage> {
        self.get(&format!("{ACCOUNTS}/{id}/role-usage")).await
    }

    /// A page of the roles, in the order of their names.
    pub(crate) async fn roles(self, cursor: &str, limit: u8) -> ApiResult<List<Role>> {
        self.get(&with_query(ROLES, &PageQuery { limit, cursor })?).await
    }

    pub(crate) async fn role(self, name: &RoleName) -> ApiResult<Role> {
        self.get(&format!("{ROLES}/{name}")).await
    }

    /// A role and its version. A built-in role has no version.
    pub(crate) async fn role_with_version(self, name: &RoleName) -> ApiResult<(Role, String)> {
        self.get_with_version(&format!("{ROLES}/{name}")).await
    }

    /// A page of the accounts and live keys that have a role.
    pub(crate) async fn role_users(self, name: &RoleName, cursor: &str) -> ApiResult<RoleUserList> {
        let query = PageQuery { limit: ROLE_USERS, cursor };
        self.get(&with_query(&format!("{ROLES}/{name}/users"), &query)?).await
    }

    /// Replaces a role if its version is still `version` or, without a version, creates a new
    /// role.
    pub(crate) async fn put_role(
        self,
        name: &RoleName,
        role: &PutRoleRequest,
        version: Option<&str>,
    ) -> ApiResult<Role> {
        let precondition = version.map_or(("if-none-match", "*"), |version| ("if-match", version));
        parse(&self.send_json(Method::PUT, &format!("{ROLES}/{name}"), &[precondition], role).await?)
    }

    /// Deletes a role if its version is still `version`. `cursor` is the last account
    /// that an earlier attempt checked, or empty.
    pub(crate) async fn delete_role(self, name: &RoleName, version: &str, cursor: &str) -> ApiResult<()> {
        let path = format!("{ROLES}/{name}");
        let path = if cursor.is_empty() { path } else { with_query(&path, &[("cursor", cursor)])? };
        self.send(Method::DELETE, &path, &[("if-match", version)]).await.map(drop)
    }

    /// Asks the API what the authorizer would decide about a request.
    pub(crate) async fn explain(self, request: &ExplainRequest) -> ApiResult<Explanation> {
        let response = self.send_json(Method::POST, &format!("{ROLES}/explain"), &[], request).await?;
        let explanation: Explanation = parse(&response)?;
        Ok(Explanation { detail: without_backticks(&explanation.detail), ..explanation })
    }

    /// Creates an account. A retry with the same `attempt` returns the same account.
    pub(crate) async fn create_account(
        self,
        account: &CreateServiceAccountRequest,
        attempt: &str,
    ) -> ApiResult<ServiceAccount> {
        parse(&self.send_json(Method::POST, ACCOUNTS, &[("idempotency-key", attempt)], account).await?)
    }

    /// Updates an account if its version is still `version` (`*` matches any).
    pub(crate) async fn update_account(
        self,
        id: AccountId,
        changes: &UpdateServiceAccountRequest,
        version: &str,
    ) -> ApiResult<ServiceAccount> {
        let path = format!("{ACCOUNTS}/{id}");
        parse(&self.send_json(Method::PATCH, &path, &[("if-match", version)], changes).await?)
    }

    pub(crate) async fn delete_account(self, id: AccountId) -> ApiResult<()> {
        self.send(Method::DELETE, &format!("{ACCOUNTS}/{id}"), &[]).await.map(drop)
    }

    /// Issues a key. A retry with the same `attempt` never issues a second key.
    pub(crate) async fn issue_key(
        self,
        id: AccountId,
        key: &IssueKeyRequest,
        attempt: &str,
    ) -> ApiResult<IssuedKey> {
        self.post_for_key(&format!("{ACCOUNTS}/{id}/keys"), key, attempt).await
    }

    /// Rotates a key. The old key works for `grace_seconds` longer. A retry with the same
    /// `attempt` never issues a second key.
    pub(crate) async fn rotate_key(
        self,
        id: AccountId,
        key: KeyId,
        grace_seconds: u32,
        attempt: &str,
    ) -> ApiResult<RotatedKey> {
        let path = format!("{ACCOUNTS}/{id}/keys/{key}/rotation");
        self.post_for_key(&path, &RotateKeyRequest { grace_seconds: Some(grace_seconds) }, attempt).await
    }

    /// Sends a request whose response contains a secret.
    async fn post_for_key<T: DeserializeOwned>(
        self,
        path: &str,
        request: &impl Serialize,
        attempt: &str,
    ) -> ApiResult<T> {
        let response = self.send_json(Method::POST, path, &[("idempotency-key", attempt)], request).await?;
        let body = Zeroizing::new(response.into_body());
        // serde_json's messages can quote the input, which contains the secret.
        serde_json::from_slice(&body).map_err(|_| unavailable("the response with the new key is malformed"))
    }

    /// Looks up a leaked key.
    pub(crate) async fn look_up_key(self, pasted: &SecretString) -> ApiResult<KeyLookup> {
        let request = LookupKeyRequest { key: pasted.expose_secret() };
        parse(&self.send_json(Method::POST, "/iam/v1/keys/lookup", &[], &request).await?)
    }

    /// The number of requests with all keys.
    pub(crate) async fn activity(self) -> ApiResult<Activity> {
        self.get("/iam/v1/activity").await
    }

    /// What needs attention.
    pub(crate) async fn attention(self, query: &AttentionQuery) -> ApiResult<Attention> {
        self.get(&with_query("/iam/v1/attention", query)?).await
    }

    /// Searches accounts and keys.
    pub(crate) async fn search(self, text: &str, cursor: &str) -> ApiResult<SearchResults> {
        self.get(&with_query("/iam/v1/search", &SearchQuery { q: text, cursor })?).await
    }

    /// The activity of a live or ended key or federated identity, also of a deleted account.
    pub(crate) async fn grant_activity(self, id: AccountId, grant: GrantId) -> ApiResult<KeyActivity> {
        let path = match grant {
            GrantId::Key(key) => format!("keys/{key}"),
            GrantId::Identity(identity) => format!("federated-identities/{identity}"),
        };
        self.get(&format!("{ACCOUNTS}/{id}/{path}/activity")).await
    }

    /// All trusted issuers, in the order of their names.
    pub(crate) async fn issuers(self) -> ApiResult<Vec<TrustedIssuer>> {
        self.get(ISSUERS).await.map(|list: TrustedIssuerList| list.items)
    }

    /// A trusted issuer and its version.
    pub(crate) async fn issuer_with_version(self, name: &IssuerName) -> ApiResult<(TrustedIssuer, String)> {
        self.get_with_version(&format!("{ISSUERS}/{name}")).await
    }

    /// Changes a trusted issuer if its version is still `version` or, without a version, registers a
    /// new issuer.
    pub(crate) async fn put_issuer(
        self,
        name: &IssuerName,
        issuer: &PutIssuerRequest,
        version: Option<&str>,
    ) -> ApiResult<TrustedIssuer> {
        let precondition = version.map_or(("if-none-match", "*"), |version| ("if-match", version));
        parse(&self.send_json(Method::PUT, &format!("{ISSUERS}/{name}"), &[precondition], issuer).await?)
    }

    /// Deletes a trusted issuer if its version is still `version`.
    pub(crate) async fn delete_issuer(self, name: &IssuerName, version: &str) -> ApiResult<()> {
        self.send(Method::DELETE, &format!("{ISSUERS}/{name}"), &[("if-match", version)]).await.map(drop)
    }

    /// All protected APIs, in the order of their names.
    pub(crate) async fn protected_apis(self) -> ApiResult<Vec<ApiSettings>> {
        self.get(APIS).await.map(|list: ApiList| list.items)
    }

    /// A protected API with its tools, and its version.
    pub(crate) async fn protected_api_with_version(
        self,
        name: &ApiName,
    ) -> ApiResult<(RegisteredApi, String)> {
        self.get_with_version(&format!("{APIS}/{name}")).await
    }

    /// Changes a protected API if its version is still `version` or, without a version, registers a
    /// new API.
    pub(crate) async fn put_protected_api(
        self,
        name: &ApiName,
        api: &PutApiRequest,
        version: Option<&str>,
    ) -> ApiResult<RegisteredApi> {
        let precondition = version.map_or(("if-none-match", "*"), |version| ("if-match", version));
        parse(&self.send_json(Method::PUT, &format!("{APIS}/{name}"), &[precondition], api).await?)
    }

    /// Deletes a protected API if its version is still `version`.
    pub(crate) async fn delete_protected_api(self, name: &ApiName, version: &str) -> ApiResult<()> {
        self.send(Method::DELETE, &format!("{APIS}/{name}"), &[("if-match", version)]).await.map(drop)
    }

    /// Adds a federated identity. A retry with the same `attempt` returns the same identity.
    pub(crate) async fn create_federated_identity(
        self,
        id: AccountId,
        identity: &CreateFederatedIdentityRequest,
        attempt: &str,
    ) -> ApiResult<FederatedIdentity> {
        let path = format!("{ACCOUNTS}/{id}/federated-identities");
        parse(&self.send_json(Method::POST, &path, &[("idempotency-key", attempt)], identity).await?)
    }

    /// Ends a federated identity.
    pub(crate) async fn end_identity(self, id: AccountId, identity: IdentityId) -> ApiResult<()> {
        let path = format!("{ACCOUNTS}/{id}/federated-identities/{identity}");
        self.send(Method::DELETE, &path, &[]).await.map(drop)
    }

    pub(crate) async fn revoke_key(self, id: AccountId, key: KeyId) -> ApiResult<()> {
        self.send(Method::DELETE, &format!("{ACCOUNTS}/{id}/keys/{key}"), &[]).await.map(drop)
    }

    /// Revokes all keys, and ends all federated identities.
    pub(crate) async fn revoke_all_keys(self, id: AccountId) -> ApiResult<RevokedKeys> {
        parse(&self.send(Method::DELETE, &format!("{ACCOUNTS}/{id}/keys"), &[]).await?)
    }

    async fn get<T: DeserializeOwned>(self, path: &str) -> ApiResult<T> {
        parse(&self.send(Method::GET, path, &[]).await?)
    }

    /// A resource and its version, or `*` if it has none.
    async fn get_with_version<T: DeserializeOwned>(self, path: &str) -> ApiResult<(T, String)> {
        let response = self.send(Method::GET, path, &[]).await?;
        let version = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        Ok((parse(&response)?, version.unwrap_or("*").to_owned()))
    }

    async fn send(self, method: Method, path: &str, headers: &Headers<'_>) -> ApiResult<Response> {
        self.call(self.request(method, path, headers)?, Vec::new()).await
    }

    async fn send_json(
        self,
        method: Method,
        path: &str,
        headers: &Headers<'_>,
        body: &impl Serialize,
    ) -> ApiResult<Response> {
        let request = self.request(method, path, headers)?.header(header::CONTENT_TYPE, "application/json");
        self.call(request, serde_json::to_vec(body).map_err(unavailable)?).await
    }

    /// The start of a request, with the token.
    fn request(self, method: Method, path: &str, headers: &Headers<'_>) -> ApiResult<Builder> {
        let mut credential =
            HeaderValue::from_str(&format!("Bearer {}", self.token.reveal())).map_err(unavailable)?;
        credential.set_sensitive(true);
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.api.base));
        let request = request.header(header::AUTHORIZATION, credential);
        headers.iter().try_fold(request, |request, (name, value)| {
            let value = HeaderValue::from_str(value).map_err(|_| invalid_hidden_field())?;
            Ok(request.header(*name, value))
        })
    }

    async fn call(self, request: Builder, body: Vec<u8>) -> ApiResult<Response> {
        let request = request.body(body).map_err(unavailable)?;
        let response = self.api.http_client.send(request).await.map_err(unavailable)?;
        if response.status().is_success() { Ok(response) } else { Err(error_from(&response)) }
    }
}

fn with_query(path: &str, query: &impl Serialize) -> ApiResult<String> {
    Ok(format!("{path}?{}", serde_html_form::to_string(query).map_err(unavailable)?))
}

/// The error for a hidden field whose value is not a valid header value. No request was
/// sent.
fn invalid_hidden_field() -> ApiError {
    ApiError::Problem(Box::new(Problem {
        r#type: String::new(),
        title: "A hidden field of this form is invalid".to_owned(),
        status: 422,
        detail: "Nothing was changed. Open the page again and fill in the form again.".to_owned(),
        code: ProblemCode::MalformedRequest,
        request_id: String::new(),
        errors: Vec::new(),
        used_by: Vec::new(),
        next_cursor: None,
    }))
}

/// Converts a response whose status is not a success.
fn error_from(response: &Response) -> ApiError {
    let status = response.status().as_u16();
    let problem = serde_json::from_slice::<Problem>(response.body()).ok();
    match (status, problem) {
        (401 | 403, _) => ApiError::NotPermitted,
        (..500, Some(problem)) if status != 429 => ApiError::Problem(Box::new(for_console(problem))),
        (_, problem) => {
            let code = problem.as_ref().map_or("no problem details", |problem| problem.code.name());
            let cause = format!("the API: status {status} ({code})");
            let header = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
            let request_id = problem.map(|problem| problem.request_id).or_else(|| header.map(str::to_owned));
            ApiError::Unavailable { request_id, cause }
        }
    }
}

fn parse<T: DeserializeOwned>(response: &Response) -> ApiResult<T> {
    serde_json::from_slice(response.body()).map_err(unavailable)
}

fn unavailable(cause: impl Display) -> ApiError {
    ApiError::Unavailable { request_id: None, cause: format!("the API: {cause}") }
}
