//! A response that is lost after the commit: the retry makes nothing twice, and
//! no secret is ever told again.

use serde_json::{Value, json};
use tests::{Account, Action, Harness, Key, Reply};

use crate::support::faults::refusal;

/// Longer than `DynamoDB` remembers a request's token (10 minutes).
const ELEVEN_MINUTES: i64 = 11 * 60;

/// Loses every response of a write. What was committed stays committed.
fn lose_responses(harness: &Harness) {
    harness.wire.disturb(|call| {
        if call.operation == "TransactWriteItems" { Action::LoseResponse } else { Action::Pass }
    });
}

async fn post(harness: &Harness, path: &str, key: &str, body: &Value) -> Reply {
    harness.request("POST", path).admin().header("Idempotency-Key", key).json(body).send().await
}

async fn issue(harness: &Harness, account: &Account, key: &str) -> Reply {
    post(harness, &format!("{}/keys", account.path()), key, &json!({ "name": "batch" })).await
}

async fn keys(harness: &Harness, account: &Account) -> Vec<Value> {
    let reply = harness.request("GET", &account.path()).admin().send().await.expect(200);
    reply.json()["keys"].as_array().unwrap().clone()
}

/// The events of this type, of all accounts.
async fn count(harness: &Harness, kind: &str) -> usize {
    let events = harness.table.items("EVENTS#").await;
    events.iter().filter(|event| event["type"].as_s().unwrap() == kind).count()
}

#[tokio::test]
async fn a_retried_creation_answers_with_the_one_account() {
    let harness = Harness::start().await;
    let body = json!({ "name": "batch", "role": "ServiceAccountReader" });
    let create = |key: &'static str, body: Value| {
        let harness = &harness;
        async move { post(harness, "/iam/v1/service-accounts", key, &body).await }
    };
    lose_responses(&harness);
    let _ = create("attempt-1", body.clone()).await.expect_problem(503, "dependency_unavailable");
    assert!(harness.wire.take_calls().len() > 1, "the SDK has tried again");
    harness.wire.calm();
    harness.clock.advance_seconds(ELEVEN_MINUTES);

    let first = create("attempt-1", body.clone()).await.expect(201);
    let again = create("\"attempt-1\"", body.clone()).await.expect(201);
    assert_eq!(first.json(), again.json());
    assert_eq!(harness.table.items("ACCOUNT#").await.len(), 1);
    assert_eq!(count(&harness, "serviceAccount.created").await, 1);
    let other = json!({ "name": "another", "role": "ServiceAccountReader" });
    let _ = create("attempt-1", other).await.expect_problem(422, "idempotency_key_reused");
    let _ = create("attempt-2", body.clone()).await.expect_problem(409, "name_taken");

    let path = first.headers["location"].clone();
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
    let _ = create("attempt-1", body).await.expect_problem(409, "service_account_deleted");
    assert_eq!(harness.table.items("ACCOUNT#").await.len(), 0);
}

#[tokio::test]
async fn a_retried_issue_makes_no_second_key_and_tells_no_secret() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    lose_responses(&harness);
    let _ = issue(&harness, &account, "attempt-1").await.expect_problem(503, "dependency_unavailable");
    harness.wire.calm();
    harness.clock.advance_seconds(ELEVEN_MINUTES);

    let [key] = keys(&harness, &account).await.try_into().unwrap();
    let id = key["id"].as_str().unwrap().to_owned();
    let refuses = async || {
        let retry = issue(&harness, &account, "attempt-1").await.expect_problem(409, "key_already_issued");
        assert!(retry.text.contains(&id), "it names the key: {retry:?}");
        assert!(!retry.text.contains("kwsa_") && retry.json().get("secret").is_none(), "{retry:?}");
    };
    refuses().await;
    assert_eq!(keys(&harness, &account).await.len(), 1);
    let other = json!({ "name": "batch", "expiresInDays": 7 });
    let path = format!("{}/keys", account.path());
    let _ = post(&harness, &path, "attempt-1", &other).await.expect_problem(422, "idempotency_key_reused");

    let lost = Key { account: account.id.clone(), id: id.clone(), secret: String::new() };
    let _ = harness.revoke(&lost).await.expect(204);
    refuses().await;
    let _ = post(&harness, &path, "attempt-1", &other).await.expect_problem(422, "idempotency_key_reused");
    assert_eq!(keys(&harness, &account).await.len(), 0, "the revoked key is back");
    assert_eq!(count(&harness, "key.issued").await, 1);
    let _ = issue(&harness, &account, "attempt-2").await.expect(201);
}

#[tokio::test]
async fn a_retried_rotation_makes_no_second_successor_and_tells_no_secret() {
    for grace in [86_400, 0] {
        let harness = Harness::start().await;
        let account = harness.create_account("batch", "ServiceAccountReader").await;
        let old = harness.issue_key(&account).await;
        let path = format!("{}/rotation", old.path());
        let rotate = async |attempt: &str, grace: u32| {
            post(&harness, &path, attempt, &json!({ "graceSeconds": grace })).await
        };
        lose_responses(&harness);
        let _ = rotate("attempt-1", grace).await.expect_problem(503, "dependency_unavailable");
        harness.wire.calm();
        harness.clock.advance_seconds(ELEVEN_MINUTES);

        let successors: Vec<_> =
            keys(&harness, &account).await.into_iter().filter(|key| key["id"] != old.id).collect();
        let [successor] = &successors[..] else { panic!("{successors:?}") };
        let id = successor["id"].as_str().unwrap().to_owned();
        let refuses = async || {
            let retry = rotate("attempt-1", grace).await.expect_problem(409, "key_already_issued");
            assert!(retry.text.contains(&id), "it names the key: {retry:?}");
            assert!(!retry.text.contains("kwsa_") && retry.json().get("secret").is_none(), "{retry:?}");
            let _ = rotate("attempt-1", 5).await.expect_problem(422, "idempotency_key_reused");
            let other = rotate("attempt-2", grace).await.expect_problem(409, "key_already_rotated");
            assert!(other.text.contains(&id), "it names the key: {other:?}");
        };
        refuses().await;
        assert_eq!(harness.check(&old.secret).await, if grace == 0 { 403 } else { 200 });

        let lost = Key { account: account.id.clone(), id: id.clone(), secret: String::new() };
        let _ = harness.revoke(&lost).await.expect(204);
        refuses().await;
        assert!(
            keys(&harness, &account).await.iter().all(|key| key["id"] == old.id),
            "the successor is back"
        );
        assert_eq!(count(&harness, "key.rotated").await, 1);
        assert_eq!(count(&harness, "key.issued").await, 1);
    }
}

/// The answer to the first write is lost, and the SDK's retry is told that it is
/// still under way.
#[tokio::test]
async fn a_write_that_is_told_to_be_under_way_is_known_for_its_own() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let disturb = || {
        let writes = std::sync::atomic::AtomicUsize::new(0);
        harness.wire.disturb(move |call| {
            if call.operation != "TransactWriteItems" {
                return Action::Pass;
            }
            match writes.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Action::LoseResponse,
                1 => refusal(400, "com.amazonaws.dynamodb.v20120810#TransactionInProgressException"),
                _ => Action::Pass,
            }
        });
    };
    disturb();
    let issued = Key::from_issued(&account, &issue(&harness, &account, "attempt-1").await.expect(201));
    assert_eq!(harness.check(&issued.secret).await, 200);
    let mut last = issued;
    for grace in [60, 0] {
        disturb();
        let body = json!({ "graceSeconds": grace });
        let rotated =
            post(&harness, &format!("{}/rotation", last.path()), "attempt-1", &body).await.expect(201);
        assert_eq!(rotated.json()["replaces"]["id"], last.id);
        last = Key::from_issued(&account, &rotated);
        assert_eq!(harness.check(&last.secret).await, 200);
    }
    assert_eq!(count(&harness, "key.issued").await, 1);
    assert_eq!(count(&harness, "key.rotated").await, 2);
}

#[tokio::test]
async fn a_retried_issue_after_the_expiry_makes_no_second_key() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let _ = issue(&harness, &account, "attempt-1").await.expect(201);
    harness.clock.advance_days(91);
    let _ = issue(&harness, &account, "attempt-1").await.expect_problem(409, "key_already_issued");
    // Another issue clears the expired key away.
    let _ = issue(&harness, &account, "attempt-2").await.expect(201);
    let _ = issue(&harness, &account, "attempt-1").await.expect_problem(409, "key_already_issued");
    assert_eq!(count(&harness, "key.issued").await, 2);
}

#[tokio::test]
async fn a_response_lost_once_is_made_good_by_the_sdk() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let lost = std::sync::atomic::AtomicBool::new(false);
    harness.wire.disturb(move |call| {
        let is_first =
            call.operation == "TransactWriteItems" && !lost.swap(true, std::sync::atomic::Ordering::SeqCst);
        if is_first { Action::LoseResponse } else { Action::Pass }
    });
    let issued = issue(&harness, &account, "attempt-1").await.expect(201).json();
    assert_eq!(harness.check(issued["secret"].as_str().unwrap()).await, 200);
    assert_eq!(count(&harness, "key.issued").await, 1);
}

#[tokio::test]
async fn a_lost_response_of_any_other_change_is_safe_to_repeat() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let patch = || {
        let body = json!({ "description": "another" });
        harness.request("PATCH", &account.path()).admin().json(&body).send()
    };
    let delete = || harness.request("DELETE", &account.path()).admin().send();
    lose_responses(&harness);
    let _ = patch().await.expect_problem(503, "dependency_unavailable");
    let _ = harness.revoke(&key).await.expect_problem(503, "dependency_unavailable");
    assert_eq!(harness.check(&key.secret).await, 403);
    harness.wire.calm();
    harness.clock.advance_seconds(ELEVEN_MINUTES);
    let _ = patch().await.expect(200);
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(count(&harness, "serviceAccount.updated").await, 1);
    assert_eq!(count(&harness, "key.revoked").await, 1);

    lose_responses(&harness);
    let _ = delete().await.expect_problem(503, "dependency_unavailable");
    harness.wire.calm();
    let _ = delete().await.expect_problem(404, "service_account_not_found");
    assert_eq!(count(&harness, "serviceAccount.deleted").await, 1);
}

#[tokio::test]
async fn one_value_means_another_thing_for_another_admin_or_account() {
    let harness = Harness::start().await;
    let other_admin = harness.admin_token(|claims| {
        claims["sub"] = "another-admin".into();
        claims["email"] = "another@example.com".into();
    });
    let create = async |token: &str, name: &str| {
        let body = json!({ "name": name, "role": "ServiceAccountReader" });
        let request = harness.request("POST", "/iam/v1/service-accounts").bearer(token);
        let reply = request.header("Idempotency-Key", "1").json(&body).send().await.expect(201);
        Account { id: reply.json()["id"].as_str().unwrap().to_owned() }
    };
    let admin = harness.admin_token(|_| ());
    let (first, second) = (create(&admin, "first").await, create(&other_admin, "second").await);
    assert_ne!(first.id, second.id);

    let mut ids = Vec::new();
    for (token, account) in [(&admin, &first), (&admin, &second), (&other_admin, &first)] {
        let request = harness.request("POST", &format!("{}/keys", account.path())).bearer(token);
        let body = json!({ "name": "batch" });
        let issued = request.header("Idempotency-Key", "1").json(&body).send().await.expect(201).json();
        assert_eq!(harness.check(issued["secret"].as_str().unwrap()).await, 200);
        ids.push(issued["id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}
