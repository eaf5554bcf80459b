//! Admins at the same time: no rule is broken between them, and no change is
//! lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join, join_all, join3};
use serde_json::{Value, json};
use tests::{Account, Action, Harness, Reply, RequestBuilder};

use crate::support::faults::{cancelled, conflict, random_conflicts};
use crate::support::tally::{tallied, tally};

/// As many keys as an account may have.
const LIMIT: usize = 20;

async fn issue(harness: &Harness, account: &Account, body: &Value) -> Reply {
    harness.request("POST", &format!("{}/keys", account.path())).admin().json(body).send().await
}

/// Many issues at once. Where a busy machine makes one time out, it is tried
/// again under the same `Idempotency-Key`, as a client would.
async fn issue_many(harness: &Harness, account: &Account, many: usize, body: &Value) -> Vec<Reply> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    join_all((0..many).map(|_| async {
        let attempt = format!("attempt-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        loop {
            let request = harness.request("POST", &format!("{}/keys", account.path())).admin();
            let reply = request.header("Idempotency-Key", &attempt).json(body).send().await;
            if reply.status != 503 {
                return reply;
            }
        }
    }))
    .await
}

async fn patch(harness: &Harness, account: &Account, tag: Option<&str>, body: &Value) -> Reply {
    let request = harness.request("PATCH", &account.path()).admin().json(body);
    let request = if let Some(tag) = tag { request.header("If-Match", tag) } else { request };
    request.send().await
}

async fn read(harness: &Harness, account: &Account) -> Reply {
    harness.request("GET", &account.path()).admin().send().await.expect(200)
}

/// The secrets in these replies.
fn secrets(replies: &[Reply]) -> Vec<String> {
    let issued = replies.iter().filter(|reply| reply.status == 201);
    issued.map(|reply| reply.json()["secret"].as_str().unwrap().to_owned()).collect()
}

async fn events(harness: &Harness, kind: &str) -> usize {
    let events = harness.table.items("EVENTS#").await;
    events.iter().filter(|event| event["type"].as_s().unwrap() == kind).count()
}

/// A retry after a timeout may be told that its first attempt made the key.
fn assert_as_many_as_it_may_have(replies: &[Reply]) {
    let mut tally = tally(replies);
    let told_late = tally.remove("409 key_already_issued").unwrap_or(0);
    *tally.entry("201".to_owned()).or_insert(0) += told_late;
    assert_eq!(tally, tallied(&[("201", LIMIT), ("409 key_limit_reached", 64 - LIMIT)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_issues_make_as_many_keys_as_an_account_may_have() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    random_conflicts(&harness, 0.3);
    let body = json!({ "name": "batch", "expiresInDays": 1 });
    let replies = issue_many(&harness, &account, 64, &body).await;
    assert_as_many_as_it_may_have(&replies);
    assert_eq!(read(&harness, &account).await.json()["keys"].as_array().unwrap().len(), LIMIT);
    assert_eq!(events(&harness, "key.issued").await, LIMIT);
    for secret in secrets(&replies) {
        assert_eq!(harness.check(&secret).await, 200);
    }

    // Expired keys do not count, and go with the first write.
    harness.clock.advance_days(1);
    let again = issue_many(&harness, &account, 64, &body).await;
    assert_as_many_as_it_may_have(&again);
    for old in secrets(&replies) {
        assert_eq!(harness.check(&old).await, 403);
    }
    for new in secrets(&again) {
        assert_eq!(harness.check(&new).await, 200);
    }
    assert_eq!(harness.table.items(&format!("RETIRED#{}", account.id)).await.len(), LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_changes_of_the_same_version_wins() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let tag = read(&harness, &account).await.headers["etag"].clone();
    random_conflicts(&harness, 0.3);
    let bodies: Vec<Value> = (0..8).map(|n| json!({ "description": format!("by {n}") })).collect();
    let replies = join_all(bodies.iter().map(|body| patch(&harness, &account, Some(&tag), body))).await;
    assert_eq!(tally(&replies), tallied(&[("200", 1), ("412 precondition_failed", 7)]));
    let winner = replies.iter().find(|reply| reply.status == 200).unwrap();
    let now = read(&harness, &account).await;
    assert_eq!(now.json()["description"], winner.json()["description"]);
    assert_eq!(now.headers["etag"], winner.headers["etag"]);
    assert_eq!(events(&harness, "serviceAccount.updated").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_of_different_fields_are_all_kept() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let bodies = [
        json!({ "description": "new" }),
        json!({ "owner": "new" }),
        json!({ "role": "ServiceAccountWriter" }),
        json!({ "tags": { "new": "yes" } }),
        json!({ "enabled": false }),
    ];
    let replies = join_all(bodies.iter().map(|body| patch(&harness, &account, None, body))).await;
    assert_eq!(tally(&replies), tallied(&[("200", 5)]));
    let now = read(&harness, &account).await.json();
    for body in bodies {
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(&now[field], value);
        }
    }
    assert_eq!(events(&harness, "serviceAccount.updated").await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_gets_a_name() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.2);
    let create = |name: String| {
        let body = json!({ "name": name, "role": "ServiceAccountReader" });
        harness.request("POST", "/iam/v1/service-accounts").admin().json(&body).send()
    };
    let replies =
        join_all((0..8).map(|n| create(if n % 2 == 0 { "Batch" } else { "batch" }.to_owned()))).await;
    assert_eq!(tally(&replies), tallied(&[("201", 1), ("409 name_taken", 7)]));
    assert_eq!(harness.table.items("ACCOUNT#").await.len(), 1);

    let others = join_all((0..8).map(|n| create(format!("other {n}")))).await;
    let others: Vec<Account> =
        others.iter().map(|reply| Account { id: reply.json()["id"].as_str().unwrap().to_owned() }).collect();
    let body = json!({ "name": "wanted" });
    let renamed = join_all(others.iter().map(|account| patch(&harness, account, None, &body))).await;
    assert_eq!(tally(&renamed), tallied(&[("200", 1), ("409 name_taken", 7)]));
    let names: BTreeSet<String> =
        harness.table.items("NAME#").await.iter().map(|item| item["pk"].as_s().unwrap().clone()).collect();
    assert_eq!(names.len(), 9);
    assert!(names.contains("NAME#wanted") && names.contains("NAME#batch"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn issues_revocations_and_a_disabling_leave_a_well_formed_account() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.2);
    for round in 0..4 {
        let account = harness.create_account(&format!("round {round}"), "ServiceAccountReader").await;
        let mut keys = Vec::new();
        for _ in 0..4 {
            keys.push(harness.issue_key(&account).await);
        }
        let body = json!({ "name": "batch" });
        let disable = json!({ "enabled": false });
        let (issued, revoked, disabled) = join3(
            issue_many(&harness, &account, 8, &body),
            join_all(keys.iter().map(|key| harness.revoke(key))),
            patch(&harness, &account, None, &disable),
        )
        .await;
        assert_eq!(tally(&revoked), tallied(&[("204", 4)]));
        assert_eq!(disabled.status, 200, "{disabled:?}");
        for reply in &issued {
            assert!(reply.status == 201 || reply.code() == "service_account_disabled", "{reply:?}");
        }
        let issued = secrets(&issued);
        let item = harness.table.get(&format!("ACCOUNT#{}", account.id), "ACCOUNT").await.unwrap();
        let members = |name: &str| item[name].as_m().unwrap().keys().cloned().collect::<BTreeSet<String>>();
        assert_eq!(members("keys"), members("verifiers"));
        assert_eq!(members("keys").len(), issued.len());
        // Each key that was made works once the account does, and no other.
        let _ = patch(&harness, &account, None, &json!({ "enabled": true })).await.expect(200);
        for secret in &issued {
            assert_eq!(harness.check(secret).await, 200);
        }
        for key in &keys {
            assert_eq!(harness.check(&key.secret).await, 403);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_issued_beside_the_deletion_of_its_account_dies_with_it() {
    let harness = Harness::start().await;
    for round in 0..6 {
        let account = harness.create_account(&format!("round {round}"), "ServiceAccountReader").await;
        let body = json!({ "name": "batch" });
        let delete = harness.request("DELETE", &account.path()).admin();
        let (issued, deleted) = join(issue_many(&harness, &account, 4, &body), delete.send()).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        for reply in &issued {
            assert!(reply.status == 201 || reply.status == 404, "{reply:?}");
        }
        for secret in secrets(&issued) {
            assert_eq!(harness.check(&secret).await, 403);
        }
        let records = harness.table.items(&format!("RETIRED#{}", account.id)).await.len();
        assert_eq!(records, secrets(&issued).len() + 1, "one record a key, and one of the account");
    }
}

#[tokio::test]
async fn endless_conflicts_end_in_a_refusal_that_changes_nothing() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let before = harness.table.dump().await.len();
    harness.wire.disturb(
        |call| {
            if call.operation == "TransactWriteItems" { conflict() } else { Action::Pass }
        },
    );
    harness.wire.take_calls();
    let create = json!({ "name": "another", "role": "ServiceAccountReader" });
    let issue_body = json!({ "name": "batch" });
    let rename = json!({ "name": "renamed" });
    let replies = join_all(
        [
            harness.request("POST", "/iam/v1/service-accounts").admin().json(&create),
            harness.request("POST", &format!("{}/keys", account.path())).admin().json(&issue_body),
            harness.request("PATCH", &account.path()).admin().json(&rename),
            harness.request("DELETE", &key.path()).admin(),
            harness.request("DELETE", &format!("{}/keys", account.path())).admin(),
            harness.request("DELETE", &account.path()).admin(),
        ]
        .map(RequestBuilder::send),
    )
    .await;
    assert_eq!(tally(&replies), tallied(&[("409 concurrent_changes", 6)]));
    let attempts = harness.wire.take_operations();
    let writes = attempts.iter().filter(|operation| *operation == "TransactWriteItems").count();
    assert!(writes <= 6 * 12, "{writes} attempts");
    harness.wire.calm();
    assert_eq!(harness.table.dump().await.len(), before);
    assert_eq!(harness.check(&key.secret).await, 200);
    let _ = harness.revoke(&key).await.expect(204);
}

#[tokio::test]
async fn a_throttled_write_is_no_conflict() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    for code in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
        harness.wire.disturb(move |call| {
            if call.operation == "TransactWriteItems" { cancelled(&["None", code]) } else { Action::Pass }
        });
        let reply = issue(&harness, &account, &json!({ "name": "batch" })).await;
        let reply = reply.expect_problem(429, "throttled");
        assert_eq!(reply.headers["retry-after"], "1");
    }
    harness.wire.calm();
    let _ = issue(&harness, &account, &json!({ "name": "batch" })).await.expect(201);
}
