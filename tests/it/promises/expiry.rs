//! Each check uses the current state of the key, its account and its roles. A key
//! expires at an exact second.

use jiff::SignedDuration;
use serde_json::json;
use shared::config::variable;
use tests::{Harness, Shape};

use crate::support::{allowed, changes, decide, denied, unauthorized};

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
        assert_eq!(harness.decide(&shape.bearer(&key.secret)).await, unauthorized(shape, "expired"));
    }
    // The account still contains the key: only its expiry stops it.
    let item = harness.table.account(&key.account).await;
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
    let item = harness.table.account(&key.account).await;
    assert!(!item["keys"].as_m().unwrap().contains_key(&key.id), "the account still contains the key");
    assert_eq!(decide(&harness, &key.secret).await, denied("expired"));
}

#[tokio::test]
async fn a_shorter_maximum_lifetime_also_shortens_the_default() {
    let harness = Harness::builder().variable(variable::MAX_KEY_LIFETIME_DAYS, "7").start().await;
    let key = harness.reader_key_of("batch").await;
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
    for enabled in [true, false, true, false] {
        changes::update(&harness, &account, json!({ "enabled": enabled })).await;
        let (decision, status) = if enabled { (allowed(), 200) } else { (denied("disabled"), 403) };
        for key in &keys {
            assert_eq!(decide(&harness, &key.secret).await, decision);
            assert_eq!(harness.check(&key.secret).await, status);
        }
    }
}

#[tokio::test]
async fn a_change_of_an_accounts_role_applies_to_the_next_check() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let event = Shape::HttpV2.request("DELETE", "/organizations/42", &key.secret);
    for (role, decision, status) in [
        ("ServiceAccountReader", denied("role"), 403),
        ("ServiceAccountWriter", allowed(), 200),
        ("ServiceAccountReader", denied("role"), 403),
    ] {
        changes::update(&harness, &account, json!({ "role": role })).await;
        assert_eq!(harness.decide(&event).await, decision);
        let post = harness.request("POST", "/teams").bearer(&key.secret).send().await;
        assert_eq!(post.status, status);
    }
}

#[tokio::test]
async fn a_keys_role_cannot_exceed_its_accounts_role() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key =
        harness.issue_key_with(&account, &json!({ "name": "key", "role": "ServiceAccountAdmin" })).await;
    for (method, path, decision, status) in [
        ("GET", "/teams/1", allowed(), 200),
        ("PUT", "/teams/1", denied("role"), 403),
        ("POST", "/teams", denied("role"), 403),
        ("GET", "/orders/1", denied("role"), 403),
        ("POST", "/iam/v1/service-accounts", denied("reserved"), 403),
    ] {
        assert_eq!(harness.decide(&Shape::HttpV2.request(method, path, &key.secret)).await, decision);
        let reply = harness.request(method, path).bearer(&key.secret).send().await;
        assert_eq!(reply.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn keys_of_a_deleted_account_are_denied() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    changes::delete(&harness, &account).await;
    // The record of the retired key proves that the key is genuine. The reason is
    // `retired`, because the client may have found a leaked key.
    assert_eq!(decide(&harness, &key.secret).await, denied("retired"));
    // A new account of the same name does not restore the key.
    let new = harness.create_account("batch", "ServiceAccountAdmin").await;
    assert_ne!(new.id, account.id);
    assert_eq!(decide(&harness, &key.secret).await, denied("retired"));
}
