//! Each check uses the current state of the key, its account and its roles. A key
//! expires at an exact second.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::config::variable;
use tests::{Harness, Shape};

use crate::support::{allowed, denied};

#[tokio::test]
async fn a_key_works_until_the_exact_second_of_its_expiry() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    let event = Shape::HttpV2.bearer(&key.secret);
    harness.clock.advance_seconds(86_399);
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(999));
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(harness.decide(&event).await, denied("expired"));
    for shape in Shape::ALL {
        assert_eq!(
            harness.decide(&shape.bearer(&key.secret)).await,
            (shape.unauthorized(), "expired".to_owned())
        );
    }
    // The account still contains the key: only its expiry stops it.
    let item = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    assert!(item["keys"].as_m().unwrap().contains_key(&key.id));
    assert!(item["verifiers"].as_m().unwrap().contains_key(&key.id));
    harness.clock.advance_days(1000);
    assert_eq!(harness.decide(&event).await, denied("expired"));
}

#[tokio::test]
async fn expiry_ignores_the_fraction_of_the_second_in_which_a_key_is_issued() {
    let harness = Harness::start().await;
    harness.clock.advance(SignedDuration::from_millis(700));
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    let event = Shape::HttpV2.bearer(&key.secret);
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(86_399_299));
    assert_eq!(harness.decide(&event).await, allowed());
    harness.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(harness.decide(&event).await, denied("expired"));
}

#[tokio::test]
async fn an_expired_key_moved_to_the_retired_keys_is_still_denied_as_expired() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    harness.clock.advance_days(1);
    harness.issue_key(&account).await;
    let item = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    assert!(!item["keys"].as_m().unwrap().contains_key(&key.id), "the account still contains the key");
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, denied("expired"));
}

#[tokio::test]
async fn the_lifetime_of_a_key_is_90_days_by_default_and_365_at_most() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let path = format!("{}/keys", account.path());
    let issue = async |body: &Value| harness.request("POST", &path).admin().json(body).send().await;
    let default = issue(&json!({ "name": "default" })).await.expect(201);
    assert_eq!(default.json()["expiresAt"], "2026-04-01T00:00:00Z");
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
async fn a_shorter_maximum_lifetime_also_shortens_the_default() {
    let harness = Harness::builder().variable(variable::MAX_KEY_LIFETIME_DAYS, "7").start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    harness.clock.advance_seconds(7 * 86_400 - 1);
    assert_eq!(harness.check(&key.secret).await, 200);
    harness.clock.advance_seconds(1);
    assert_eq!(harness.check(&key.secret).await, 403);
}

#[tokio::test]
async fn disabling_an_account_denies_its_keys_on_the_next_check_and_enabling_it_allows_them() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let keys = [harness.issue_key(&account).await, harness.issue_key(&account).await];
    for (enabled, expected) in [(false, denied("disabled")), (true, allowed()), (false, denied("disabled"))] {
        let patch = harness.request("PATCH", &account.path()).admin();
        let _ = patch.json(&json!({ "enabled": enabled })).send().await.expect(200);
        for key in &keys {
            assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, expected);
        }
    }
}

#[tokio::test]
async fn a_change_of_an_accounts_role_applies_to_the_next_check() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let event = Shape::HttpV2.event("DELETE", "/organizations/42", &format!("Bearer {}", key.secret));
    let set_role = async |role: &str| {
        let patch = harness.request("PATCH", &account.path()).admin();
        let _ = patch.json(&json!({ "role": role })).send().await.expect(200);
    };
    assert_eq!(harness.decide(&event).await, denied("role"));
    set_role("ServiceAccountWriter").await;
    assert_eq!(harness.decide(&event).await, allowed());
    set_role("ServiceAccountReader").await;
    assert_eq!(harness.decide(&event).await, denied("role"));
}

#[tokio::test]
async fn a_change_of_a_custom_role_applies_to_the_next_check() {
    let harness = Harness::start().await;
    harness.put_role("orders", &["GET /organizations/{id}"]).await;
    let account = harness.create_account("batch", "orders").await;
    let key = harness.issue_key(&account).await;
    assert_eq!(harness.check(&key.secret).await, 200);
    harness.put_role("orders", &["POST /organizations/{id}"]).await;
    assert_eq!(harness.check(&key.secret).await, 403);
}

#[tokio::test]
async fn a_keys_role_cannot_exceed_its_accounts_role() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key =
        harness.issue_key_with(&account, &json!({ "name": "key", "role": "ServiceAccountAdmin" })).await;
    let authorization = format!("Bearer {}", key.secret);
    for (method, path, expected) in [
        ("GET", "/teams/1", allowed()),
        ("PUT", "/teams/1", denied("role")),
        ("GET", "/orders/1", denied("role")),
        ("POST", "/iam/v1/service-accounts", denied("reserved")),
    ] {
        assert_eq!(harness.decide(&Shape::HttpV2.event(method, path, &authorization)).await, expected);
    }
}

#[tokio::test]
async fn keys_of_a_deleted_account_are_denied() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    // The record of the retired key proves that the key is genuine. The reason is
    // `retired`, because the client may have found a leaked key.
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, denied("retired"));
    // A new account of the same name does not restore the key.
    let new = harness.create_account("batch", "ServiceAccountAdmin").await;
    assert_ne!(new.id, account.id);
    assert_eq!(harness.decide(&Shape::HttpV2.bearer(&key.secret)).await, denied("retired"));
}
