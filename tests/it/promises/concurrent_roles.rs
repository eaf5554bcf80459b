//! Concurrent requests of admins on one role lose no change, and each change has its
//! audit event.

use futures::future::{join, join_all};
use serde_json::json;
use tests::{Account, Harness, Reply};

use crate::support::changes;
use crate::support::faults::random_conflicts;
use crate::support::tally::{count_events, tallied, tally};

const PATH: &str = "/iam/v1/roles/Auditor";

/// Puts the role with a permission of `path` and, if given, a precondition header.
async fn put(harness: &Harness, path: &str, precondition: Option<(&str, &str)>) -> Reply {
    let body = json!({ "permissions": [format!("GET /{path}")] });
    let request = harness.request("PUT", PATH).admin().json(&body);
    match precondition {
        Some((name, value)) => request.header(name, value).send().await,
        None => request.send().await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_two_puts_of_the_same_version_succeeds() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.3);
    for round in 0..8 {
        harness.put_role("Auditor", &[&format!("GET /before/{round}")]).await;
        let tag = harness.get(PATH).await.headers["etag"].clone();
        let before = count_events(&harness, "role.updated").await;
        let (a, b) = (format!("a/{round}"), format!("b/{round}"));
        let if_match = Some(("If-Match", tag.as_str()));
        let (first, second) = join(put(&harness, &a, if_match), put(&harness, &b, if_match)).await;
        let replies = [first, second];
        assert_eq!(tally(&replies), tallied(&[("200", 1), ("412 precondition_failed", 1)]));
        let winner = replies.iter().find(|reply| reply.status == 200).unwrap();
        let current = harness.get(PATH).await;
        assert_eq!((current.json(), &current.headers["etag"]), (winner.json(), &winner.headers["etag"]));
        assert_eq!(count_events(&harness, "role.updated").await, before + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_several_puts_creates_a_new_role() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.3);
    let paths: Vec<String> = (0..8).map(|number| format!("by/{number}")).collect();
    let if_new = Some(("If-None-Match", "*"));
    let replies = join_all(paths.iter().map(|path| put(&harness, path, if_new))).await;
    assert_eq!(tally(&replies), tallied(&[("201", 1), ("412 precondition_failed", 7)]));
    let winner = replies.iter().find(|reply| reply.status == 201).unwrap();
    assert_eq!(harness.get(PATH).await.json(), winner.json());
    assert_eq!(harness.table.items("EVENTS#").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_puts_without_a_precondition_all_succeed() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.2);
    let paths: Vec<String> = (0..6).map(|number| format!("by/{number}")).collect();
    let replies = join_all(paths.iter().map(|path| put(&harness, path, None))).await;
    assert_eq!(tally(&replies), tallied(&[("200", 5), ("201", 1)]));
    let counts = (count_events(&harness, "role.created").await, count_events(&harness, "role.updated").await);
    assert_eq!(counts, (1, 5));
    let current = harness.get(PATH).await;
    let last = replies.iter().find(|reply| reply.headers["etag"] == current.headers["etag"]).unwrap();
    assert_eq!(current.json(), last.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_put_and_a_concurrent_deletion_take_effect_in_one_order_with_their_events() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.3);
    for round in 0..12 {
        harness.put_role("Auditor", &[&format!("GET /before/{round}")]).await;
        let kinds = ["role.created", "role.updated", "role.deleted"];
        let mut before = Vec::new();
        for kind in kinds {
            before.push(count_events(&harness, kind).await);
        }
        let path = format!("during/{round}");
        let delete = harness.request("DELETE", PATH).admin();
        let (put, deleted) = join(put(&harness, &path, None), delete.send()).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        assert!([200, 201].contains(&put.status), "{put:?}");
        // Either the put replaced the role before the deletion, or it created the role
        // again after the deletion.
        let exists = put.status == 201;
        let role = harness.request("GET", PATH).admin().send().await;
        assert_eq!(role.status, if exists { 200 } else { 404 });
        if exists {
            assert_eq!(role.json(), put.json());
        }
        let added = if exists { [1, 0, 1] } else { [0, 1, 1] };
        for ((kind, before), added) in kinds.into_iter().zip(before).zip(added) {
            assert_eq!(count_events(&harness, kind).await, before + added, "{kind} in round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_is_denied_if_its_role_is_deleted_while_its_account_is_created() {
    let harness = Harness::start().await;
    for round in 0..8 {
        harness.put_role("Auditor", &["GET /organizations/{id}"]).await;
        let body = json!({ "name": format!("round {round}"), "role": "Auditor" });
        let create = harness.request("POST", "/iam/v1/service-accounts").admin().json(&body);
        let delete = harness.request("DELETE", PATH).admin();
        let (created, deleted) = join(create.send(), delete.send()).await;
        assert!(created.status == 201 || created.code() == "invalid_fields", "{created:?}");
        assert!(deleted.status == 204 || deleted.code() == "role_in_use", "{deleted:?}");
        if created.status == 201 {
            let account = Account { id: created.json()["id"].as_str().unwrap().to_owned() };
            let key = harness.issue_key(&account).await;
            let expected = if deleted.status == 204 { 403 } else { 200 };
            assert_eq!(harness.check(&key.secret).await, expected);
            changes::delete(&harness, &account).await;
        }
    }
}
