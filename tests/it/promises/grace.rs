//! The end of a rotated key: issue → rotate → grace → stop, to the second.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::SignedDuration;
use serde_json::json;
use tests::{Account, Harness, Key, Shape, Verdict};

fn allowed() -> (Verdict, String) {
    (Verdict::Allow, "allowed".to_owned())
}

fn refused(reason: &str) -> (Verdict, String) {
    (Verdict::Deny, reason.to_owned())
}

async fn decide(harness: &Harness, key: &Key) -> (Verdict, String) {
    harness.decide(&Shape::HttpV2.bearer(&key.secret)).await
}

async fn rotate(harness: &Harness, key: &Key, grace: i64) -> Key {
    let request = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    let rotated = request.json(&json!({ "graceSeconds": grace })).send().await.expect(201);
    Key::from_issued(&Account { id: key.account.clone() }, &rotated)
}

#[tokio::test]
async fn a_rotated_key_works_to_the_last_second_of_its_grace() {
    for grace in [1, 60, 86_400, 604_800] {
        let harness = Harness::start().await;
        // Whatever the fraction of the second in which it was rotated.
        harness.clock.advance(SignedDuration::from_millis(700));
        let old = harness.reader_key().await;
        harness.clock.advance_days(1);
        let new = rotate(&harness, &old, grace).await;
        assert_eq!((decide(&harness, &old).await, decide(&harness, &new).await), (allowed(), allowed()));
        harness.clock.advance(SignedDuration::from_millis(grace * 1000 - 701));
        assert_eq!(decide(&harness, &old).await, allowed(), "a millisecond before the end of {grace} s");
        harness.clock.advance(SignedDuration::from_millis(1));
        assert_eq!(decide(&harness, &old).await, refused("retired"), "at the end of {grace} s");
        assert_eq!(decide(&harness, &new).await, allowed());
        for shape in Shape::ALL {
            let decided = harness.decide(&shape.bearer(&old.secret)).await;
            assert_eq!(decided, (shape.unauthorized(), "retired".to_owned()));
        }
        // It is still there: it was not its removal that ended it.
        let item = harness.table.get(&format!("ACCOUNT#{}", old.account), "ACCOUNT").await.unwrap();
        assert!(item["keys"].as_m().unwrap().contains_key(&old.id));
        // The next write moves it to its record, by which it is recognised.
        harness.issue_key(&Account { id: old.account.clone() }).await;
        let item = harness.table.get(&format!("ACCOUNT#{}", old.account), "ACCOUNT").await.unwrap();
        assert!(!item["keys"].as_m().unwrap().contains_key(&old.id));
        assert!(!item["verifiers"].as_m().unwrap().contains_key(&old.id));
        assert_eq!(decide(&harness, &old).await, refused("retired"));
        // Past its expiry, it still was its rotation that ended it.
        harness.clock.advance_days(365);
        assert_eq!(decide(&harness, &old).await, refused("retired"));
        assert_eq!(decide(&harness, &new).await, refused("expired"));
    }
}

#[tokio::test]
async fn without_a_grace_it_is_refused_from_the_answer_on() {
    let harness = Harness::start().await;
    let old = harness.reader_key().await;
    assert_eq!(decide(&harness, &old).await, allowed());
    let new = rotate(&harness, &old, 0).await;
    assert_eq!((decide(&harness, &old).await, decide(&harness, &new).await), (refused("retired"), allowed()));
}

#[tokio::test]
async fn no_grace_reaches_beyond_the_expiry() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let old = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    harness.clock.advance_seconds(86_400 - 60);
    let new = rotate(&harness, &old, 604_800).await;
    let keys = harness.get(&account.path()).await.json()["keys"].clone();
    assert_eq!(
        (&keys[0]["retiresAt"], &keys[0]["state"]),
        (&json!("2026-01-02T00:00:00Z"), &json!("retiring"))
    );
    harness.clock.advance_seconds(59);
    assert_eq!(decide(&harness, &old).await, allowed());
    harness.clock.advance_seconds(1);
    assert_eq!((decide(&harness, &old).await, decide(&harness, &new).await), (refused("expired"), allowed()));
    assert_eq!(harness.get(&account.path()).await.json()["keys"][0]["state"], "expired");
}

#[tokio::test]
async fn the_state_follows_the_clock_and_an_old_key_can_be_stopped_early() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let old = harness.issue_key(&account).await;
    let shown = async || {
        let account = harness.get(&account.path()).await.json();
        let states: Vec<_> =
            account["keys"].as_array().unwrap().iter().map(|key| key["state"].clone()).collect();
        (states, account["liveKeyCount"].clone())
    };
    assert_eq!(shown().await, (vec![json!("active")], json!(1)));
    let middle = rotate(&harness, &old, 60).await;
    assert_eq!(shown().await, (vec![json!("retiring"), json!("active")], json!(2)));
    harness.clock.advance_seconds(60);
    assert_eq!(shown().await, (vec![json!("retired"), json!("active")], json!(1)));
    // The next rotation moves it away.
    let new = rotate(&harness, &middle, 3600).await;
    assert_eq!(shown().await, (vec![json!("retiring"), json!("active")], json!(2)));
    let _ = harness.revoke(&middle).await.expect(204);
    assert_eq!(shown().await, (vec![json!("active")], json!(1)));
    assert_eq!(decide(&harness, &middle).await, refused("revoked"));
    assert_eq!((decide(&harness, &old).await, decide(&harness, &new).await), (refused("retired"), allowed()));
}

#[tokio::test]
async fn half_a_rotation_in_the_table_lets_nobody_in() {
    let harness = Harness::start().await;
    let old = harness.reader_key().await;
    rotate(&harness, &old, 60).await;
    let whole = harness.table.get(&format!("ACCOUNT#{}", old.account), "ACCOUNT").await.unwrap();
    for missing in ["retiresAt", "replacedBy"] {
        let mut item = whole.clone();
        let Some(AttributeValue::M(keys)) = item.get_mut("keys") else { panic!() };
        let Some(AttributeValue::M(key)) = keys.get_mut(&old.id) else { panic!() };
        key.remove(missing).unwrap();
        harness.table.put(item).await;
        let decided = decide(&harness, &old).await;
        assert_eq!(decided.1, "outage", "without {missing}");
        assert_ne!(decided.0, Verdict::Allow, "without {missing}");
    }
}
