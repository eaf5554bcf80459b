//! A rotated key works until the exact second in which its grace period ends.

use jiff::SignedDuration;
use serde_json::json;
use tests::{Account, Harness, Key, Shape, Verdict};

use crate::support::items::map_at;
use crate::support::{allowed, changes, decide, denied, unauthorized};

async fn rotate(harness: &Harness, key: &Key, grace: u32) -> Key {
    let rotated = changes::rotate(harness, key, grace).await;
    Key::from_issued(&Account { id: key.account.clone() }, &rotated)
}

#[tokio::test]
async fn a_rotated_key_works_until_the_exact_second_in_which_its_grace_period_ends() {
    for grace in [1, 60, 86_400, 604_800] {
        let harness = Harness::start().await;
        // The end ignores the fraction of the second in which the key is rotated.
        harness.clock.advance(SignedDuration::from_millis(700));
        let old = harness.reader_key().await;
        harness.clock.advance_days(1);
        let new = rotate(&harness, &old, grace).await;
        assert_eq!(
            (decide(&harness, &old.secret).await, decide(&harness, &new.secret).await),
            (allowed(), allowed())
        );
        harness.clock.advance(SignedDuration::from_millis(i64::from(grace) * 1000 - 701));
        assert_eq!(decide(&harness, &old.secret).await, allowed(), "1 ms before the end of {grace} s");
        harness.clock.advance(SignedDuration::from_millis(1));
        assert_eq!(decide(&harness, &old.secret).await, denied("retired"), "at the end of {grace} s");
        assert_eq!(decide(&harness, &new.secret).await, allowed());
        for shape in Shape::ALL {
            assert_eq!(harness.decide(&shape.bearer(&old.secret)).await, unauthorized(shape, "retired"));
        }
        // The account still contains the key: only the end of its grace period stops it.
        let item = harness.table.account(&old.account).await;
        assert!(item["keys"].as_m().unwrap().contains_key(&old.id));
        // The next write moves the key to the retired keys, where it is still recognized.
        harness.issue_key(&Account { id: old.account.clone() }).await;
        let item = harness.table.account(&old.account).await;
        assert!(!item["keys"].as_m().unwrap().contains_key(&old.id));
        assert!(!item["verifiers"].as_m().unwrap().contains_key(&old.id));
        assert_eq!(decide(&harness, &old.secret).await, denied("retired"));
        // After its expiry, the reason is still the rotation.
        harness.clock.advance_days(365);
        assert_eq!(decide(&harness, &old.secret).await, denied("retired"));
        assert_eq!(decide(&harness, &new.secret).await, denied("expired"));
    }
}

#[tokio::test]
async fn a_grace_period_ends_at_the_expiry_at_the_latest() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let old = harness.issue_key_with(&account, &json!({ "name": "key", "expiresInDays": 1 })).await;
    harness.clock.advance_seconds(86_400 - 60);
    let new = rotate(&harness, &old, 604_800).await;
    let keys = harness.keys(&account).await;
    assert_eq!(
        (&keys[0]["retiresAt"], &keys[0]["state"]),
        (&json!("2026-01-02T00:00:00Z"), &json!("retiring"))
    );
    harness.clock.advance_seconds(59);
    assert_eq!(decide(&harness, &old.secret).await, allowed());
    harness.clock.advance_seconds(1);
    assert_eq!(
        (decide(&harness, &old.secret).await, decide(&harness, &new.secret).await),
        (denied("expired"), allowed())
    );
    assert_eq!(harness.keys(&account).await[0]["state"], "expired");
}

#[tokio::test]
async fn the_states_of_rotated_keys_follow_the_clock_and_a_revocation() {
    let harness = Harness::start().await;
    let (account, old) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let states = async || {
        let account = harness.get(&account.path()).await.json();
        let keys = account["keys"].as_array().unwrap();
        let states: Vec<_> = keys.iter().map(|key| key["state"].clone()).collect();
        (states, account["liveKeyCount"].clone())
    };
    assert_eq!(states().await, (vec![json!("active")], json!(1)));
    let middle = rotate(&harness, &old, 60).await;
    assert_eq!(states().await, (vec![json!("retiring"), json!("active")], json!(2)));
    harness.clock.advance_seconds(60);
    assert_eq!(states().await, (vec![json!("retired"), json!("active")], json!(1)));
    // The next rotation moves the oldest key to the retired keys.
    let new = rotate(&harness, &middle, 3600).await;
    assert_eq!(states().await, (vec![json!("retiring"), json!("active")], json!(2)));
    let _ = harness.revoke(&middle).await.expect(204);
    assert_eq!(states().await, (vec![json!("active")], json!(1)));
    assert_eq!(decide(&harness, &middle.secret).await, denied("revoked"));
    assert_eq!(
        (decide(&harness, &old.secret).await, decide(&harness, &new.secret).await),
        (denied("retired"), allowed())
    );
}

#[tokio::test]
async fn an_incomplete_rotation_in_the_table_fails_the_check() {
    let harness = Harness::start().await;
    let old = harness.reader_key().await;
    rotate(&harness, &old, 60).await;
    let complete = harness.table.account(&old.account).await;
    for missing in ["retiresAt", "replacedBy"] {
        let mut item = complete.clone();
        map_at(&mut item, &["keys", &old.id]).remove(missing).unwrap();
        harness.table.put(item).await;
        let (verdict, reason) = decide(&harness, &old.secret).await;
        assert_eq!(reason, "outage", "without {missing}");
        assert_ne!(verdict, Verdict::Allow, "without {missing}");
    }
}
