//! Every route of the API, and a request to each that would be done. Whoever
//! adds a route to the template adds it here.

use serde_json::{Value, json};
use tests::{Account, Event, Harness, Key, RequestBuilder};

/// A route, with the body of a request that would be done.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) function: &'static str,
    /// Whether keys may call it.
    pub(crate) is_for_keys: bool,
    body: fn(&Key) -> Option<Value>,
}

/// A custom role that nobody has, there for every [`victim`].
pub(crate) const ROLE: &str = "Spare";

/// All of them, sorted as the template's are.
pub(crate) const ROUTES: [Route; 18] = [
    route("DELETE", "/iam/v1/roles/{name}", "ManageRoles", |_| None),
    route("DELETE", "/iam/v1/service-accounts/{id}", "RevokeKey", |_| None),
    route("DELETE", "/iam/v1/service-accounts/{id}/keys", "RevokeKey", |_| None),
    route("DELETE", "/iam/v1/service-accounts/{id}/keys/{keyId}", "RevokeKey", |_| None),
    route("GET", "/iam/v1/events", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/roles", "ManageRoles", |_| None),
    route("GET", "/iam/v1/roles/{name}", "ManageRoles", |_| None),
    route("GET", "/iam/v1/service-accounts", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/service-accounts/{id}", "ListServiceAccounts", |_| None),
    route("GET", "/iam/v1/service-accounts/{id}/events", "ListServiceAccounts", |_| None),
    Route { is_for_keys: true, ..route("GET", "/iam/v1/whoami", "Whoami", |_| None) },
    route("PATCH", "/iam/v1/service-accounts/{id}", "UpdateServiceAccount", |_| {
        Some(json!({ "owner": "somebody else" }))
    }),
    route("POST", "/iam/v1/keys/lookup", "IssueKey", |key| Some(json!({ "key": key.secret }))),
    route("POST", "/iam/v1/roles/explain", "ManageRoles", |key| {
        Some(json!({ "serviceAccountId": key.account, "keyId": key.id, "method": "GET", "path": "/teams" }))
    }),
    route("POST", "/iam/v1/service-accounts", "CreateServiceAccount", |_| {
        Some(json!({ "name": "another", "role": "ServiceAccountReader" }))
    }),
    route("POST", "/iam/v1/service-accounts/{id}/keys", "IssueKey", |_| Some(json!({ "name": "another" }))),
    route("POST", "/iam/v1/service-accounts/{id}/keys/{keyId}/rotation", "IssueKey", |_| Some(json!({}))),
    route("PUT", "/iam/v1/roles/{name}", "ManageRoles", |_| {
        Some(json!({ "permissions": ["GET /elsewhere"] }))
    }),
];

const fn route(
    method: &'static str,
    path: &'static str,
    function: &'static str,
    body: fn(&Key) -> Option<Value>,
) -> Route {
    Route { method, path, function, is_for_keys: false, body }
}

impl Route {
    /// Such as `GET /iam/v1/whoami`.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether it changes something.
    pub(crate) fn is_change(&self) -> bool {
        self.method != "GET" && !["/explain", "/lookup"].iter().any(|read| self.path.ends_with(read))
    }

    /// Its path for `key` and its account.
    pub(crate) fn path_of(&self, key: &Key) -> String {
        self.path.replace("{id}", &key.account).replace("{keyId}", &key.id).replace("{name}", ROLE)
    }

    /// A request about `key` and its account, without a credential.
    pub(crate) fn request<'a>(&self, harness: &'a Harness, key: &Key) -> RequestBuilder<'a> {
        let path = self.path_of(key);
        let request = harness.request(self.method, &path);
        match (self.body)(key) {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// An event about `key` and its account, with this context of an authorizer.
    pub(crate) fn event(&self, key: &Key, context: Option<Value>) -> Event {
        let parameters = [("id", key.account.as_str()), ("keyId", &key.id), ("name", ROLE)];
        let parameters =
            parameters.into_iter().filter(|(name, _)| self.path.contains(&format!("{{{name}}}")));
        Event {
            route: self.key(),
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            body: (self.body)(key),
            context,
        }
    }

    /// The context of whoever may call it: an admin, or `key` itself.
    pub(crate) fn good_context(&self, key: &Key) -> Value {
        if self.is_for_keys { key_context(key) } else { admin_context() }
    }
}

/// The authorizer's context for an admin.
pub(crate) fn admin_context() -> Value {
    json!({ "principalType": "admin", "principalId": "admin-1", "principalName": "admin@keyward.local" })
}

/// The authorizer's context for a key, of the widest role.
pub(crate) fn key_context(key: &Key) -> Value {
    json!({
        "principalType": "serviceAccount", "principalId": key.account, "principalName": "reader",
        "keyId": key.id, "role": "ServiceAccountAdmin", "environment": "local",
    })
}

/// An account of its own with a key, to do something to, and the role [`ROLE`].
pub(crate) async fn victim(harness: &Harness, name: &str) -> (Account, Key) {
    harness.put_role(ROLE, &["GET /spare"]).await;
    let account = harness.create_account(name, "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    (account, key)
}
