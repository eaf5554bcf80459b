//! The daily sweep of keys publishes every notice at least once, under one id, and loses no
//! key, even if sweeps are missed, killed, repeated or concurrent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use insta::assert_json_snapshot;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::domain::Clock as _;
use sweep_keys::{SweepError, SweepKeys, SweepSummary};
use tests::{Account, Action, Call, Harness, Key};
use tokio::sync::Notify;

use crate::support::faults::{conflict, inject};
use crate::support::items::to_json;
use crate::support::{changes, decide, denied};

async fn sweep(harness: &Harness) -> SweepSummary {
    harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap()
}

/// The details of the notices published since the last call.
fn take_notices(harness: &Harness) -> Vec<Value> {
    let entries = harness.system.take_published().into_iter();
    entries.map(|entry| serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap()).collect()
}

/// The sorted ids of the notices published since the last call.
fn take_ids(harness: &Harness) -> Vec<String> {
    let mut ids: Vec<_> =
        take_notices(harness).iter().map(|detail| detail["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// The number of entries in each request to the event bus since the last call.
fn take_request_sizes(harness: &Harness) -> Vec<usize> {
    let calls = harness.wire.take_calls().into_iter();
    let puts = calls.filter(|call| call.operation == "PutEvents");
    puts.map(|call| call.body["Entries"].as_array().unwrap().len()).collect()
}

async fn account(harness: &Harness) -> Account {
    harness.create_account("batch", "ServiceAccountReader").await
}

async fn issue(harness: &Harness, account: &Account, days: u32) -> Key {
    harness.issue_key_with(account, &json!({ "name": "a key", "expiresInDays": days })).await
}

/// Stores a use of a key at the current time.
async fn store_use(harness: &Harness, key: &Key) {
    let item = HashMap::from([
        ("pk".to_owned(), AttributeValue::S(format!("USAGE#{}", key.account))),
        ("sk".to_owned(), AttributeValue::S(key.id.clone())),
        ("lastUsedAt".to_owned(), AttributeValue::N(harness.clock.now().as_second().to_string())),
    ]);
    harness.table.put(item).await;
}

/// Where a key is: `live`, `lost`, or the reason for which it is retired. Checks that the
/// key is in one place only, with its verifier.
async fn place(harness: &Harness, key: &Key) -> String {
    let item = harness.table.account(&key.account).await;
    let has = |map: &str| item[map].as_m().unwrap().contains_key(&key.id);
    assert_eq!(has("keys"), has("verifiers"), "every live key has a verifier");
    match harness.table.retired_key(key).await {
        Some(record) => {
            assert!(!has("keys"), "the key is in two places");
            assert_eq!(record["verifier"].as_b().unwrap().as_ref().len(), 32);
            record["reason"].as_s().unwrap().clone()
        }
        None => (if has("keys") { "live" } else { "lost" }).to_owned(),
    }
}

#[tokio::test]
async fn each_notice_is_published_once_before_the_key_expires() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    changes::update(&harness, &account, json!({ "owner": "Ada" })).await;
    let key = issue(&harness, &account, 120).await;
    let mut entries = BTreeMap::new();
    for day in 0..=130 {
        let swept = sweep(&harness).await;
        assert!(swept.is_finished);
        assert_eq!(swept.retired_keys, usize::from(day == 120), "day {day}");
        for mut entry in harness.system.take_published() {
            entry["Detail"] = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
            entries.entry(format!("day {day:03}")).or_insert_with(Vec::new).push(entry);
        }
        harness.clock.advance_days(1);
    }
    assert_json_snapshot!(entries);
    assert_eq!(place(&harness, &key).await, "expired");
    // The authorizer still recognizes the key.
    assert_eq!(decide(&harness, &key.secret).await, denied("expired"));
}

#[tokio::test]
async fn no_expiry_notice_for_a_threshold_beyond_the_lifetime_of_the_key() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    for (days, expected) in [(1, vec![]), (2, vec!["1"]), (10, vec!["1"]), (11, vec!["1", "10"])] {
        let key = issue(&harness, &account, days).await;
        let mut published = Vec::new();
        for _ in 0..=days {
            sweep(&harness).await;
            published.extend(take_ids(&harness));
            harness.clock.advance_days(1);
        }
        published.sort();
        let expected: Vec<_> = expected.iter().map(|days| format!("{}/expires/{days}", key.id)).collect();
        assert_eq!(published, expected, "{days} days");
    }
}

#[tokio::test]
async fn an_unused_notice_is_published_90_days_after_each_last_use() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    let key = issue(&harness, &account, 365).await;
    let other = issue(&harness, &account, 365).await;
    let mut published = BTreeMap::new();
    for day in 0..330 {
        if day == 60 || day == 200 {
            store_use(&harness, &key).await;
        }
        if day % 30 == 0 {
            store_use(&harness, &other).await;
        }
        sweep(&harness).await;
        for detail in take_notices(&harness) {
            published.insert(day, (detail["id"].as_str().unwrap().to_owned(), detail["lastUsedAt"].clone()));
        }
        harness.clock.advance_days(1);
    }
    let unused = |date: &str, used: &str| (format!("{}/unused/{date}", key.id), json!(used));
    let expected = BTreeMap::from([
        (150, unused("2026-05-31", "2026-03-02T00:00:00Z")),
        (290, unused("2026-10-18", "2026-07-20T00:00:00Z")),
    ]);
    assert_eq!(published, expected);
}

#[tokio::test]
async fn a_rotated_key_has_no_notices_and_is_retired_after_its_grace_period() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    let old = issue(&harness, &account, 100).await;
    harness.clock.advance_days(85);
    sweep(&harness).await;
    assert_eq!(take_ids(&harness), [format!("{}/expires/30", old.id)]);
    let new = changes::rotate(&harness, &old, 7 * 86_400).await.json();
    for day in 0..=8 {
        let retired = sweep(&harness).await.retired_keys;
        assert_eq!(retired, usize::from(day == 7), "day {day}");
        harness.clock.advance_days(1);
    }
    assert_eq!(take_ids(&harness), [""; 0], "the successor replaces the key");
    assert_eq!(place(&harness, &old).await, "rotated");
    assert_eq!(harness.check(new["secret"].as_str().unwrap()).await, 200);
    assert_eq!(decide(&harness, &old.secret).await, denied("retired"));
}

#[tokio::test]
async fn missed_days_lose_no_notice() {
    for (first, gap) in [(0, 1), (0, 7), (3, 19), (5, 31), (29, 45), (89, 33), (0, 121), (140, 1)] {
        let harness = Harness::start().await;
        let account = account(&harness).await;
        let key = issue(&harness, &account, 120).await;
        harness.clock.advance_days(first);
        let mut published = Vec::new();
        let mut day = first;
        while day < 200 {
            sweep(&harness).await;
            published.extend(take_ids(&harness));
            harness.clock.advance_days(gap);
            day += gap;
        }
        published.retain(|id| id.contains("/expires/"));
        published.sort();
        let expected = ["1", "10", "30"].map(|days| format!("{}/expires/{days}", key.id));
        assert_eq!(published, expected, "first on day {first}, then every {gap} days");
        assert_eq!(place(&harness, &key).await, "expired");
    }
}

/// An account with a key that has just expired, one that expires soon, an unused key, and a
/// key without notices.
async fn due_keys(harness: &Harness) -> [Key; 4] {
    let account = account(harness).await;
    let expired = issue(harness, &account, 91).await;
    let unused = issue(harness, &account, 300).await;
    harness.clock.advance_days(81);
    let soon = issue(harness, &account, 31).await;
    let fresh = issue(harness, &account, 300).await;
    harness.clock.advance_days(10);
    [expired, soon, unused, fresh]
}

/// The ids of the notices of [`due_keys`], before any sweep.
fn due_ids([expired, soon, unused, _]: &[Key; 4]) -> BTreeSet<String> {
    let of_expired = ["1", "10", "30"].map(|days| format!("{}/expires/{days}", expired.id));
    let others = [format!("{}/expires/30", soon.id), format!("{}/unused/2026-04-01", unused.id)];
    of_expired.into_iter().chain(others).collect()
}

/// Checks that only the expired key of [`due_keys`] is retired.
async fn expect_places(harness: &Harness, keys: &[Key; 4]) {
    let mut places = Vec::new();
    for key in keys {
        places.push(place(harness, key).await);
    }
    assert_eq!(places, ["expired", "live", "live", "live"]);
    for key in &keys[1..] {
        assert_eq!(harness.check(&key.secret).await, 200);
    }
}

#[tokio::test]
async fn a_sweep_killed_at_any_call_loses_nothing() {
    let mut kills = 0;
    for killed_at in 0.. {
        let harness = Harness::start().await;
        let keys = due_keys(&harness).await;
        let (seen, killed) = (AtomicUsize::new(0), Arc::new(Notify::new()));
        let kill = Arc::clone(&killed);
        harness.wire.intercept(move |_| {
            if seen.fetch_add(1, Ordering::SeqCst) < killed_at {
                return Action::Pass;
            }
            kill.notify_one();
            Action::Hang
        });
        // Killed: the sweep is dropped, and its calls never return.
        let finished = tokio::select! {
            biased;
            () = killed.notified() => false,
            swept = harness.system.sweep_keys().sweep(Timestamp::MAX) => swept.unwrap().is_finished,
        };
        harness.wire.pass_all();
        if !finished {
            kills += 1;
            sweep(&harness).await;
        }
        let published: BTreeSet<String> = take_ids(&harness).into_iter().collect();
        assert_eq!(published, due_ids(&keys), "killed at call {killed_at}");
        expect_places(&harness, &keys).await;
        // A further sweep has nothing to do.
        assert_eq!(sweep(&harness).await.notices, 0);
        assert_eq!(take_ids(&harness), [""; 0]);
        if finished {
            break;
        }
    }
    assert!(kills >= 9, "{kills} kills");
}

#[tokio::test]
async fn the_next_sweep_recovers_from_a_fault_at_any_call() {
    let lost = |_: &Call| Action::LoseResponse;
    let refused = |_: &Call| Action::Refuse;
    for fault in [lost as fn(&Call) -> Action, refused] {
        for first in 0..12 {
            let harness = Harness::start().await;
            let keys = due_keys(&harness).await;
            let seen = AtomicUsize::new(0);
            // A call has three attempts.
            harness.wire.intercept(move |call| {
                let at = seen.fetch_add(1, Ordering::SeqCst);
                if (first..first + 3).contains(&at) { fault(call) } else { Action::Pass }
            });
            let _ = harness.system.sweep_keys().sweep(Timestamp::MAX).await;
            harness.wire.pass_all();
            sweep(&harness).await;
            let published: BTreeSet<String> = take_ids(&harness).into_iter().collect();
            assert_eq!(published, due_ids(&keys), "at call {first}");
            expect_places(&harness, &keys).await;
        }
    }
}

#[tokio::test]
async fn concurrent_sweeps_lose_nothing() {
    let harness = Harness::start().await;
    let keys = due_keys(&harness).await;
    let setup = harness.system.setup_for("SweepKeys").unwrap();
    let sweeps: Vec<SweepKeys> = (0..5).map(|_| SweepKeys::new(&setup).unwrap()).collect();
    let summaries = join_all(sweeps.iter().map(|sweep| sweep.sweep(Timestamp::MAX))).await;
    let summaries: Vec<SweepSummary> = summaries.into_iter().map(Result::unwrap).collect();
    assert_eq!(summaries.iter().map(|summary| summary.retired_keys).sum::<usize>(), 1);
    assert_eq!(take_ids(&harness).into_iter().collect::<BTreeSet<_>>(), due_ids(&keys));
    expect_places(&harness, &keys).await;
    sweep(&harness).await;
    assert_eq!(take_ids(&harness), [""; 0]);
}

#[tokio::test]
async fn sweeps_concurrent_with_changes_lose_no_key() {
    let harness = Harness::start().await;
    let count = Arc::new(AtomicUsize::new(0));
    for round in 0..12 {
        let account = harness.create_account(&format!("batch {round}"), "ServiceAccountReader").await;
        let mut expired = Vec::new();
        for _ in 0..3 {
            expired.push(issue(&harness, &account, 1).await);
        }
        let live = issue(&harness, &account, 300).await;
        harness.clock.advance_days(2);
        let count = Arc::clone(&count);
        // Every third transaction conflicts with another one.
        harness.wire.intercept(move |call| {
            let conflicts = call.operation == "TransactWriteItems"
                && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
            if conflicts { conflict() } else { Action::Pass }
        });
        let keys = format!("{}/keys", account.path());
        let request = |method: &str, path: &str| harness.request(method, path).admin();
        let body = json!({ "name": "one more" });
        let (first, second, issued, revoked, last) = tokio::join!(
            harness.system.sweep_keys().sweep(Timestamp::MAX),
            harness.system.sweep_keys().sweep(Timestamp::MAX),
            request("POST", &keys).json(&body).send(),
            request("DELETE", &expired[0].path()).send(),
            async {
                match round % 3 {
                    0 => request("DELETE", &live.path()).send().await,
                    1 => request("DELETE", &keys).send().await,
                    _ => request("PATCH", &account.path()).json(&json!({ "owner": "x" })).send().await,
                }
            },
        );
        harness.wire.pass_all();
        first.unwrap();
        second.unwrap();
        let new = Key::from_issued(&account, &issued.expect(201));
        for reply in [&revoked, &last] {
            assert!(reply.status < 300, "{reply:?}");
        }
        sweep(&harness).await;
        for key in &expired {
            let place = place(&harness, key).await;
            assert!(["expired", "revoked"].contains(&place.as_str()), "{place}");
            assert_ne!(harness.check(&key.secret).await, 200);
        }
        let all_revoked = round % 3 == 1;
        assert_eq!(place(&harness, &live).await, if round % 3 == 2 { "live" } else { "revoked" });
        let place = place(&harness, &new).await;
        assert!(place == "live" || (all_revoked && place == "revoked"), "{place}");
        harness.clock.advance_days(1);
    }
}

#[tokio::test]
async fn a_sweep_is_not_a_change_by_an_admin() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    issue(&harness, &account, 1).await;
    let before = harness.get(&account.path()).await;
    let events = harness.events(&account).await;
    harness.clock.advance_days(2);
    assert_eq!(sweep(&harness).await.retired_keys, 1);
    let after = harness.get(&account.path()).await;
    for member in ["updatedAt", "updatedBy", "createdAt", "name", "role"] {
        assert_eq!(before.json()[member], after.json()[member], "{member}");
    }
    assert_eq!(after.json()["keys"], json!([]));
    assert_ne!(before.headers["etag"], after.headers["etag"], "the response differs, so the tag differs");
    assert_eq!(harness.events(&account).await, events);
}

#[tokio::test]
async fn revoked_keys_and_deleted_accounts_have_no_notices() {
    let harness = Harness::start().await;
    let keys = due_keys(&harness).await;
    for key in &keys {
        let _ = harness.revoke(key).await.expect(204);
    }
    let other = harness.create_account("another", "ServiceAccountReader").await;
    issue(&harness, &other, 100).await;
    harness.clock.advance_days(80);
    changes::delete(&harness, &other).await;
    sweep(&harness).await;
    assert_eq!(take_ids(&harness), [""; 0]);
}

#[tokio::test]
async fn a_key_that_a_stale_index_shows_as_live_has_no_notices() {
    let harness = Harness::start().await;
    let keys = due_keys(&harness).await;
    // The index is stale: it still contains all keys.
    let stale = account_index(&harness).await;
    for key in &keys[..3] {
        let _ = harness.revoke(key).await.expect(204);
    }
    harness.wire.intercept(move |call| {
        let is_index = call.operation == "Query" && call.body["IndexName"] == "gsi1";
        if is_index { Action::ReplaceBody(stale.clone()) } else { Action::Pass }
    });
    let swept = sweep(&harness).await;
    assert_eq!((swept.accounts, swept.notices, swept.retired_keys), (1, 0, 0));
    assert_eq!(take_ids(&harness), [""; 0]);
}

/// The response to the query for all accounts.
async fn account_index(harness: &Harness) -> String {
    let query = harness.table.client.query().table_name(&harness.table.name).index_name("gsi1");
    let query = query
        .key_condition_expression("gsi1pk = :pk")
        .expression_attribute_values(":pk", AttributeValue::S("ACCOUNTS".to_owned()));
    let items = query.send().await.unwrap().items.unwrap();
    let items: Vec<Value> = items.iter().map(to_json).collect();
    json!({ "Items": items, "Count": items.len(), "ScannedCount": items.len() }).to_string()
}

#[tokio::test]
async fn entries_that_the_event_bus_refused_are_sent_again() {
    let harness = Harness::start().await;
    let keys = due_keys(&harness).await;
    let answered = AtomicUsize::new(0);
    harness.wire.intercept(move |call| {
        if call.operation != "PutEvents" || answered.fetch_add(1, Ordering::SeqCst) > 0 {
            return Action::Pass;
        }
        let entries = call.body["Entries"].as_array().unwrap();
        let result = |at: usize| match at % 2 {
            0 => json!({ "EventId": "1" }),
            _ => json!({ "ErrorCode": "ThrottlingException", "ErrorMessage": "slow down" }),
        };
        let results: Vec<_> = (0..entries.len()).map(result).collect();
        let failed = entries.len() / 2;
        Action::Respond(200, json!({ "FailedEntryCount": failed, "Entries": results }).to_string())
    });
    harness.wire.take_calls();
    assert_eq!(sweep(&harness).await.notices, 5);
    assert_eq!(take_request_sizes(&harness), [5, 2], "accepted entries are not sent again");
    assert_eq!(take_ids(&harness).len(), 2);
    harness.wire.pass_all();
    sweep(&harness).await;
    assert_eq!(take_ids(&harness), [""; 0]);
    expect_places(&harness, &keys).await;
}

#[tokio::test]
async fn a_notice_that_the_event_bus_keeps_refusing_is_an_error_and_the_next_sweep_publishes_it() {
    let harness = Harness::start().await;
    let keys = due_keys(&harness).await;
    let other = harness.create_account("another", "ServiceAccountReader").await;
    let others = issue(&harness, &other, 1).await;
    harness.clock.advance_days(1);
    let refused = format!("{}/expires/10", keys[0].id);
    let refused_id = refused.clone();
    harness.wire.intercept(move |call| {
        if call.operation != "PutEvents" {
            return Action::Pass;
        }
        let entries = call.body["Entries"].as_array().unwrap();
        let results = entries.iter().map(|entry| {
            if entry["Detail"].as_str().unwrap().contains(&refused_id) {
                json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "injected" })
            } else {
                json!({ "EventId": "1" })
            }
        });
        let results: Vec<_> = results.collect();
        Action::Respond(200, json!({ "FailedEntryCount": 1, "Entries": results }).to_string())
    });
    let error = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap_err();
    assert!(matches!(error, SweepError::Accounts(1)), "{error}");
    // The key is not retired before its notice is published.
    assert_eq!(place(&harness, &keys[0]).await, "live");
    // Other accounts are swept.
    assert_eq!(place(&harness, &others).await, "expired");
    harness.wire.pass_all();
    sweep(&harness).await;
    assert_eq!(take_ids(&harness), [refused]);
    expect_places(&harness, &keys).await;
}

#[tokio::test]
async fn a_request_has_at_most_ten_entries() {
    let harness = Harness::start().await;
    let account = account(&harness).await;
    for _ in 0..20 {
        issue(&harness, &account, 100).await;
    }
    harness.clock.advance_days(99);
    harness.wire.take_calls();
    // Each key has three expiry notices and an unused notice.
    assert_eq!(sweep(&harness).await.notices, 80);
    assert_eq!(take_request_sizes(&harness), [10; 8]);
    assert_eq!(take_ids(&harness).into_iter().collect::<BTreeSet<_>>().len(), 80);
    sweep(&harness).await;
    assert_eq!(take_ids(&harness), [""; 0]);
    harness.clock.advance_days(1);
    assert_eq!(sweep(&harness).await.retired_keys, 20);
}

#[tokio::test]
async fn a_sweep_stops_in_time_and_the_next_one_continues() {
    let harness = Harness::start().await;
    let mut keys = Vec::new();
    for number in 0..130 {
        let account = harness.create_account(&format!("batch {number:03}"), "ServiceAccountReader").await;
        if number % 10 == 0 {
            keys.push(issue(&harness, &account, 1).await);
        }
    }
    harness.clock.advance_days(2);
    // Each call takes a second.
    let clock = Arc::clone(&harness.clock);
    harness.wire.intercept(move |_| {
        clock.advance(SignedDuration::from_secs(1));
        Action::Pass
    });
    let (mut runs, mut accounts, mut retired) = (0, 0, 0);
    loop {
        let until = harness.clock.now().checked_add(SignedDuration::from_secs(12)).unwrap();
        let swept = harness.system.sweep_keys().sweep(until).await.unwrap();
        // After the deadline, the sweep only completes the current account.
        let latest = until.checked_add(SignedDuration::from_secs(4)).unwrap();
        assert!(harness.clock.now() <= latest);
        (runs, accounts, retired) = (runs + 1, accounts + swept.accounts, retired + swept.retired_keys);
        if swept.is_finished {
            break;
        }
        assert!(runs < 50);
    }
    assert!(runs >= 3, "{runs} runs");
    assert_eq!((accounts, retired), (130, keys.len()), "each account is swept once");
    // Sweeps without any time left each make progress.
    let mut runs = 0;
    while !harness.system.sweep_keys().sweep(Timestamp::MIN).await.unwrap().is_finished {
        runs += 1;
        assert!(runs < 140);
    }
    assert!(runs >= 129, "{runs}");
}

#[tokio::test]
async fn a_malformed_position_restarts_the_sweep() {
    for position in [AttributeValue::S("junk".to_owned()), AttributeValue::N("7".to_owned())] {
        let harness = Harness::start().await;
        let keys = due_keys(&harness).await;
        let item = HashMap::from([
            ("pk".to_owned(), AttributeValue::S("SWEEP#keys".to_owned())),
            ("sk".to_owned(), AttributeValue::S("SWEEP".to_owned())),
            ("position".to_owned(), position),
        ]);
        harness.table.put(item).await;
        sweep(&harness).await;
        expect_places(&harness, &keys).await;
    }
}

#[tokio::test]
async fn malformed_accounts_do_not_stop_the_sweep_of_others() {
    let harness = Harness::start().await;
    let first = harness.create_account("a", "ServiceAccountReader").await;
    issue(&harness, &first, 1).await;
    let middle = harness.create_account("b", "ServiceAccountReader").await;
    let last = harness.create_account("c", "ServiceAccountReader").await;
    let key = issue(&harness, &last, 1).await;
    harness.clock.advance_days(2);
    harness.table.set(&middle.id, "role", AttributeValue::Bool(true)).await;
    // The index does not contain verifiers, so only the consistent read finds this problem.
    harness.table.set(&first.id, "verifiers", AttributeValue::Bool(true)).await;
    let error = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap_err();
    assert!(matches!(error, SweepError::Accounts(2)), "{error}");
    assert_eq!(place(&harness, &key).await, "expired");
}

/// The last item of a page has a malformed account id, so the sweep cannot store its
/// position. Without an error, the sweep would look finished.
#[tokio::test]
async fn a_malformed_item_at_the_end_of_a_page_is_an_error() {
    let harness = Harness::start().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    for number in 0..102 {
        let item = HashMap::from([
            ("pk".to_owned(), text(&format!("ACCOUNT#{number}"))),
            ("sk".to_owned(), text("ACCOUNT")),
            ("gsi1pk".to_owned(), text("ACCOUNTS")),
            ("gsi1sk".to_owned(), text(&format!("batch {number:03}"))),
        ]);
        harness.table.put(item).await;
    }
    let error = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap_err();
    assert!(matches!(error, SweepError::Store(_)), "{error}");
}

#[tokio::test]
async fn an_outage_of_the_table_is_an_error() {
    let harness = Harness::start().await;
    due_keys(&harness).await;
    inject(&harness, "Query", Action::Refuse);
    let error = harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap_err();
    assert!(matches!(error, SweepError::Store(_)), "{error}");
    assert_eq!(take_ids(&harness), [""; 0]);
}

#[tokio::test]
async fn an_account_without_due_notices_takes_no_call() {
    let harness = Harness::start().await;
    for number in 0..5 {
        let account = harness.create_account(&format!("batch {number}"), "ServiceAccountReader").await;
        issue(&harness, &account, 300).await;
    }
    harness.wire.take_calls();
    assert_eq!(sweep(&harness).await.accounts, 5);
    // The builds of APIs, the state of the sweep, the directory, and the list of accounts.
    assert_eq!(harness.wire.take_operations(), ["Query", "GetItem", "Query", "Query", "TransactWriteItems"]);
}
