//! A change and its audit event are one: whatever fails, at whichever call, a
//! change is there if and only if its event is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::{Account, Action, Call, Harness, Key, Logs, Reply};
use tracing::level_filters::LevelFilter;

use crate::support::audit_lines::event_ids;
use crate::support::faults::{conflict, refusal};

type Items = BTreeMap<(String, String), tests::Item>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Create,
    Describe,
    Rename,
    Disable,
    Delete,
    Issue,
    Rotate,
    RotateAtOnce,
    Revoke,
    RevokeAll,
    RegisterRole,
    ReplaceRole,
    DeleteRole,
}

const ALL: [Change; 13] = [
    Change::Create,
    Change::Describe,
    Change::Rename,
    Change::Disable,
    Change::Delete,
    Change::Issue,
    Change::Rotate,
    Change::RotateAtOnce,
    Change::Revoke,
    Change::RevokeAll,
    Change::RegisterRole,
    Change::ReplaceRole,
    Change::DeleteRole,
];

impl Change {
    /// Revoking both keys of an account at once makes an event for each.
    fn events(self) -> usize {
        if self == Self::RevokeAll { 2 } else { 1 }
    }

    /// An account with two keys, of which one has expired where the change
    /// clears expired ones away.
    async fn prepare(self, harness: &Harness, name: &str) -> (Account, Key) {
        let account = harness.create_account(name, "ServiceAccountReader").await;
        let short = json!({ "name": "short", "expiresInDays": 1 });
        harness.issue_key_with(&account, &short).await;
        let key = harness.issue_key(&account).await;
        if matches!(self, Self::Issue | Self::Rotate | Self::RotateAtOnce) {
            harness.clock.advance_days(2);
        }
        if matches!(self, Self::ReplaceRole | Self::DeleteRole) {
            harness.put_role(&role_of(&account), &["GET /reports"]).await;
        }
        (account, key)
    }

    async fn happen(self, harness: &Harness, account: &Account, key: &Key, name: &str) -> Reply {
        let keys = format!("{}/keys", account.path());
        let role = format!("/iam/v1/roles/{}", role_of(account));
        let (method, path, body) = match self {
            Self::Create => {
                let body = json!({ "name": format!("{name} new"), "role": "ServiceAccountReader" });
                ("POST", "/iam/v1/service-accounts".to_owned(), Some(body))
            }
            Self::Describe => ("PATCH", account.path(), Some(json!({ "description": "another" }))),
            Self::Rename => ("PATCH", account.path(), Some(json!({ "name": format!("{name} renamed") }))),
            Self::Disable => ("PATCH", account.path(), Some(json!({ "enabled": false }))),
            Self::Delete => ("DELETE", account.path(), None),
            Self::Issue => ("POST", keys, Some(json!({ "name": "one more" }))),
            Self::Rotate | Self::RotateAtOnce => {
                let grace = if self == Self::Rotate { 60 } else { 0 };
                ("POST", format!("{}/rotation", key.path()), Some(json!({ "graceSeconds": grace })))
            }
            Self::Revoke => ("DELETE", key.path(), None),
            Self::RevokeAll => ("DELETE", keys, None),
            Self::RegisterRole | Self::ReplaceRole => {
                ("PUT", role, Some(json!({ "permissions": ["GET /teams", "PUT /teams"] })))
            }
            Self::DeleteRole => ("DELETE", role, None),
        };
        let request = harness.request(method, &path).admin();
        let request = if let Some(body) = body { request.json(&body) } else { request };
        request.send().await
    }
}

/// The name of a role of a case's own.
fn role_of(account: &Account) -> String {
    format!("of.{}", account.id)
}

/// All items, and among them the events.
async fn state(harness: &Harness) -> (Items, Items) {
    let key = |item: &tests::Item| {
        let text = |name: &str| item[name].as_s().unwrap().clone();
        (text("pk"), text("sk"))
    };
    let items = harness.table.dump().await.into_iter().map(|item| (key(&item), item));
    items.partition(|((pk, _), _)| !pk.starts_with("EVENTS#"))
}

/// Lets each change happen with `fault` at each of its calls in turn: at that
/// attempt alone, and, if `lasting`, at every one from there on.
async fn each_call_fails(fault: fn(&Call) -> Action, lasting: bool) {
    let harness = Harness::start().await;
    let mut cases = Vec::new();
    for change in ALL {
        let name = format!("{change:?} undisturbed");
        let (account, key) = change.prepare(&harness, &name).await;
        harness.wire.take_calls();
        let reply = change.happen(&harness, &account, &key, &name).await;
        assert!(reply.status < 300, "{change:?}: {reply:?}");
        for position in 0..harness.wire.take_calls().len() {
            cases.push((change, position, position + 1));
            if lasting {
                cases.push((change, position, usize::MAX));
            }
        }
    }
    let mut changed = 0;
    for case @ (change, first, end) in &cases {
        let name = format!("{case:?}");
        let (account, key) = change.prepare(&harness, &name).await;
        let (before, events_before) = state(&harness).await;
        let logs = Logs::capture(LevelFilter::INFO);
        let (seen, failing) = (AtomicUsize::new(0), *first..*end);
        harness.wire.disturb(move |call| {
            let is_failing = failing.contains(&seen.fetch_add(1, Ordering::SeqCst));
            if is_failing { fault(call) } else { Action::Pass }
        });
        let reply = change.happen(&harness, &account, &key, &name).await;
        harness.wire.calm();
        let lines = logs.take_lines();
        drop(logs);
        // For so long a failure to read the keyring stands.
        harness.clock.advance_seconds(1);

        let (after, mut events) = state(&harness).await;
        for (key, event) in events_before {
            assert_eq!(events.remove(&key), Some(event), "{case:?}: an event has changed");
        }
        let has_changed = before != after;
        // Each event that is there has a line, and one that is not has none that
        // says it were: what nobody answered for is told as such.
        let ids: BTreeSet<String> = events.keys().map(|(_, id)| id.clone()).collect();
        let told = event_ids(&lines, "audit");
        let maybe = event_ids(&lines, "audit_unconfirmed");
        assert!(told.is_subset(&ids), "{case:?}: {told:?} are told and not there");
        assert!(ids.is_subset(&(&told | &maybe)), "{case:?}: {ids:?} are there and not told");
        if reply.status < 300 {
            assert_eq!(told, ids, "{case:?}: {maybe:?}");
        }
        let expected = if has_changed { change.events() } else { 0 };
        assert_eq!(events.len(), expected, "{case:?}: changed: {has_changed}, answered {reply:?}");
        match reply.status {
            200..300 => assert!(has_changed, "{case:?}: success, and nothing changed"),
            503 => {
                assert_eq!(reply.code(), "dependency_unavailable", "{case:?}");
            }
            _ => panic!("{case:?}: {reply:?}"),
        }
        changed += usize::from(has_changed);
    }
    assert!(changed > 0, "no change ever happened");
    each_event_has_its_change(&harness).await;
}

/// Reads the whole table: each account, role, key, revocation and deletion has the
/// one event that tells of it, and each event what it tells of.
async fn each_event_has_its_change(harness: &Harness) {
    let (items, events) = state(harness).await;
    let mut told: Vec<(String, String, String)> = Vec::new();
    for ((pk, _), event) in &events {
        let kind = event["type"].as_s().unwrap();
        if !["serviceAccount.updated", "role.updated", "role.deleted"].contains(&kind.as_str()) {
            let key = event.get("key").map(|key| key.as_s().unwrap().clone()).unwrap_or_default();
            told.push((kind.clone(), pk.replace("EVENTS#", ""), key));
        }
        // A rotation tells of the old key, and in its changes of the one it issues.
        if kind == "key.rotated" {
            let successor = event["changes"].as_l().unwrap()[0].as_m().unwrap()["to"].as_s().unwrap().clone();
            told.push(("key.issued".to_owned(), pk.replace("EVENTS#", ""), successor));
        }
    }
    let mut expected = Vec::new();
    let mut expect = |kind: &str, account: &str, key: &str| {
        expected.push((kind.to_owned(), account.to_owned(), key.to_owned()));
    };
    for ((pk, sk), item) in &items {
        match (pk.split_once('#').unwrap(), sk.as_str()) {
            (("ACCOUNT", account), _) => {
                expect("serviceAccount.created", account, "");
                for (key, entry) in item["keys"].as_m().unwrap() {
                    expect("key.issued", account, key);
                    if entry.as_m().unwrap().contains_key("replacedBy") {
                        expect("key.rotated", account, key);
                    }
                }
            }
            (("RETIRED", account), "ACCOUNT") => {
                expect("serviceAccount.created", account, "");
                expect("serviceAccount.deleted", account, "");
            }
            (("RETIRED", account), key) => {
                expect("key.issued", account, key);
                if item["reason"].as_s().unwrap() == "revoked" {
                    expect("key.revoked", account, key);
                }
                if item.contains_key("replacedBy") {
                    expect("key.rotated", account, key);
                }
            }
            (("ROLE", _), _) => expect("role.created", pk, ""),
            ((kind, _), _) => assert_eq!(kind, "NAME"),
        }
    }
    // Of a deleted role its events alone remain: its creation, and its end.
    for (pk, _) in events.iter().filter(|(_, event)| event["type"].as_s().unwrap() == "role.deleted") {
        expected.push(("role.created".to_owned(), pk.0.replace("EVENTS#", ""), String::new()));
    }
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn refused_connections_leave_no_half_change() {
    each_call_fails(|_| Action::Refuse, true).await;
}

#[tokio::test]
async fn lost_responses_leave_no_half_change() {
    each_call_fails(|_| Action::LoseResponse, true).await;
}

#[tokio::test]
async fn server_errors_leave_no_half_change() {
    each_call_fails(|_| refusal(500, "InternalServerError"), true).await;
}

#[tokio::test]
async fn conflicts_leave_no_half_change() {
    let conflict = |call: &Call| {
        if call.operation == "TransactWriteItems" { conflict() } else { Action::Pass }
    };
    each_call_fails(conflict, false).await;
}

#[tokio::test]
async fn a_change_that_changes_nothing_makes_no_event() {
    let harness = Harness::start().await;
    let account = harness.create_account("same", "ServiceAccountReader").await;
    let key = harness.issue_key(&account).await;
    let _ = harness.revoke(&key).await.expect(204);
    let before = state(&harness).await;
    let same = json!({ "name": "same", "role": "ServiceAccountReader", "enabled": true, "tags": {} });
    let patch = |body: Value| harness.request("PATCH", &account.path()).admin().json(&body).send();
    let _ = patch(same).await.expect(200);
    let _ = patch(json!({})).await.expect(200);
    let _ = harness.revoke(&key).await.expect(204);
    let keys = format!("{}/keys", account.path());
    let _ = harness.request("DELETE", &keys).admin().send().await.expect(200);
    assert!(state(&harness).await == before);
}
