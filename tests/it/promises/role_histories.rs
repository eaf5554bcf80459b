//! Changes of custom roles are linearizable: once the client has the response that
//! confirms a change or a deletion, every instance of the authorizer decides by it.

use std::time::Duration;

use authorizer::Authorizer;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tests::{Harness, Key};

use crate::support::faults::{delay_calls, stale_index};
use crate::support::model::{
    History, Revocation, Summary, SwitchHistory, Timeline, history_count, start_authorizers,
};

/// Permissions that include the checked request.
const ON: [&str; 2] = ["GET /organizations/{id}", "GET /elsewhere"];
/// Permissions that do not.
const OFF: [&str; 1] = ["GET /elsewhere"];

/// Issues a key in a new account. The custom role `role` is the account's role.
async fn key_of_account_with(harness: &Harness, role: &str) -> Key {
    harness.account_with_key(role, role).await.1
}

/// Issues a key in a new account. The custom role `role` is the key's own role.
async fn key_with_own(harness: &Harness, role: &str) -> Key {
    let account = harness.create_account(&format!("own {role}"), "ServiceAccountAdmin").await;
    harness.issue_key_with(&account, &json!({ "name": "key", "role": role })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_instance_uses_an_older_role_than_another() {
    let harness = Harness::start().await;
    let authorizers = start_authorizers(&harness);
    delay_calls(&harness, 3);
    let mut summary = Summary::default();
    for seed in 0..history_count() {
        let role = format!("Switch{seed}");
        harness.put_role(&role, &ON).await;
        let key = if seed.is_multiple_of(2) {
            key_with_own(&harness, &role).await
        } else {
            key_of_account_with(&harness, &role).await
        };
        let toggle = async |is_on: bool| {
            let permissions: &[&str] = if is_on { &ON } else { &OFF };
            let request = harness.request("PUT", &format!("/iam/v1/roles/{role}")).admin();
            request.json(&json!({ "permissions": permissions })).send().await.status
        };
        let history = SwitchHistory::record(&authorizers, &key, toggle).await;
        summary.add(&history.checks, history.violations());
    }
    summary.assert_no_violations("histories of a role whose permissions change");
}

/// Records one history: an admin deletes a role that an account and a key have, while
/// the authorizers check the keys.
async fn deletion_history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> History {
    let role = format!("Deleted{seed}");
    harness.put_role(&role, &ON).await;
    let keys = [key_of_account_with(harness, &role).await, key_with_own(harness, &role).await];
    let timeline = Timeline::default();
    let pause = StdRng::seed_from_u64(seed).random_range(0..8);
    let admin = async {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let delete = harness.request("DELETE", &format!("/iam/v1/roles/{role}")).admin();
        let (reply, span) = timeline.record(delete.send()).await;
        let operation = "delete the role".to_owned();
        Revocation { operation, key: None, span, succeeded: reply.status == 204 }
    };
    let (revocation, checks) = tokio::join!(admin, timeline.check_repeatedly(authorizers, &keys, 16));
    History { checks, revocations: vec![revocation] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleted_role_permits_nothing_on_the_next_check() {
    let harness = Harness::start().await;
    let authorizers = start_authorizers(&harness);
    // Deletion is refused while the index lists a use of the role. This index lists none.
    harness.wire.intercept(stale_index);
    let (mut summary, mut deleted) = (Summary::default(), 0);
    for seed in 0..history_count() {
        let history = deletion_history(&harness, &authorizers, seed).await;
        deleted += history.revocations.iter().filter(|revocation| revocation.succeeded).count();
        summary.add(&history.checks, history.violations());
    }
    summary.assert_no_violations("histories of a role that is deleted");
    assert!(deleted > 0, "no deletion succeeded");
}
