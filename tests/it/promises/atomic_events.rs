//! A change and its audit event are written together: whichever call fails, both are
//! stored or neither is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::{Account, Action, Call, Harness, Key, Logs, Reply};
use tracing::level_filters::LevelFilter;

use crate::support::apis::{api, api_with};
use crate::support::audit_lines::event_ids;
use crate::support::faults::{conflict, service_error};

type Items = BTreeMap<(String, String), tests::Item>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Create,
    Describe,
    Rename,
    Disable,
    Review,
    Delete,
    Issue,
    Rotate,
    RotateWithoutGrace,
    Revoke,
    RevokeAll,
    CreateRole,
    ReplaceRole,
    DeleteRole,
    AddIdentity,
    DeleteIdentity,
    RegisterIssuer,
    ReplaceIssuer,
    DeleteIssuer,
    RegisterApi,
    ReplaceApi,
    DeleteApi,
}

const CHANGES: [Change; 22] = [
    Change::Create,
    Change::Describe,
    Change::Rename,
    Change::Disable,
    Change::Review,
    Change::Delete,
    Change::Issue,
    Change::Rotate,
    Change::RotateWithoutGrace,
    Change::Revoke,
    Change::RevokeAll,
    Change::CreateRole,
    Change::ReplaceRole,
    Change::DeleteRole,
    Change::AddIdentity,
    Change::DeleteIdentity,
    Change::RegisterIssuer,
    Change::ReplaceIssuer,
    Change::DeleteIssuer,
    Change::RegisterApi,
    Change::ReplaceApi,
    Change::DeleteApi,
];

impl Change {
    /// The number of audit events: one, or one for each of the two revoked keys and the ended
    /// identity.
    fn event_count(self) -> usize {
        if self == Self::RevokeAll { 3 } else { 1 }
    }

    /// Creates an account with two keys and, if the change needs them, a role, an issuer and an
    /// identity. Before a change that removes expired grants, one of the keys and the identity
    /// expire.
    async fn prepare(self, harness: &Harness, name: &str) -> (Account, Key) {
        let account = harness.create_account(name, "ServiceAccountReader").await;
        let short = json!({ "name": "short", "expiresInDays": 1 });
        harness.issue_key_with(&account, &short).await;
        let key = harness.issue_key(&account).await;
        if matches!(self, Self::ReplaceIssuer | Self::DeleteIssuer) {
            let _ = harness.put_issuer(&role_name(&account), &issuer()).await;
        }
        let has_identity =
            matches!(self, Self::Issue | Self::RevokeAll | Self::Delete | Self::DeleteIdentity);
        if has_identity || self == Self::AddIdentity {
            let _ = harness.put_issuer("corp", &issuer()).await;
        }
        if has_identity {
            harness.add_identity(&account, &identity()).await;
        }
        if matches!(self, Self::Issue | Self::Rotate | Self::RotateWithoutGrace | Self::AddIdentity) {
            harness.clock.advance_days(2);
        }
        if matches!(self, Self::ReplaceRole | Self::DeleteRole) {
            harness.put_role(&role_name(&account), &["GET /reports"]).await;
        }
        if matches!(self, Self::ReplaceApi | Self::DeleteApi) {
            let _ = harness.put_api(&api_name(&account), &api()).await;
        }
        (account, key)
    }

    /// Sends the request that makes the change.
    async fn request(self, harness: &Harness, account: &Account, key: &Key, name: &str) -> Reply {
        let keys = format!("{}/keys", account.path());
        let role = format!("/iam/v1/roles/{}", role_name(account));
        let trusted = format!("/iam/v1/issuers/{}", role_name(account));
        let protected = format!("/iam/v1/apis/{}", api_name(account));
        let identities = format!("{}/federated-identities", account.path());
        let (method, path, body) = match self {
            Self::Create => {
                let body = json!({ "name": format!("{name} new"), "role": "ServiceAccountReader" });
                ("POST", "/iam/v1/service-accounts".to_owned(), Some(body))
            }
            Self::Describe => ("PATCH", account.path(), Some(json!({ "description": "another" }))),
            Self::Rename => ("PATCH", account.path(), Some(json!({ "name": format!("{name} renamed") }))),
            Self::Disable => ("PATCH", account.path(), Some(json!({ "enabled": false }))),
            Self::Review => {
                ("POST", format!("{}/reviews", account.path()), Some(json!({ "decision": "keep" })))
            }
            Self::Delete => ("DELETE", account.path(), None),
            Self::Issue => ("POST", keys, Some(json!({ "name": "one more" }))),
            Self::Rotate | Self::RotateWithoutGrace => {
                let grace = if self == Self::Rotate { 60 } else { 0 };
                ("POST", format!("{}/rotation", key.path()), Some(json!({ "graceSeconds": grace })))
            }
            Self::Revoke => ("DELETE", key.path(), None),
            Self::RevokeAll => ("DELETE", keys, None),
            Self::CreateRole | Self::ReplaceRole => {
                ("PUT", role, Some(json!({ "permissions": ["GET /teams", "PUT /teams"] })))
            }
            Self::DeleteRole => ("DELETE", role, None),
            Self::AddIdentity => ("POST", identities, Some(identity())),
            Self::DeleteIdentity => {
                let item = harness.table.account(&account.id).await;
                let id = item["keys"].as_m().unwrap().keys().find(|id| id.starts_with("fid_")).unwrap();
                ("DELETE", format!("{identities}/{id}"), None)
            }
            Self::RegisterIssuer => ("PUT", trusted, Some(issuer())),
            Self::ReplaceIssuer => {
                let mut body = issuer();
                body["algorithms"] = json!(["ES256"]);
                ("PUT", trusted, Some(body))
            }
            Self::DeleteIssuer => ("DELETE", trusted, None),
            Self::RegisterApi => ("PUT", protected, Some(api())),
            Self::ReplaceApi => ("PUT", protected, Some(api_with("title", "Other".into()))),
            Self::DeleteApi => ("DELETE", protected, None),
        };
        let request = harness.request(method, &path).admin();
        let request = if let Some(body) = body { request.json(&body) } else { request };
        request.send().await
    }
}

fn issuer() -> Value {
    json!({ "issuer": "https://id.example.com" })
}

/// A federated identity that expires after a day.
fn identity() -> Value {
    json!({
        "name": "w", "issuer": "corp", "audience": "a", "claims": { "sub": "w" }, "expiresInDays": 1,
    })
}

/// A name of a role or an issuer that no other case uses.
fn role_name(account: &Account) -> String {
    format!("of.{}", account.id)
}

/// A name of an API that no other case uses.
fn api_name(account: &Account) -> String {
    // Ids have capital letters, which a name cannot have.
    let digits: Vec<_> = account.id.bytes().map(|byte| format!("{byte:x}")).collect();
    format!("a{}", digits.concat().split_off(8))
}

/// The items of the table, without the tools and documents of APIs: first all others, then the
/// audit events.
async fn state(harness: &Harness) -> (Items, Items) {
    let key = |item: &tests::Item| {
        let text = |name: &str| item[name].as_s().unwrap().clone();
        (text("pk"), text("sk"))
    };
    let items = harness.table.dump().await.into_iter().map(|item| (key(&item), item));
    let items = items.filter(|((_, sk), _)| !sk.starts_with("bld_"));
    items.partition(|((pk, _), _)| !pk.starts_with("EVENTS#"))
}

/// Makes each change with `fault` in each of its calls in turn: in that attempt only
/// and, if `lasting`, in all attempts from that one on. Checks that a change is stored
/// exactly if its audit event is.
async fn assert_atomic(fault: fn(&Call) -> Action, lasting: bool) {
    let harness = Harness::start().await;
    let mut cases = Vec::new();
    for change in CHANGES {
        let name = format!("{change:?} without a fault");
        let (account, key) = change.prepare(&harness, &name).await;
        harness.wire.take_calls();
        let reply = change.request(&harness, &account, &key, &name).await;
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
        harness.wire.intercept(move |call| {
            let is_failing = failing.contains(&seen.fetch_add(1, Ordering::SeqCst));
            if is_failing { fault(call) } else { Action::Pass }
        });
        let reply = change.request(&harness, &account, &key, &name).await;
        harness.wire.pass_all();
        let lines = logs.take_lines();
        drop(logs);
        // A failed read of the keyring is cached for a second.
        harness.clock.advance_seconds(1);

        let (after, mut events) = state(&harness).await;
        for (key, event) in events_before {
            assert_eq!(events.remove(&key), Some(event), "{case:?}: an earlier event was changed");
        }
        let has_changed = before != after;
        // Each stored event is logged, and only stored events are logged as committed.
        // An event whose write got no response is logged as unconfirmed.
        let stored: BTreeSet<String> = events.keys().map(|(_, id)| id.clone()).collect();
        let committed = event_ids(&lines, "audit");
        let unconfirmed = event_ids(&lines, "audit_unconfirmed");
        assert!(committed.is_subset(&stored), "{case:?}: logged {committed:?}, stored {stored:?}");
        let logged = &committed | &unconfirmed;
        assert!(stored.is_subset(&logged), "{case:?}: logged {logged:?}, stored {stored:?}");
        if reply.status < 300 {
            assert_eq!(committed, stored, "{case:?}: unconfirmed: {unconfirmed:?}");
        }
        let expected = if has_changed { change.event_count() } else { 0 };
        assert_eq!(events.len(), expected, "{case:?}: changed: {has_changed}, {reply:?}");
        match reply.status {
            200..300 => assert!(has_changed, "{case:?}: {} without a change", reply.status),
            503 => assert_eq!(reply.code(), "dependency_unavailable", "{case:?}"),
            _ => panic!("{case:?}: {reply:?}"),
        }
        changed += usize::from(has_changed);
    }
    assert!(changed > 0, "no case made a change");
    assert_events_match_items(&harness).await;
}

/// Compares all items with all events: each account, role, issuer, grant, revocation, rotation,
/// review and deletion has exactly one event, and each event has its item.
async fn assert_events_match_items(harness: &Harness) {
    let (items, events) = state(harness).await;
    let mut actual: Vec<(String, String, String)> = Vec::new();
    for ((pk, _), event) in &events {
        let kind = event["type"].as_s().unwrap();
        let updates = [
            "serviceAccount.updated",
            "role.updated",
            "role.deleted",
            "issuer.updated",
            "api.changed",
            "api.deleted",
        ];
        if !updates.contains(&kind.as_str()) {
            let key = event.get("key").map(|key| key.as_s().unwrap().clone()).unwrap_or_default();
            actual.push((kind.clone(), pk.replace("EVENTS#", ""), key));
        }
        // The event of a rotation has the old key's id. Its changes name the new key.
        if kind == "key.rotated" {
            let successor = event["changes"].as_l().unwrap()[0].as_m().unwrap()["to"].as_s().unwrap().clone();
            actual.push(("key.issued".to_owned(), pk.replace("EVENTS#", ""), successor));
        }
    }
    let mut expected = Vec::new();
    let mut expect = |kind: &str, account: &str, key: &str| {
        expected.push((kind.to_owned(), account.to_owned(), key.to_owned()));
    };
    for ((pk, sk), item) in &items {
        if pk == "ISSUERS" {
            expect("issuer.created", &format!("ISSUER#{sk}"), "");
            if item.contains_key("deletedAt") {
                expect("issuer.deleted", &format!("ISSUER#{sk}"), "");
            }
            continue;
        }
        match (pk.split_once('#').unwrap(), sk.as_str()) {
            (("ACCOUNT", account), _) => {
                expect("serviceAccount.created", account, "");
                for (key, entry) in item["keys"].as_m().unwrap() {
                    if key.starts_with("fid_") {
                        expect("federatedIdentity.created", account, key);
                        continue;
                    }
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
            (("RETIRED", account), identity) if identity.starts_with("fid_") => {
                expect("federatedIdentity.created", account, identity);
                if item["reason"].as_s().unwrap() == "revoked" {
                    expect("federatedIdentity.deleted", account, identity);
                }
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
            (("API", _), _) => expect("api.registered", pk, ""),
            // The latest review has an item of its own too.
            (("REVIEW", _), "REVIEW") => {}
            (("REVIEW", account), _) => expect("serviceAccount.reviewed", account, ""),
            ((kind, _), _) => assert_eq!(kind, "NAME"),
        }
    }
    // A deleted role or API has no item. Its events of creation and deletion remain.
    for (deleted, created) in [("role.deleted", "role.created"), ("api.deleted", "api.registered")] {
        for (pk, _) in events.iter().filter(|(_, event)| event["type"].as_s().unwrap() == deleted) {
            expected.push((created.to_owned(), pk.0.replace("EVENTS#", ""), String::new()));
        }
    }
    actual.sort();
    expected.sort();
    assert_eq!(actual, expected);
}

#[tokio::test]
async fn refused_connections_store_a_change_with_its_event_or_nothing() {
    assert_atomic(|_| Action::Refuse, true).await;
}

#[tokio::test]
async fn lost_responses_store_a_change_with_its_event_or_nothing() {
    assert_atomic(|_| Action::LoseResponse, true).await;
}

#[tokio::test]
async fn server_errors_store_a_change_with_its_event_or_nothing() {
    assert_atomic(|_| service_error(500, "InternalServerError"), true).await;
}

#[tokio::test]
async fn conflicts_store_a_change_with_its_event_or_nothing() {
    let conflict = |call: &Call| {
        if call.operation == "TransactWriteItems" { conflict() } else { Action::Pass }
    };
    assert_atomic(conflict, false).await;
}

#[tokio::test]
async fn a_request_that_changes_nothing_writes_no_event() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("same", "ServiceAccountReader").await;
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
