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
    body: fn() -> Option<Value>,
}

const LOOKUP: &str = "/iam/v1/keys/lookup";

/// All of them, sorted as the template's are.
pub(crate) const ROUTES: [Route; 11] = [
    route("DELETE", "/iam/v1/service-accounts/{id}", "UpdateServiceAccount", || None),
    route("DELETE", "/iam/v1/service-accounts/{id}/keys", "RevokeKey", || None),
    route("DELETE", "/iam/v1/service-accounts/{id}/keys/{keyId}", "RevokeKey", || None),
    route("GET", "/iam/v1/service-accounts", "ListServiceAccounts", || None),
    route("GET", "/iam/v1/service-accounts/{id}", "ListServiceAccounts", || None),
    route("GET", "/iam/v1/service-accounts/{id}/events", "ListServiceAccounts", || None),
    Route { is_for_keys: true, ..route("GET", "/iam/v1/whoami", "Whoami", || None) },
    route("PATCH", "/iam/v1/service-accounts/{id}", "UpdateServiceAccount", || {
        Some(json!({ "owner": "somebody else" }))
    }),
    route("POST", LOOKUP, "IssueKey", || Some(json!({ "key": "{secret}" }))),
    route("POST", "/iam/v1/service-accounts", "CreateServiceAccount", || {
        Some(json!({ "name": "another", "role": "ServiceAccountReader" }))
    }),
    route("POST", "/iam/v1/service-accounts/{id}/keys", "IssueKey", || Some(json!({ "name": "another" }))),
];

const fn route(
    method: &'static str,
    path: &'static str,
    function: &'static str,
    body: fn() -> Option<Value>,
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
        self.method != "GET" && self.path != LOOKUP
    }

    /// The body of a request about `key`, whose secret may stand in it.
    fn body(&self, key: &Key) -> Option<Value> {
        let body = (self.body)()?.to_string().replace("{secret}", &key.secret);
        Some(serde_json::from_str(&body).unwrap())
    }

    /// A request about `key` and its account, without a credential.
    pub(crate) fn request<'a>(&self, harness: &'a Harness, key: &Key) -> RequestBuilder<'a> {
        let path = self.path.replace("{id}", &key.account).replace("{keyId}", &key.id);
        let request = harness.request(self.method, &path);
        match self.body(key) {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// An event about `key` and its account, with this context of an authorizer.
    pub(crate) fn event(&self, key: &Key, context: Option<Value>) -> Event {
        let parameters = [("id", &key.account), ("keyId", &key.id)];
        let parameters =
            parameters.into_iter().filter(|(name, _)| self.path.contains(&format!("{{{name}}}")));
        Event {
            route: self.key(),
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), Value::from(value.as_str())))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            body: self.body(key),
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

/// An account of its own with a key, to do something to.
pub(crate) async fn victim(harness: &Harness, name: &str) -> (Account, Key) {
    let account = harness.create_account(name, "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    (account, key)
}
