//! `GET /iam/v1/service-accounts/{id}/federated-identities`

use serde_json::{Value, json};
use tests::Harness;

#[tokio::test]
async fn lists_the_identities_oldest_first_200() {
    let harness = Harness::start().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let (account, _) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let mut added = Vec::new();
    for name in ["z", "a", "m"] {
        let body = json!({ "name": name, "issuer": "corp", "audience": "a", "claims": { "sub": name } });
        added.push(harness.add_identity(&account, &body).await);
        harness.clock.advance_seconds(1);
    }
    let path = format!("{}/federated-identities", account.path());
    assert_eq!(harness.get(&path).await.json(), json!({ "items": added }));
    let one = format!("{path}/{}", added[1]["id"].as_str().unwrap());
    assert_eq!(harness.get(&one).await.json(), added[1]);
    let _ = harness.request("DELETE", &one).admin().send().await.expect(204);
    let names: Vec<Value> = harness.get(&path).await.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|identity| identity["name"].clone())
        .collect();
    assert_eq!(names, ["z", "m"]);
}

#[tokio::test]
async fn an_account_without_identities_200() {
    let harness = Harness::start().await;
    let (account, _) = harness.account_with_key("Batch", "ServiceAccountReader").await;
    let list = harness.get(&format!("{}/federated-identities", account.path())).await.json();
    assert_eq!(list, json!({ "items": [] }));
}

/// A member of the map of keys that is neither a key nor an identity.
#[tokio::test]
async fn a_malformed_identity_500() {
    let harness = Harness::start().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let body = json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" }, "expiresInDays": 9 });
    let identity = harness.add_identity(&account, &body).await;
    let intact = harness.table.account(&account.id).await;
    let path = format!("{}/federated-identities", account.path());
    let id = identity["id"].as_str().unwrap();
    let entry = intact["keys"].as_m().unwrap()[id].as_m().unwrap().clone();
    for name in entry.keys().filter(|name| !["expiresAt", "role"].contains(&name.as_str())) {
        harness
            .table
            .tamper(&account.id, |item| {
                drop(crate::support::items::map_at(item, &["keys", id]).remove(name));
            })
            .await;
        harness.refuse(harness.request("GET", &path).admin(), 500, "internal_error").await;
        harness.table.put(intact.clone()).await;
    }
    harness
        .table
        .tamper(&account.id, |item| {
            let keys = crate::support::items::map_at(item, &["keys"]);
            let entry = keys.remove(id).unwrap();
            keys.insert("tok_0123456789abcdef".to_owned(), entry);
        })
        .await;
    harness.refuse(harness.request("GET", &path).admin(), 500, "internal_error").await;
}
