//! Admins at the same time, on one role: no change is lost, and each has its
//! event.

use futures::future::{join, join_all};
use serde_json::json;
use tests::{Harness, Reply};

use crate::support::faults::random_conflicts;
use crate::support::tally::{tallied, tally};

const PATH: &str = "/iam/v1/roles/Auditor";

async fn put(harness: &Harness, path: &str, header: Option<(&str, &str)>) -> Reply {
    let body = json!({ "permissions": [format!("GET /{path}")] });
    let request = harness.request("PUT", PATH).admin().json(&body);
    match header {
        Some((name, value)) => request.header(name, value).send().await,
        None => request.send().await,
    }
}

/// The types of the role's events, oldest first (within a millisecond in any
/// order).
async fn events(harness: &Harness, kind: &str) -> usize {
    let events = harness.table.items("EVENTS#ROLE#Auditor").await;
    events.iter().filter(|event| event["type"].as_s().unwrap() == kind).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_two_puts_of_the_same_version_wins() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.3);
    for round in 0..8 {
        harness.put_role("Auditor", &[&format!("GET /before/{round}")]).await;
        let tag = harness.get(PATH).await.headers["etag"].clone();
        let before = events(&harness, "role.updated").await;
        let (a, b) = (format!("a/{round}"), format!("b/{round}"));
        let seen = Some(("If-Match", tag.as_str()));
        let (first, second) = join(put(&harness, &a, seen), put(&harness, &b, seen)).await;
        let replies = [first, second];
        assert_eq!(tally(&replies), tallied(&[("200", 1), ("412 precondition_failed", 1)]));
        let winner = replies.iter().find(|reply| reply.status == 200).unwrap();
        let now = harness.get(PATH).await;
        assert_eq!((now.json(), &now.headers["etag"]), (winner.json(), &winner.headers["etag"]));
        assert_eq!(events(&harness, "role.updated").await, before + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_registers_a_new_role() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.3);
    let paths: Vec<String> = (0..8).map(|number| format!("by/{number}")).collect();
    let new = Some(("If-None-Match", "*"));
    let replies = join_all(paths.iter().map(|path| put(&harness, path, new))).await;
    assert_eq!(tally(&replies), tallied(&[("201", 1), ("412 precondition_failed", 7)]));
    let winner = replies.iter().find(|reply| reply.status == 201).unwrap();
    assert_eq!(harness.get(PATH).await.json(), winner.json());
    assert_eq!(harness.table.items("EVENTS#").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn puts_without_a_condition_all_happen_one_after_the_other() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.2);
    let paths: Vec<String> = (0..6).map(|number| format!("by/{number}")).collect();
    let replies = join_all(paths.iter().map(|path| put(&harness, path, None))).await;
    assert_eq!(tally(&replies), tallied(&[("200", 5), ("201", 1)]));
    let counts = (events(&harness, "role.created").await, events(&harness, "role.updated").await);
    assert_eq!(counts, (1, 5));
    let now = harness.get(PATH).await;
    let last = replies.iter().find(|reply| reply.headers["etag"] == now.headers["etag"]).unwrap();
    assert_eq!(now.json(), last.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_put_beside_a_deletion_leaves_a_role_or_none_and_each_has_its_event() {
    let harness = Harness::start().await;
    random_conflicts(&harness, 0.3);
    for round in 0..12 {
        harness.put_role("Auditor", &[&format!("GET /before/{round}")]).await;
        let mut before = Vec::new();
        for kind in ["role.created", "role.updated", "role.deleted"] {
            before.push(events(&harness, kind).await);
        }
        let path = format!("during/{round}");
        let delete = harness.request("DELETE", PATH).admin();
        let (put, deleted) = join(put(&harness, &path, None), delete.send()).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        assert!([200, 201].contains(&put.status), "{put:?}");
        // Replaced before it was deleted, or registered anew after.
        let is_left = put.status == 201;
        let role = harness.request("GET", PATH).admin().send().await;
        assert_eq!(role.status, if is_left { 200 } else { 404 });
        if is_left {
            assert_eq!(role.json(), put.json());
        }
        let expected = if is_left { [1, 0, 1] } else { [0, 1, 1] };
        for ((kind, before), expected) in
            ["role.created", "role.updated", "role.deleted"].into_iter().zip(before).zip(expected)
        {
            assert_eq!(events(&harness, kind).await, before + expected, "{kind} in round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_account_created_beside_the_deletion_of_its_role_never_gets_more_than_the_role_gave() {
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
            let account = tests::Account { id: created.json()["id"].as_str().unwrap().to_owned() };
            let key = harness.issue_key(&account).await;
            let expected = if deleted.status == 204 { 403 } else { 200 };
            assert_eq!(harness.check(&key.secret).await, expected);
            let _ = harness.request("DELETE", &account.path()).admin().send().await.expect(204);
        }
    }
}
