//! The routes of the IAM API, each with a valid request. A test checks that this table and
//! the template have the same routes.

use super::apis::{api, api_with};
use local::issuer::ADMIN_SUB;
use serde_json::{Value, json};
use shared::domain::{Actor, ChangeRequest, IdempotencyKey, OsEntropy};
use tests::{Account, Event, Harness, Key, RequestBuilder};

/// A route with a valid body.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) function: &'static str,
    /// The query, if the operation requires one.
    query: &'static str,
    /// Whether keys can use the route.
    pub(crate) is_for_keys: bool,
    body: fn(&Key) -> Option<Value>,
}

/// A custom role that no account and no grant has, and a trusted issuer. [`create_target`]
/// creates both.
pub(crate) const SPARE_ROLE: &str = "Spare";

/// The name of the protected API that [`create_target`] registers.
pub(crate) const SPARE_API: &str = "spare";

/// The `Idempotency-Key` with which [`create_target`] adds a federated identity, so that the
/// account's id determines the identity's id.
const IDENTITY_ATTEMPT: &str = "identity";

/// The content of the trusted issuer [`SPARE_ROLE`].
fn issuer() -> Value {
    json!({ "issuer": "https://issuer.example.com" })
}

/// A federated identity that the trusted issuer [`SPARE_ROLE`] makes possible.
fn identity() -> Value {
    json!({
        "name": "workload", "issuer": SPARE_ROLE, "audience": "https://keyward.example.com",
        "claims": { "sub": "workload-1" },
    })
}

/// All routes with the authorizer, sorted by method and path.
pub(crate) const ROUTES: [Route; 39] = [
    route("DELETE", "/iam/v1/apis/{name}", "ManageApis", |_| None),
    route("DELETE", "/iam/v1/issuers/{name}", "ManageIssuers", |_| None),
    route("DELETE", "/iam/v1/roles/{name}", "ManageRoles", |_| None),
    route("DELETE", "/iam/v1/service-accounts/{id}", "RevokeKey", |_| None),
    route("DELETE", "/iam/v1/service-accounts/{id}/federated-identities/{identityId}", "RevokeKey", |_| None),
    route("DELETE", "/iam/v1/service-accounts/{id}/keys", "RevokeKey", |_| None),
    route("DELETE", "/iam/v1/service-accounts/{id}/keys/{keyId}", "RevokeKey", |_| None),
    route("GET", "/iam/v1/access-review", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/activity", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/apis", "ManageApis", |_| None),
    route("GET", "/iam/v1/apis/{name}", "ManageApis", |_| None),
    route("GET", "/iam/v1/attention", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/events", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/issuers", "ManageIssuers", |_| None),
    route("GET", "/iam/v1/issuers/{name}", "ManageIssuers", |_| None),
    route("GET", "/iam/v1/roles", "ManageRoles", |_| None),
    route("GET", "/iam/v1/roles/{name}", "ManageRoles", |_| None),
    route("GET", "/iam/v1/roles/{name}/users", "ManageRoles", |_| None),
    Route { query: "?q=batch", ..route("GET", "/iam/v1/search", "ListServiceAccounts", |_| None) },
    route("GET", "/iam/v1/service-accounts", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/service-accounts/{id}", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/service-accounts/{id}/events", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/service-accounts/{id}/federated-identities", "ListServiceAccounts", |_| None),
    route(
        "GET",
        "/iam/v1/service-accounts/{id}/federated-identities/{identityId}",
        "ListServiceAccounts",
        |_| None,
    ),
    route(
        "GET",
        "/iam/v1/service-accounts/{id}/federated-identities/{identityId}/activity",
        "ListServiceAccounts",
        |_| None,
    ),
    route("GET", "/iam/v1/service-accounts/{id}/keys/{keyId}/activity", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/service-accounts/{id}/role-usage", "ListServiceAccounts", |_| None),
    Route { is_for_keys: true, ..route("GET", "/iam/v1/whoami", "Whoami", |_| None) },
    route("PATCH", "/iam/v1/service-accounts/{id}", "UpdateServiceAccount", |_| {
        Some(json!({ "owner": "another owner" }))
    }),
    route("POST", "/iam/v1/keys/lookup", "IssueKey", |key| Some(json!({ "key": key.secret }))),
    route("POST", "/iam/v1/roles/explain", "ManageRoles", |key| {
        Some(json!({ "serviceAccountId": key.account, "keyId": key.id, "method": "GET", "path": "/teams" }))
    }),
    route("POST", "/iam/v1/service-accounts", "CreateServiceAccount", |_| {
        Some(json!({ "name": "another", "role": "ServiceAccountReader" }))
    }),
    route("POST", "/iam/v1/service-accounts/{id}/federated-identities", "IssueKey", |_| Some(identity())),
    route("POST", "/iam/v1/service-accounts/{id}/keys", "IssueKey", |_| Some(json!({ "name": "another" }))),
    route("POST", "/iam/v1/service-accounts/{id}/keys/{keyId}/rotation", "IssueKey", |_| Some(json!({}))),
    route("POST", "/iam/v1/service-accounts/{id}/reviews", "UpdateServiceAccount", |_| {
        Some(json!({ "decision": "keep" }))
    }),
    route("PUT", "/iam/v1/apis/{name}", "ManageApis", |_| Some(api_with("title", json!("Other")))),
    route("PUT", "/iam/v1/issuers/{name}", "ManageIssuers", |_| {
        Some(json!({ "issuer": "https://issuer.example.com", "algorithms": ["ES256"] }))
    }),
    route("PUT", "/iam/v1/roles/{name}", "ManageRoles", |_| {
        Some(json!({ "permissions": ["GET /elsewhere"] }))
    }),
];

/// The routes without an authorizer, sorted by path, each with its function. Their requests
/// authenticate themselves or are public.
pub(crate) const OPEN_ROUTES: [(&str, &str); 3] = [
    ("GET /.well-known/oauth-authorization-server", "ExchangeToken"),
    ("GET /iam/v1/authorize", "ExchangeToken"),
    ("POST /iam/v1/token", "ExchangeToken"),
];

const fn route(
    method: &'static str,
    path: &'static str,
    function: &'static str,
    body: fn(&Key) -> Option<Value>,
) -> Route {
    Route { method, path, function, query: "", is_for_keys: false, body }
}

impl Route {
    /// The route key, such as `GET /iam/v1/whoami`.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether the operation changes data.
    pub(crate) fn is_change(&self) -> bool {
        self.method != "GET" && !["/explain", "/lookup"].iter().any(|read| self.path.ends_with(read))
    }

    /// Whether the operation has a body.
    pub(crate) fn has_body(&self, key: &Key) -> bool {
        (self.body)(key).is_some()
    }

    /// The path parameters, with their values for `key`.
    pub(crate) fn parameters(&self, key: &Key) -> Vec<(&'static str, String)> {
        let all = [
            ("id", key.account.clone()),
            ("keyId", key.id.clone()),
            ("identityId", identity_id(&key.account)),
            ("name", if self.path.contains("/apis/") { SPARE_API } else { SPARE_ROLE }.to_owned()),
        ];
        all.into_iter().filter(|(name, _)| self.path.contains(&format!("{{{name}}}"))).collect()
    }

    /// The path for `key`, its account, [`SPARE_ROLE`] and [`SPARE_API`].
    pub(crate) fn path_for(&self, key: &Key) -> String {
        self.fill(self.path, key)
    }

    fn fill(&self, path: &str, key: &Key) -> String {
        let parameters = self.parameters(key).into_iter();
        parameters.fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), &value))
    }

    /// A request about `key` and its account, without a credential.
    pub(crate) fn request<'a>(&self, harness: &'a Harness, key: &Key) -> RequestBuilder<'a> {
        self.request_to(harness, &self.path_for(key), key)
    }

    /// The same request with another value of one path parameter.
    pub(crate) fn request_with<'a>(
        &self,
        harness: &'a Harness,
        key: &Key,
        (parameter, value): (&str, &str),
    ) -> RequestBuilder<'a> {
        let path = self.path.replace(&format!("{{{parameter}}}"), value);
        self.request_to(harness, &self.fill(&path, key), key)
    }

    fn request_to<'a>(&self, harness: &'a Harness, path: &str, key: &Key) -> RequestBuilder<'a> {
        let request = harness.request(self.method, &format!("{path}{}", self.query));
        match (self.body)(key) {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// An event about `key` and its account, with this authorizer context.
    pub(crate) fn event(&self, key: &Key, context: Option<Value>) -> Event {
        let parameters = self.parameters(key).into_iter();
        let parameters: serde_json::Map<String, Value> =
            parameters.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let route = format!("{}{}", self.key(), self.query);
        Event { route, parameters: parameters.into(), body: (self.body)(key), context }
    }

    /// An event about `key` and its account, from `key` itself if keys can use the route,
    /// or else from an admin.
    pub(crate) fn permitted_event(&self, key: &Key) -> Event {
        self.event(key, Some(if self.is_for_keys { key_context(key) } else { admin_context() }))
    }
}

/// The authorizer's context for an admin.
pub(crate) fn admin_context() -> Value {
    json!({ "principalType": "admin", "principalId": "admin-1", "principalName": "admin@keyward.local" })
}

/// The authorizer's context for a key whose account has the widest role.
pub(crate) fn key_context(key: &Key) -> Value {
    json!({
        "principalType": "serviceAccount", "principalId": key.account, "principalName": "reader",
        "keyId": key.id, "role": "ServiceAccountAdmin", "environment": "local",
    })
}

/// Creates what [`Route::request`] and [`Route::event`] act on: an account with a key and a
/// federated identity, the role and the trusted issuer [`SPARE_ROLE`], and the API [`SPARE_API`].
pub(crate) async fn create_target(harness: &Harness, name: &str) -> (Account, Key) {
    harness.put_role(SPARE_ROLE, &["GET /spare"]).await;
    let _ = harness.put_issuer(SPARE_ROLE, &issuer()).await;
    let _ = harness.put_api(SPARE_API, &api()).await;
    // A route can be too long for a name.
    let name = name.replace("/iam/v1/service-accounts", "");
    let (account, key) = harness.account_with_key(&name, "ServiceAccountReader").await;
    let request = harness.request("POST", &format!("{}/federated-identities", account.path())).admin();
    let added = request.idempotency_key(IDENTITY_ATTEMPT).json(&identity()).send().await.expect(201);
    assert_eq!(added.json()["id"], identity_id(&account.id));
    (account, key)
}

/// The id of the federated identity that [`create_target`] adds to this account.
fn identity_id(account: &str) -> String {
    let request = ChangeRequest {
        actor: Actor { id: ADMIN_SUB.to_owned(), name: String::new() },
        request_id: String::new(),
        idempotency_key: Some(IdempotencyKey::parse(IDENTITY_ATTEMPT).unwrap()),
    };
    request.new_identity_id(account.parse().unwrap(), &OsEntropy).unwrap().to_string()
}
