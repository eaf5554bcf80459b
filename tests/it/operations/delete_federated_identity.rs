//! `DELETE /iam/v1/service-accounts/{id}/federated-identities/{identityId}`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, RequestBuilder};

fn github() -> Value {
    json!({
        "name": "deploy", "issuer": "github", "audience": "https://keyward.example.com",
        "claims": { "repository_id": "1", "repository_owner_id": "2", "environment": "production" },
    })
}

async fn start() -> (Harness, Account, Value) {
    let harness = Harness::start().await;
    harness.trust_github().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let identity = harness.add_identity(&account, &github()).await;
    (harness, account, identity)
}

fn delete<'a>(harness: &'a Harness, account: &Account, id: &str) -> RequestBuilder<'a> {
    harness.request("DELETE", &format!("{}/federated-identities/{id}", account.path())).admin()
}

#[tokio::test]
async fn moves_the_identity_to_the_ended_ones_204() {
    let (harness, account, identity) = start().await;
    let id = identity["id"].as_str().unwrap();
    harness.clock.advance_seconds(60);
    assert_json_snapshot!(delete(&harness, &account, id).send().await.snapshot());
    let read = harness.get(&account.path()).await.json();
    assert_eq!((&read["federatedIdentities"], &read["liveIdentityCount"]), (&json!([]), &json!(0)));
    assert_json_snapshot!("ended", read["endedFederatedIdentities"]);
    assert_eq!(read["retiredKeys"], json!([]));
    let item = harness.table.account(&account.id).await;
    for map in ["keys", "verifiers", "labels"] {
        assert!(item[map].as_m().unwrap().is_empty(), "{map}");
    }
    let path = format!("{}/federated-identities/{id}", account.path());
    harness.refuse(harness.request("GET", &path).admin(), 404, "federated_identity_not_found").await;
    let _ = harness.get(&format!("{path}/activity")).await;
}

#[tokio::test]
async fn writes_one_event_and_a_retry_changes_nothing_204() {
    let (harness, account, identity) = start().await;
    let before = harness.events(&account).await;
    let deleted = delete(&harness, &account, identity["id"].as_str().unwrap()).send().await.expect(204);
    let event = harness.new_event(&account, &before).await;
    assert_eq!(event["requestId"], deleted.request_id());
    assert_json_snapshot!(event, { ".requestId" => "[request id]" });
    let after = harness.table.dump().await;
    let _ = delete(&harness, &account, identity["id"].as_str().unwrap()).send().await.expect(204);
    assert_eq!(after, harness.table.dump().await);
}

#[tokio::test]
async fn an_expired_identity_moves_to_the_ended_ones_with_the_next_change() {
    let (harness, account, _) = start().await;
    let mut short = github();
    short["expiresInDays"] = 1.into();
    let short = harness.add_identity(&account, &short).await;
    harness.clock.advance_days(1);
    let shown = harness.get(&account.path()).await.json();
    let shown_identity = shown["federatedIdentities"].as_array().unwrap();
    let expired = shown_identity.iter().find(|identity| identity["id"] == short["id"]).unwrap();
    assert_eq!(expired["state"], "expired");
    assert_eq!(shown["liveIdentityCount"], 1);
    let swept = harness.system.sweep_keys().sweep(jiff::Timestamp::MAX).await.unwrap();
    assert_eq!(swept.retired_keys, 1);
    let ended = harness.get(&account.path()).await.json()["endedFederatedIdentities"].clone();
    assert_eq!((&ended[0]["id"], &ended[0]["state"]), (&short["id"], &json!("expired")));
    assert_eq!(ended[0]["endedAt"], "2026-01-02T00:00:00Z");
    // The end of an expired identity cannot be changed.
    let _ = delete(&harness, &account, short["id"].as_str().unwrap()).send().await.expect(204);
    assert_eq!(harness.get(&account.path()).await.json()["endedFederatedIdentities"], ended);
}

#[tokio::test]
async fn unknown_identities_404() {
    let (harness, account, identity) = start().await;
    let unknown = delete(&harness, &account, "fid_0000000000000000");
    let refused = harness.refuse(unknown, 404, "federated_identity_not_found").await;
    assert_json_snapshot!(refused.snapshot());
    let other = harness.create_account("Other", "ServiceAccountReader").await;
    let of_other = delete(&harness, &other, identity["id"].as_str().unwrap());
    harness.refuse(of_other, 404, "federated_identity_not_found").await;
}

#[tokio::test]
async fn deleting_the_account_ends_its_identities() {
    let (harness, account, identity) = start().await;
    crate::support::changes::delete(&harness, &account).await;
    let id = identity["id"].as_str().unwrap();
    let record = harness.table.get(&format!("RETIRED#{}", account.id), id).await.unwrap();
    assert_eq!(record["reason"].as_s().unwrap(), "accountDeleted");
    assert!(!record.contains_key("verifier") && !record.contains_key("seal"), "{record:?}");
    let _ = harness.get(&format!("{}/federated-identities/{id}/activity", account.path())).await;
}
