//! An HTTP client for the API, with assertions about responses.

use std::collections::BTreeMap;

use local::issuer::{API_CLIENT, IAM_CLIENT};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use serde_json::{Value, json};

use crate::{Harness, openapi};

/// A request under construction.
pub struct RequestBuilder<'a> {
    harness: &'a Harness,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub text: String,
}

/// A service account that a test created.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account's id.
    pub id: String,
}

/// A key that a test issued.
#[derive(Clone, Debug)]
pub struct Key {
    /// The account's id.
    pub account: String,
    /// The key's id.
    pub id: String,
    /// The whole key.
    pub secret: String,
}

impl Key {
    /// The key in the response that issued it, for this account.
    pub fn from_issued(account: &Account, issued: &Reply) -> Self {
        let issued = issued.json();
        let text = |name: &str| issued[name].as_str().unwrap().to_owned();
        Self { account: account.id.clone(), id: text("id"), secret: text("secret") }
    }

    /// The path of the key, for example to revoke it.
    pub fn path(&self) -> String {
        format!("/iam/v1/service-accounts/{}/keys/{}", self.account, self.id)
    }
}

impl Account {
    /// The path of the account.
    pub fn path(&self) -> String {
        format!("/iam/v1/service-accounts/{}", self.id)
    }
}

impl<'a> RequestBuilder<'a> {
    pub(crate) fn new(harness: &'a Harness, method: &str, path: &str) -> Self {
        Self { harness, method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: None }
    }

    /// Adds a new token of the admin for the IAM API.
    #[must_use]
    pub fn admin(self) -> Self {
        let token = self.harness.system.issuer().token(IAM_CLIENT).unwrap();
        self.bearer(&token)
    }

    /// Adds a new token of the admin for business APIs.
    #[must_use]
    pub fn api_admin(self) -> Self {
        let token = self.harness.system.issuer().token(API_CLIENT).unwrap();
        self.bearer(&token)
    }

    /// Adds an `Authorization` header with this credential.
    #[must_use]
    pub fn bearer(self, credential: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {credential}"))
    }

    /// Adds a header, and keeps others of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a query string.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path = format!("{}{separator}{query}", self.path);
        self
    }

    /// Adds an `Idempotency-Key`.
    #[must_use]
    pub fn idempotency_key(self, value: &str) -> Self {
        self.header("idempotency-key", value)
    }

    /// Adds an `If-Match` header.
    #[must_use]
    pub fn if_match(self, tag: &str) -> Self {
        self.header(IF_MATCH.as_str(), tag)
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    /// Sets the body and its media type.
    #[must_use]
    pub fn text(mut self, media_type: &str, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self.header(CONTENT_TYPE.as_str(), media_type)
    }

    /// Sends the request. Fails if the response is a problem that the description of the
    /// operation does not mention.
    pub async fn send(self) -> Reply {
        let url = format!("{}{}", self.harness.system.facts().api, self.path);
        let method = reqwest::Method::from_bytes(self.method.as_bytes()).unwrap();
        let mut request = self.harness.client.request(method, url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let status = response.status().as_u16();
        let reply = Reply { status, headers, text: response.text().await.unwrap() };
        openapi::assert_problem_is_described(&self.method, &self.path, &reply);
        reply
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The request id.
    pub fn request_id(&self) -> &str {
        &self.headers["apigw-requestid"]
    }

    /// The `errors` of problem details.
    pub fn errors(&self) -> Value {
        self.json()["errors"].clone()
    }

    /// The `code` of problem details.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("not problem details: {self:?}")).to_owned()
    }

    /// Fails unless the response has this status.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Fails unless the response is problem details with this status and code, and names the
    /// request.
    #[must_use]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!(
            self.headers.get("content-type").map(String::as_str),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        assert_eq!(
            self.json()["requestId"].as_str(),
            self.headers.get("apigw-requestid").map(String::as_str)
        );
        self
    }

    /// The whole response for a snapshot: status, body and headers, except those of the
    /// connection. Checks the request id, and replaces it because it differs in each run.
    pub fn snapshot(&self) -> Value {
        let mut headers = self.headers.clone();
        let request_id = headers.remove("apigw-requestid").expect("every response has a request id");
        for name in ["content-length", "date"] {
            headers.remove(name);
        }
        let mut body = serde_json::from_str(&self.text).unwrap_or_else(|_| Value::from(self.text.clone()));
        if let Some(id) = body.get_mut("requestId") {
            assert_eq!(*id, request_id, "the body names the request");
            *id = "[request id]".into();
        }
        json!({ "status": self.status, "headers": headers, "body": body })
    }
}

impl Harness {
    /// Sends a GET request as the admin. Fails unless the response is 200.
    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path).admin().send().await.expect(200)
    }

    /// The keys in the response to a GET request for the account.
    pub async fn keys(&self, account: &Account) -> Vec<Value> {
        self.get(&account.path()).await.json()["keys"].as_array().unwrap().clone()
    }

    /// Sends a request that must be refused with this status and code. Fails if the request
    /// changes the table.
    pub async fn refuse(&self, request: RequestBuilder<'_>, status: u16, code: &str) -> Reply {
        let before = self.table.dump().await;
        let reply = request.send().await.expect_problem(status, code);
        assert_eq!(before, self.table.dump().await, "the refused request changed the table");
        reply
    }

    /// The account's audit events, newest first.
    pub async fn events(&self, account: &Account) -> Vec<Value> {
        let list = self.get(&format!("{}/events?limit=100", account.path())).await.json();
        list["items"].as_array().unwrap().clone()
    }

    /// The single event that was added after the events in `before`.
    pub async fn new_event(&self, account: &Account, before: &[Value]) -> Value {
        let mut events = self.events(account).await;
        events.retain(|event| !before.contains(event));
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// A token of the admin with this id for the IAM API.
    pub fn token_of(&self, id: &str, email: &str) -> String {
        self.admin_token(|claims| {
            claims["sub"] = id.into();
            claims["email"] = email.into();
        })
    }

    /// Creates an account.
    pub async fn create_account(&self, name: &str, role: &str) -> Account {
        let request = self.request("POST", "/iam/v1/service-accounts").admin();
        let reply = request.json(&json!({ "name": name, "role": role })).send().await.expect(201);
        Account { id: reply.json()["id"].as_str().unwrap().to_owned() }
    }

    /// Issues a key of an account.
    pub async fn issue_key(&self, account: &Account) -> Key {
        self.issue_key_with(account, &json!({ "name": "test key" })).await
    }

    /// Issues a key with this request body.
    pub async fn issue_key_with(&self, account: &Account, body: &Value) -> Key {
        let request = self.request("POST", &format!("{}/keys", account.path())).admin();
        Key::from_issued(account, &request.json(body).send().await.expect(201))
    }

    /// Creates an account and issues a key.
    pub async fn account_with_key(&self, name: &str, role: &str) -> (Account, Key) {
        let account = self.create_account(name, role).await;
        let key = self.issue_key(&account).await;
        (account, key)
    }

    /// Registers or changes a trusted issuer.
    pub async fn put_issuer(&self, name: &str, body: &Value) -> Reply {
        let request = self.request("PUT", &format!("/iam/v1/issuers/{name}")).admin();
        let reply = request.json(body).send().await;
        assert!([200, 201].contains(&reply.status), "{reply:?}");
        reply
    }

    /// Registers or changes a protected API.
    pub async fn put_api(&self, name: &str, body: &Value) -> Reply {
        let request = self.request("PUT", &format!("/iam/v1/apis/{name}")).admin();
        let reply = request.json(body).send().await;
        assert!([200, 201].contains(&reply.status), "{reply:?}");
        reply
    }

    /// Registers GitHub Actions as the trusted issuer `github`.
    pub async fn trust_github(&self) {
        let _ = self
            .put_issuer("github", &json!({ "issuer": "https://token.actions.githubusercontent.com" }))
            .await;
    }

    /// Adds a federated identity with this request body. Returns the response's body.
    pub async fn add_identity(&self, account: &Account, body: &Value) -> Value {
        let request = self.request("POST", &format!("{}/federated-identities", account.path())).admin();
        request.json(body).send().await.expect(201).json()
    }

    /// Creates or replaces a custom role.
    pub async fn put_role(&self, name: &str, permissions: &[&str]) {
        let request = self.request("PUT", &format!("/iam/v1/roles/{name}")).admin();
        let reply = request.json(&json!({ "permissions": permissions })).send().await;
        assert!([200, 201].contains(&reply.status), "{reply:?}");
    }

    /// Creates a Reader account and issues a key.
    pub async fn reader_key(&self) -> Key {
        self.reader_key_of("reader").await
    }

    /// Creates a Reader account with this name and issues a key.
    pub async fn reader_key_of(&self, name: &str) -> Key {
        self.account_with_key(name, "ServiceAccountReader").await.1
    }

    /// The status of `GET /organizations/42` with this credential.
    pub async fn check(&self, credential: &str) -> u16 {
        self.request("GET", "/organizations/42").bearer(credential).send().await.status
    }

    /// Revokes a key.
    pub async fn revoke(&self, key: &Key) -> Reply {
        self.request("DELETE", &key.path()).admin().send().await
    }
}
