//! Each function has exactly the rights that it uses. The tests make each function do all that
//! it can do, record its calls to AWS, and compare the calls with the policies in the template.
//! A missing right and an unused right both fail.
//!
//! The evaluation follows AWS's documentation. No local test can prove that AWS evaluates
//! requests in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use local::template::{TEXT, Template};
use serde_json::{Value, json};
use serde_norway::Value as Yaml;
use shared::policy::Api;
use shared::store::schema;
use tests::{API_ID, Account, Call, Event, Harness, Shape};

use crate::support;
use tests::{tokens, workload};

/// One action of a request, with the values that IAM evaluates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    action: String,
    resource: Resource,
    /// The partition key, with `*` after its prefix. For events, the source.
    partition: String,
    /// The attributes. For events, the detail types.
    attributes: BTreeSet<String>,
    /// Whether `dynamodb:Select` is `SPECIFIC_ATTRIBUTES`.
    is_select: bool,
    /// Whether `dynamodb:EnclosingOperation` names a transaction.
    is_transaction: bool,
    /// Whether a write returns attributes (`dynamodb:ReturnValues`).
    returns_values: bool,
}

/// Condition keys of IAM, by action.
type ConditionKeys = BTreeMap<String, BTreeSet<String>>;

/// The condition keys that AWS's reference lists for each action that the
/// template grants. A key that is not listed for an action is absent from its
/// request context. `tests/deploy/rights.py` reads the same file.
static REFERENCE: LazyLock<ConditionKeys> = LazyLock::new(|| {
    let reference: Value = serde_json::from_str(include_str!("../../condition_keys.json")).unwrap();
    serde_json::from_value(reference["actions"].clone()).unwrap()
});

/// Whether the request context of an action has a condition key.
fn has_key(action: &str, key: &str) -> bool {
    REFERENCE.get(action).is_some_and(|keys| keys.contains(key))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Resource {
    Table,
    Index,
    Directory,
    Pepper,
    TokenKey,
    ConsoleSecret,
    Bus,
    ExchangeToken,
}

/// An Allow statement of the template.
#[derive(Debug)]
struct Statement {
    actions: Vec<String>,
    resource: Resource,
    partitions: Option<Vec<String>>,
    attributes: Option<BTreeSet<String>>,
    must_select: bool,
    must_be_transaction: bool,
    must_return_nothing: bool,
}

impl Statement {
    fn permits(&self, access: &Access) -> bool {
        self.actions.contains(&access.action)
            && self.resource == access.resource
            && self.partitions.as_ref().is_none_or(|partitions| partitions.contains(&access.partition))
            && self.attributes.as_ref().is_none_or(|attributes| {
                let is_permitted = |name: &String| attributes.iter().any(|pattern| matches(pattern, name));
                access.attributes.iter().all(is_permitted)
            })
            && (!self.must_select || access.is_select)
            && (!self.must_be_transaction || access.is_transaction)
            && (!self.must_return_nothing || !access.returns_values)
    }

    /// The actions, partitions and attributes of the statement that no recorded access used.
    fn surplus(&self, recorded: &BTreeSet<Access>) -> Vec<String> {
        let used: Vec<&Access> = recorded.iter().filter(|access| self.permits(access)).collect();
        let unused_actions =
            self.actions.iter().filter(|action| !used.iter().any(|access| access.action == **action));
        let partitions = self.partitions.iter().flatten();
        let unused_partitions =
            partitions.filter(|partition| !used.iter().any(|access| access.partition == **partition));
        let attributes = self.attributes.iter().flatten();
        let unused_attributes = attributes.filter(|pattern| {
            !used.iter().any(|access| access.attributes.iter().any(|name| matches(pattern, name)))
        });
        let unused = unused_actions.chain(unused_partitions).chain(unused_attributes);
        unused
            .map(|unused| format!("surplus: {unused} in {:?} {:?}", self.actions, self.partitions))
            .collect()
    }
}

/// Whether IAM's `StringLike` matches `text` with a pattern that can have `?` anywhere and `*` at
/// its end. Also used for `StringEquals`, because no attribute name contains a wildcard.
fn matches(pattern: &str, text: &str) -> bool {
    let (start, is_open) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
    let has_length = if is_open { text.len() >= start.len() } else { text.len() == start.len() };
    has_length && start.bytes().zip(text.bytes()).all(|(p, t)| p == b'?' || p == t)
}

/// The statements of each function of a template.
fn statements(template: &Template) -> BTreeMap<String, Vec<Statement>> {
    let functions = template.resources("AWS::Serverless::Function");
    functions
        .map(|(name, properties)| {
            let policies = properties["Policies"].as_sequence().expect("every function has policies");
            let statements = policies.iter().filter_map(|policy| policy["Statement"].as_sequence()).flatten();
            (name.to_owned(), statements.map(statement).collect())
        })
        .collect()
}

fn statement(statement: &Yaml) -> Statement {
    assert_eq!(statement["Effect"].as_str(), Some("Allow"), "only Allow statements are supported here");
    let condition = |operator: &str, key: &str| statement["Condition"][operator].get(key);
    let resource = match serde_norway::to_string(&statement["Resource"]).unwrap() {
        text if text.trim() == "!Ref Pepper" => Resource::Pepper,
        text if text.trim() == "!Ref TokenKey" => Resource::TokenKey,
        text if text.trim() == "!Ref ConsoleSecret" => Resource::ConsoleSecret,
        text if text.contains("/index/gsi1") => Resource::Index,
        text if text.contains("/index/gsi2") => Resource::Directory,
        text if text.contains(":event-bus/default") => Resource::Bus,
        text if text.trim() == "!GetAtt Table.Arn" => Resource::Table,
        text if text.trim() == "!GetAtt ExchangeToken.Arn" => Resource::ExchangeToken,
        other => panic!("unexpected resource {other}"),
    };
    // For the bus, the sources and detail types are compared in place of partitions and
    // attributes.
    let (partitions, attributes) = if resource == Resource::Bus {
        (
            condition("ForAllValues:StringEquals", "events:source"),
            condition("ForAllValues:StringEquals", "events:detail-type"),
        )
    } else {
        (
            condition("ForAllValues:StringLike", "dynamodb:LeadingKeys"),
            condition("ForAllValues:StringEquals", "dynamodb:Attributes")
                .or_else(|| condition("ForAllValues:StringLike", "dynamodb:Attributes")),
        )
    };
    Statement {
        actions: texts(&statement["Action"]),
        resource,
        partitions: partitions.map(texts),
        attributes: attributes.map(|attributes| texts(attributes).into_iter().collect()),
        must_select: condition("StringEqualsIfExists", "dynamodb:Select").is_some(),
        must_be_transaction: condition("ForAnyValue:StringEquals", "dynamodb:EnclosingOperation").is_some(),
        must_return_nothing: condition("StringEqualsIfExists", "dynamodb:ReturnValues")
            .is_some_and(|value| value.as_str() == Some("NONE")),
    }
}

fn texts(value: &Yaml) -> Vec<String> {
    let one = |value: &Yaml| {
        // A `!Sub` with the environment's label.
        if let Yaml::Tagged(tagged) = value {
            return tagged.value.as_str().unwrap().replace("${Environment}", "local");
        }
        value.as_str().unwrap().to_owned()
    };
    value.as_sequence().map_or_else(|| vec![one(value)], |list| list.iter().map(one).collect())
}

/// The accesses of a call.
fn accesses(call: &Call) -> Vec<Access> {
    let body = &call.body;
    match call.operation.as_str() {
        "DescribeSecret" | "GetSecretValue" | "PutSecretValue" | "UpdateSecretVersionStage" => vec![Access {
            action: format!("secretsmanager:{}", call.operation),
            resource: match body["SecretId"].as_str() {
                Some("keyward-pepper") => Resource::Pepper,
                Some("keyward-token-key") => Resource::TokenKey,
                Some("keyward-console") => Resource::ConsoleSecret,
                other => panic!("no function is allowed to use the secret {other:?}"),
            },
            partition: String::new(),
            attributes: BTreeSet::new(),
            is_select: false,
            is_transaction: false,
            returns_values: false,
        }],
        "Invoke" => vec![Access {
            action: "lambda:InvokeFunction".to_owned(),
            resource: Resource::ExchangeToken,
            partition: String::new(),
            attributes: BTreeSet::new(),
            is_select: false,
            is_transaction: false,
            returns_values: false,
        }],
        "PutEvents" => body["Entries"].as_array().unwrap().iter().map(published_event).collect(),
        "DeleteItem" | "GetItem" | "UpdateItem" => vec![access(&call.operation, body, &body["Key"], false)],
        "PutItem" => vec![access("PutItem", body, &body["Item"], false)],
        "Query" => {
            let partition = json!({ schema::PK: body["ExpressionAttributeValues"][":pk"] });
            vec![access("Query", body, &partition, false)]
        }
        "TransactWriteItems" => {
            body["TransactItems"].as_array().unwrap().iter().map(transaction_item).collect()
        }
        other => panic!("no function is allowed to call {other}"),
    }
}

fn published_event(entry: &Value) -> Access {
    assert!(entry["EventBusName"].is_null(), "events go to the default bus");
    Access {
        action: "events:PutEvents".to_owned(),
        resource: Resource::Bus,
        partition: entry["Source"].as_str().unwrap().to_owned(),
        attributes: BTreeSet::from([entry["DetailType"].as_str().unwrap().to_owned()]),
        is_select: false,
        is_transaction: false,
        returns_values: false,
    }
}

fn transaction_item(item: &Value) -> Access {
    let (kind, action) = item.as_object().unwrap().iter().next().unwrap();
    let (name, key) = match kind.as_str() {
        "Put" => ("PutItem", &action["Item"]),
        "Update" => ("UpdateItem", &action["Key"]),
        "Delete" => ("DeleteItem", &action["Key"]),
        "ConditionCheck" => ("ConditionCheckItem", &action["Key"]),
        other => panic!("no function is allowed to use {other} in a transaction"),
    };
    access(name, action, key, true)
}

/// The access of one request. `key` has at least the partition key, and its members count as
/// named attributes.
fn access(operation: &str, request: &Value, key: &Value, is_transaction: bool) -> Access {
    let action = format!("dynamodb:{operation}");
    let mut attributes: BTreeSet<String> = key.as_object().unwrap().keys().cloned().collect();
    for expression in ["ProjectionExpression", "ConditionExpression", "UpdateExpression", "FilterExpression"]
    {
        attributes.extend(top_level_names(request, request[expression].as_str().unwrap_or_default()));
    }
    let partition = key[schema::PK]["S"].as_str().unwrap();
    Access {
        resource: match request["IndexName"].as_str() {
            None => Resource::Table,
            Some(schema::INDEX) => Resource::Index,
            Some(schema::DIRECTORY) => Resource::Directory,
            Some(other) => panic!("there is no index {other}"),
        },
        partition: partition_pattern(partition),
        attributes,
        is_select: selects(operation, request) && has_key(&action, "dynamodb:Select"),
        is_transaction: is_transaction && has_key(&action, "dynamodb:EnclosingOperation"),
        returns_values: !["", "NONE"].contains(&request["ReturnValues"].as_str().unwrap_or_default()),
        action,
    }
}

/// Whether a read names the attributes that it returns. A `Query` must also set `Select`, which
/// `GetItem` does not have.
fn selects(operation: &str, request: &Value) -> bool {
    let is_projection = !request["ProjectionExpression"].is_null();
    if operation != "Query" {
        return is_projection;
    }
    let expected = if is_projection { json!("SPECIFIC_ATTRIBUTES") } else { json!(null) };
    assert_eq!(request["Select"], expected, "a Query with a projection must set Select: {request}");
    is_projection
}

/// A partition key with `*` after its prefix. The events of roles, issuers and APIs have longer
/// prefixes than those of accounts.
fn partition_pattern(partition: &str) -> String {
    use schema::partition::{API_EVENTS, ISSUER_EVENTS, ROLE_EVENTS};
    for events in [ROLE_EVENTS, ISSUER_EVENTS, API_EVENTS] {
        if partition.starts_with(events) {
            return format!("{events}*");
        }
    }
    partition.find('#').map_or_else(|| partition.to_owned(), |at| format!("{}*", &partition[..=at]))
}

/// The top-level attributes that an expression names.
fn top_level_names(request: &Value, expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "#:_.".contains(c);
    let paths = expression.split(|c| !is_part(c)).filter(|path| path.starts_with('#'));
    let names = paths.map(|path| {
        let first = path.split('.').next().unwrap();
        request["ExpressionAttributeNames"][first].as_str().unwrap().to_owned()
    });
    // The read that opens the connection names `pk` without a placeholder.
    names.chain((expression == schema::PK).then(|| schema::PK.to_owned())).collect()
}

/// The recorded accesses of each function.
type Recorded = BTreeMap<String, BTreeSet<Access>>;

/// Records the accesses of functions. The requests are an admin's, for which the authorizer
/// makes no call, so every call is one of the named function.
struct Recorder<'a> {
    harness: &'a Harness,
    recorded: Recorded,
}

impl Recorder<'_> {
    /// Assigns the calls since the last one to this function.
    fn record(&mut self, function: &str) {
        let calls = self.harness.wire.take_calls();
        self.recorded.entry(function.to_owned()).or_default().extend(calls.iter().flat_map(accesses));
    }

    async fn send(
        &mut self,
        function: &str,
        request: (&str, &str),
        body: Option<Value>,
        key: Option<&str>,
    ) -> Value {
        self.harness.wire.take_calls();
        let (method, path) = request;
        let mut request = self.harness.request(method, path).admin();
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(key) = key {
            request = request.idempotency_key(key);
        }
        let reply = request.send().await;
        self.record(function);
        serde_json::from_str(&reply.text).unwrap_or_default()
    }

    /// Sends a POST request that `IssueKey` serves.
    async fn issue_key(&mut self, path: &str, body: Value) -> Value {
        self.send("IssueKey", ("POST", path), Some(body), None).await
    }

    async fn rotate(&mut self, keys: &str, key: &Value, grace_seconds: u32) -> Value {
        let path = format!("{keys}/{}/rotation", key["id"].as_str().unwrap());
        self.issue_key(&path, json!({ "graceSeconds": grace_seconds })).await
    }

    /// Reviews an account, and repeats the request with the same answer and with another one.
    async fn review(&mut self, account: &str) {
        let path = format!("{account}/reviews");
        for decision in ["keep", "keep", "narrow"] {
            let body = json!({ "decision": decision, "note": "n" });
            self.send("UpdateServiceAccount", ("POST", &path), Some(body), Some("one")).await;
        }
    }

    /// Calls both authorizers with these keys, and with the token of a federated identity.
    async fn authorize_each(&mut self, account: &Account, keys: [&Value; 2]) {
        for key in keys {
            self.authorize(key["secret"].as_str().unwrap()).await;
        }
        tokens::register_issuer(self.harness, "platform").await;
        let identity = tokens::add_identity(self.harness, account, "platform", None).await;
        let token = identity.token(self.harness).await;
        self.authorize(&token).await;
        tokens::end_identity(self.harness, &identity).await;
    }

    /// Registers, changes, reads and deletes issuers, and adds federated identities to this
    /// account. One expires. Returns the path of the other.
    async fn federate(&mut self, account: &Account) -> String {
        let issuers = "/iam/v1/issuers";
        let issuer = format!("{issuers}/corp");
        let url = "https://id.example.com";
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43) });
        for body in [
            json!({ "issuer": url, "jwks": { "keys": [key] } }),
            json!({ "issuer": url, "jwksUri": "https://id.example.com/keys" }),
        ] {
            self.send("ManageIssuers", ("PUT", &issuer), Some(body), None).await;
        }
        for path in [issuers, &issuer] {
            self.send("ManageIssuers", ("GET", path), None, None).await;
        }
        let identities = format!("{}/federated-identities", account.path());
        let identity = |days: u32| {
            json!({
                "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" }, "role": "Custom",
                "expiresInDays": days,
            })
        };
        let mut paths = Vec::new();
        for days in [1, 300] {
            let key = format!("days-{days}");
            let added = self.send("IssueKey", ("POST", &identities), Some(identity(days)), Some(&key)).await;
            paths.push(format!("{identities}/{}", added["id"].as_str().unwrap()));
        }
        for path in [&identities, &paths[0], &format!("{}/activity", paths[0])] {
            self.send("ListServiceAccounts", ("GET", path), None, None).await;
        }
        paths.remove(1)
    }

    /// Registers, changes, reads and deletes an API, and leaves an unused build.
    async fn register_apis(&mut self) {
        let apis = "/iam/v1/apis";
        let api = format!("{apis}/teams");
        let settings = json!({
            "title": "Other", "baseUrl": "https://api.example.com", "apiId": "other", "include": ["ANY /teams"],
        });
        for body in [support::apis::api(), settings] {
            self.send("ManageApis", ("PUT", &api), Some(body), None).await;
        }
        for path in [apis, &api] {
            self.send("ManageApis", ("GET", path), None, None).await;
        }
        let items = self.harness.table.items("API#teams").await;
        self.send("ManageApis", ("DELETE", &api), None, None).await;
        let chunks = items.into_iter().filter(|item| item["sk"].as_s().unwrap() != "API");
        self.harness.table.put_all(&chunks.collect::<Vec<_>>()).await;
    }

    /// Deletes a federated identity twice, and reads its activity.
    async fn delete_identity(&mut self, identity: &str) {
        for _ in 0..2 {
            self.send("RevokeKey", ("DELETE", identity), None, None).await;
        }
        self.send("ListServiceAccounts", ("GET", &format!("{identity}/activity")), None, None).await;
    }

    /// Calls whoami with this key, which has its own role.
    async fn whoami(&mut self, account: &Account, key: &Value) {
        let whoami = Event {
            route: "GET /iam/v1/whoami".to_owned(),
            parameters: json!({}),
            body: None,
            context: Some(json!({
                "principalType": "serviceAccount", "principalId": account.id, "principalName": "a",
                "keyId": key["id"], "role": "Custom", "keyRole": "Custom", "environment": "local",
            })),
        };
        self.harness.wire.take_calls();
        let _ = self.harness.invoke("Whoami", &whoami).await.expect(200);
        self.record("Whoami");
    }

    /// Sweeps when a key and a federated identity are unused, expire soon, and have expired.
    /// Deletes the identity's issuer before.
    async fn sweep(&mut self, account: &Account) {
        let keys = format!("{}/keys", account.path());
        let short = json!({ "name": "s", "role": "Custom", "allowedCidrs": ["::/0"], "expiresInDays": 120 });
        self.issue_key(&keys, short).await;
        let identity = json!({
            "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" }, "role": "Custom",
            "expiresInDays": 120,
        });
        self.issue_key(&format!("{}/federated-identities", account.path()), identity).await;
        self.send("ManageIssuers", ("DELETE", "/iam/v1/issuers/corp"), None, None).await;
        let rotated = self.issue_key(&keys, json!({ "name": "r" })).await;
        self.rotate(&keys, &rotated, 60).await;
        self.harness.wire.take_calls();
        for (days, until) in [(100, Timestamp::MAX), (30, Timestamp::MAX), (0, Timestamp::MIN)] {
            self.harness.clock.advance_days(days);
            self.harness.system.sweep_keys().sweep(until).await.unwrap();
        }
        self.record("SweepKeys");
    }

    /// Looks up a retired key, and rotates both secrets.
    async fn look_up_and_rotate(&mut self, secret: &Value) {
        self.issue_key("/iam/v1/keys/lookup", json!({ "key": secret })).await;
        self.harness.wire.take_calls();
        support::rotate_pepper(self.harness, "rotation-1").await;
        support::rotate_token_key(self.harness, "rotation-1").await;
        self.record("RotateSecret");
    }

    /// Calls both authorizers with this key, and makes them write all activity.
    async fn authorize(&mut self, secret: &str) {
        for (function, api, path) in [
            ("Authorizer", Api::Business, "/organizations/42"),
            ("IamAuthorizer", Api::Iam, "/iam/v1/whoami"),
        ] {
            self.harness.wire.take_calls();
            let mut event = Shape::HttpV2.request("GET", path, secret);
            Shape::HttpV2.set_source(&mut event, "127.0.0.1");
            let _ = self.harness.authorize_at(api, &event).await;
            self.harness.system.authorizer(function).unwrap().flush_activity().await;
            self.record(function);
        }
    }

    /// Exchanges a workload's JWT, which can be used once, for a token with a custom role, and
    /// the token for a child, and asks for a request token that its roles do not permit. Tries to
    /// exchange this revoked key.
    async fn exchange(&mut self, account: &Account, revoked: &Value) {
        workload::put_inline_issuer(self.harness).await;
        let identity =
            workload::add_identity(self.harness, account, &json!({ "name": "x", "singleUse": true })).await;
        let (jwt, audience) = (workload::jwt(self.harness), identity.audience());
        let form = [workload::jwt_exchange(&jwt, &audience), vec![("scope", "Custom")]].concat();
        self.harness.wire.take_calls();
        let token = workload::token(&workload::post(self.harness, &form).await);
        let _ = workload::exchange(self.harness, workload::TOKEN_TYPE, &token, &[]).await.expect(200);
        let event = json!({
            "keyward": "requestToken", "credential": token, "source": "192.0.2.1", "api": API_ID,
            "method": "DELETE", "path": "/other",
        });
        assert!(workload::invoke_directly(self.harness, &event).await["notPermitted"].is_object());
        let revoked = revoked["secret"].as_str().unwrap();
        let _ = workload::exchange(self.harness, workload::KEY_TYPE, revoked, &[]).await.expect(400);
        self.record("ExchangeToken");
    }

    /// Lists what needs attention, and searches for this account and this retired key.
    async fn search(&mut self, account: &Account, retired: &Value) {
        let search = |text: &str| format!("/iam/v1/search?q={text}");
        let text = |name: &str| search(retired[name].as_str().unwrap());
        for path in ["/iam/v1/attention", &search(&account.id), &text("id"), &text("hint")] {
            self.send("ListServiceAccounts", ("GET", path), None, None).await;
        }
    }

    async fn create(&mut self, body: Value, key: Option<&str>) -> Account {
        let reply =
            self.send("CreateServiceAccount", ("POST", "/iam/v1/service-accounts"), Some(body), key).await;
        Account { id: reply["id"].as_str().unwrap_or_default().to_owned() }
    }
}

/// Signs in to the console, and returns its accesses.
async fn record_console(harness: &Harness) -> BTreeSet<Access> {
    harness.wire.take_calls();
    crate::support::browser::Browser::signed_in(harness).await.get("/").await.expect(200);
    // The other calls are those of the functions behind the API.
    let calls = harness.wire.take_calls();
    let own = calls.iter().filter(|call| call.body["SecretId"] == "keyward-console");
    own.flat_map(accesses).collect()
}

/// Lists and calls a tool as an agent, and returns the accesses of the MCP server.
async fn record_mcp(harness: &Harness) -> BTreeSet<Access> {
    support::agent::register(harness).await;
    let (_, key) = harness.account_with_key("agent", "ServiceAccountReader").await;
    let agent = support::agent::Agent::new(harness, &key);
    harness.wire.take_calls();
    assert!(!agent.list().await.is_empty());
    let (text, is_error) = agent.call("get_organization", &json!({ "id": "42" })).await.called();
    assert!(!is_error, "{text}");
    // The other calls are those of ExchangeToken and of the authorizer.
    let accesses: BTreeSet<_> = harness.wire.take_calls().iter().flat_map(accesses).collect();
    let is_own =
        |access: &Access| access.resource == Resource::ExchangeToken || access.partition.starts_with("API#");
    accesses.into_iter().filter(is_own).collect()
}

/// Calls each function in every way that causes another access.
async fn record(harness: &Harness) -> Recorded {
    let mut recorder = Recorder { harness, recorded: Recorded::new() };
    let (roles, role) = ("/iam/v1/roles", "/iam/v1/roles/Custom");
    for permission in ["GET /teams", "GET /organizations/{proxy+}"] {
        let body = json!({ "description": "d", "permissions": [permission] });
        recorder.send("ManageRoles", ("PUT", role), Some(body), None).await;
    }

    let custom = json!({ "name": "a", "role": "Custom", "tags": { "a": "b" } });
    let account = recorder.create(custom.clone(), Some("one")).await;
    recorder.create(custom.clone(), Some("one")).await;
    let path = account.path();

    let lists = [
        "/iam/v1/service-accounts?role=Custom&enabled=true",
        &path,
        &format!("{path}/events"),
        &format!("{path}/role-usage"),
        "/iam/v1/access-review?reviewedBefore=2026-01-01T00:00:00Z",
    ];
    let events =
        ["/iam/v1/events?actor=a&type=key.issued", &format!("/iam/v1/events?account={}", account.id)];
    for list in lists.into_iter().chain(events) {
        recorder.send("ListServiceAccounts", ("GET", list), None, None).await;
    }

    recorder.register_apis().await;
    let identity = recorder.federate(&account).await;
    let keys = format!("{path}/keys");
    let restricted =
        json!({ "name": "k", "role": "Custom", "expiresInDays": 1, "allowedCidrs": ["127.0.0.0/8"] });
    let expiring = recorder.send("IssueKey", ("POST", &keys), Some(restricted.clone()), Some("key")).await;
    harness.clock.advance_days(2);
    let live = recorder.issue_key(&keys, restricted.clone()).await;
    recorder.send("IssueKey", ("POST", &keys), Some(restricted.clone()), Some("key")).await;

    recorder.authorize_each(&account, [&live, &expiring]).await;
    let one = format!("{keys}/{}", live["id"].as_str().unwrap());
    recorder.send("ListServiceAccounts", ("GET", "/iam/v1/activity"), None, None).await;
    // One key is live, and the other is retired.
    for key in [&live, &expiring] {
        let activity = format!("{keys}/{}/activity", key["id"].as_str().unwrap());
        recorder.send("ListServiceAccounts", ("GET", &activity), None, None).await;
    }
    recorder.whoami(&account, &live).await;

    let next = recorder.rotate(&keys, &live, 60).await;
    for _ in 0..2 {
        recorder.rotate(&keys, &next, 0).await;
        recorder.send("RevokeKey", ("DELETE", &one), None, None).await;
    }
    recorder.delete_identity(&identity).await;
    recorder.search(&account, &live).await;
    // An account of an earlier version of Keyward is not in the directory.
    harness.table.tamper(&account.id, |item| drop(item.remove("labels"))).await;
    recorder.issue_key(&keys, restricted).await;
    recorder.send("RevokeKey", ("DELETE", &keys), None, None).await;

    let everything = json!({
        "name": "b", "description": "d", "role": "ServiceAccountReader", "enabled": true, "owner": "o",
        "tags": { "c": "d" },
    });
    for changes in [everything, json!({ "enabled": false, "role": "Custom" }), json!({ "enabled": true })] {
        recorder.send("UpdateServiceAccount", ("PATCH", &path), Some(changes), None).await;
    }
    recorder.review(&path).await;
    recorder.exchange(&account, &live).await;
    recorder.sweep(&account).await;
    recorder.search(&account, &live).await;
    recorder.issue_key(&keys, json!({ "name": "last", "allowedCidrs": ["::/0"] })).await;
    let narrower = recorder.issue_key(&keys, json!({ "name": "narrower", "role": "Custom" })).await;
    recorder.rotate(&keys, &narrower, 60).await;
    for key in [&live, &expiring] {
        let about = json!({
            "serviceAccountId": account.id, "keyId": key["id"], "method": "GET", "path": "/organizations/1",
        });
        recorder.send("ManageRoles", ("POST", "/iam/v1/roles/explain"), Some(about), None).await;
    }
    for (method, path) in [("GET", roles), ("GET", role), ("GET", &format!("{role}/users")), ("DELETE", role)]
    {
        recorder.send("ManageRoles", (method, path), None, None).await;
    }
    recorder.send("RevokeKey", ("DELETE", &path), None, None).await;
    recorder.search(&account, &live).await;
    recorder.send("ManageRoles", ("DELETE", role), None, None).await;
    recorder.send("ManageRoles", ("PUT", role), Some(json!({ "permissions": [] })), None).await;
    recorder.create(custom, Some("one")).await;
    recorder.look_up_and_rotate(&live["secret"]).await;
    recorder.recorded
}

/// The missing and unused rights of all functions.
fn differences(template: &Template, recorded: &Recorded) -> Vec<String> {
    let statements = statements(template);
    let nothing = BTreeSet::new();
    let mut differences = Vec::new();
    for (function, statements) in &statements {
        let recorded = recorded.get(function).unwrap_or(&nothing);
        let missing =
            recorded.iter().filter(|access| !statements.iter().any(|statement| statement.permits(access)));
        differences.extend(missing.map(|access| format!("{function} lacks {access:?}")));
        let surplus = statements.iter().flat_map(|statement| statement.surplus(recorded));
        differences.extend(surplus.map(|surplus| format!("{function} has a {surplus}")));
    }
    differences
}

#[tokio::test]
async fn each_function_has_exactly_the_rights_that_it_uses() {
    let harness = Harness::start().await;
    let mut recorded = record(&harness).await;
    recorded.insert("Console".to_owned(), record_console(&harness).await);
    recorded.insert("Mcp".to_owned(), record_mcp(&harness).await);
    let template = Template::read().unwrap();
    assert_eq!(differences(&template, &recorded), Vec::<String>::new());

    // Removing any statement is reported.
    let marker = "            - Effect: Allow\n";
    let starts: Vec<usize> = TEXT.match_indices(marker).map(|(at, _)| at).collect();
    assert!(starts.len() > 20, "found only {} statements", starts.len());
    for start in starts {
        let rest = &TEXT[start + marker.len()..];
        let end = rest.find(marker).into_iter().chain(rest.find("\n\n")).min().unwrap();
        let without = format!("{}{}", &TEXT[..start], &rest[end..]);
        let taken = &TEXT[start..start + marker.len() + end];
        let without = Template::parse(&without).unwrap_or_else(|error| panic!("{error}: {taken}"));
        assert_ne!(differences(&without, &recorded), Vec::<String>::new(), "without:\n{taken}");
    }

    // The same for the permissions boundary.
    assert_eq!(boundary_differences(&template, &recorded), Vec::<String>::new());
    for without in without_each_boundary_statement() {
        assert_ne!(boundary_differences(&without, &recorded), Vec::<String>::new());
    }
    let more = TEXT.replacen("- dynamodb:Query\n", "- dynamodb:Query\n              - dynamodb:Scan\n", 1);
    let more = Template::parse(&more).unwrap();
    assert_ne!(boundary_differences(&more, &recorded), Vec::<String>::new(), "with Scan");

    // An added action, partition or attribute is reported.
    for (from, to) in [
        ("Action: dynamodb:GetItem", "Action: [dynamodb:GetItem, dynamodb:Scan]"),
        ("[\"ACCOUNT#*\"]", "[\"ACCOUNT#*\", \"ROLE#*\", \"NAME#*\"]"),
        ("[pk, sk, ", "[pk, sk, anything, "),
    ] {
        let more = Template::parse(&TEXT.replacen(from, to, 1)).unwrap();
        assert_ne!(differences(&more, &recorded), Vec::<String>::new(), "with {to}");
    }
}

/// The actions that Lambda itself takes with a function's role, from the managed policies
/// `AWSLambdaBasicExecutionRole` and `AWSXRayDaemonWriteAccess`.
const LAMBDA: [(&str, &str); 4] = [
    ("logs:CreateLogStream", ":log-group:/aws/lambda/${AWS::StackName}/*"),
    ("logs:PutLogEvents", ":log-group:/aws/lambda/${AWS::StackName}/*"),
    ("xray:PutTelemetryRecords", "*"),
    ("xray:PutTraceSegments", "*"),
];

/// The missing and unused rights of the permissions boundary. All functions together must use
/// each action and each resource of each statement.
fn boundary_differences(template: &Template, recorded: &Recorded) -> Vec<String> {
    let resource = |access: &Access| match access.resource {
        Resource::Table => "Table.Arn",
        Resource::Index => "${Table.Arn}/index/gsi1",
        Resource::Directory => "${Table.Arn}/index/gsi2",
        Resource::Pepper => "Pepper",
        Resource::TokenKey => "TokenKey",
        Resource::ConsoleSecret => "ConsoleSecret",
        Resource::Bus => ":event-bus/default",
        Resource::ExchangeToken => ":function:*-ExchangeToken-*",
    };
    let used = recorded.values().flatten().map(|access| (access.action.as_str(), resource(access)));
    let needed: BTreeSet<(&str, &str)> = used.chain(LAMBDA).collect();
    let statements = template.properties("FunctionBoundary").unwrap()["PolicyDocument"]["Statement"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|statement| {
            assert_eq!(
                statement["Effect"].as_str(),
                Some("Allow"),
                "only Allow statements are supported here"
            );
            (texts(&statement["Action"]), targets(&statement["Resource"]))
        });
    let statements: Vec<(Vec<String>, Vec<String>)> = statements.collect();
    let is_at =
        |given: &String, wanted: &str| given == wanted || (wanted.len() > 1 && given.ends_with(wanted));
    let permits = |(actions, resources): &(Vec<String>, Vec<String>), (action, resource): (&str, &str)| {
        actions.iter().any(|given| given == action) && resources.iter().any(|given| is_at(given, resource))
    };
    let missing = needed.iter().filter(|needed| !statements.iter().any(|given| permits(given, **needed)));
    let mut differences: Vec<String> =
        missing.map(|needed| format!("the boundary lacks {needed:?}")).collect();
    for (actions, resources) in &statements {
        let by_action = actions.iter().filter(|given| !needed.iter().any(|needed| needed.0 == **given));
        let by_resource = resources.iter().filter(|given| {
            !needed.iter().any(|needed| actions.iter().any(|a| a == needed.0) && is_at(given, needed.1))
        });
        differences
            .extend(by_action.chain(by_resource).map(|more| format!("the boundary has a surplus: {more}")));
    }
    differences
}

/// The strings of a string, a tagged string, or a list of these.
fn targets(value: &Yaml) -> Vec<String> {
    if let Yaml::Tagged(tagged) = value {
        texts(&tagged.value)
    } else if let Some(list) = value.as_sequence() {
        list.iter().flat_map(targets).collect()
    } else {
        texts(value)
    }
}

/// For each statement of the boundary, the template without that statement.
fn without_each_boundary_statement() -> Vec<Template> {
    let start = TEXT.find("  FunctionBoundary:\n").unwrap();
    let end = start + TEXT[start..].find("\n\n").unwrap();
    let marker = "          - Effect: Allow\n";
    let starts: Vec<usize> = TEXT[start..end].match_indices(marker).map(|(at, _)| start + at).collect();
    assert!(starts.len() > 3, "found only {} statements", starts.len());
    let ends = starts.iter().skip(1).copied().chain([end + 1]);
    let without =
        |(from, to): (&usize, usize)| Template::parse(&format!("{}{}", &TEXT[..*from], &TEXT[to..])).unwrap();
    starts.iter().zip(ends).map(without).collect()
}

/// The condition keys in policy statements that the reference does not list for an action of
/// the statement, and the actions that the reference does not list. `aws:` keys are global, so
/// the reference does not list them.
fn unlisted_keys(text: &str) -> Vec<String> {
    let template: Yaml = serde_norway::from_str(text).unwrap();
    let mut statements = Vec::new();
    collect_statements(&template, &mut statements);
    let mut unlisted = Vec::new();
    for statement in statements {
        let operators = statement["Condition"].as_mapping();
        let keys = operators.into_iter().flatten().filter_map(|(_, conditions)| conditions.as_mapping());
        let keys: Vec<&str> = keys.flatten().filter_map(|(key, _)| key.as_str()).collect();
        for action in texts(&statement["Action"]) {
            let Some(listed) = REFERENCE.get(&action) else {
                unlisted.push(format!("{action} is not in tests/condition_keys.json"));
                continue;
            };
            let foreign = keys.iter().filter(|key| !key.starts_with("aws:") && !listed.contains(**key));
            unlisted.extend(foreign.map(|key| format!("{action} under {key}")));
        }
    }
    unlisted
}

/// Adds every policy statement in `value`, at any depth.
fn collect_statements<'a>(value: &'a Yaml, statements: &mut Vec<&'a Yaml>) {
    match value {
        Yaml::Mapping(mapping) => {
            if mapping.contains_key("Effect") && mapping.contains_key("Action") {
                statements.push(value);
            }
            mapping.values().for_each(|member| collect_statements(member, statements));
        }
        Yaml::Sequence(list) => list.iter().for_each(|member| collect_statements(member, statements)),
        Yaml::Tagged(tagged) => collect_statements(&tagged.value, statements),
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::String(_) => {}
    }
}

#[test]
fn each_condition_key_is_listed_for_its_action() {
    assert_eq!(unlisted_keys(TEXT), Vec::<String>::new());

    // The mistake that this test exists for: see the comment on the functions' rights in the
    // template.
    let attributes = "\"ForAllValues:StringEquals\": { \"dynamodb:Attributes\": [pk, sk";
    let checks = TEXT.match_indices("Action: dynamodb:ConditionCheckItem\n");
    let mut planted = 0;
    for (start, _) in checks {
        let line = start + TEXT[start..].find(attributes).unwrap();
        let at = line + TEXT[line..].find('\n').unwrap() + 1;
        let transaction = "                \"ForAnyValue:StringEquals\": \
                           { \"dynamodb:EnclosingOperation\": TransactWriteItems }\n";
        let text = format!("{}{transaction}{}", &TEXT[..at], &TEXT[at..]);
        assert_eq!(unlisted_keys(&text), ["dynamodb:ConditionCheckItem under dynamodb:EnclosingOperation"]);
        planted += 1;
    }
    assert_eq!(planted, 4, "each statement that allows ConditionCheckItem");

    let scan = TEXT.replacen("Action: dynamodb:GetItem", "Action: dynamodb:Scan", 1);
    assert_eq!(unlisted_keys(&scan), ["dynamodb:Scan is not in tests/condition_keys.json"]);
}

/// Lists which functions write outside a transaction, and which partitions.
#[test]
fn direct_writes_are_limited_to_their_partitions() {
    let statements = statements(&Template::read().unwrap());
    let partitions_of = |statements: &[Statement]| -> BTreeSet<String> {
        let writes = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"];
        let direct = statements.iter().filter(|s| {
            !s.must_be_transaction && s.actions.iter().any(|action| writes.contains(&action.as_str()))
        });
        direct
            .flat_map(|s| {
                assert!(s.must_return_nothing, "a write cannot read what it replaces: {s:?}");
                s.partitions.clone().expect("every write names its partitions")
            })
            .collect()
    };
    let writers: BTreeMap<_, _> = statements
        .iter()
        .map(|(name, statements)| (name.as_str(), partitions_of(statements)))
        .filter(|(_, partitions)| !partitions.is_empty())
        .collect();
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let activity = set(&["USAGE#*", "REQUESTS#*", "ROUTES#*", "TOTALS#*"]);
    let expected = BTreeMap::from([
        ("Authorizer", activity.clone()),
        // JWTs and confirmations that were used, and refused credentials and tool calls.
        ("ExchangeToken", set(&["ASSERTION#*", "REQUESTS#*", "TOTALS#*", "USAGE#*"])),
        ("IamAuthorizer", activity),
        ("ManageApis", set(&["API#*"])),
        ("SweepKeys", set(&["API#*"])),
    ]);
    assert_eq!(writers, expected);
}

/// Lists which functions have the rights that matter most for security.
#[test]
fn sensitive_rights_are_separated() {
    let statements = statements(&Template::read().unwrap());
    let holders = |right: &dyn Fn(&Statement) -> bool| -> Vec<&str> {
        let holders = statements.iter().filter(|(_, statements)| statements.iter().any(right));
        holders.map(|(name, _)| name.as_str()).collect()
    };
    let on = |partition: &'static str| {
        move |statement: &Statement| statement.partitions.iter().flatten().any(|name| name == partition)
    };
    let reads = |statement: &Statement| statement.actions.iter().any(|action| action == "dynamodb:GetItem");
    let names = |attribute: &'static str| {
        move |statement: &Statement| statement.attributes.iter().flatten().any(|name| name == attribute)
    };
    let does = |action: &'static str| {
        move |statement: &Statement| statement.actions.iter().any(|name| name == action)
    };

    let pepper = |s: &Statement| s.resource == Resource::Pepper;
    assert_eq!(
        holders(&pepper),
        ["Authorizer", "ExchangeToken", "IamAuthorizer", "IssueKey", "ManageIssuers", "RotateSecret"],
        "the pepper"
    );
    let change = ["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"];
    assert_eq!(
        holders(&|s| change.iter().any(|action| does(action)(s))),
        ["RotateSecret"],
        "changing a secret"
    );
    let token_key = |s: &Statement| s.resource == Resource::TokenKey;
    assert_eq!(
        holders(&token_key),
        ["Authorizer", "ExchangeToken", "IamAuthorizer", "RotateSecret"],
        "the token key"
    );
    assert!(
        statements["RotateSecret"].iter().all(|s| pepper(s) || token_key(s)),
        "the function that changes the secrets cannot use the table"
    );
    assert_eq!(holders(&|s| s.resource == Resource::ConsoleSecret), ["Console"], "the console's secret");
    assert_eq!(statements["Console"].len(), 1, "the console has one right only");
    let verifiers = |s: &Statement| reads(s) && on("ACCOUNT#*")(s) && names("verifiers")(s);
    // SweepKeys moves the verifiers of expired keys.
    let holders_of_verifiers =
        ["Authorizer", "ExchangeToken", "IamAuthorizer", "IssueKey", "RevokeKey", "SweepKeys"];
    assert_eq!(holders(&verifiers), holders_of_verifiers, "verifiers");
    let retired_verifiers = |s: &Statement| {
        let is_read = reads(s) || does("dynamodb:Query")(s);
        is_read && on("RETIRED#*")(s) && (names("verifier")(s) || s.attributes.is_none() || !s.must_select)
    };
    // IssueKey looks up leaked keys.
    assert_eq!(
        holders(&retired_verifiers),
        ["Authorizer", "ExchangeToken", "IamAuthorizer", "IssueKey"],
        "verifiers of retired keys"
    );
    let changes_apis = |s: &Statement| on("API#*")(s) && does("dynamodb:PutItem")(s);
    assert_eq!(holders(&changes_apis), ["ManageApis"], "changing what agents can use");
    let queries = |partition| move |s: &Statement| does("dynamodb:Query")(s) && on(partition)(s);
    for partition in ["REQUESTS#*", "ROUTES#*", "TOTALS#*"] {
        assert_eq!(holders(&queries(partition)), ["ListServiceAccounts"], "reading {partition}");
    }
    let changes_role = |s: &Statement| does("dynamodb:UpdateItem")(s) && names("role")(s);
    assert_eq!(holders(&changes_role), ["UpdateServiceAccount"], "changing an account's role");
    let roles =
        |s: &Statement| on("ROLE#*")(s) && (does("dynamodb:PutItem")(s) || does("dynamodb:DeleteItem")(s));
    assert_eq!(holders(&roles), ["ManageRoles"], "changing what a role permits");
    let issuers =
        |s: &Statement| on("ISSUERS")(s) && (does("dynamodb:PutItem")(s) || does("dynamodb:DeleteItem")(s));
    assert_eq!(holders(&issuers), ["ManageIssuers"], "changing who is trusted");
    let rewrites_events = |s: &Statement| {
        let events = ["EVENTS#*", "EVENTS#ROLE#*", "EVENTS#ISSUER#*"];
        events.into_iter().any(|partition| on(partition)(s))
            && (does("dynamodb:UpdateItem")(s) || does("dynamodb:DeleteItem")(s))
    };
    assert_eq!(holders(&rewrites_events), Vec::<&str>::new(), "changing an event");
    assert_eq!(holders(&does("dynamodb:Scan")), Vec::<&str>::new(), "scanning");
}

/// The MCP server parses what agents and APIs send, so it must not have more rights.
#[test]
fn the_mcp_server_reads_registered_apis_and_invokes_exchange_token_and_nothing_else() {
    let statements = statements(&Template::read().unwrap());
    let rights: Vec<_> = statements["Mcp"]
        .iter()
        .map(|statement| (statement.resource, statement.actions.join(" "), statement.partitions.clone()))
        .collect();
    let of_apis = Some(vec!["API#*".to_owned()]);
    let expected = [
        (Resource::Table, "dynamodb:GetItem".to_owned(), of_apis),
        (Resource::ExchangeToken, "lambda:InvokeFunction".to_owned(), None),
    ];
    assert_eq!(rights, expected);
    let is_invocation = |statement: &Statement| statement.resource == Resource::ExchangeToken;
    let invokers = statements.iter().filter(|(_, statements)| statements.iter().any(is_invocation));
    assert_eq!(invokers.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["Mcp"]);
}
