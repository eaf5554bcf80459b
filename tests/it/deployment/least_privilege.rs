//! Each function's rights are the calls that it makes: what it was seen to call
//! here, in every way that it can, is compared with what the template lets it
//! call. A lack and a surplus are reported alike.
//!
//! That AWS judges requests as this does is what the documentation says, and
//! what no test on one machine can prove.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use local::template::{TEXT, Template};
use serde_json::{Value, json};
use serde_norway::Value as Yaml;
use shared::policy::Api;
use shared::store::schema;
use tests::{Account, Call, Event, Harness, Shape};

use crate::support;

/// What one request asks for, as IAM sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    action: String,
    resource: Resource,
    /// The partition, with `*` in place of what stands behind its prefix.
    partition: String,
    attributes: BTreeSet<String>,
    /// Whether `dynamodb:Select` says that the request names what it reads.
    is_select: bool,
    /// Whether `dynamodb:EnclosingOperation` names a transaction.
    is_transaction: bool,
}

/// Condition keys of IAM, by action.
type ConditionKeys = BTreeMap<String, BTreeSet<String>>;

/// The condition keys that AWS's reference lists for each action that the
/// template grants. A key that is not listed for an action is absent from its
/// request context. `tests/deploy/rights.py` judges by the same file.
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
    Pepper,
    ConsoleSecret,
    Bus,
}

/// A statement of the template that allows something.
#[derive(Debug)]
struct Statement {
    actions: Vec<String>,
    resource: Resource,
    partitions: Option<Vec<String>>,
    attributes: Option<BTreeSet<String>>,
    must_select: bool,
    must_be_transaction: bool,
}

impl Statement {
    fn permits(&self, access: &Access) -> bool {
        self.actions.contains(&access.action)
            && self.resource == access.resource
            && self.partitions.as_ref().is_none_or(|partitions| partitions.contains(&access.partition))
            && self.attributes.as_ref().is_none_or(|attributes| {
                let is_permitted = |own: &String| attributes.iter().any(|pattern| matches(pattern, own));
                access.attributes.iter().all(is_permitted)
            })
            && (!self.must_select || access.is_select)
            && (!self.must_be_transaction || access.is_transaction)
    }

    /// What it allows and nobody was seen to do.
    fn surplus(&self, seen: &BTreeSet<Access>) -> Vec<String> {
        let used: Vec<&Access> = seen.iter().filter(|access| self.permits(access)).collect();
        let unused_actions =
            self.actions.iter().filter(|action| !used.iter().any(|access| access.action == **action));
        let partitions = self.partitions.iter().flatten();
        let unused_partitions =
            partitions.filter(|partition| !used.iter().any(|access| access.partition == **partition));
        let attributes = self.attributes.iter().flatten();
        let unused_attributes = attributes.filter(|pattern| {
            !used.iter().any(|access| access.attributes.iter().any(|own| matches(pattern, own)))
        });
        let unused = unused_actions.chain(unused_partitions).chain(unused_attributes);
        unused
            .map(|unused| format!("surplus: {unused} in {:?} {:?}", self.actions, self.partitions))
            .collect()
    }
}

/// Whether IAM's `StringLike` finds `text` in a pattern of single wildcards.
/// (`StringEquals` would not, and no attribute's name has one.)
fn matches(pattern: &str, text: &str) -> bool {
    pattern.len() == text.len() && pattern.bytes().zip(text.bytes()).all(|(p, t)| p == b'?' || p == t)
}

/// The statements of each function of a template.
fn statements(template: &Template) -> BTreeMap<String, Vec<Statement>> {
    let functions = template.resources("AWS::Serverless::Function");
    functions
        .map(|(name, properties)| {
            let policies = properties["Policies"].as_sequence().expect("every function has its policies");
            let statements = policies.iter().filter_map(|policy| policy["Statement"].as_sequence()).flatten();
            (name.to_owned(), statements.map(statement).collect())
        })
        .collect()
}

fn statement(statement: &Yaml) -> Statement {
    assert_eq!(statement["Effect"].as_str(), Some("Allow"), "nothing else is understood here");
    let condition = |operator: &str, key: &str| statement["Condition"][operator].get(key);
    let resource = match serde_norway::to_string(&statement["Resource"]).unwrap() {
        text if text.contains("Pepper") => Resource::Pepper,
        text if text.trim() == "!Ref ConsoleSecret" => Resource::ConsoleSecret,
        text if text.contains("/index/gsi1") => Resource::Index,
        text if text.contains(":event-bus/default") => Resource::Bus,
        text if text.trim() == "!GetAtt Table.Arn" => Resource::Table,
        other => panic!("what is {other}?"),
    };
    // What stands for partitions and attributes on the bus: sources and types.
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
    }
}

fn texts(value: &Yaml) -> Vec<String> {
    let one = |value: &Yaml| {
        // A `!Sub` of the environment.
        if let Yaml::Tagged(tagged) = value {
            return tagged.value.as_str().unwrap().replace("${Environment}", "local");
        }
        value.as_str().unwrap().to_owned()
    };
    value.as_sequence().map_or_else(|| vec![one(value)], |list| list.iter().map(one).collect())
}

/// What a call asks for.
fn accesses(call: &Call) -> Vec<Access> {
    let body = &call.body;
    match call.operation.as_str() {
        "DescribeSecret" | "GetSecretValue" | "PutSecretValue" | "UpdateSecretVersionStage" => vec![Access {
            action: format!("secretsmanager:{}", call.operation),
            resource: match body["SecretId"].as_str() {
                Some("keyward-pepper") => Resource::Pepper,
                Some("keyward-console") => Resource::ConsoleSecret,
                other => panic!("no function may reach the secret {other:?}"),
            },
            partition: String::new(),
            attributes: BTreeSet::new(),
            is_select: false,
            is_transaction: false,
        }],
        "PutEvents" => body["Entries"].as_array().unwrap().iter().map(published).collect(),
        "GetItem" | "UpdateItem" => vec![access(&call.operation, body, &body["Key"], false)],
        "Query" => {
            let partition = json!({ schema::PK: body["ExpressionAttributeValues"][":pk"] });
            vec![access("Query", body, &partition, false)]
        }
        "TransactWriteItems" => body["TransactItems"].as_array().unwrap().iter().map(transacted).collect(),
        other => panic!("no function may call {other}"),
    }
}

fn published(entry: &Value) -> Access {
    assert!(entry["EventBusName"].is_null(), "it is the default bus");
    Access {
        action: "events:PutEvents".to_owned(),
        resource: Resource::Bus,
        partition: entry["Source"].as_str().unwrap().to_owned(),
        attributes: BTreeSet::from([entry["DetailType"].as_str().unwrap().to_owned()]),
        is_select: false,
        is_transaction: false,
    }
}

fn transacted(item: &Value) -> Access {
    let (kind, action) = item.as_object().unwrap().iter().next().unwrap();
    let (name, key) = match kind.as_str() {
        "Put" => ("PutItem", &action["Item"]),
        "Update" => ("UpdateItem", &action["Key"]),
        "Delete" => ("DeleteItem", &action["Key"]),
        "ConditionCheck" => ("ConditionCheckItem", &action["Key"]),
        other => panic!("no function may {other}"),
    };
    access(name, action, key, true)
}

fn access(operation: &str, request: &Value, named: &Value, is_transaction: bool) -> Access {
    let action = format!("dynamodb:{operation}");
    let mut attributes: BTreeSet<String> = named.as_object().unwrap().keys().cloned().collect();
    for expression in ["ProjectionExpression", "ConditionExpression", "UpdateExpression", "FilterExpression"]
    {
        attributes.extend(top_level_names(request, request[expression].as_str().unwrap_or_default()));
    }
    let partition = named[schema::PK]["S"].as_str().unwrap();
    Access {
        resource: if request["IndexName"].is_null() { Resource::Table } else { Resource::Index },
        partition: kind_of(partition),
        attributes,
        is_select: selects(operation, request) && has_key(&action, "dynamodb:Select"),
        is_transaction: is_transaction && has_key(&action, "dynamodb:EnclosingOperation"),
        action,
    }
}

/// Whether a read names the attributes that it gets. A `Query` must say so by
/// `Select`. `GetItem` has no such parameter: its projection says it.
fn selects(operation: &str, request: &Value) -> bool {
    let is_projection = !request["ProjectionExpression"].is_null();
    if operation != "Query" {
        return is_projection;
    }
    let expected = if is_projection { json!("SPECIFIC_ATTRIBUTES") } else { json!(null) };
    assert_eq!(request["Select"], expected, "each projecting Query says what it selects: {request}");
    is_projection
}

/// A partition with `*` in place of what stands behind its prefix. (An event of
/// a role is one of no account.)
fn kind_of(partition: &str) -> String {
    if partition.starts_with(schema::partition::ROLE_EVENTS) {
        return format!("{}*", schema::partition::ROLE_EVENTS);
    }
    partition.find('#').map_or_else(|| partition.to_owned(), |at| format!("{}*", &partition[..=at]))
}

/// The attributes that an expression names: of each path the first part.
fn top_level_names(request: &Value, expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "#:_.".contains(c);
    let paths = expression.split(|c| !is_part(c)).filter(|path| path.starts_with('#'));
    let names = paths.map(|path| {
        let first = path.split('.').next().unwrap();
        request["ExpressionAttributeNames"][first].as_str().unwrap().to_owned()
    });
    // `pk` stands for itself where the connection is warmed.
    names.chain((expression == schema::PK).then(|| schema::PK.to_owned())).collect()
}

/// What each function was seen to ask for.
type Seen = BTreeMap<String, BTreeSet<Access>>;

/// Sends requests of an admin, for which the authorizer calls nobody: what is
/// called is called by `function`.
struct Watch<'a> {
    harness: &'a Harness,
    seen: Seen,
}

impl Watch<'_> {
    fn note(&mut self, function: &str) {
        let calls = self.harness.wire.take_calls();
        self.seen.entry(function.to_owned()).or_default().extend(calls.iter().flat_map(accesses));
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
        self.note(function);
        serde_json::from_str(&reply.text).unwrap_or_default()
    }

    /// Looks a retired key up, and rotates the pepper.
    async fn look_up_and_rotate(&mut self, secret: &Value) {
        let in_hand = json!({ "key": secret });
        self.send("IssueKey", ("POST", "/iam/v1/keys/lookup"), Some(in_hand), None).await;
        self.harness.wire.take_calls();
        support::rotate_pepper(self.harness, "rotation-1").await;
        self.note("RotatePepper");
    }

    /// Asks both authorizers about requests with this key.
    async fn authorize(&mut self, secret: &str) {
        let bearer = format!("Bearer {secret}");
        for (function, api, path) in [
            ("Authorizer", Api::Business, "/organizations/42"),
            ("IamAuthorizer", Api::Iam, "/iam/v1/whoami"),
        ] {
            self.harness.wire.take_calls();
            let mut event = Shape::HttpV2.event("GET", path, &bearer);
            Shape::HttpV2.set_source(&mut event, "127.0.0.1");
            let _ = self.harness.authorize_at(api, &event).await;
            self.note(function);
        }
    }

    async fn create(&mut self, body: Value, key: Option<&str>) -> Account {
        let reply =
            self.send("CreateServiceAccount", ("POST", "/iam/v1/service-accounts"), Some(body), key).await;
        Account { id: reply["id"].as_str().unwrap_or_default().to_owned() }
    }
}

/// Has somebody sign in to the console.
async fn watch_console(harness: &Harness) -> BTreeSet<Access> {
    harness.wire.take_calls();
    crate::support::browser::Browser::signed_in(harness).await.get("/").await.expect(200);
    // What the API's functions call for it is theirs.
    let calls = harness.wire.take_calls();
    let own = calls.iter().filter(|call| call.body["SecretId"] == "keyward-console");
    own.flat_map(accesses).collect()
}

/// Calls each function in every way that makes it ask for something else.
async fn watch(harness: &Harness) -> Seen {
    let mut watch = Watch { harness, seen: Seen::new() };
    let roles = "/iam/v1/roles";
    for permissions in [json!(["GET /teams"]), json!(["GET /organizations/{proxy+}"])] {
        let body = json!({ "description": "d", "permissions": permissions });
        watch.send("ManageRoles", ("PUT", "/iam/v1/roles/Custom"), Some(body), None).await;
    }

    let custom = json!({ "name": "a", "role": "Custom", "tags": { "a": "b" } });
    let account = watch.create(custom.clone(), Some("one")).await;
    watch.create(custom.clone(), Some("one")).await;
    let path = account.path();

    let lists = ["/iam/v1/service-accounts?role=Custom&enabled=true", &path, &format!("{path}/events")];
    let events =
        ["/iam/v1/events?actor=a&type=key.issued", &format!("/iam/v1/events?account={}", account.id)];
    for list in lists.into_iter().chain(events) {
        watch.send("ListServiceAccounts", ("GET", list), None, None).await;
    }

    let keys = format!("{path}/keys");
    let restricted =
        json!({ "name": "k", "role": "Custom", "expiresInDays": 1, "allowedCidrs": ["127.0.0.0/8"] });
    let expiring = watch.send("IssueKey", ("POST", &keys), Some(restricted.clone()), Some("key")).await;
    harness.clock.advance_days(2);
    let live = watch.send("IssueKey", ("POST", &keys), Some(restricted.clone()), None).await;
    watch.send("IssueKey", ("POST", &keys), Some(restricted.clone()), Some("key")).await;

    for credential in [&live, &expiring] {
        watch.authorize(credential["secret"].as_str().unwrap()).await;
    }
    let one = format!("{keys}/{}", live["id"].as_str().unwrap());
    let whoami = Event {
        route: "GET /iam/v1/whoami".to_owned(),
        parameters: json!({}),
        body: None,
        context: Some(json!({
            "principalType": "serviceAccount", "principalId": account.id, "principalName": "a",
            "keyId": live["id"], "role": "Custom", "keyRole": "Custom", "environment": "local",
        })),
    };
    harness.wire.take_calls();
    let _ = harness.invoke("Whoami", &whoami).await.expect(200);
    watch.note("Whoami");

    let rotate = |seconds: u32| Some(json!({ "graceSeconds": seconds }));
    let next = watch.send("IssueKey", ("POST", &format!("{one}/rotation")), rotate(60), None).await;
    let next = format!("{keys}/{}/rotation", next["id"].as_str().unwrap());
    for _ in 0..2 {
        watch.send("IssueKey", ("POST", &next), rotate(0), None).await;
    }
    watch.send("RevokeKey", ("DELETE", &one), None, None).await;
    watch.send("RevokeKey", ("DELETE", &one), None, None).await;
    watch.send("IssueKey", ("POST", &keys), Some(restricted), None).await;
    watch.send("RevokeKey", ("DELETE", &keys), None, None).await;

    let everything = json!({
        "name": "b", "description": "d", "role": "ServiceAccountReader", "enabled": true, "owner": "o",
        "tags": { "c": "d" },
    });
    let disable = json!({ "enabled": false, "role": "Custom" });
    for changes in [everything, disable, json!({ "enabled": true })] {
        watch.send("UpdateServiceAccount", ("PATCH", &path), Some(changes), None).await;
    }
    // One key expires soon, and then nobody has used it for long, and then it is
    // over.
    let short = json!({ "name": "s", "role": "Custom", "allowedCidrs": ["::/0"], "expiresInDays": 120 });
    watch.send("IssueKey", ("POST", &keys), Some(short), None).await;
    let rotated = json!({ "name": "r" });
    let rotated = watch.send("IssueKey", ("POST", &keys), Some(rotated), None).await;
    let rotation = format!("{keys}/{}/rotation", rotated["id"].as_str().unwrap());
    watch.send("IssueKey", ("POST", &rotation), Some(json!({ "graceSeconds": 60 })), None).await;
    harness.wire.take_calls();
    for (days, until) in [(100, Timestamp::MAX), (30, Timestamp::MAX), (0, Timestamp::MIN)] {
        harness.clock.advance_days(days);
        harness.system.sweep_keys().sweep(until).await.unwrap();
    }
    watch.note("SweepKeys");
    watch
        .send("IssueKey", ("POST", &keys), Some(json!({ "name": "last", "allowedCidrs": ["::/0"] })), None)
        .await;
    let narrower = json!({ "name": "narrower", "role": "Custom" });
    let narrower = watch.send("IssueKey", ("POST", &keys), Some(narrower), None).await;
    let narrower = format!("{keys}/{}/rotation", narrower["id"].as_str().unwrap());
    watch.send("IssueKey", ("POST", &narrower), rotate(60), None).await;
    for key in [&live, &expiring] {
        let about = json!({
            "serviceAccountId": account.id, "keyId": key["id"], "method": "GET", "path": "/organizations/1",
        });
        watch.send("ManageRoles", ("POST", "/iam/v1/roles/explain"), Some(about), None).await;
    }
    for (method, path) in
        [("GET", roles), ("GET", "/iam/v1/roles/Custom"), ("DELETE", "/iam/v1/roles/Custom")]
    {
        watch.send("ManageRoles", (method, path), None, None).await;
    }
    watch.send("RevokeKey", ("DELETE", &path), None, None).await;
    watch.send("ManageRoles", ("DELETE", "/iam/v1/roles/Custom"), None, None).await;
    let gone = json!({ "permissions": [] });
    watch.send("ManageRoles", ("PUT", "/iam/v1/roles/Custom"), Some(gone), None).await;
    watch.create(custom, Some("one")).await;
    watch.look_up_and_rotate(&live["secret"]).await;
    watch.seen
}

/// Where the template and what was seen differ.
fn differences(template: &Template, seen: &Seen) -> Vec<String> {
    let statements = statements(template);
    let nothing = BTreeSet::new();
    let mut differences = Vec::new();
    for (function, statements) in &statements {
        let seen = seen.get(function).unwrap_or(&nothing);
        let lacks =
            seen.iter().filter(|access| !statements.iter().any(|statement| statement.permits(access)));
        differences.extend(lacks.map(|access| format!("{function} lacks {access:?}")));
        let surplus = statements.iter().flat_map(|statement| statement.surplus(seen));
        differences.extend(surplus.map(|surplus| format!("{function} has a {surplus}")));
    }
    differences
}

#[tokio::test]
async fn each_function_may_do_what_it_does_and_no_more() {
    let harness = Harness::start().await;
    let mut seen = watch(&harness).await;
    seen.insert("Console".to_owned(), watch_console(&harness).await);
    let template = Template::read().unwrap();
    assert_eq!(differences(&template, &seen), Vec::<String>::new());

    // Without any one statement, something is lacking.
    let marker = "            - Effect: Allow\n";
    let starts: Vec<usize> = TEXT.match_indices(marker).map(|(at, _)| at).collect();
    assert!(starts.len() > 20, "there are some to take away");
    for start in starts {
        let rest = &TEXT[start + marker.len()..];
        let end = rest.find(marker).into_iter().chain(rest.find("\n\n")).min().unwrap();
        let without = format!("{}{}", &TEXT[..start], &rest[end..]);
        let taken = &TEXT[start..start + marker.len() + end];
        let without = Template::parse(&without).unwrap_or_else(|error| panic!("{error}: {taken}"));
        assert_ne!(differences(&without, &seen), Vec::<String>::new(), "without:\n{taken}");
    }

    // The same of the boundary.
    assert_eq!(boundary_differences(&template, &seen), Vec::<String>::new());
    for without in without_each_of_the_boundary() {
        assert_ne!(boundary_differences(&without, &seen), Vec::<String>::new());
    }
    let more = TEXT.replacen("- dynamodb:Query\n", "- dynamodb:Query\n              - dynamodb:Scan\n", 1);
    let more = Template::parse(&more).unwrap();
    assert_ne!(boundary_differences(&more, &seen), Vec::<String>::new(), "with Scan");

    // With any one thing more, something is surplus.
    for (from, to) in [
        ("Action: dynamodb:GetItem", "Action: [dynamodb:GetItem, dynamodb:Scan]"),
        ("[\"ACCOUNT#*\"]", "[\"ACCOUNT#*\", \"ROLE#*\", \"NAME#*\"]"),
        ("[pk, sk, ", "[pk, sk, anything, "),
    ] {
        let more = Template::parse(&TEXT.replacen(from, to, 1)).unwrap();
        assert_ne!(differences(&more, &seen), Vec::<String>::new(), "with {to}");
    }
}

/// What Lambda itself does in a function's role: see its managed policies
/// `AWSLambdaBasicExecutionRole` and `AWSXRayDaemonWriteAccess`.
const LAMBDA: [(&str, &str); 4] = [
    ("logs:CreateLogStream", ":log-group:/aws/lambda/${AWS::StackName}/*"),
    ("logs:PutLogEvents", ":log-group:/aws/lambda/${AWS::StackName}/*"),
    ("xray:PutTelemetryRecords", "*"),
    ("xray:PutTraceSegments", "*"),
];

/// Where the boundary and what was seen differ: all functions together need
/// each action and each resource of each of its statements.
fn boundary_differences(template: &Template, seen: &Seen) -> Vec<String> {
    let resource = |access: &Access| match access.resource {
        Resource::Table => "Table.Arn",
        Resource::Index => "${Table.Arn}/index/gsi1",
        Resource::Pepper => "Pepper",
        Resource::ConsoleSecret => "ConsoleSecret",
        Resource::Bus => ":event-bus/default",
    };
    let seen = seen.values().flatten().map(|access| (access.action.as_str(), resource(access)));
    let needed: BTreeSet<(&str, &str)> = seen.chain(LAMBDA).collect();
    let statements = template.properties("FunctionBoundary").unwrap()["PolicyDocument"]["Statement"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|statement| {
            assert_eq!(statement["Effect"].as_str(), Some("Allow"), "nothing else is understood here");
            (texts(&statement["Action"]), targets(&statement["Resource"]))
        });
    let statements: Vec<(Vec<String>, Vec<String>)> = statements.collect();
    let is_at =
        |given: &String, wanted: &str| given == wanted || (wanted.len() > 1 && given.ends_with(wanted));
    let permits = |(actions, resources): &(Vec<String>, Vec<String>), (action, resource): (&str, &str)| {
        actions.iter().any(|own| own == action) && resources.iter().any(|own| is_at(own, resource))
    };
    let lacks = needed.iter().filter(|needed| !statements.iter().any(|own| permits(own, **needed)));
    let mut differences: Vec<String> = lacks.map(|needed| format!("the boundary lacks {needed:?}")).collect();
    for (actions, resources) in &statements {
        let by_action = actions.iter().filter(|own| !needed.iter().any(|needed| needed.0 == **own));
        let by_resource = resources.iter().filter(|own| {
            !needed.iter().any(|needed| actions.iter().any(|a| a == needed.0) && is_at(own, needed.1))
        });
        differences
            .extend(by_action.chain(by_resource).map(|more| format!("the boundary has a surplus: {more}")));
    }
    differences
}

/// A text, a tagged text, or a list of them.
fn targets(value: &Yaml) -> Vec<String> {
    if let Yaml::Tagged(tagged) = value {
        texts(&tagged.value)
    } else if let Some(list) = value.as_sequence() {
        list.iter().flat_map(targets).collect()
    } else {
        texts(value)
    }
}

/// The template without each statement of the boundary in turn.
fn without_each_of_the_boundary() -> Vec<Template> {
    let start = TEXT.find("  FunctionBoundary:\n").unwrap();
    let end = start + TEXT[start..].find("\n\n").unwrap();
    let marker = "          - Effect: Allow\n";
    let starts: Vec<usize> = TEXT[start..end].match_indices(marker).map(|(at, _)| start + at).collect();
    assert!(starts.len() > 3, "there are some to take away");
    let ends = starts.iter().skip(1).copied().chain([end + 1]);
    let without =
        |(from, to): (&usize, usize)| Template::parse(&format!("{}{}", &TEXT[..*from], &TEXT[to..])).unwrap();
    starts.iter().zip(ends).map(without).collect()
}

/// The conditions of a template's policy statements on keys that the reference
/// does not list for an action of the statement, and the actions that are not
/// in the table. `aws:` keys belong to no service, so the table has none.
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

/// Every policy statement in `value`, wherever it is.
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

    // The fault that this test exists for: see the note on the functions'
    // rights in the template.
    let attributes = "\"ForAllValues:StringEquals\": { \"dynamodb:Attributes\": [pk, sk] }\n";
    let checks = TEXT.match_indices("Action: dynamodb:ConditionCheckItem\n");
    let mut planted = 0;
    for (start, _) in checks {
        let at = start + TEXT[start..].find(attributes).unwrap() + attributes.len();
        let transaction = "                \"ForAnyValue:StringEquals\": \
                           { \"dynamodb:EnclosingOperation\": TransactWriteItems }\n";
        let text = format!("{}{transaction}{}", &TEXT[..at], &TEXT[at..]);
        assert_eq!(unlisted_keys(&text), ["dynamodb:ConditionCheckItem under dynamodb:EnclosingOperation"]);
        planted += 1;
    }
    assert_eq!(planted, 3, "each function that checks a condition");

    let scan = TEXT.replacen("Action: dynamodb:GetItem", "Action: dynamodb:Scan", 1);
    assert_eq!(unlisted_keys(&scan), ["dynamodb:Scan is not in tests/condition_keys.json"]);
}

/// The promises that a reader of the template would look for first.
#[test]
fn the_powers_that_matter_are_apart() {
    let statements = statements(&Template::read().unwrap());
    let holders = |power: &dyn Fn(&Statement) -> bool| -> Vec<&str> {
        let holders = statements.iter().filter(|(_, statements)| statements.iter().any(power));
        holders.map(|(name, _)| name.as_str()).collect()
    };
    let on = |partition: &'static str| {
        move |statement: &Statement| statement.partitions.iter().flatten().any(|own| own == partition)
    };
    let reads = |statement: &Statement| statement.actions.iter().any(|action| action == "dynamodb:GetItem");
    let names = |attribute: &'static str| {
        move |statement: &Statement| statement.attributes.iter().flatten().any(|own| own == attribute)
    };
    let does =
        |action: &'static str| move |statement: &Statement| statement.actions.iter().any(|own| own == action);

    let pepper = |s: &Statement| s.resource == Resource::Pepper;
    assert_eq!(holders(&pepper), ["Authorizer", "IamAuthorizer", "IssueKey", "RotatePepper"], "the pepper");
    let change = ["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"];
    assert_eq!(holders(&|s| change.iter().any(|action| does(action)(s))), ["RotatePepper"], "its change");
    assert!(statements["RotatePepper"].iter().all(pepper), "who changes the pepper reaches no table");
    assert_eq!(holders(&|s| s.resource == Resource::ConsoleSecret), ["Console"], "the console's secret");
    assert_eq!(statements["Console"].len(), 1, "the console has no other right");
    let verifiers = |s: &Statement| reads(s) && on("ACCOUNT#*")(s) && names("verifiers")(s);
    // The last one moves those of expired keys.
    let holders_of_verifiers = ["Authorizer", "IamAuthorizer", "IssueKey", "RevokeKey", "SweepKeys"];
    assert_eq!(holders(&verifiers), holders_of_verifiers, "verifiers");
    let kept = |s: &Statement| {
        let is_read = reads(s) || does("dynamodb:Query")(s);
        is_read && on("RETIRED#*")(s) && (names("verifier")(s) || s.attributes.is_none() || !s.must_select)
    };
    // The second one looks leaked keys up.
    assert_eq!(holders(&kept), ["Authorizer", "IamAuthorizer", "IssueKey"], "verifiers of retired keys");
    let alone = |s: &Statement| {
        let writes = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"];
        writes.into_iter().any(|action| does(action)(s)) && !s.must_be_transaction
    };
    assert_eq!(holders(&alone), ["Authorizer", "IamAuthorizer"], "writing outside of a transaction");
    let is_usage = |s: &Statement| s.partitions.as_deref() == Some(&["USAGE#*".to_owned()]);
    for name in ["Authorizer", "IamAuthorizer"] {
        assert!(statements[name].iter().filter(|s| alone(s)).all(is_usage), "{name} writes usage alone");
    }
    let widen = |s: &Statement| does("dynamodb:UpdateItem")(s) && names("role")(s);
    assert_eq!(holders(&widen), ["UpdateServiceAccount"], "changing a role");
    let roles =
        |s: &Statement| on("ROLE#*")(s) && (does("dynamodb:PutItem")(s) || does("dynamodb:DeleteItem")(s));
    assert_eq!(holders(&roles), ["ManageRoles"], "changing what a role permits");
    let rewrite = |s: &Statement| {
        (on("EVENTS#*")(s) || on("EVENTS#ROLE#*")(s))
            && (does("dynamodb:UpdateItem")(s) || does("dynamodb:DeleteItem")(s))
    };
    assert_eq!(holders(&rewrite), Vec::<&str>::new(), "changing an event");
    assert_eq!(holders(&does("dynamodb:Scan")), Vec::<&str>::new(), "scanning");
}
