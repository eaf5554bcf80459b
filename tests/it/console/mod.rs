//! The console, through HTTP. Tests that need a real browser are in `tests/browser`.

mod access;
mod account;
mod accounts;
mod apis;
mod frame;
mod history;
mod identities;
mod import;
mod issuers;
mod key_page;
mod keys;
mod overview;
mod review;
mod roles;
mod search;
mod sizes;
mod snippets;
mod workload_snippets;

use serde_json::json;
use tests::{Account, Harness, Key, Reply};

/// Disables an account.
async fn disable(harness: &Harness, account: &Account) {
    let request = harness.request("PATCH", &account.path()).admin();
    let _ = request.json(&json!({ "enabled": false })).send().await.expect(200);
}

/// Rotates a key.
async fn rotate(harness: &Harness, key: &Key, grace_seconds: u32) -> Reply {
    let request = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    request.json(&json!({ "graceSeconds": grace_seconds })).send().await.expect(201)
}
