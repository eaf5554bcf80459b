//! Concurrent requests of admins break no rule and lose no change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join, join_all, join3};
use serde_json::{Value, json};
use tests::{Account, Harness, Reply, RequestBuilder};

use crate::support::faults::{cancelled, inject, random_conflicts};
use crate::support::tally::{count_events, tallied, tally};

/// The maximum number of keys of an account.
const LIMIT: usize = 20;

async fn issue(harness: &Harness, account: &Account, body: &Value) -> Reply {
    harness.request("POST", &format!("{}/keys", account.path())).admin().json(body).send().await
}

/// Issues this number of keys concurrently. If a request times out on a busy machine, it
/// is retried with the same `Idempotency-Key`, as a client would do.
async fn issue_many(harness: &Harness, account: &Account, count: usize, body: &Value) -> Vec<Reply> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    join_all((0..count).map(|_| async {
        let attempt = format!("attempt-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        loop {
            let request = harness.request("POST", &format!("{}/keys", account.path())).admin();
            let reply = request.idempotency_key(&attempt).json(body).send().await;
            if reply.status != 503 {
                return reply;
            }
        }
    }))
    .await
}

async fn patch(harness: &Harness, account: &Account, tag: Option<&str>, body: &Value) -> Reply {
    let request = harness.request("PATCH", &account.path()).admin().json(body);
    let request = if let Some(tag) = tag { request.if_match(tag) } else { request };
    request.send().await
}

/// The keys that these requests issued.
fn issued_keys(replies: &[Reply]) -> Vec<String> {
    let issued = replies.iter().filter(|reply| reply.status == 201);
    issued.map(|reply| reply.json()["secret"].as_str().unwrap().to_owned()).collect()
}

/// Fails unless exactly [`LIMIT`] of 64 requests issued a key. If the first attempt of a
/// request timed out but issued the key, the retry gets `key_already_issued`.
fn assert_limit_reached(replies: &[Reply]) {
    let mut tally = tally(replies);
    let issued_before_retry = tally.remove("409 key_already_issued").unwrap_or(0);
    *tally.entry("201".to_owned()).or_insert(0) += issued_before_retry;
    assert_eq!(tally, tallied(&[("201", LIMIT), ("409 key_limit_reached", 64 - LIMIT)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_issues_stop_at_the_key_limit() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    random_conflicts(&harness, 0.3);
    let body = json!({ "name": "batch", "expiresInDays": 1 });
    let replies = issue_many(&harness, &account, 64, &body).await;
    assert_limit_reached(&replies);
    assert_eq!(harness.keys(&account).await.len(), LIMIT);
    assert_eq!(count_events(&harness, "key.issued").await, LIMIT);
    for key in issued_keys(&replies) {
        assert_eq!(harness.check(&key).await, 200);
    }

    // Expired keys do not count, and the first write removes them from the account.
    harness.clock.advance_days(1);
    let later_replies = issue_many(&harness, &account, 64, &body).await;
    assert_limit_reached(&later_replies);
    for old in issued_keys(&replies) {
        assert_eq!(harness.check(&old).await, 403);
    }
    for new in issued_keys(&later_replies) {
        assert_eq!(harness.check(&new).await, 200);
    }
    assert_eq!(harness.table.items(&format!("RETIRED#{}", account.id)).await.len(), LIMIT);
}

/// Adds this number of federated identities concurrently, like [`issue_many`].
async fn add_many(harness: &Harness, account: &Account, count: usize) -> Vec<Reply> {
    let body = json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" } });
    join_all((0..count).map(|number| {
        let (body, attempt) = (&body, format!("identity-{number}"));
        async move {
            loop {
                let path = format!("{}/federated-identities", account.path());
                let request = harness.request("POST", &path).admin().idempotency_key(&attempt);
                let reply = request.json(body).send().await;
                let is_contended = reply.status == 409 && reply.code() == "concurrent_changes";
                if reply.status != 503 && !is_contended {
                    return reply;
                }
            }
        }
    }))
    .await
}

/// Whatever the order, an account gets exactly 40 keys and identities, and never more keys than
/// the deployment permits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_issues_and_additions_stop_at_40_grants() {
    for most_keys in [40, 8] {
        let harness =
            Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", &most_keys.to_string()).start().await;
        let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
        let account = harness.create_account("batch", "ServiceAccountReader").await;
        random_conflicts(&harness, 0.2);
        let body = json!({ "name": "batch" });
        let issue_all = async {
            let mut replies = issue_many(&harness, &account, 32, &body).await;
            // A client would also repeat a request that others got ahead of.
            while replies.iter().any(|reply| reply.status == 409 && reply.code() == "concurrent_changes") {
                let count = replies.len();
                replies.retain(|reply| reply.status != 409 || reply.code() != "concurrent_changes");
                let missing = count - replies.len();
                replies.extend(issue_many(&harness, &account, missing, &body).await);
            }
            replies
        };
        let (issued, added) = join(issue_all, add_many(&harness, &account, 48)).await;
        harness.wire.pass_all();
        let item = harness.table.account(&account.id).await;
        let (keys, verifiers) = (item["keys"].as_m().unwrap(), item["verifiers"].as_m().unwrap());
        assert_eq!((keys.len(), verifiers.len()), (40, 40), "{most_keys} keys are permitted");
        let key_count = keys.keys().filter(|id| id.starts_with("key_")).count();
        assert!(key_count <= most_keys, "{key_count} keys, {most_keys} are permitted");
        for reply in issued.iter().chain(&added) {
            let limits = ["key_limit_reached", "grant_limit_reached", "key_already_issued"];
            assert!(reply.status == 201 || limits.contains(&reply.code().as_str()), "{reply:?}");
        }
        assert_eq!(count_events(&harness, "key.issued").await, key_count);
        assert_eq!(count_events(&harness, "federatedIdentity.created").await, 40 - key_count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_several_updates_of_the_same_version_succeeds() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let tag = harness.get(&account.path()).await.headers["etag"].clone();
    random_conflicts(&harness, 0.3);
    let bodies: Vec<Value> = (0..8).map(|n| json!({ "description": format!("by {n}") })).collect();
    let replies = join_all(bodies.iter().map(|body| patch(&harness, &account, Some(&tag), body))).await;
    assert_eq!(tally(&replies), tallied(&[("200", 1), ("412 precondition_failed", 7)]));
    let winner = replies.iter().find(|reply| reply.status == 200).unwrap();
    let current = harness.get(&account.path()).await;
    assert_eq!(current.json()["description"], winner.json()["description"]);
    assert_eq!(current.headers["etag"], winner.headers["etag"]);
    assert_eq!(count_events(&harness, "serviceAccount.updated").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_updates_of_different_fields_are_all_kept() {
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
    let current = harness.get(&account.path()).await.json();
    for body in bodies {
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(&current[field], value);
        }
    }
    assert_eq!(count_events(&harness, "serviceAccount.updated").await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_several_accounts_gets_the_same_name() {
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
async fn concurrent_issues_revocations_and_an_update_leave_a_well_formed_account() {
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
        let issued = issued_keys(&issued);
        let item = harness.table.account(&account.id).await;
        let members = |name: &str| item[name].as_m().unwrap().keys().cloned().collect::<BTreeSet<String>>();
        assert_eq!(members("keys"), members("verifiers"));
        assert_eq!(members("keys").len(), issued.len());
        // When the account is enabled again, exactly the newly issued keys work.
        let _ = patch(&harness, &account, None, &json!({ "enabled": true })).await.expect(200);
        for key in &issued {
            assert_eq!(harness.check(key).await, 200);
        }
        for key in &keys {
            assert_eq!(harness.check(&key.secret).await, 403);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_issued_while_its_account_is_deleted_is_denied() {
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
        let keys = issued_keys(&issued);
        for key in &keys {
            assert_eq!(harness.check(key).await, 403);
        }
        let records = harness.table.items(&format!("RETIRED#{}", account.id)).await.len();
        assert_eq!(records, keys.len() + 1, "expected a record of each key and one of the account");
    }
}

#[tokio::test]
async fn permanent_conflicts_end_in_409_and_change_nothing() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let before = harness.table.dump().await;
    random_conflicts(&harness, 1.0);
    harness.wire.take_calls();
    let create = json!({ "name": "another", "role": "ServiceAccountReader" });
    let issue = json!({ "name": "batch" });
    let rename = json!({ "name": "renamed" });
    let replies = join_all(
        [
            harness.request("POST", "/iam/v1/service-accounts").admin().json(&create),
            harness.request("POST", &format!("{}/keys", account.path())).admin().json(&issue),
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
    harness.wire.pass_all();
    assert_eq!(harness.table.dump().await, before);
    assert_eq!(harness.check(&key.secret).await, 200);
    let _ = harness.revoke(&key).await.expect(204);
}

#[tokio::test]
async fn a_throttled_write_responds_429() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    for code in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
        inject(&harness, "TransactWriteItems", cancelled(&["None", code]));
        let reply = issue(&harness, &account, &json!({ "name": "batch" })).await;
        let reply = reply.expect_problem(429, "throttled");
        assert_eq!(reply.headers["retry-after"], "1");
    }
    harness.wire.pass_all();
    let _ = issue(&harness, &account, &json!({ "name": "batch" })).await.expect(201);
}
