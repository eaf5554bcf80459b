//! The reads and writes of each kind of exchange.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::Harness;

use tests::workload::{
    KEY_TYPE, TOKEN_TYPE, add_identity, exchange, exchange_jwt, jwt, jwt_exchange, jwt_with, post, start,
    token,
};

/// The operations on the table since the last call, with the partitions that they use.
fn take_calls(harness: &Harness) -> Vec<String> {
    let mut calls = harness.wire.take_calls();
    calls.retain(|call| call.operation != "GetSecretValue");
    calls
        .iter()
        .map(|call| {
            if call.operation == "GetItem" {
                assert_eq!(call.body["ConsistentRead"], true, "{call:?}");
                assert_eq!(call.body["IndexName"], Value::Null, "{call:?}");
            }
            let key = if call.operation == "GetItem" { &call.body["Key"] } else { &call.body["Item"] };
            let partition = key["pk"]["S"].as_str().unwrap();
            format!("{} {}", call.operation, partition.split_inclusive('#').next().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn an_exchange_takes_a_fixed_number_of_reads_and_at_most_one_write() {
    let (harness, identity) = start().await;
    harness.put_role("organizations.read", &["GET /organizations/{id}"]).await;
    let key = harness.issue_key(&identity.account).await;
    let single = json!({ "name": "single", "singleUse": true });
    let single = add_identity(&harness, &identity.account, &single).await;
    let of_key = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    let of_identity = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
    let mut costs = BTreeMap::new();
    harness.wire.take_calls();
    let mut record = |name: &'static str, status: u16, expected: u16| {
        assert_eq!(status, expected, "{name}");
        costs.insert(name, take_calls(&harness));
    };
    let good = jwt(&harness);
    let audience = single.audience();
    record("JWT", exchange_jwt(&harness, &identity, &good).await.status, 200);
    record("single-use JWT", exchange_jwt(&harness, &single, &good).await.status, 200);
    record("used JWT", exchange_jwt(&harness, &single, &good).await.status, 400);
    let scope = |name: &'static str| [jwt_exchange(&good, &audience), vec![("scope", name)]].concat();
    record("used JWT with a custom role", post(&harness, &scope("organizations.read")).await.status, 400);
    record("used JWT with a built-in role", post(&harness, &scope("ServiceAccountReader")).await.status, 400);
    let forged = jwt_with(&harness, |claims| claims["aud"] = "other".into());
    record("JWT with another audience", exchange_jwt(&harness, &identity, &forged).await.status, 400);
    record("malformed JWT", exchange_jwt(&harness, &identity, "x.y.z").await.status, 400);
    record("key", exchange(&harness, KEY_TYPE, &key.secret, &[]).await.status, 200);
    record("mistyped key", exchange(&harness, KEY_TYPE, &key.secret[1..], &[]).await.status, 400);
    record("token of a key", exchange(&harness, TOKEN_TYPE, &of_key, &[]).await.status, 200);
    record("token of an identity", exchange(&harness, TOKEN_TYPE, &of_identity, &[]).await.status, 200);
    let narrow = [("scope", "organizations.read")];
    record("token with a custom role", exchange(&harness, TOKEN_TYPE, &of_key, &narrow).await.status, 200);
    let forged = of_key.replace(&key.id["key_".len()..], "AAAAAAAAAAAAAAAA");
    record("forged token", exchange(&harness, TOKEN_TYPE, &forged, &[]).await.status, 400);
    insta::assert_json_snapshot!(costs);
}
