//! `DELETE /iam/v1/service-accounts/{id}/keys/{keyId}`

use insta::assert_json_snapshot;
use serde_json::json;
use tests::{Account, Harness, Key};

use crate::support::bad_input;

const UNKNOWN_KEY: &str = "key_0000000000000000";

fn account_of(key: &Key) -> Account {
    Account { id: key.account.clone() }
}

#[tokio::test]
async fn a_revoked_key_is_dead_from_the_next_check_on_204() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let other = harness.issue_key(&account).await;
    assert_eq!(harness.check(&key.secret).await, 200);
    assert_json_snapshot!(harness.revoke(&key).await.snapshot());
    assert_eq!(harness.check(&key.secret).await, 403);
    assert_eq!(harness.check(&other.secret).await, 200);
    let keys = harness.get(&account.path()).await.json()["keys"].clone();
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]["id"]), (1, &json!(other.id)));
}

#[tokio::test]
async fn moves_the_key_with_its_verifier_to_a_record_that_is_kept_400_days() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let account = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    let verifier = account["verifiers"].as_m().unwrap()[&key.id].as_m().unwrap()["verifier"].clone();
    let _ = harness.revoke(&key).await.expect(204);
    let account = harness.table.get(&format!("ACCOUNT#{}", key.account), "ACCOUNT").await.unwrap();
    assert!(account["verifiers"].as_m().unwrap().is_empty());
    assert!(account["keys"].as_m().unwrap().is_empty());
    let record = harness.table.get(&format!("RETIRED#{}", key.account), &key.id).await.unwrap();
    assert_eq!(record["verifier"], verifier);
    assert_eq!(record["reason"].as_s().unwrap(), "revoked");
    // 2026-01-01 and 400 days later.
    assert_eq!(record["retiredAt"].as_n().unwrap(), "1767225600");
    assert_eq!(record["ttl"].as_n().unwrap(), "1801785600");
}

#[tokio::test]
async fn makes_one_event_and_revoking_again_none_204() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let before = harness.events(&account_of(&key)).await;
    let revoked = harness.revoke(&key).await.expect(204);
    let event = harness.new_event(&account_of(&key), &before).await;
    assert_eq!(event["requestId"], revoked.request_id());
    assert_eq!(event["keyId"], key.id);
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });

    let after = harness.table.dump().await;
    assert_eq!(harness.revoke(&key).await.snapshot(), revoked.snapshot());
    assert_eq!(after, harness.table.dump().await);
}

#[tokio::test]
async fn an_expired_key_can_be_revoked_204() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let short = harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    harness.clock.advance_days(1);
    let _ = harness.revoke(&short).await.expect(204);
    assert_eq!(harness.get(&account.path()).await.json()["keys"], json!([]));
}

#[tokio::test]
async fn knows_no_other_key_404() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let unknown = Key { id: UNKNOWN_KEY.to_owned(), ..key.clone() };
    let request = |key: &Key| harness.request("DELETE", &key.path()).admin();
    assert_json_snapshot!(harness.refuse(request(&unknown), 404, "key_not_found").await.snapshot());
    // Nor this one under another account.
    let other = harness.create_account("Another", "ServiceAccountReader").await;
    let elsewhere = Key { account: other.id, ..key.clone() };
    harness.refuse(request(&elsewhere), 404, "key_not_found").await;
    assert_eq!(harness.check(&key.secret).await, 200);
}

#[tokio::test]
async fn knows_no_other_account_404() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let unknown = Key { account: "sa_0000000000000000".to_owned(), ..key.clone() };
    let request = |key: &Key| harness.request("DELETE", &key.path()).admin();
    let refused = harness.refuse(request(&unknown), 404, "service_account_not_found").await;
    assert_json_snapshot!(refused.snapshot());
    // Nor one that was deleted.
    let _ = harness.request("DELETE", &account_of(&key).path()).admin().send().await.expect(204);
    harness.refuse(request(&key), 404, "service_account_not_found").await;
}

#[tokio::test]
async fn refuses_malformed_ids_400() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let accounts =
        |id: &str| harness.request("DELETE", &format!("/iam/v1/service-accounts/{id}/keys/{}", key.id));
    bad_input::refuses_malformed_ids(&harness, accounts).await;
    let keys = |id: &str| harness.request("DELETE", &format!("{}/keys/{id}", account_of(&key).path()));
    bad_input::refuses_malformed_ids(&harness, keys).await;
    assert_json_snapshot!(keys("key_short").admin().send().await.snapshot());
}

#[tokio::test]
async fn no_change_of_keys_takes_a_condition_400() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let (one, keys) = (key.path(), key.path().rsplit_once('/').unwrap().0.to_owned());
    let rotation = format!("{one}/rotation");
    let before = harness.table.dump().await;
    for (method, path, body) in [
        ("DELETE", &one, None),
        ("DELETE", &keys, None),
        ("POST", &keys, Some(json!({ "name": "another" }))),
        ("POST", &rotation, Some(json!({}))),
    ] {
        for (name, value) in [("if-match", "*"), ("if-match", "\"1\""), ("if-none-match", "*")] {
            let request = harness.request(method, path).admin().header(name, value);
            let request = if let Some(body) = &body { request.json(body) } else { request };
            harness.refuse(request, 400, "malformed_request").await;
        }
    }
    assert_eq!(before, harness.table.dump().await);
}
