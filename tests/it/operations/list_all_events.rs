//! `GET /iam/v1/events`

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::Harness;

use crate::support::{changes, lists};

const PATH: &str = "/iam/v1/events";
/// The first instant of the test clock, and of the first month that is listed.
const FIRST: &str = "2026-01-01T00:00:00Z";

/// The items on each page of the list.
async fn pages(harness: &Harness, query: &str) -> Vec<Vec<Value>> {
    lists::pages(harness, &format!("{PATH}?{query}")).await
}

async fn all(harness: &Harness, query: &str) -> Vec<Value> {
    pages(harness, query).await.concat()
}

async fn ids(harness: &Harness, query: &str) -> Vec<String> {
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    all(harness, query).await.iter().map(id).collect()
}

/// Checks that the list contains exactly these events, with pages of several sizes.
async fn expect(harness: &Harness, query: &str, expected: &[&Value]) {
    let expected: Vec<Value> = expected.iter().map(|event| (*event).clone()).collect();
    for limit in ["", "&limit=1", "&limit=2", "&limit=100"] {
        assert_eq!(all(harness, &format!("{query}{limit}")).await, expected, "{query}{limit}");
    }
}

#[tokio::test]
async fn lists_events_of_all_accounts_newest_first_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.clock.advance_seconds(1);
    harness.create_account("Another", "ServiceAccountReader").await;
    harness.clock.advance_seconds(1);
    let key = harness.issue_key(&account).await;
    harness.clock.advance_seconds(1);
    let _ = harness.revoke(&key).await.expect(204);
    harness.clock.advance_seconds(1);
    changes::delete(&harness, &account).await;
    let list = harness.get(PATH).await;
    assert_json_snapshot!(list.snapshot(), { ".body.items[].requestId" => "[request id]" });
    let [deleted, revoked, issued, other, created] = <[Value; 5]>::try_from(all(&harness, "").await).unwrap();
    expect(&harness, "", &[&deleted, &revoked, &issued, &other, &created]).await;
    // The account's own list and the filtered list contain the same events.
    let own = harness.events(&account).await;
    assert_eq!(own, [deleted, revoked, issued, created]);
    assert_eq!(all(&harness, &format!("account={}", account.id)).await, own);
}

#[tokio::test]
async fn empty_list_takes_one_query_200() {
    let harness = Harness::start().await;
    harness.wire.take_calls();
    assert_eq!(harness.get(PATH).await.json(), json!({ "items": [] }));
    assert_eq!(harness.wire.take_operations(), ["Query"]);
}

#[tokio::test]
async fn filters_by_actor_account_role_type_and_time() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.clock.advance_seconds(60);
    let grace = harness.token_of("grace-1", "grace@example.com");
    let path = format!("{}/keys", account.path());
    let issue = harness.request("POST", &path).bearer(&grace).json(&json!({ "name": "k" }));
    let _ = issue.send().await.expect(201);
    harness.clock.advance_seconds(60);
    let other = harness.create_account("Other", "ServiceAccountReader").await;
    harness.clock.advance_seconds(60);
    let delete = harness.request("DELETE", &other.path()).bearer(&grace);
    let _ = delete.send().await.expect(204);
    let [deleted, second, issued, first] = <[Value; 4]>::try_from(all(&harness, "").await).unwrap();

    expect(&harness, "actor=grace-1", &[&deleted, &issued]).await;
    expect(&harness, "actor=grace%40example.com", &[&deleted, &issued]).await;
    // A part of the id or of the name, ignoring case.
    for part in ["GRACE", "ace-1", "grace%40EXAMPLE", "ace%E2%80%8D-1"] {
        expect(&harness, &format!("actor={part}"), &[&deleted, &issued]).await;
    }
    expect(&harness, "actor=gracie", &[]).await;
    expect(&harness, "actor=%40&type=key.issued", &[&issued]).await;
    expect(&harness, "type=serviceAccount.created", &[&second, &first]).await;
    expect(&harness, "type=key.issued&actor=admin%40keyward.local", &[]).await;
    let of_batch = format!("account={}", account.id);
    expect(&harness, &of_batch, &[&issued, &first]).await;
    expect(&harness, &format!("{of_batch}&actor=grace-1&type=key.issued"), &[&issued]).await;
    expect(&harness, &format!("{of_batch}&type=key.revoked"), &[]).await;
    expect(&harness, "account=sa_0000000000000000", &[]).await;

    // `from` is inclusive and `to` is exclusive, both with fractions of a millisecond.
    let expect_interval = async |query: &str, expected: &[&Value]| {
        expect(&harness, query, expected).await;
        let of_batch: Vec<&Value> =
            expected.iter().filter(|event| event["serviceAccountName"] == "Batch").copied().collect();
        expect(&harness, &format!("{query}&account={}", account.id), &of_batch).await;
    };
    expect_interval("from=2026-01-01T00:01:00Z", &[&deleted, &second, &issued]).await;
    expect_interval("from=2026-01-01T00:01:00.0001Z", &[&deleted, &second]).await;
    expect_interval("to=2026-01-01T00:01:00Z", &[&first]).await;
    expect_interval("to=2026-01-01T00:01:00.0001Z", &[&issued, &first]).await;
    expect_interval("from=2026-01-01T02:01:00%2B02:00&to=2026-01-01T00:02:00.001Z", &[&second, &issued])
        .await;
    expect_interval("from=2026-01-01T00:01:00Z&to=2026-01-01T00:01:00Z", &[]).await;
    // Months that cannot have events are not queried.
    harness.wire.take_calls();
    expect_interval(
        "from=0001-01-01T00:00:00Z&to=9999-12-01T00:00:00Z",
        &[&deleted, &second, &issued, &first],
    )
    .await;
    expect_interval("to=2025-12-31T23:59:59Z", &[]).await;
    expect_interval("from=2026-02-01T00:00:00Z", &[]).await;
    assert!(harness.wire.take_calls().len() < 40);
}

#[tokio::test]
async fn filters_by_role() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for role in ["Reports", "ReportsReader"] {
        harness.clock.advance_seconds(1);
        harness.put_role(role, &["GET /reports"]).await;
    }
    changes::update(&harness, &account, json!({ "role": "Reports" })).await;
    changes::update(&harness, &account, json!({ "role": "ServiceAccountReader" })).await;
    harness.clock.advance_seconds(1);
    let _ = harness.request("DELETE", "/iam/v1/roles/Reports").admin().send().await.expect(204);
    harness.clock.advance_days(40);
    harness.put_role("Reports", &["GET /reports"]).await;
    let all = all(&harness, "").await;
    let of_role: Vec<_> = all.iter().filter(|event| event["role"] == "Reports").collect();
    assert_eq!(of_role.len(), 3);
    harness.wire.take_calls();
    expect(&harness, "role=Reports", &of_role).await;
    // The events of a role have their own partition, which is read consistently.
    assert!(harness.wire.take_calls().iter().all(|call| call.body["ConsistentRead"] == true));
    expect(&harness, "role=Reports&type=role.deleted", &of_role[1..2]).await;
    expect(&harness, "role=Reports&actor=nobody", &[]).await;
    expect(&harness, "role=reports", &[]).await;
}

/// A rotation names both keys. Earlier versions did not record the names.
#[tokio::test]
async fn events_name_their_keys_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let old = harness.issue_key_with(&account, &json!({ "name": "server 1" })).await;
    let rotation = harness.request("POST", &format!("{}/rotation", old.path())).admin();
    let new = rotation.json(&json!({})).send().await.expect(201).json();
    let _ = harness.request("DELETE", &format!("{}/keys", account.path())).admin().send().await.expect(200);
    let hint = &old.secret[old.secret.len() - 4..];
    let keys = [
        json!({ "id": old.id, "name": "server 1", "hint": hint }),
        json!({ "id": new["id"], "name": "server 1", "hint": new["hint"] }),
    ];
    for event in all(&harness, "").await {
        let named: Vec<_> = match event["type"].as_str().unwrap() {
            "key.rotated" => keys.iter().collect(),
            "serviceAccount.created" => Vec::new(),
            _ => keys.iter().filter(|key| key["id"] == event["keyId"]).collect(),
        };
        let mut named: Vec<Value> = named.into_iter().cloned().collect();
        named.sort_by_key(|key| key["id"].as_str().unwrap().to_owned());
        assert_eq!(event.get("keys").cloned().unwrap_or(json!([])), Value::Array(named), "{event}");
    }
    for mut event in harness.table.items("EVENTS#sa_").await {
        event.remove("keys");
        harness.table.put(event).await;
    }
    let events = all(&harness, "").await;
    assert!(events.len() == 5 && events.iter().all(|event| event.get("keys").is_none()), "{events:?}");
}

#[tokio::test]
async fn lists_events_before_a_gap_of_years() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.clock.advance_days(40);
    changes::update(&harness, &account, json!({ "description": "in the second month" })).await;
    harness.clock.advance_days(3 * 365);
    changes::update(&harness, &account, json!({ "description": "three years later" })).await;
    harness.clock.advance_days(10 * 365);
    let pages = pages(&harness, "").await;
    // Each page queries a limited number of months, and has a cursor.
    assert!((2..12).contains(&pages.len()), "{} pages", pages.len());
    assert_eq!(pages.concat(), harness.events(&account).await);
    assert_eq!(pages.concat().len(), 3);
    // With `from`, only the months since then are queried.
    harness.wire.take_calls();
    let since = harness.get(&format!("{PATH}?from=2039-01-01T00:00:00Z")).await.json();
    assert_eq!(since, json!({ "items": [] }));
    assert!(harness.wire.take_calls().len() <= 2);
}

#[tokio::test]
async fn a_page_takes_a_limited_number_of_queries() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.clock.advance_days(20 * 365);
    harness.wire.take_calls();
    let list = harness.get(PATH).await.json();
    assert_eq!(list["items"], json!([]));
    assert!(list["nextCursor"].is_string());
    // The page has the months from 2044 back to 2044 minus 23 months.
    assert_eq!(list["searchedBackTo"], "2044-01-01T00:00:00.000Z");
    assert_eq!(harness.wire.take_calls().len(), 24);
    assert_eq!(all(&harness, "").await, harness.events(&account).await);
}

#[tokio::test]
async fn a_selective_filter_finds_each_event_once() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for number in 0..230 {
        harness.clock.advance(jiff::SignedDuration::from_hours(7));
        changes::update(&harness, &account, json!({ "description": number.to_string() })).await;
    }
    let whole = ids(&harness, "").await;
    assert_eq!(whole.len(), 231);
    for limit in ["limit=7", "limit=100"] {
        assert_eq!(ids(&harness, limit).await, whole, "{limit}");
        assert_eq!(ids(&harness, &format!("{limit}&account={}", account.id)).await, whole, "{limit}");
    }
    let created = ids(&harness, "type=serviceAccount.created").await;
    assert_eq!(created, whole[230..]);
    let of_account = format!("type=serviceAccount.created&account={}&limit=1", account.id);
    assert_eq!(ids(&harness, &of_account).await, created);
    // A full page does not say how far the search got, and neither does the last page.
    for query in ["limit=7", "limit=100&actor=admin", "to=2026-01-01T01:00:00Z&actor=nobody"] {
        let list = harness.get(&format!("{PATH}?{query}")).await.json();
        assert_eq!(list.get("searchedBackTo"), None, "{query}: {list}");
    }
}

#[tokio::test]
async fn events_of_the_same_millisecond_are_each_listed_once() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    for _ in 0..5 {
        harness.issue_key(&account).await;
    }
    let _ = harness.request("DELETE", &format!("{}/keys", account.path())).admin().send().await.expect(200);
    let whole = ids(&harness, "").await;
    assert_eq!(whole.len(), 11);
    for limit in 1..=11 {
        assert_eq!(ids(&harness, &format!("limit={limit}")).await, whole);
    }
    assert_eq!(ids(&harness, &format!("from={FIRST}")).await, whole);
}

#[tokio::test]
async fn lists_events_of_a_machine_whose_clock_is_30_seconds_ahead() {
    let harness = Harness::start().await;
    harness.clock.advance_days(30);
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    harness.clock.advance_days(1);
    changes::update(&harness, &account, json!({ "description": "in the next month" })).await;
    // The event is of the first second of February. The reader's clock is at
    // 2026-01-31T23:59:30Z.
    harness.clock.advance(jiff::SignedDuration::from_secs(-30));
    assert_eq!(all(&harness, "").await, harness.events(&account).await);
    assert_eq!(all(&harness, "").await.len(), 2);
}

#[tokio::test]
async fn a_forged_cursor_reaches_no_other_events() {
    let harness = Harness::start().await;
    for number in 0..3 {
        harness.create_account(&format!("account {number}"), "ServiceAccountReader").await;
        harness.clock.advance_seconds(1);
    }
    let whole = ids(&harness, "").await;
    let forged = |id: &str| URL_SAFE_NO_PAD.encode(format!("t{id}"));
    let latest = forged("7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    assert_eq!(ids(&harness, &format!("cursor={latest}")).await, whole);
    for oldest in ["00000000000000000000000000", "00000000000000000000000001"] {
        assert_eq!(ids(&harness, &format!("cursor={}", forged(oldest))).await, [""; 0]);
    }
    let query = format!("cursor={latest}&to=2026-01-01T00:00:01Z");
    assert_eq!(ids(&harness, &query).await, whole[2..]);
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    let account = harness.create_account("alpha", "ServiceAccountReader").await;
    harness.issue_key(&account).await;
    harness.create_account("bravo", "ServiceAccountReader").await;
    let account_cursor = lists::cursor(&harness, "/iam/v1/service-accounts").await;
    let account_events = format!("{}/events", account.path());
    let account_events_cursor = lists::cursor(&harness, &account_events).await;
    let lower_case = format!("cursor={}", URL_SAFE_NO_PAD.encode("t01jdej5z7w4q5t7z8n1r2k3m4p"));
    let queries = [
        "limit=0",
        "limit=x",
        "order=asc",
        "type=key",
        "type=",
        "actor=",
        "account=x",
        "account=",
        "role=1st",
        "role=",
        "role=Reports&account=sa_0000000000000000",
        &format!("actor={}", "x".repeat(257)),
        "from=yesterday",
        "from=2026-01-01",
        "from=2026-01-01T00:00:00",
        "from=20260101T000000Z",
        "from=2026-01-01T00:00:00+01:00",
        "to=2026-13-01T00:00:00Z",
        "to=",
        "from=2026-01-01T00:00:01Z&to=2026-01-01T00:00:00Z",
        "from=2026-01-01T00:00:00Z&from=2026-01-01T00:00:00Z",
        "cursor=x",
        &account_cursor,
        &account_events_cursor,
        &lower_case,
    ];
    assert_json_snapshot!(lists::refuse_queries(&harness, PATH, &queries).await);
    // The other lists refuse the cursors of this one.
    let own_cursor = lists::cursor(&harness, PATH).await;
    for path in ["/iam/v1/service-accounts", &account_events] {
        lists::refuse_queries(&harness, path, &[&own_cursor]).await;
    }
}
