//! The authorizer reads consistently, from the table itself, and no more than
//! it must.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::{Action, Call, Harness, Key, Shape, Verdict};

use crate::support::faults::is_note;

/// The reads of `harness` since last asked, each of which must be a consistent
/// one of the base table.
fn reads(harness: &Harness) -> Vec<String> {
    let mut calls = harness.wire.take_calls();
    calls.retain(|call| !is_note(call));
    for call in &calls {
        assert_eq!(call.operation, "GetItem", "{call:?}");
        assert_eq!(call.body["ConsistentRead"], true, "{call:?}");
        assert_eq!(call.body["IndexName"], Value::Null, "{call:?}");
        assert_eq!(call.body["TableName"], harness.table.name);
    }
    calls.iter().map(|call| call.body["Key"]["pk"]["S"].as_str().unwrap().to_owned()).collect()
}

async fn warm() -> Harness {
    let harness = Harness::start().await;
    harness.put_role("teams.read", &["GET /teams/{id}", "GET /organizations/{id}"]).await;
    harness.put_role("orgs.read", &["GET /organizations/{proxy+}"]).await;
    harness.authorizer().warm().await;
    harness
}

#[tokio::test]
async fn an_allow_takes_one_read_and_one_more_for_each_custom_role() {
    let harness = warm().await;
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
        assert_eq!(reads(&harness), [account(&built_in)], "{shape:?}");
        assert_eq!(harness.verdict(&shape.bearer(&custom[0].secret)).await, Verdict::Allow);
        assert_eq!(reads(&harness), [account(&custom[0]), "ROLE#teams.read".to_owned()]);
        assert_eq!(harness.verdict(&shape.bearer(&custom[1].secret)).await, Verdict::Allow);
        let roles = ["ROLE#teams.read".to_owned(), "ROLE#orgs.read".to_owned()];
        assert_eq!(reads(&harness), [vec![account(&custom[1])], roles.to_vec()].concat());
    }
}

#[tokio::test]
async fn no_check_rests_on_an_earlier_one() {
    let harness = warm().await;
    let key = harness.reader_key().await;
    harness.wire.take_calls();
    for _ in 0..10 {
        assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key.secret)).await, Verdict::Allow);
    }
    assert_eq!(reads(&harness).len(), 10);
}

#[tokio::test]
async fn a_refusal_reads_consistently_too() {
    let harness = warm().await;
    let key = harness.reader_key().await;
    let _ = harness.revoke(&key).await.expect(204);
    harness.wire.take_calls();
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key.secret)).await, Verdict::Deny);
    assert_eq!(reads(&harness), [format!("ACCOUNT#{}", key.account), format!("RETIRED#{}", key.account)]);
}

/// A replica that lags for ever: a read that does not ask for consistency gets
/// what `snapshot` says. Every read that it answers is counted.
fn lag(harness: &Harness, snapshot: HashMap<String, String>) -> Arc<Mutex<u32>> {
    let stale = Arc::new(Mutex::new(0));
    let count = Arc::clone(&stale);
    harness.wire.disturb(move |call: &Call| {
        if call.operation != "GetItem" || call.body["ConsistentRead"] == true {
            return Action::Pass;
        }
        *count.lock().unwrap() += 1;
        let pk = call.body["Key"]["pk"]["S"].as_str().unwrap_or_default();
        snapshot.get(pk).map_or(Action::Pass, |body| Action::Answer(200, body.clone()))
    });
    stale
}

/// What `GetItem` would have answered of these items, in `DynamoDB`'s JSON.
async fn snapshot(harness: &Harness, keys: &[(String, &str)]) -> HashMap<String, String> {
    let mut answers = HashMap::new();
    for (pk, sk) in keys {
        let item = harness.table.get(pk, sk).await.unwrap();
        let item: serde_json::Map<_, _> =
            item.iter().map(|(name, value)| (name.clone(), to_json(value))).collect();
        answers.insert(pk.clone(), json!({ "Item": item }).to_string());
    }
    answers
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the SDK's type may grow")]
fn to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(value) => json!({ "BOOL": value }),
        AttributeValue::B(bytes) => {
            json!({ "B": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes) })
        }
        AttributeValue::L(list) => json!({ "L": list.iter().map(to_json).collect::<Vec<_>>() }),
        AttributeValue::M(map) => {
            let map: serde_json::Map<_, _> =
                map.iter().map(|(name, value)| (name.clone(), to_json(value))).collect();
            json!({ "M": map })
        }
        other => panic!("{other:?}"),
    }
}

/// Fails if the flag goes from either read: the replica still knows the key,
/// and the wider role.
#[tokio::test]
async fn a_stale_replica_cannot_bring_back_what_was_revoked() {
    let harness = warm().await;
    let custom = harness.create_account("custom", "teams.read").await;
    let keys = [harness.reader_key().await, harness.issue_key(&custom).await];
    let revoked = format!("ACCOUNT#{}", keys[0].account);
    let past =
        snapshot(&harness, &[(revoked.clone(), "ACCOUNT"), ("ROLE#teams.read".to_owned(), "ROLE")]).await;

    // The control: the replica's answer is one that would let the key in.
    let body = past[&revoked].clone();
    harness.wire.disturb(move |_| Action::Answer(200, body.clone()));
    let _ = harness.table.get(&revoked, "ACCOUNT").await.unwrap();
    assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&keys[0].secret)).await, Verdict::Allow);
    harness.wire.calm();

    let _ = harness.revoke(&keys[0]).await.expect(204);
    harness.put_role("teams.read", &["GET /teams/{id}"]).await;
    let stale = lag(&harness, past);
    for key in &keys {
        for shape in Shape::ALL {
            assert_ne!(harness.verdict(&shape.bearer(&key.secret)).await, Verdict::Allow, "{shape:?}");
        }
        assert_eq!(harness.check(&key.secret).await, 403);
    }
    assert_eq!(*stale.lock().unwrap(), 0, "no read of the authorizer reaches the replica");
}
