//! Refusals and errors that many operations have in common.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Action, Call, FailingEntropy, Harness, Key, Reply};

use crate::support::apis::api_with;
use crate::support::faults::{conflict, service_error};
use crate::support::routes::{self, ROUTES, Route};
use crate::support::{bad_input, changes};

/// Malformed path parameters, as a client writes them, and the status. The authorizer
/// refuses (403) characters that no path of the IAM API needs.
const MALFORMED_IDS: [(&str, u16); 15] = [
    ("x", 400),
    ("sa_", 400),
    ("key_", 400),
    ("sa_AAAAAAAAAAAAAAA", 400),
    ("sa_AAAAAAAAAAAAAAAAA", 400),
    ("SA_AAAAAAAAAAAAAAAA", 400),
    ("key_AAAAAAAAAAAAAAA-", 400),
    ("AAAAAAAAAAAAAAAA", 400),
    ("sa_%2e%2e", 400),
    ("sa_AAAAAAAAAAAAAAA%41A", 400),
    ("sa_AAAAAAAAAAAAAAA%00", 403),
    ("sa_AAAAAAAAAAAAAAA%20", 403),
    ("sa_AAAAAAAAAAAAAAA%C3%A9", 403),
    ("sa_AAAAAAAAAAAAAAA%2541", 403),
    ("*", 403),
];

/// The same for the names of roles. The last one is one character too long.
const MALFORMED_NAMES: [(&str, u16); 6] = [
    ("1st", 400),
    ("_x", 400),
    ("-", 400),
    ("a:b", 403),
    ("a,b", 403),
    ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 400),
];

#[tokio::test]
async fn malformed_path_parameters_400() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let before = harness.table.dump().await;
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for route in &ROUTES {
        for (parameter, _) in route.parameters(&key) {
            let malformed = if parameter == "name" { &MALFORMED_NAMES[..] } else { &MALFORMED_IDS[..] };
            for &(value, status) in malformed {
                let request = route.request_with(&harness, &key, (parameter, value)).admin();
                let reply = request.send().await;
                assert_eq!(reply.status, status, "{parameter} {value} of {}: {reply:?}", route.key());
                if status == 400 {
                    let response = reply.snapshot();
                    // Names of roles, issuers and APIs differ.
                    let kinds = [("/issuers/", "issuer's "), ("/apis/", "API's ")];
                    let kind = kinds.iter().find(|(part, _)| route.path.contains(part));
                    let kind = kind.map_or("", |(_, kind)| *kind);
                    let first = responses.entry(format!("{kind}{parameter}"));
                    assert_eq!(*first.or_insert_with(|| response.clone()), response);
                }
            }
        }
    }
    assert_json_snapshot!(responses);
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn unknown_and_deleted_accounts_404() {
    let harness = Harness::start().await;
    let (_, live) = routes::create_target(&harness, "live").await;
    let (account, deleted) = routes::create_target(&harness, "deleted").await;
    changes::delete(&harness, &account).await;
    let unknown = Key { account: "sa_0000000000000000".to_owned(), ..live };
    let mut responses = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path.contains("{id}")) {
        let request = route.request(&harness, &unknown).admin();
        responses.push(harness.refuse(request, 404, "service_account_not_found").await.snapshot());
        // The events of an account and the activity of its keys remain readable after its
        // deletion.
        if !["/events", "/activity"].iter().any(|kept| route.path.ends_with(kept)) {
            let request = route.request(&harness, &deleted).admin();
            harness.refuse(request, 404, "service_account_not_found").await;
        }
    }
    // A patch that changes nothing, with and without a precondition.
    let patch =
        || harness.request("PATCH", "/iam/v1/service-accounts/sa_0000000000000000").admin().json(&json!({}));
    for request in [patch(), patch().if_match("*")] {
        responses.push(harness.refuse(request, 404, "service_account_not_found").await.snapshot());
    }
    assert!(responses.iter().all(|response| *response == responses[0]), "{responses:?}");
    assert_json_snapshot!(responses[0]);
}

#[tokio::test]
async fn malformed_bodies_400_413_415_422() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let good_bodies = BTreeMap::from([
        ("PATCH /iam/v1/service-accounts/{id}", json!({ "name": "Nightly", "description": "other" })),
        ("POST /iam/v1/keys/lookup", json!({ "key": key.secret })),
        (
            "POST /iam/v1/roles/explain",
            json!({ "role": "ServiceAccountReader", "method": "GET", "path": "/teams" }),
        ),
        ("POST /iam/v1/service-accounts", json!({ "name": "Batch", "role": "ServiceAccountReader" })),
        (
            "POST /iam/v1/service-accounts/{id}/federated-identities",
            json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" } }),
        ),
        ("POST /iam/v1/service-accounts/{id}/keys", json!({ "name": "k", "expiresInDays": 1 })),
        ("POST /iam/v1/service-accounts/{id}/keys/{keyId}/rotation", json!({ "graceSeconds": 60 })),
        ("POST /iam/v1/service-accounts/{id}/reviews", json!({ "decision": "keep", "note": "name" })),
        (
            "PUT /iam/v1/issuers/{name}",
            json!({ "issuer": "https://id.example.com", "algorithms": ["RS256"] }),
        ),
        // A document is read as it is: see the tests of the operation.
        ("PUT /iam/v1/apis/{name}", api_with("openapi", Value::Null)),
        ("PUT /iam/v1/roles/{name}", json!({ "description": "name", "permissions": ["GET /teams"] })),
    ]);
    for route in ROUTES.iter().filter(|route| route.has_body(&key)) {
        let good = &good_bodies[route.key().as_str()];
        let request = || harness.request(route.method, &route.path_for(&key)).admin();
        let most = if route.function == "ManageApis" { 2_500_000 } else { bad_input::MAX_BODY_BYTES };
        bad_input::refuses_malformed_json(&harness, request, good, most).await;
        // The messages of `lookupKey` about members are uniform, so that none quotes the key.
        if !route.path.ends_with("/lookup") {
            bad_input::refuses_malformed_members(&harness, request, good).await;
        }
    }
}

#[tokio::test]
async fn malformed_idempotency_keys_400() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let too_long = "x".repeat(256);
    let mut response = Value::Null;
    for route in ROUTES.iter().filter(|route| route.is_change()) {
        for value in ["", "\"\"", "a b", "a\"b", "a\\b", "\"", &too_long] {
            let request = route.request(&harness, &key).idempotency_key(value).admin();
            response = harness.refuse(request, 400, "malformed_request").await.snapshot();
        }
    }
    assert_json_snapshot!(response);
}

/// Keys and federated identities have no version, so a precondition could not be checked.
#[tokio::test]
async fn preconditions_on_changes_of_keys_400() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let is_of_grants =
        |route: &&Route| ["/keys", "/federated-identities"].iter().any(|part| route.path.contains(part));
    for route in ROUTES.iter().filter(|route| route.is_change()).filter(is_of_grants) {
        for (name, value) in [("if-match", "*"), ("if-match", "\"1\""), ("if-none-match", "*")] {
            let request = route.request(&harness, &key).admin().header(name, value);
            harness.refuse(request, 400, "malformed_request").await;
        }
    }
}

/// An ignored parameter such as `dryRun` could have meant that nothing must be changed.
#[tokio::test]
async fn unknown_query_parameters_400() {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let mut details = BTreeMap::<String, Vec<String>>::new();
    for route in &ROUTES {
        let request = route.request(&harness, &key).query("dryRun=true").admin();
        let refused = harness.refuse(request, 400, "malformed_request").await;
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        details.entry(detail).or_default().push(route.key());
    }
    assert_json_snapshot!(details);
}

/// The responses to a permitted request to each route during a fault. Checks that nothing
/// changes.
async fn replies_during_fault(
    routes: impl Iterator<Item = &Route>,
    fault: fn(&Call) -> Action,
) -> Vec<Reply> {
    let harness = Harness::start().await;
    let (_, key) = routes::create_target(&harness, "target").await;
    let before = without_unused_builds(&harness).await;
    harness.wire.intercept(fault);
    let events: Vec<_> = routes.map(|route| (route.function, route.permitted_event(&key))).collect();
    let replies = join_all(events.iter().map(|(function, event)| harness.invoke(function, event))).await;
    assert_eq!(before, without_unused_builds(&harness).await);
    replies
}

/// The items of the table, without the parts of builds that no API names. The sweep deletes them.
async fn without_unused_builds(harness: &Harness) -> Vec<tests::Item> {
    let mut items = harness.table.dump().await;
    let used: Vec<_> = items.iter().filter_map(|item| item.get("build")?.as_s().ok().cloned()).collect();
    items.retain(|item| {
        let build = item["sk"].as_s().unwrap().split('#').next().unwrap();
        !build.starts_with("bld_") || used.iter().any(|used| used == build)
    });
    items
}

/// Checks that all replies have this status and code. Returns the first one for a snapshot.
fn expect_problem(replies: Vec<Reply>, status: u16, code: &str) -> Value {
    for reply in &replies {
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{reply:?}");
    }
    let first = replies.into_iter().next().unwrap();
    json!({ "status": first.status, "headers": first.headers, "body": first.json() })
}

#[tokio::test]
async fn throttled_table_429() {
    let replies = replies_during_fault(ROUTES.iter(), |call| match call.operation.as_str() {
        "GetSecretValue" => Action::Pass,
        _ => service_error(400, "com.amazonaws.dynamodb.v20120810#ThrottlingException"),
    })
    .await;
    assert_json_snapshot!(expect_problem(replies, 429, "throttled"));
}

#[tokio::test]
async fn unavailable_table_503() {
    let replies = replies_during_fault(ROUTES.iter(), |call| match call.operation.as_str() {
        "GetSecretValue" => Action::Pass,
        _ => Action::Respond(500, "{}".to_owned()),
    })
    .await;
    assert_json_snapshot!(expect_problem(replies, 503, "dependency_unavailable"));
}

#[tokio::test]
async fn endless_concurrent_changes_409() {
    let changes = ROUTES.iter().filter(|route| route.is_change());
    let replies = replies_during_fault(changes, |call| match call.operation.as_str() {
        "TransactWriteItems" => conflict(),
        _ => Action::Pass,
    })
    .await;
    assert_json_snapshot!(expect_problem(replies, 409, "concurrent_changes"));
}

/// The paths of lists without malformed items, so that a malformed item hides no other item.
const LEAVES_OUT: [&str; 4] = ["/iam/v1/apis", "/iam/v1/attention", "/iam/v1/issuers", "/iam/v1/search"];

#[tokio::test]
async fn malformed_items_500() {
    let harness = Harness::start().await;
    let (account, key) = routes::create_target(&harness, "target").await;
    harness.table.tamper(&account.id, |item| drop(item.remove("role"))).await;
    let mut event = harness.table.items("EVENTS#sa_").await.remove(0);
    event.insert("type".to_owned(), AttributeValue::S("unheard.of".to_owned()));
    harness.table.put(event).await;
    harness.table.tamper_role(routes::SPARE_ROLE, |item| drop(item.remove("permissions"))).await;
    let mut issuer = harness.table.get("ISSUERS", routes::SPARE_ROLE).await.unwrap();
    issuer.remove("algorithms");
    harness.table.put(issuer).await;
    let mut api = harness.table.get("API#spare", "API").await.unwrap();
    api.remove("build");
    harness.table.put(api).await;
    let counts = [("pk", "TOTALS#0"), ("sk", "2026-01-01"), ("00_allowed", "many")];
    let counts = counts.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
    harness.table.put(counts.into()).await;
    let before = harness.table.dump().await;
    let mut replies = Vec::new();
    // Putting or deleting a malformed role repairs it.
    let repairs =
        |route: &Route| route.function == "ManageRoles" && ["PUT", "DELETE"].contains(&route.method);
    let leaves_out = |route: &Route| LEAVES_OUT.contains(&route.path);
    let fails =
        |route: &&Route| route.function != "CreateServiceAccount" && !repairs(route) && !leaves_out(route);
    for route in ROUTES.iter().filter(fails) {
        replies.push(harness.invoke(route.function, &route.permitted_event(&key)).await);
    }
    assert_json_snapshot!(expect_problem(replies, 500, "internal_error"));
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn failing_random_source_500() {
    let harness = Harness::builder().entropy(FailingEntropy).start().await;
    let request = harness.request("POST", "/iam/v1/service-accounts").admin();
    let body = json!({ "name": "Batch", "role": "ServiceAccountReader" });
    harness.refuse(request.json(&body), 500, "internal_error").await;
    let request = harness.request("POST", "/iam/v1/service-accounts/sa_0000000000000000/keys").admin();
    harness.refuse(request.json(&json!({ "name": "k" })), 500, "internal_error").await;
    assert_eq!(harness.table.dump().await, []);
}
