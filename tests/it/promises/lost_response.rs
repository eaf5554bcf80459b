//! Retries after a response that was lost after the commit. They create nothing
//! twice, and no response contains a secret again.

use std::sync::Mutex;

use serde_json::{Value, json};
use tests::{Account, Action, Harness, Key, Reply, RequestBuilder};

use crate::support::faults::{inject, service_error};
use crate::support::tally::count_events;

/// Longer than `DynamoDB` remembers the client request token of a transaction, which
/// is 10 minutes.
const ELEVEN_MINUTES: i64 = 11 * 60;

/// Loses the response of every write. The writes themselves are committed.
fn lose_responses(harness: &Harness) {
    inject(harness, "TransactWriteItems", Action::LoseResponse);
}

/// Applies one action to each of the next writes. Later writes pass.
fn disturb_next_writes(harness: &Harness, actions: Vec<Action>) {
    let actions = Mutex::new(actions.into_iter());
    harness.wire.intercept(move |call| {
        if call.operation != "TransactWriteItems" {
            return Action::Pass;
        }
        actions.lock().unwrap().next().unwrap_or(Action::Pass)
    });
}

/// Stops losing responses, and waits until `DynamoDB` has forgotten the transactions.
fn recover(harness: &Harness) {
    harness.wire.pass_all();
    harness.clock.advance_seconds(ELEVEN_MINUTES);
}

/// A POST by the admin with this `Idempotency-Key`.
fn post<'a>(harness: &'a Harness, path: &str, idempotency_key: &str, body: &Value) -> RequestBuilder<'a> {
    harness.request("POST", path).admin().idempotency_key(idempotency_key).json(body)
}

fn issue<'a>(harness: &'a Harness, account: &Account, idempotency_key: &str) -> RequestBuilder<'a> {
    post(harness, &format!("{}/keys", account.path()), idempotency_key, &json!({ "name": "batch" }))
}

/// Fails unless the reply says that the request has already issued the key `id`, and
/// contains no secret.
fn assert_already_issued(reply: &Reply, id: &str) {
    assert!(reply.text.contains(id), "the response does not name the key: {reply:?}");
    assert!(!reply.text.contains("kwsa_") && reply.json().get("secret").is_none(), "{reply:?}");
}

#[tokio::test]
async fn retried_creation_returns_the_same_account() {
    let harness = Harness::start().await;
    let body = json!({ "name": "batch", "role": "ServiceAccountReader" });
    let create = |idempotency_key: &str, body: &Value| {
        post(&harness, "/iam/v1/service-accounts", idempotency_key, body)
    };
    lose_responses(&harness);
    let lost = create("attempt-1", &body).send().await;
    let _ = lost.expect_problem(503, "dependency_unavailable");
    assert!(harness.wire.take_calls().len() > 1, "the SDK must retry");
    recover(&harness);

    let first = create("attempt-1", &body).send().await.expect(201);
    // The quoted form is the same key.
    let second = create("\"attempt-1\"", &body).send().await.expect(201);
    assert_eq!(first.json(), second.json());
    assert_eq!(harness.table.items("ACCOUNT#").await.len(), 1);
    assert_eq!(count_events(&harness, "serviceAccount.created").await, 1);
    let other = json!({ "name": "another", "role": "ServiceAccountReader" });
    harness.refuse(create("attempt-1", &other), 422, "idempotency_key_reused").await;
    harness.refuse(create("attempt-2", &body), 409, "name_taken").await;

    let path = first.headers["location"].clone();
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
    harness.refuse(create("attempt-1", &body), 409, "service_account_deleted").await;
    assert_eq!(harness.table.items("ACCOUNT#").await.len(), 0);
}

#[tokio::test]
async fn retried_issue_creates_no_second_key_and_returns_no_secret() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    lose_responses(&harness);
    let lost = issue(&harness, &account, "attempt-1").send().await;
    let _ = lost.expect_problem(503, "dependency_unavailable");
    recover(&harness);

    let [key] = harness.keys(&account).await.try_into().unwrap();
    let id = key["id"].as_str().unwrap().to_owned();
    let assert_refused = async || {
        let retry = issue(&harness, &account, "attempt-1");
        assert_already_issued(&harness.refuse(retry, 409, "key_already_issued").await, &id);
        let path = format!("{}/keys", account.path());
        let other = post(&harness, &path, "attempt-1", &json!({ "name": "batch", "expiresInDays": 7 }));
        harness.refuse(other, 422, "idempotency_key_reused").await;
    };
    assert_refused().await;
    assert_eq!(harness.keys(&account).await.len(), 1);

    let lost = Key { account: account.id.clone(), id: id.clone(), secret: String::new() };
    let _ = harness.revoke(&lost).await.expect(204);
    assert_refused().await;
    assert_eq!(harness.keys(&account).await.len(), 0, "the retry restored the revoked key");
    assert_eq!(count_events(&harness, "key.issued").await, 1);
    let _ = issue(&harness, &account, "attempt-2").send().await.expect(201);
}

#[tokio::test]
async fn retried_rotation_creates_no_second_successor_and_returns_no_secret() {
    for grace_seconds in [86_400, 0] {
        let harness = Harness::start().await;
        let (account, old) = harness.account_with_key("batch", "ServiceAccountReader").await;
        let rotate = |attempt: &str, grace_seconds: u32| {
            let body = json!({ "graceSeconds": grace_seconds });
            post(&harness, &format!("{}/rotation", old.path()), attempt, &body)
        };
        lose_responses(&harness);
        let lost = rotate("attempt-1", grace_seconds).send().await;
        let _ = lost.expect_problem(503, "dependency_unavailable");
        recover(&harness);

        let mut successors = harness.keys(&account).await;
        successors.retain(|key| key["id"] != old.id);
        let [successor] = &successors[..] else { panic!("{successors:?}") };
        let id = successor["id"].as_str().unwrap().to_owned();
        let assert_refused = async || {
            let retry = rotate("attempt-1", grace_seconds);
            assert_already_issued(&harness.refuse(retry, 409, "key_already_issued").await, &id);
            harness.refuse(rotate("attempt-1", 5), 422, "idempotency_key_reused").await;
            let other = rotate("attempt-2", grace_seconds);
            let other = harness.refuse(other, 409, "key_already_rotated").await;
            assert!(other.text.contains(&id), "the response does not name the successor: {other:?}");
        };
        assert_refused().await;
        assert_eq!(harness.check(&old.secret).await, if grace_seconds == 0 { 403 } else { 200 });

        let lost = Key { account: account.id.clone(), id: id.clone(), secret: String::new() };
        let _ = harness.revoke(&lost).await.expect(204);
        assert_refused().await;
        let keys = harness.keys(&account).await;
        assert!(keys.iter().all(|key| key["id"] == old.id), "the retry restored the successor");
        assert_eq!(count_events(&harness, "key.rotated").await, 1);
        assert_eq!(count_events(&harness, "key.issued").await, 1);
    }
}

#[tokio::test]
async fn retried_addition_returns_the_same_identity() {
    let harness = Harness::start().await;
    let _ = harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let path = format!("{}/federated-identities", account.path());
    let body =
        |sub: &str| json!({ "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": sub } });
    let add = |attempt: &str, sub: &str| post(&harness, &path, attempt, &body(sub));
    lose_responses(&harness);
    let _ = add("attempt-1", "w").send().await.expect_problem(503, "dependency_unavailable");
    recover(&harness);
    let stored = harness.table.account(&account.id).await;
    let first = add("attempt-1", "w").send().await.expect(201);
    assert_eq!(harness.get(&path).await.json()["items"], json!([first.json()]));
    assert_eq!(add("attempt-1", "w").send().await.expect(201).json(), first.json());
    assert_eq!(harness.table.account(&account.id).await, stored, "the retry changes nothing");
    harness.refuse(add("attempt-1", "x"), 422, "idempotency_key_reused").await;
    assert_eq!(count_events(&harness, "federatedIdentity.created").await, 1);

    let identity = format!("{path}/{}", first.json()["id"].as_str().unwrap());
    lose_responses(&harness);
    let delete = || harness.request("DELETE", &identity).admin().send();
    let _ = delete().await.expect_problem(503, "dependency_unavailable");
    recover(&harness);
    let _ = delete().await.expect(204);
    assert_eq!(count_events(&harness, "federatedIdentity.deleted").await, 1);
    harness.refuse(add("attempt-1", "w"), 409, "federated_identity_ended").await;
    harness.refuse(add("attempt-1", "x"), 422, "idempotency_key_reused").await;
    let _ = add("attempt-2", "w").send().await.expect(201);
}

#[tokio::test]
async fn retried_registration_of_an_issuer_changes_nothing() {
    let harness = Harness::start().await;
    let put = || {
        let body = json!({ "issuer": "https://id.example.com" });
        harness.request("PUT", "/iam/v1/issuers/corp").admin().json(&body).send()
    };
    let delete = || harness.request("DELETE", "/iam/v1/issuers/corp").admin().send();
    lose_responses(&harness);
    let _ = put().await.expect_problem(503, "dependency_unavailable");
    recover(&harness);
    let before = harness.table.dump().await;
    let _ = put().await.expect(200);
    assert_eq!(before, harness.table.dump().await);
    lose_responses(&harness);
    let _ = delete().await.expect_problem(503, "dependency_unavailable");
    recover(&harness);
    let _ = delete().await.expect_problem(404, "issuer_not_found");
    assert_eq!(count_events(&harness, "issuer.created").await, 1);
    assert_eq!(count_events(&harness, "issuer.deleted").await, 1);
}

#[tokio::test]
async fn retried_review_records_no_second_answer() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let review = |decision: &str| {
        let path = format!("{}/reviews", account.path());
        post(&harness, &path, "attempt-1", &json!({ "decision": decision }))
    };
    lose_responses(&harness);
    let _ = review("keep").send().await.expect_problem(503, "dependency_unavailable");
    recover(&harness);
    let first = review("keep").send().await.expect(201);
    assert_eq!(first.json()["at"], "2026-01-01T00:00:00.000Z");
    harness.refuse(review("revoke"), 422, "idempotency_key_reused").await;
    assert_eq!(count_events(&harness, "serviceAccount.reviewed").await, 1);
}

/// The response to the first attempt is lost, and `DynamoDB` refuses the SDK's retry
/// because the transaction is still in progress.
#[tokio::test]
async fn sdk_retry_of_a_transaction_in_progress_returns_the_key() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let disturb = || {
        let in_progress = "com.amazonaws.dynamodb.v20120810#TransactionInProgressException";
        disturb_next_writes(&harness, vec![Action::LoseResponse, service_error(400, in_progress)]);
    };
    disturb();
    let issued = issue(&harness, &account, "attempt-1").send().await.expect(201);
    let mut last = Key::from_issued(&account, &issued);
    assert_eq!(harness.check(&last.secret).await, 200);
    for grace_seconds in [60, 0] {
        disturb();
        let body = json!({ "graceSeconds": grace_seconds });
        let rotate = post(&harness, &format!("{}/rotation", last.path()), "attempt-1", &body);
        let rotated = rotate.send().await.expect(201);
        assert_eq!(rotated.json()["replaces"]["id"], last.id);
        last = Key::from_issued(&account, &rotated);
        assert_eq!(harness.check(&last.secret).await, 200);
    }
    assert_eq!(count_events(&harness, "key.issued").await, 1);
    assert_eq!(count_events(&harness, "key.rotated").await, 2);
}

#[tokio::test]
async fn retried_issue_after_the_key_expired_creates_no_second_key() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let issue = |idempotency_key: &str| issue(&harness, &account, idempotency_key);
    let _ = issue("attempt-1").send().await.expect(201);
    harness.clock.advance_days(91);
    harness.refuse(issue("attempt-1"), 409, "key_already_issued").await;
    // Issuing another key retires the expired one.
    let _ = issue("attempt-2").send().await.expect(201);
    harness.refuse(issue("attempt-1"), 409, "key_already_issued").await;
    assert_eq!(count_events(&harness, "key.issued").await, 2);
}

#[tokio::test]
async fn sdk_retry_after_one_lost_response_returns_the_key() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    disturb_next_writes(&harness, vec![Action::LoseResponse]);
    let issued = issue(&harness, &account, "attempt-1").send().await.expect(201);
    let key = Key::from_issued(&account, &issued);
    assert_eq!(harness.check(&key.secret).await, 200);
    assert_eq!(count_events(&harness, "key.issued").await, 1);
}

#[tokio::test]
async fn other_changes_are_safe_to_repeat_after_a_lost_response() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let patch = || {
        let body = json!({ "description": "another" });
        harness.request("PATCH", &account.path()).admin().json(&body).send()
    };
    let delete = || harness.request("DELETE", &account.path()).admin().send();
    lose_responses(&harness);
    let _ = patch().await.expect_problem(503, "dependency_unavailable");
    let _ = harness.revoke(&key).await.expect_problem(503, "dependency_unavailable");
    assert_eq!(harness.check(&key.secret).await, 403);
    recover(&harness);
    let _ = patch().await.expect(200);
    let _ = harness.revoke(&key).await.expect(204);
    assert_eq!(count_events(&harness, "serviceAccount.updated").await, 1);
    assert_eq!(count_events(&harness, "key.revoked").await, 1);

    lose_responses(&harness);
    let _ = delete().await.expect_problem(503, "dependency_unavailable");
    harness.wire.pass_all();
    let _ = delete().await.expect_problem(404, "service_account_not_found");
    assert_eq!(count_events(&harness, "serviceAccount.deleted").await, 1);
}
