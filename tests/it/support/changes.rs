//! Changes that many tests make through the API.

use serde_json::{Value, json};
use tests::{Account, Harness, Key, Reply};

/// Updates an account.
pub(crate) async fn update(harness: &Harness, account: &Account, changes: Value) {
    let request = harness.request("PATCH", &account.path()).admin();
    let _ = request.json(&changes).send().await.expect(200);
}

/// Disables an account.
pub(crate) async fn disable(harness: &Harness, account: &Account) {
    update(harness, account, json!({ "enabled": false })).await;
}

/// Deletes an account.
pub(crate) async fn delete(harness: &Harness, account: &Account) {
    let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
}

/// Rotates a key. The response contains the successor.
pub(crate) async fn rotate(harness: &Harness, key: &Key, grace_seconds: u32) -> Reply {
    let request = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    request.json(&json!({ "graceSeconds": grace_seconds })).send().await.expect(201)
}
