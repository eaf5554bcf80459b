//! The authorizer makes only strongly consistent reads of the base table, and no more
//! reads than a decision needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::{Action, Call, Harness, Key, Shape, Verdict};

use crate::support::activity::is_activity_write;
use crate::support::items::to_json;

/// Takes the recorded calls and returns the partition keys that they read. Fails unless
/// every call is a strongly consistent read of the base table.
fn take_reads(harness: &Harness) -> Vec<String> {
    let mut calls = harness.wire.take_calls();
    calls.retain(|call| !is_activity_write(call));
    for call in &calls {
        assert_eq!(call.operation, "GetItem", "{call:?}");
        assert_eq!(call.body["ConsistentRead"], true, "{call:?}");
        assert_eq!(call.body["IndexName"], Value::Null, "{call:?}");
        assert_eq!(call.body["TableName"], harness.table.name);
    }
    calls.iter().map(|call| call.body["Key"]["pk"]["S"].as_str().unwrap().to_owned()).collect()
}

/// A system with two custom roles, whose authorizer has a warm keyring.
async fn start_warm() -> Harness {
    let harness = Harness::start().await;
    harness.put_role("teams.read", &["GET /teams/{id}", "GET /organizations/{id}"]).await;
    harness.put_role("orgs.read", &["GET /organizations/{proxy+}"]).await;
    harness.authorizer().warm().await;
    harness
}

#[tokio::test]
async fn an_allow_takes_one_read_and_one_more_for_each_custom_role() {
    let harness = start_warm().await;
    let built_in = harness.reader_key().await;
    let custom = harness.create_account("custom", "teams.read").await;
    let custom = [
        harness.issue_key(&custom).await,
        harness.issue_key_with(&custom, &json!({ "name": "narrow", "role": "orgs.read" })).await,
    ];
    for shape in Shape::ALL {
        harness.wire.take_calls();
        let account = |key: &Key| format!("ACCOUNT#{}", key.account);
        assert_eq!(harness.verdict(&shape.bearer(&built_in.secret)).await, Verdict::Allow);
        assert_eq!(take_reads(&harness), [account(&built_in)], "{shape:?}");
        assert_eq!(harness.verdict(&shape.bearer(&custom[0].secret)).await, Verdict::Allow);
        assert_eq!(take_reads(&harness), [account(&custom[0]), "ROLE#teams.read".to_owned()]);
        assert_eq!(harness.verdict(&shape.bearer(&custom[1].secret)).await, Verdict::Allow);
        let roles = ["ROLE#teams.read".to_owned(), "ROLE#orgs.read".to_owned()];
        assert_eq!(take_reads(&harness), [vec![account(&custom[1])], roles.to_vec()].concat());
    }
}

#[tokio::test]
async fn every_check_reads_the_account_again() {
    let harness = start_warm().await;
    let key = harness.reader_key().await;
    harness.wire.take_calls();
    for _ in 0..10 {
        assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key.secret)).await, Verdict::Allow);
    }
    assert_eq!(take_reads(&harness), vec![format!("ACCOUNT#{}", key.account); 10]);
}

#[tokio::test]
async fn a_refusal_makes_only_consistent_reads() {
    let harness = start_warm().await;
    let key = harness.reader_key().await;
    let _ = harness.revoke(&key).await.expect(204);
    harness.wire.take_calls();
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key.secret)).await, Verdict::Deny);
    assert_eq!(
        take_reads(&harness),
        [format!("ACCOUNT#{}", key.account), format!("RETIRED#{}", key.account)]
    );
}

/// Simulates a replica that is never updated: eventually consistent reads return
/// `snapshot`. Returns the number of these reads.
fn serve_stale_reads(harness: &Harness, snapshot: HashMap<String, String>) -> Arc<AtomicUsize> {
    let stale_reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&stale_reads);
    harness.wire.intercept(move |call: &Call| {
        if call.operation != "GetItem" || call.body["ConsistentRead"] == true {
            return Action::Pass;
        }
        count.fetch_add(1, Ordering::SeqCst);
        let pk = call.body["Key"]["pk"]["S"].as_str().unwrap_or_default();
        snapshot.get(pk).map_or(Action::Pass, |body| Action::Respond(200, body.clone()))
    });
    stale_reads
}

/// The current `GetItem` responses for these items, by partition key.
async fn snapshot(harness: &Harness, keys: &[(String, &str)]) -> HashMap<String, String> {
    let mut responses = HashMap::new();
    for (pk, sk) in keys {
        let item = harness.table.get(pk, sk).await.unwrap();
        responses.insert(pk.clone(), json!({ "Item": to_json(&item) }).to_string());
    }
    responses
}

/// The stale replica still has the revoked key and the wider role, so this test fails if
/// a read of an account or a role is not consistent.
#[tokio::test]
async fn a_stale_replica_cannot_restore_a_revoked_key_or_permission() {
    let harness = start_warm().await;
    let custom = harness.create_account("custom", "teams.read").await;
    let keys = [harness.reader_key().await, harness.issue_key(&custom).await];
    let revoked = format!("ACCOUNT#{}", keys[0].account);
    let past =
        snapshot(&harness, &[(revoked.clone(), "ACCOUNT"), ("ROLE#teams.read".to_owned(), "ROLE")]).await;

    // Control: with the replica's response, the key would be allowed.
    let body = past[&revoked].clone();
    harness.wire.intercept(move |_| Action::Respond(200, body.clone()));
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&keys[0].secret)).await, Verdict::Allow);
    harness.wire.pass_all();

    let _ = harness.revoke(&keys[0]).await.expect(204);
    harness.put_role("teams.read", &["GET /teams/{id}"]).await;
    let stale_reads = serve_stale_reads(&harness, past);
    for key in &keys {
        for shape in Shape::ALL {
            assert_ne!(harness.verdict(&shape.bearer(&key.secret)).await, Verdict::Allow, "{shape:?}");
        }
        assert_eq!(harness.check(&key.secret).await, 403);
    }
    assert_eq!(stale_reads.load(Ordering::SeqCst), 0, "the authorizer read from the replica");
}
