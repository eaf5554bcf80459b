//! `DELETE /iam/v1/service-accounts/{id}/keys`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Account, Harness, RequestBuilder};

fn revoke_all<'a>(harness: &'a Harness, account: &Account) -> RequestBuilder<'a> {
    harness.request("DELETE", &format!("{}/keys", account.path())).admin()
}

#[tokio::test]
async fn all_keys_are_denied_on_the_next_check_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let other = harness.reader_key().await;
    let first = harness.issue_key(&account).await;
    harness.clock.advance_seconds(1);
    let second = harness.issue_key(&account).await;
    assert_json_snapshot!(revoke_all(&harness, &account).send().await.snapshot());
    for key in [&first, &second] {
        assert_eq!(harness.check(&key.secret).await, 403);
    }
    assert_eq!(harness.check(&other.secret).await, 200);
    let shown = harness.get(&account.path()).await.json();
    assert_eq!((&shown["keys"], &shown["liveKeyCount"]), (&json!([]), &json!(0)));
    assert_eq!(harness.table.items("RETIRED#").await.len(), 2);
}

#[tokio::test]
async fn writes_one_event_for_each_key_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let mut ids = [harness.issue_key(&account).await.id, harness.issue_key(&account).await.id];
    harness.clock.advance_seconds(1);
    let revoked = revoke_all(&harness, &account).send().await.expect(200);
    let mut events = harness.events(&account).await;
    events.retain(|event| event["type"] == "key.revoked");
    assert_eq!(events.len(), 2);
    let mut key_ids: Vec<_> =
        events.iter().map(|event| event["keyId"].as_str().unwrap().to_owned()).collect();
    key_ids.sort();
    ids.sort();
    assert_eq!(key_ids, ids);
    assert!(events.iter().all(|event| event["requestId"] == revoked.request_id()));

    let after = harness.table.dump().await;
    let again = revoke_all(&harness, &account).send().await.expect(200);
    assert_eq!(again.json(), json!({ "revokedKeyIds": [], "endedIdentityIds": [] }));
    assert_eq!(after, harness.table.dump().await);
}

/// 40 grants end in one transaction, whether they are keys, identities or both.
#[tokio::test]
async fn ends_the_most_grants_that_an_account_can_have_in_one_transaction_200() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "40").start().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    for (keys, identities) in [(40, 0), (25, 15), (0, 40)] {
        let account = harness.create_account(&format!("{keys} keys"), "ServiceAccountReader").await;
        let mut issued = Vec::new();
        for _ in 0..keys {
            issued.push(harness.issue_key(&account).await);
        }
        for number in 0..identities {
            let claims = json!({ "sub": format!("{number}{}", "x".repeat(200)) });
            let body = json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": claims });
            harness.add_identity(&account, &body).await;
        }
        harness.wire.take_calls();
        let ended = revoke_all(&harness, &account).send().await.expect(200).json();
        let writes: Vec<_> = harness
            .wire
            .take_calls()
            .into_iter()
            .filter(|call| call.operation == "TransactWriteItems")
            .collect();
        // On a busy machine, the SDK repeats a transaction that takes too long, with its token.
        for write in &writes {
            assert_eq!(
                write.body["ClientRequestToken"], writes[0].body["ClientRequestToken"],
                "one transaction"
            );
            assert_eq!(write.body["TransactItems"].as_array().unwrap().len(), 81);
        }
        let count = |name: &str| ended[name].as_array().unwrap().len();
        assert_eq!((count("revokedKeyIds"), count("endedIdentityIds")), (keys, identities));
        for key in issued {
            assert_eq!(harness.check(&key.secret).await, 403);
        }
        let shown = harness.get(&account.path()).await.json();
        assert_eq!((&shown["keys"], &shown["federatedIdentities"]), (&json!([]), &json!([])));
        assert_eq!(shown["endedFederatedIdentities"].as_array().unwrap().len(), identities);
        let events = harness.events(&account).await;
        let deleted = events.iter().filter(|event| event["type"] == "federatedIdentity.deleted").count();
        assert_eq!(deleted, identities);
    }
}

/// Deleting an account ends its grants too.
#[tokio::test]
async fn an_account_with_the_most_grants_can_be_deleted_204() {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "20").start().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let account = harness.create_account("most", "ServiceAccountReader").await;
    for _ in 0..20 {
        harness.issue_key(&account).await;
        let body = json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" } });
        harness.add_identity(&account, &body).await;
    }
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
    assert_eq!(harness.table.items(&format!("RETIRED#{}", account.id)).await.len(), 41);
}
