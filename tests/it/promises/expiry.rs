//! A key's state counts at each check, and its expiry to the second.

use jiff::SignedDuration;
use serde_json::json;
use tests::{Harness, Shape, Verdict};

fn refused(reason: &str) -> (Verdict, String) {
    (Verdict::Deny, reason.to_owned())
}

fn allowed() -> (Verdict, String) {
    (Verdict::Allow, "allowed".to_owned())
}

#[tokio::test]
async fn a_key_passes_until_the_second_before_it_expires() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    let event = Shape::HttpV2.bearer(&key.secret);
    harness.clock.advance_seconds(86_399);
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(999));
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(harness.decide(&event).await, refused("expired"));
    for shape in Shape::ALL {
        assert_eq!(
            harness.decide(&shape.bearer(&key.secret)).await,
            (shape.unauthorized(), "expired".to_owned())
        );
    }
    // It is still there: it was not its removal that ended it.
    let item = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    assert!(item["keys"].as_m().unwrap().contains_key(&key.id));
    assert!(item["verifiers"].as_m().unwrap().contains_key(&key.id));
    harness.clock.advance_days(1000);
    assert_eq!(harness.decide(&event).await, refused("expired"));
}

#[tokio::test]
async fn expiry_falls_on_the_second_of_the_issue_whatever_its_fraction() {
    let harness = Harness::start().await;
    harness.clock.advance(SignedDuration::from_millis(700));
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    let event = Shape::HttpV2.bearer(&key.secret);
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(86_399_299));
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(harness.decide(&event).await, refused("expired"));
}

#[tokio::test]
async fn an_expired_key_that_was_moved_to_its_record_still_counts_as_expired() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    harness.clock.advance_days(1);
    let admin = harness.system.issuer().token(local::issuer::IAM_CLIENT).unwrap();
    let issue = harness.request("POST", &format!("{}/keys", account.path())).bearer(&admin);
    let _ = issue.json(&json!({ "name": "next" })).send().await.expect(201);
    let item = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    assert!(!item["keys"].as_m().unwrap().contains_key(&key.id), "the issue pruned it");
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, refused("expired"));
}

#[tokio::test]
async fn a_lifetime_is_90_days_if_not_said_and_capped() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let path = format!("{}/keys", account.path());
    let issue =
        async |body: &serde_json::Value| harness.request("POST", &path).admin().json(body).send().await;
    let usual = issue(&json!({ "name": "usual" })).await.expect(201);
    assert_eq!(usual.json()["expiresAt"], "2026-04-01T00:00:00Z");
    let longest = issue(&json!({ "name": "longest", "expiresInDays": 365 })).await.expect(201);
    assert_eq!(longest.json()["expiresAt"], "2027-01-01T00:00:00Z");
    for days in
        [json!(0), json!(366), json!(4_294_967_295_u32), json!(-1), json!(1.5), json!("30"), json!(true)]
    {
        let _ = issue(&json!({ "name": "key", "expiresInDays": days }))
            .await
            .expect_problem(422, "invalid_fields");
    }
}

#[tokio::test]
async fn the_cap_of_a_deployment_also_caps_what_is_usual() {
    let harness =
        Harness::builder().variable(shared::config::variable::MAX_KEY_LIFETIME_DAYS, "7").start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    harness.clock.advance_seconds(7 * 86_400 - 1);
    assert_eq!(harness.check(&key.secret).await, 200);
    harness.clock.advance_seconds(1);
    assert_eq!(harness.check(&key.secret).await, 403);
}

#[tokio::test]
async fn disabling_an_account_stops_its_keys_at_once_and_enabling_it_brings_them_back() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let keys = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    for (enabled, expected) in [(false, refused("disabled")), (true, allowed()), (false, refused("disabled"))]
    {
        let patch = harness.request("PATCH", &account.path()).admin();
        let _ = patch.json(&json!({ "enabled": enabled })).send().await.expect(200);
        for key in &keys {
            assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, expected);
        }
    }
}

#[tokio::test]
async fn a_change_of_role_counts_from_the_next_check_on() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let event = Shape::HttpV2.event("DELETE", "/organizations/42", &format!("Bearer {}", key.secret));
    let change = async |role: &str| {
        let patch = harness.request("PATCH", &account.path()).admin();
        let _ = patch.json(&json!({ "role": role })).send().await.expect(200);
    };
    assert_eq!(harness.decide(&event).await, refused("role"));
    change("ServiceAccountWriter").await;
    assert_eq!(harness.decide(&event).await, allowed());
    change("ServiceAccountReader").await;
    assert_eq!(harness.decide(&event).await, refused("role"));
}

#[tokio::test]
async fn a_change_of_a_custom_role_counts_from_the_next_check_on() {
    let harness = Harness::start().await;
    harness.put_role("orders", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("batch", "orders").await;
    let key = harness.issue_key(&account).await;
    assert_eq!(harness.check(&key.secret).await, 200);
    harness.put_role("orders", &["POST /organizations/{id}"]).await;
    assert_eq!(harness.check(&key.secret).await, 403);
}

#[tokio::test]
async fn a_key_is_never_wider_than_its_account() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key =
        harness.issue_key_with(&account, &json!({ "name": "key", "role": "ServiceAccountAdmin" })).await;
    let authorization = format!("Bearer {}", key.secret);
    for (method, path, expected) in [
        ("GET", "/teams/1", allowed()),
        ("PUT", "/teams/1", refused("role")),
        ("GET", "/orders/1", refused("role")),
        ("POST", "/iam/v1/service-accounts", refused("reserved")),
    ] {
        assert_eq!(harness.decide(&Shape::HttpV2.event(method, path, &authorization)).await, expected);
    }
}

#[tokio::test]
async fn deleting_an_account_ends_its_keys() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    // Its record proves it, and whoever presents it now may be somebody who found
    // it.
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, refused("retired"));
    // The same name again is another account.
    let again = harness.create_account("batch", "ServiceAccountAdmin").await;
    assert_ne!(again.id, account.id);
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, refused("retired"));
}
