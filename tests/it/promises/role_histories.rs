//! What a custom role permits is linearizable too: a check that begins after a
//! role was replaced or deleted goes by what it is now, whichever instance of the
//! authorizer is asked.

use std::time::Duration;

use authorizer::Authorizer;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tests::{Harness, Key};

use crate::support::faults::{delay, stale_index};
use crate::support::model::{Check, Ending, History, Order, SwitchHistory, histories};
use crate::support::{check, report};

/// Permits what the checks ask for.
const ON: [&str; 2] = ["GET /organizations/{id}", "GET /elsewhere"];
/// Does not.
const OFF: [&str; 1] = ["GET /elsewhere"];

/// A key by whose account's or own role the checks are decided.
async fn key_of(harness: &Harness, name: &str, is_own: bool) -> Key {
    let account = harness.create_account(name, if is_own { "ServiceAccountAdmin" } else { name }).await;
    let mut body = json!({ "name": "key" });
    if is_own {
        body["role"] = name.into();
    }
    harness.issue_key_with(&account, &body).await
}

async fn put(harness: &Harness, name: &str, permissions: &[&str]) -> u16 {
    let body: Value = json!({ "permissions": permissions });
    let request = harness.request("PUT", &format!("/iam/v1/roles/{name}")).admin();
    request.json(&body).send().await.status
}

/// One role, replaced again and again.
async fn switch_history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> SwitchHistory {
    let name = format!("Switch{seed}");
    harness.put_role(&name, &ON).await;
    let key = key_of(harness, &name, seed.is_multiple_of(2)).await;
    let order = Order::default();
    let admin = async {
        let mut turns = Vec::new();
        for permissions in [OFF.as_slice(), &ON].into_iter().cycle().take(6) {
            // Again, if a busy machine let it time out.
            let turn = async { while put(harness, &name, permissions).await != 200 {} };
            turns.push(order.record(turn).await.1);
        }
        turns
    };
    let checkers = authorizers.iter().map(|authorizer| async {
        let mut checks = Vec::new();
        for _ in 0..14 {
            let (verdict, span) = order.record(check(authorizer, &key.secret)).await;
            checks.push(Check { key: 0, span, verdict });
        }
        checks
    });
    let (turns, checks) = tokio::join!(admin, join_all(checkers));
    SwitchHistory { checks: checks.concat(), turns }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_instance_sees_an_older_role_than_another_did() {
    let harness = Harness::start().await;
    let authorizers: Vec<_> = (0..4).map(|_| harness.another_authorizer()).collect();
    delay(&harness, 3);
    let (mut violations, mut checks) = (Vec::new(), 0);
    for seed in 0..histories() {
        let history = switch_history(&harness, &authorizers, seed).await;
        checks += history.checks.len();
        violations.extend(history.violations().into_iter().map(|text| format!("history {seed}: {text}")));
    }
    report(&format!(
        "{} histories of a role that is replaced, {checks} checks: {} violations",
        histories(),
        violations.len()
    ));
    assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
}

/// One role, deleted under an account and a key whose use of it the index has not
/// heard of yet.
async fn deletion_history(harness: &Harness, authorizers: &[Authorizer], seed: u64) -> History {
    let name = format!("Deleted{seed}");
    harness.put_role(&name, &ON).await;
    let keys = [key_of(harness, &name, false).await, {
        let account = harness.create_account(&format!("wide {seed}"), "ServiceAccountReader").await;
        harness.issue_key_with(&account, &json!({ "name": "key", "role": name })).await
    }];
    let order = Order::default();
    let pause = StdRng::seed_from_u64(seed).random_range(0..8);
    let admin = async {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let delete = harness.request("DELETE", &format!("/iam/v1/roles/{name}")).admin();
        let (reply, span) = order.record(delete.send()).await;
        Ending { what: "the role's deletion".to_owned(), key: None, span, succeeded: reply.status == 204 }
    };
    let checkers = authorizers.iter().map(|authorizer| async {
        let mut checks = Vec::new();
        for turn in 0..16 {
            let key = turn % keys.len();
            let (verdict, span) = order.record(check(authorizer, &keys[key].secret)).await;
            checks.push(Check { key, span, verdict });
        }
        checks
    });
    let (ending, checks) = tokio::join!(admin, join_all(checkers));
    History { checks: checks.concat(), endings: vec![ending] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_check_after_the_deletion_of_a_role_is_allowed_by_it() {
    let harness = Harness::start().await;
    let authorizers: Vec<_> = (0..4).map(|_| harness.another_authorizer()).collect();
    harness.wire.disturb(stale_index);
    let (mut violations, mut checks, mut deleted) = (Vec::new(), 0, 0);
    for seed in 0..histories() {
        let history = deletion_history(&harness, &authorizers, seed).await;
        checks += history.checks.len();
        deleted += history.endings.iter().filter(|ending| ending.succeeded).count();
        violations.extend(history.violations().into_iter().map(|text| format!("history {seed}: {text}")));
    }
    report(&format!(
        "{} histories of a role that is deleted, {checks} checks: {} violations",
        histories(),
        violations.len()
    ));
    assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
    assert!(deleted > 0, "no role was ever deleted");
}
