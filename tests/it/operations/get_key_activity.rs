//! `GET /iam/v1/service-accounts/{id}/keys/{keyId}/activity`

use authorizer::Authorizer;
use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Harness, Key, Reply, Shape, Verdict};

use crate::support::changes;
use crate::support::keys::{forged, use_key};

fn path_of(key: &Key) -> String {
    format!("{}/activity", key.path())
}

async fn activity(harness: &Harness, key: &Key) -> Value {
    harness.get(&path_of(key)).await.json()
}

/// A key of a Reader account that lives a year.
async fn long_lived_key(harness: &Harness) -> Key {
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    harness.issue_key_with(&account, &json!({ "name": "server 1", "expiresInDays": 365 })).await
}

/// The event of a request on a route, in which `{id}` is 42.
fn event(key: &Key, route: &str) -> Value {
    let (method, path) = route.split_once(' ').unwrap();
    let mut event = Shape::HttpV2.request(method, &path.replace("{id}", "42"), &key.secret);
    event["routeKey"] = route.into();
    event
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

#[tokio::test]
async fn shows_counts_refusals_and_routes_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let body = json!({ "name": "server 1", "allowedCidrs": ["203.0.113.0/24"] });
    let key = harness.issue_key_with(&account, &body).await;
    let send = async |event: Value, expected| {
        harness.clock.advance_seconds(1);
        assert_eq!(harness.verdict(&event).await, expected);
    };
    send(event(&key, "GET /organizations/{id}"), Verdict::Allow).await;
    send(event(&key, "GET /teams"), Verdict::Allow).await;
    harness.clock.advance_days(3);
    for _ in 0..3 {
        send(event(&key, "GET /organizations/{id}"), Verdict::Allow).await;
        send(event(&key, "POST /organizations"), Verdict::Deny).await;
    }
    harness.clock.advance_seconds(3600);
    let mut from_elsewhere = event(&key, "GET /teams");
    Shape::HttpV2.set_source(&mut from_elsewhere, "198.51.100.1");
    send(from_elsewhere, Verdict::Deny).await;
    // An event of a REST API with a TOKEN authorizer has no route and no source address.
    let token = Shape::RestToken.request("DELETE", "/teams/42", &key.secret);
    harness.clock.advance_seconds(1);
    assert_eq!(harness.verdict(&token).await, Verdict::Deny);
    assert_json_snapshot!(harness.get(&path_of(&key)).await.snapshot());
}

#[tokio::test]
async fn shows_no_activity_of_an_unused_key_200() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    assert_json_snapshot!(harness.get(&path_of(&key)).await.snapshot());
}

#[tokio::test]
async fn shows_the_use_of_a_retired_key_after_its_end_200() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    use_key(&harness, &key).await;
    harness.clock.advance_seconds(60);
    let _ = harness.revoke(&key).await.expect(204);
    harness.clock.advance_seconds(60);
    assert_eq!(harness.verdict(&event(&key, "GET /organizations/{id}")).await, Verdict::Deny);
    assert_json_snapshot!(harness.get(&path_of(&key)).await.snapshot());
}

#[tokio::test]
async fn shows_the_activity_of_a_deleted_accounts_key_200() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    use_key(&harness, &key).await;
    changes::delete(&harness, &account).await;
    assert_eq!(harness.verdict(&event(&key, "GET /organizations/{id}")).await, Verdict::Deny);
    let shown = activity(&harness, &key).await;
    assert_eq!(shown["last24Hours"], json!({ "allowed": 1, "refused": 1 }));
    assert_eq!(shown["recentRefusals"][0]["reason"], "retired");
    // The account has no record of other keys.
    let unknown = Key { id: "key_0000000000000000".to_owned(), ..key };
    let request = harness.request("GET", &path_of(&unknown)).admin();
    harness.refuse(request, 404, "service_account_not_found").await;
}

#[tokio::test]
async fn requests_through_api_gateway_are_shown_at_once_with_their_request_ids() {
    let harness = Harness::start().await;
    let key = long_lived_key(&harness).await;
    let send = async |method: &str, path: &str| -> Reply {
        harness.clock.advance_seconds(1);
        harness.request(method, path).bearer(&key.secret).send().await
    };
    for _ in 0..25 {
        let _ = send("GET", "/organizations/42?page=2").await.expect(200);
    }
    let mut refused = Vec::new();
    for number in 0..7 {
        let reply = send("POST", &format!("/organizations/{number}/admins")).await.expect(403);
        refused.insert(0, reply.request_id().to_owned());
    }
    let shown = activity(&harness, &key).await;
    assert_eq!(shown["last24Hours"], json!({ "allowed": 25, "refused": 7 }));
    assert_eq!(shown["byHour"][0]["refusedByReason"], json!({ "role": 7 }));
    let refusals = shown["recentRefusals"].as_array().unwrap();
    let ids: Vec<_> = refusals.iter().map(|refusal| refusal["requestId"].as_str().unwrap()).collect();
    assert_eq!(ids, refused);
    assert_eq!(refusals[0]["path"], "/organizations/6/admins");
    assert_eq!(refusals[0]["missingPermission"], "POST /organizations/6/admins");
    // A path is recorded without its query.
    assert_eq!(shown["lastAllowed"]["path"], "/organizations/42");
    // Keyward's own API has another authorizer, which counts too.
    let _ = harness.request("GET", "/iam/v1/whoami").bearer(&key.secret).send().await.expect(200);
    assert_eq!(activity(&harness, &key).await["last24Hours"]["allowed"], 26);
}

/// An instance that uses up its writes and is then idle writes the rest when it ends, perhaps
/// hours later.
#[tokio::test]
async fn an_instance_that_ends_replaces_neither_a_later_request_nor_a_later_day_of_a_route() {
    let harness = Harness::start().await;
    let key = long_lived_key(&harness).await;
    let [idle, other] = [harness.another_authorizer(), harness.another_authorizer()];
    let allow = async |instance: &Authorizer, route: &str, request_id: &str| {
        let mut event = event(&key, route);
        event["requestContext"]["requestId"] = request_id.into();
        assert!(instance.answer(&event.to_string(), "invocation-1").await.unwrap().is_allow());
    };
    // 23:59:50 on the first day.
    harness.clock.advance_seconds(24 * 3600 - 10);
    for _ in 0..40 {
        allow(&idle, "GET /organizations/{id}", "request-1").await;
    }
    allow(&idle, "GET /teams", "request-2").await;
    let shown = activity(&harness, &key).await;
    assert_eq!(shown["lastAllowed"]["requestId"], "request-1", "request-2 is pending");
    assert_eq!(shown["routes"].as_array().unwrap().len(), 1, "the second route is pending");
    harness.clock.advance_seconds(60);
    allow(&other, "GET /teams", "request-3").await;
    idle.flush_activity().await;
    let shown = activity(&harness, &key).await;
    assert_eq!(shown["lastAllowed"]["requestId"], "request-3");
    assert_eq!(shown["routes"][1], json!({ "route": "GET /teams", "lastUsedOn": "2026-01-02" }));
}

#[tokio::test]
async fn each_period_ends_as_documented() {
    let harness = Harness::start().await;
    let key = long_lived_key(&harness).await;
    // 00:59:59 in the first hour of a day.
    harness.clock.advance_seconds(3599);
    use_key(&harness, &key).await;
    assert_eq!(harness.verdict(&event(&key, "POST /organizations")).await, Verdict::Deny);
    harness.authorizer().flush_activity().await;
    let both = json!({ "allowed": 1, "refused": 1 });
    let none = json!({ "allowed": 0, "refused": 0 });
    let shown = async || {
        let shown = activity(&harness, &key).await;
        let length = |name: &str| shown[name].as_array().unwrap().len();
        let requests = (shown.get("lastAllowed").is_some(), length("recentRefusals"));
        let (hours, days, routes) = (length("byHour"), length("byDay"), length("routes"));
        let used_at = shown["lastUsedAt"].clone();
        assert_eq!(used_at, "2026-01-01T00:59:59Z");
        (shown["last24Hours"].clone(), shown["last30Days"].clone(), hours, days, requests, routes)
    };
    let kept = (true, 1);
    let mut elapsed = 0;
    let mut at = |seconds: i64| {
        harness.clock.advance_seconds(seconds - elapsed);
        elapsed = seconds;
    };
    at(23 * HOUR);
    assert_eq!(shown().await, (both.clone(), both.clone(), 1, 1, kept, 1));
    // 25 hours after the start of the hour, to the second.
    at(23 * HOUR + 1);
    assert_eq!(shown().await, (none.clone(), both.clone(), 1, 1, kept, 1));
    at(47 * HOUR);
    assert_eq!(shown().await, (none.clone(), both.clone(), 1, 1, kept, 1));
    at(47 * HOUR + 1);
    assert_eq!(shown().await, (none.clone(), both.clone(), 0, 1, kept, 1));
    // The last second of the 30th day, and the first of the 31st.
    at(30 * DAY - HOUR);
    assert_eq!(shown().await, (none.clone(), both.clone(), 0, 1, kept, 1));
    at(30 * DAY - HOUR + 1);
    assert_eq!(shown().await, (none.clone(), none.clone(), 0, 1, kept, 1));
    // Requests are shown for 30 times 24 hours.
    at(30 * DAY);
    assert_eq!(shown().await, (none.clone(), none.clone(), 0, 1, kept, 1));
    at(30 * DAY + 1);
    assert_eq!(shown().await, (none.clone(), none.clone(), 0, 1, (false, 0), 1));
    // The last second of the 90th day, and the first of the 91st.
    at(90 * DAY - HOUR);
    assert_eq!(shown().await, (none.clone(), none.clone(), 0, 1, (false, 0), 1));
    at(90 * DAY - HOUR + 1);
    assert_eq!(shown().await, (none.clone(), none, 0, 0, (false, 0), 0));
}

#[tokio::test]
async fn shows_the_last_20_refusals_newest_first() {
    let harness = Harness::start().await;
    let key = long_lived_key(&harness).await;
    for number in 0..25 {
        harness.clock.advance_seconds(1);
        let event = Shape::HttpV2.request("DELETE", &format!("/organizations/{number}"), &key.secret);
        assert_eq!(harness.verdict(&event).await, Verdict::Deny);
    }
    harness.authorizer().flush_activity().await;
    let shown = activity(&harness, &key).await;
    assert_eq!(shown["last24Hours"], json!({ "allowed": 0, "refused": 25 }));
    let refusals = shown["recentRefusals"].as_array().unwrap();
    let paths: Vec<_> = refusals.iter().map(|refusal| refusal["path"].as_str().unwrap()).collect();
    let expected: Vec<_> = (5..25).rev().map(|number| format!("/organizations/{number}")).collect();
    assert_eq!(paths, expected);
}

#[tokio::test]
async fn shows_200_routes_and_when_others_were_used() {
    let harness = Harness::start().await;
    let key = long_lived_key(&harness).await;
    let instances = [harness.another_authorizer(), harness.another_authorizer()];
    let send = async |instance: usize, number: usize| {
        let event = event(&key, &format!("GET /organizations/{{id}}/{number:03}"));
        let answer = instances[instance].answer(&event.to_string(), "invocation-1").await;
        assert!(answer.unwrap().is_allow());
        instances[instance].flush_activity().await;
    };
    for number in 0..200 {
        send(0, number).await;
    }
    let shown = activity(&harness, &key).await;
    assert_eq!(shown["routes"].as_array().unwrap().len(), 200);
    assert_eq!(shown.get("otherRoutesLastUsedOn"), None);

    // A route that is used again on a later day replaces no other route.
    harness.clock.advance_days(1);
    send(0, 7).await;
    let shown = activity(&harness, &key).await;
    assert_eq!(
        shown["routes"][7],
        json!({ "route": "GET /organizations/{id}/007", "lastUsedOn": "2026-01-02" })
    );
    assert_eq!(shown["routes"].as_array().unwrap().len(), 200);

    // Another instance stores more routes. The most recently used routes are shown.
    harness.clock.advance_days(1);
    for number in 200..210 {
        send(1, number).await;
    }
    let shown = activity(&harness, &key).await;
    let routes = shown["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 200);
    let last_used_on = |day: &str| routes.iter().filter(|route| route["lastUsedOn"] == day).count();
    assert_eq!((last_used_on("2026-01-03"), last_used_on("2026-01-02")), (10, 1));
    assert!(routes.is_sorted_by_key(|route| route["route"].as_str()));
    assert_eq!(shown["otherRoutesLastUsedOn"], "2026-01-01");
}

#[tokio::test]
async fn requests_with_a_wrong_secret_are_not_the_keys_activity() {
    let harness = Harness::start().await;
    let key = long_lived_key(&harness).await;
    let before = activity(&harness, &key).await;
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&forged(&key, 1))).await, Verdict::Deny);
    assert_eq!(activity(&harness, &key).await, before);
}

#[tokio::test]
async fn unknown_keys_and_accounts_404() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let (_, other) = harness.account_with_key("another", "ServiceAccountReader").await;
    let refuse = async |account: &str, key: &str, code: &str| {
        let path = format!("/iam/v1/service-accounts/{account}/keys/{key}/activity");
        harness.refuse(harness.request("GET", &path).admin(), 404, code).await.snapshot()
    };
    // A key of another account does not exist in this account.
    refuse(&account.id, &other.id, "key_not_found").await;
    let unknown = refuse(&account.id, "key_0000000000000000", "key_not_found").await;
    let no_account = refuse("sa_0000000000000000", &key.id, "service_account_not_found").await;
    assert_json_snapshot!([unknown, no_account]);
}

#[tokio::test]
async fn queries_400() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let request = harness.request("GET", &format!("{}?days=7", path_of(&key))).admin();
    assert_json_snapshot!(harness.refuse(request, 400, "malformed_request").await.snapshot());
}

#[tokio::test]
async fn malformed_activity_500() {
    let harness = Harness::start().await;
    let key = long_lived_key(&harness).await;
    use_key(&harness, &key).await;
    assert_eq!(harness.verdict(&event(&key, "POST /organizations")).await, Verdict::Deny);
    for prefix in ["USAGE#", "REQUESTS#", "ROUTES#"] {
        let items = harness.table.dump().await;
        let items = items.into_iter().filter(|item| item["pk"].as_s().unwrap().starts_with(prefix));
        for whole in items {
            for name in whole.keys().filter(|name| !["pk", "sk", "ttl", "route"].contains(&name.as_str())) {
                let mut item = whole.clone();
                item.insert(name.clone(), AttributeValue::Bool(true));
                harness.table.put(item).await;
                let refused = harness.request("GET", &path_of(&key)).admin().send().await;
                let _ = refused.expect_problem(500, "internal_error");
            }
            harness.table.put(whole).await;
        }
    }
    assert_eq!(activity(&harness, &key).await["last24Hours"], json!({ "allowed": 1, "refused": 1 }));
}
