//! `GET /iam/v1/service-accounts/{id}/role-usage`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Key, Shape, Verdict};

use crate::support::changes;

fn path_of(account: &Account) -> String {
    format!("{}/role-usage", account.path())
}

async fn usage(harness: &Harness, account: &Account) -> Value {
    harness.get(&path_of(account)).await.json()
}

/// Sends an allowed request on a route, in which `{id}` is 42.
async fn use_route(harness: &Harness, key: &Key, route: &str) {
    let (method, path) = route.split_once(' ').unwrap();
    let path = path.replace("{id}", "42").replace("{proxy+}", "a/b");
    let mut event = Shape::HttpV2.request(method, &path, &key.secret);
    event["routeKey"] = route.into();
    harness.clock.advance_seconds(1);
    assert_eq!(harness.verdict(&event).await, Verdict::Allow, "{route}");
}

/// An account with a custom role, and a key that lives a year.
async fn account_with_role(harness: &Harness, permissions: &[&str]) -> (Account, Key) {
    harness.put_role("Custom", permissions).await;
    let account = harness.create_account("batch", "Custom").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "server 1", "expiresInDays": 365 })).await;
    (account, key)
}

#[tokio::test]
async fn shows_used_and_unused_permissions_and_suggests_a_smaller_role_200() {
    let harness = Harness::start().await;
    let (account, key) = account_with_role(
        &harness,
        &[
            "GET /organizations/{proxy+}",
            "GET,PUT /organizations/{id}",
            "GET,POST /teams",
            "DELETE /teams/{id}",
        ],
    )
    .await;
    harness.clock.advance_days(100);
    for route in [
        "GET /organizations/{id}",
        "PUT /organizations/{id}",
        "GET /organizations/{id}/members",
        "GET /organizations/{id}/storage/{proxy+}",
    ] {
        use_route(&harness, &key, route).await;
    }
    harness.clock.advance_days(3);
    let second = harness.issue_key(&account).await;
    use_route(&harness, &second, "GET /organizations/{id}").await;
    // The route of a REST API names only the resource's path.
    let mut rest = Shape::RestRequest.request("GET", "/teams", &second.secret);
    rest["resource"] = "/teams".into();
    assert_eq!(harness.verdict(&rest).await, Verdict::Allow);
    harness.authorizer().flush_activity().await;
    assert_json_snapshot!(harness.get(&path_of(&account)).await.snapshot());

    // After 90 days, the first day no longer counts.
    harness.clock.advance_days(87);
    let shown = usage(&harness, &account).await;
    assert_eq!(shown["suggestedPermissions"], json!(["GET /organizations/{id}", "GET /teams"]));
}

#[tokio::test]
async fn suggests_nothing_without_recorded_routes_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountWriter").await;
    assert_json_snapshot!(harness.get(&path_of(&account)).await.snapshot());

    // `whoami` needs no permission.
    let key = harness.issue_key(&account).await;
    let _ = harness.request("GET", "/iam/v1/whoami").bearer(&key.secret).send().await.expect(200);
    let shown = usage(&harness, &account).await;
    assert_eq!((&shown["gaps"], &shown["noSuggestion"]), (&json!(["noRoutes"]), &json!("noRoutes")));
}

#[tokio::test]
async fn suggests_nothing_if_a_route_has_no_path_200() {
    let harness = Harness::start().await;
    let (account, key) = account_with_role(&harness, &["GET /teams", "GET /organizations/{proxy+}"]).await;
    use_route(&harness, &key, "GET /teams").await;
    let mut event = Shape::HttpV2.request("GET", "/organizations/42", &key.secret);
    event["routeKey"] = "$default".into();
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
    let shown = usage(&harness, &account).await;
    assert_eq!(shown["unmatchedRoutes"], json!([{ "route": "$default", "lastUsedOn": "2026-01-01" }]));
    assert_eq!(shown["noSuggestion"], "unmatchedRoutes");
    assert_eq!(shown.get("suggestedPermissions"), None);
}

#[tokio::test]
async fn says_that_the_role_permits_only_the_observed_routes_200() {
    let harness = Harness::start().await;
    let (account, key) = account_with_role(&harness, &["GET /teams/{id}", "GET /organizations"]).await;
    for route in ["GET /teams/{id}", "GET /organizations"] {
        use_route(&harness, &key, route).await;
    }
    harness.clock.advance_days(1);
    let shown = usage(&harness, &account).await;
    assert_eq!((&shown["unusedPermissionCount"], &shown["isComplete"]), (&json!(0), &json!(true)));
    assert_eq!((&shown["gaps"], &shown["noSuggestion"]), (&json!([]), &json!("alreadyMinimal")));
}

#[tokio::test]
async fn names_each_gap_in_the_observation_200() {
    let harness = Harness::start().await;
    let (account, key) = account_with_role(&harness, &["GET /teams", "GET /organizations"]).await;
    use_route(&harness, &key, "GET /teams").await;
    // An event of a TOKEN authorizer has no route.
    let body = json!({ "name": "server 2", "role": "ServiceAccountReader" });
    let second = harness.issue_key_with(&account, &body).await;
    let token = Shape::RestToken.request("GET", "/organizations", &second.secret);
    assert_eq!(harness.verdict(&token).await, Verdict::Allow);
    harness.clock.advance_days(1);
    harness.put_role("Custom", &["GET /organizations"]).await;
    let shown = usage(&harness, &account).await;
    let gaps = json!(["keysWithoutRoutes", "notPermittedRoutes", "roleChanged", "keyRoles"]);
    assert_eq!((&shown["gaps"], &shown["isComplete"]), (&gaps, &json!(false)));
    assert_eq!(shown["notPermittedRoutes"], json!([{ "route": "GET /teams", "lastUsedOn": "2026-01-01" }]));
    assert_eq!(shown["noSuggestion"], "noPermittedRoute");
    assert!(shown["roleChangedAt"].as_str().unwrap().starts_with("2026-01-02T"), "{shown}");

    // The account gets another role, and later the whole first day is too long ago.
    changes::update(&harness, &account, json!({ "role": "ServiceAccountReader" })).await;
    let shown = usage(&harness, &account).await;
    assert!(shown["gaps"].as_array().unwrap().contains(&json!("roleChanged")), "{shown}");
    harness.clock.advance_days(200);
    assert_eq!(usage(&harness, &account).await["gaps"], json!(["noRoutes"]));
}

#[tokio::test]
async fn a_deleted_role_permits_no_observed_route_200() {
    let harness = Harness::start().await;
    let (account, key) = account_with_role(&harness, &["GET /teams"]).await;
    use_route(&harness, &key, "GET /teams").await;
    harness.table.delete("ROLE#Custom", "ROLE").await;
    let shown = usage(&harness, &account).await;
    assert_eq!(shown["gaps"], json!(["notPermittedRoutes", "roleMissing"]));
    assert_eq!(shown["permissions"], json!([]));
}

#[tokio::test]
async fn says_when_routes_were_used_that_are_not_recorded_separately_200() {
    let harness = Harness::start().await;
    let (account, key) = account_with_role(&harness, &["GET /teams/{proxy+}"]).await;
    for number in 0..201 {
        use_route(&harness, &key, &format!("GET /teams/{{id}}/{number}")).await;
        harness.authorizer().flush_activity().await;
    }
    let shown = usage(&harness, &account).await;
    assert_eq!(shown["gaps"], json!(["otherRoutes"]));
    assert_eq!(shown["otherRoutesLastUsedOn"], "2026-01-01");
    assert_eq!(shown["permissions"][0]["routeCount"], 200);
    assert_eq!(shown["permissions"][0]["routes"].as_array().unwrap().len(), 50);
    // 200 routes are too many permissions, and the role has only one.
    assert_eq!(shown["noSuggestion"], "alreadyMinimal");
}

#[tokio::test]
async fn unknown_accounts_and_queries_400_404() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let request = harness.request("GET", &format!("{}?days=7", path_of(&account))).admin();
    harness.refuse(request, 400, "malformed_request").await;
    let unknown = Account { id: "sa_0000000000000000".to_owned() };
    let request = harness.request("GET", &path_of(&unknown)).admin();
    harness.refuse(request, 404, "service_account_not_found").await;
}
