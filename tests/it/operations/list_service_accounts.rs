//! `GET /iam/v1/service-accounts`

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Action, Harness, Key, Shape};

use crate::support::{changes, lists};

const PATH: &str = "/iam/v1/service-accounts";

fn names(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// The names on each page of the list.
async fn pages(harness: &Harness, query: &str) -> Vec<Vec<String>> {
    let pages = lists::pages(harness, &format!("{PATH}?{query}")).await;
    pages.iter().map(|items| names(items)).collect()
}

/// The names on the first page of the list.
async fn first_page(harness: &Harness, query: &str) -> Vec<String> {
    names(harness.get(&format!("{PATH}?{query}")).await.json()["items"].as_array().unwrap())
}

async fn create_all(harness: &Harness, names: &[&str]) -> Vec<Account> {
    let mut accounts = Vec::new();
    for name in names {
        accounts.push(harness.create_account(name, "ServiceAccountReader").await);
    }
    accounts
}

#[tokio::test]
async fn empty_list_200() {
    let harness = Harness::start().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn lists_accounts_with_the_number_of_live_keys_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    harness.issue_key_with(&account, &json!({ "name": "long", "expiresInDays": 30 })).await;
    harness.create_account("Another", "ServiceAccountReader").await;
    harness.clock.advance_days(2);
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn shows_when_the_keys_of_each_account_were_used_200() {
    let harness = Harness::start().await;
    let batch = harness.create_account("batch", "ServiceAccountReader").await;
    let live = harness.issue_key_with(&batch, &json!({ "name": "live", "expiresInDays": 365 })).await;
    let revoked = harness.issue_key_with(&batch, &json!({ "name": "revoked", "expiresInDays": 365 })).await;
    let idle = harness.create_account("idle", "ServiceAccountReader").await;
    let rotated = harness.issue_key_with(&idle, &json!({ "name": "old", "expiresInDays": 365 })).await;
    harness.issue_key_with(&idle, &json!({ "name": "never used", "expiresInDays": 365 })).await;
    harness.issue_key_with(&idle, &json!({ "name": "expired", "expiresInDays": 1 })).await;
    let authorize = async |key: &Key| harness.authorize(&Shape::HttpV2.bearer(&key.secret)).await.unwrap();
    assert!(authorize(&live).await.is_allow());
    harness.clock.advance_seconds(3600);
    assert!(authorize(&revoked).await.is_allow());
    let _ = harness.revoke(&revoked).await.expect(204);
    harness.clock.advance_seconds(3600);
    assert!(!authorize(&revoked).await.is_allow());
    let usage = async || {
        let items = harness.get(PATH).await.json()["items"].as_array().unwrap().clone();
        let usage_of = |item: &Value| {
            ["name", "lastUsedAt", "usedAfterEndAt", "unusedKeyCount"].map(|name| item[name].clone())
        };
        items.iter().map(usage_of).collect::<Vec<_>>()
    };
    let batch_usage = |unused: u32| {
        [json!("batch"), json!("2026-01-01T01:00:00Z"), json!("2026-01-01T02:00:00Z"), json!(unused)]
    };
    let idle_usage = |unused: u32| [json!("idle"), Value::Null, Value::Null, json!(unused)];
    assert_eq!(usage().await, [batch_usage(0), idle_usage(0)]);
    harness.authorizer().flush_activity().await;
    harness.clock.advance_days(90);
    changes::rotate(&harness, &rotated, 3600).await;
    // The live key was last used more than 90 days ago. The rotated key and the expired key
    // do not count as unused.
    assert_eq!(usage().await, [batch_usage(1), idle_usage(1)]);
    assert!(authorize(&live).await.is_allow());
    assert_eq!(
        usage().await[0][1..],
        [json!("2026-04-01T02:00:00Z"), json!("2026-01-01T02:00:00Z"), json!(0)]
    );
}

#[tokio::test]
async fn reads_the_usage_of_listed_accounts_only() {
    let harness = Harness::start().await;
    create_all(&harness, &["a", "b", "c", "d"]).await;
    harness.wire.take_calls();
    assert_eq!(first_page(&harness, "limit=3").await, ["a", "b", "c"]);
    assert_eq!(harness.wire.take_operations(), ["Query"; 4], "one for the list and one for each account");
    // Without the usage there is no response, because it would claim that no key was used.
    harness.wire.intercept(|call| {
        let is_usage = call.body.to_string().contains("USAGE#");
        if is_usage { Action::Refuse } else { Action::Pass }
    });
    let request = harness.request("GET", PATH).admin();
    harness.refuse(request, 503, "dependency_unavailable").await;
}

#[tokio::test]
async fn lists_each_account_once_ordered_by_name_ignoring_case() {
    let harness = Harness::start().await;
    create_all(&harness, &["delta", "Bravo", "alpha", "Echo", "\u{c9}clair", "charlie", "Bravo 2", "golf"])
        .await;
    let expected =
        [vec!["alpha", "Bravo", "Bravo 2"], vec!["charlie", "delta", "Echo"], vec!["golf", "\u{c9}clair"]];
    assert_eq!(pages(&harness, "limit=3").await, expected);
    assert_eq!(pages(&harness, "limit=8").await, [expected.concat()]);
    assert_eq!(pages(&harness, "").await, [expected.concat()]);
}

#[tokio::test]
async fn a_page_has_25_accounts_by_default() {
    let harness = Harness::start().await;
    let names: Vec<String> = (0..26).map(|number| format!("batch {number:02}")).collect();
    create_all(&harness, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let sizes: Vec<usize> = pages(&harness, "").await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [25, 1]);
}

#[tokio::test]
async fn filters_by_prefix_role_and_state() {
    let harness = Harness::start().await;
    let accounts = create_all(&harness, &["Batch 1", "batch 2", "Caf\u{e9}", "bat", "web"]).await;
    harness.create_account("Batch writer", "ServiceAccountWriter").await;
    changes::disable(&harness, &accounts[1]).await;
    let cases: [(&str, &[&str]); 9] = [
        ("prefix=bATCH", &["Batch 1", "batch 2", "Batch writer"]),
        ("prefix=cafe%CC%81", &["Caf\u{e9}"]),
        ("prefix=x", &[]),
        ("prefix=", &["bat", "Batch 1", "batch 2", "Batch writer", "Caf\u{e9}", "web"]),
        ("role=ServiceAccountWriter", &["Batch writer"]),
        ("role=Unheard-of", &[]),
        ("enabled=false", &["batch 2"]),
        ("enabled=true&prefix=bat&role=ServiceAccountReader", &["bat", "Batch 1"]),
        ("prefix=batch%20&enabled=false&role=ServiceAccountWriter", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(pages(&harness, query).await.concat(), expected, "{query}");
        assert_eq!(pages(&harness, &format!("{query}&limit=1")).await.concat(), expected, "{query}");
    }
}

#[tokio::test]
async fn filters_by_owner_and_tag() {
    let harness = Harness::start().await;
    let accounts = create_all(&harness, &["a", "b", "c", "d"]).await;
    let changes_of = [
        json!({ "owner": "Data-Team@example.com", "tags": { "team": "data", "stage": "test" } }),
        json!({ "owner": "Caf\u{e9} team", "tags": { "team": "Data" } }),
        json!({ "owner": "web", "tags": { "stage": "" } }),
    ];
    for (account, body) in accounts.iter().zip(changes_of) {
        changes::update(&harness, account, body).await;
    }
    let cases: [(&str, &[&str]); 11] = [
        ("owner=data-team", &["a"]),
        ("owner=TEAM", &["a", "b"]),
        ("owner=cafe%CC%81%20", &["b"]),
        ("owner=nobody", &[]),
        ("tag=team", &["a", "b"]),
        ("tag=team=data", &["a"]),
        ("tag=Team", &[]),
        ("tag=stage=", &["c"]),
        ("tag=stage=test=1", &[]),
        ("owner=e&tag=team&enabled=true", &["a", "b"]),
        ("owner=web&prefix=c&order=desc", &["c"]),
    ];
    for (query, expected) in cases {
        assert_eq!(pages(&harness, query).await.concat(), expected, "{query}");
        assert_eq!(pages(&harness, &format!("{query}&limit=1")).await.concat(), expected, "{query}");
    }
}

#[tokio::test]
async fn names_are_in_descending_order_on_request() {
    let harness = Harness::start().await;
    create_all(&harness, &["delta", "Bravo", "alpha", "bravo 2", "charlie"]).await;
    let expected = [vec!["delta", "charlie"], vec!["bravo 2", "Bravo"], vec!["alpha"]];
    assert_eq!(pages(&harness, "order=desc&limit=2").await, expected);
    assert_eq!(pages(&harness, "order=desc&prefix=bravo&limit=1").await, [["bravo 2"], ["Bravo"]]);
    assert_eq!(pages(&harness, "order=asc").await, [["alpha", "Bravo", "bravo 2", "charlie", "delta"]]);
    // A cursor is a position between two names, in both orders.
    let page = harness.get(&format!("{PATH}?limit=2")).await.json();
    let cursor = page["nextCursor"].as_str().unwrap();
    assert_eq!(first_page(&harness, &format!("order=desc&cursor={cursor}")).await, ["alpha"]);
}

/// The index has more than 10 MB.
#[tokio::test]
async fn a_search_that_stops_early_says_how_many_accounts_it_searched() {
    let harness = Harness::start().await;
    let accounts = create_all(&harness, &["first", "second"]).await;
    changes::update(&harness, &accounts[0], json!({ "owner": "data" })).await;
    let template = harness.table.get(&format!("ACCOUNT#{}", accounts[1].id), "ACCOUNT").await.unwrap();
    for number in 0..60 {
        let id = format!("sa_{number:016}");
        let mut item = template.clone();
        let text = |text: String| AttributeValue::S(text);
        item.insert("pk".to_owned(), text(format!("ACCOUNT#{id}")));
        item.insert("name".to_owned(), text(format!("large {number:02}")));
        item.insert("gsi1sk".to_owned(), text(format!("large {number:02}")));
        // The functions write no such attribute. It is in the index.
        item.insert("changes".to_owned(), text("x".repeat(200_000)));
        harness.table.put(item).await;
    }
    let first = harness.get(&format!("{PATH}?owner=data")).await.json();
    assert_eq!(names(first["items"].as_array().unwrap()), ["first"]);
    let searched = first["searchedAccounts"].as_u64().unwrap();
    assert!((40..62).contains(&searched), "{searched}");
    let cursor = first["nextCursor"].as_str().unwrap();
    let rest = harness.get(&format!("{PATH}?owner=data&cursor={cursor}")).await.json();
    assert_eq!(rest, json!({ "items": [] }));
}

#[tokio::test]
async fn a_selective_filter_finds_every_account() {
    let harness = Harness::start().await;
    let names: Vec<String> = (0..120).map(|number| format!("reader {number:03}")).collect();
    create_all(&harness, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    harness.create_account("a writer", "ServiceAccountWriter").await;
    harness.create_account("the last writer", "ServiceAccountWriter").await;
    let writers = ["a writer", "the last writer"];
    assert_eq!(pages(&harness, "role=ServiceAccountWriter").await, [writers]);
    assert_eq!(
        pages(&harness, "role=ServiceAccountWriter&limit=1").await,
        [["a writer"], ["the last writer"]]
    );
    assert_eq!(pages(&harness, "limit=100").await.iter().map(Vec::len).collect::<Vec<_>>(), [100, 22]);
}

#[tokio::test]
async fn deleted_accounts_are_not_listed() {
    let harness = Harness::start().await;
    let accounts = create_all(&harness, &["a", "b", "c"]).await;
    let page = harness.get(&format!("{PATH}?limit=2")).await.json();
    let cursor = page["nextCursor"].as_str().unwrap();
    changes::delete(&harness, &accounts[1]).await;
    assert_eq!(pages(&harness, "").await, [["a", "c"]]);
    // The cursor still works, although its account has been deleted.
    assert_eq!(first_page(&harness, &format!("cursor={cursor}")).await, ["c"]);
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    let account = create_all(&harness, &["alpha", "bravo"]).await.remove(0);
    changes::update(&harness, &account, json!({ "owner": "me" })).await;
    let events_cursor = lists::cursor(&harness, &format!("{}/events", account.path())).await;
    let cursor = lists::cursor(&harness, PATH).await;
    let cut_off = cursor.replacen("cursor=", "", 1);
    let cut_off = format!("cursor={}", &cut_off[1..]);
    let beside_prefix = format!("prefix=b&{cursor}");
    let queries = [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.5",
        "limit=ten",
        "limit=1&limit=2",
        "enabled=maybe",
        "enabled=1",
        "role=no%20role",
        "order=down",
        "order=",
        "owner=",
        "owner=%20",
        "owner=a%0Ab",
        "tag=",
        "tag=no%20tag",
        "tag=%3Dvalue",
        "Limit=1",
        "cursor=x",
        "cursor=%2B%2F%3D",
        &events_cursor,
        &cut_off,
        &beside_prefix,
    ];
    assert_json_snapshot!(lists::refuse_queries(&harness, PATH, &queries).await);
}

#[tokio::test]
async fn a_prefix_can_be_as_long_as_a_name_200_400() {
    let harness = Harness::start().await;
    let longest = "\u{130}".repeat(64);
    harness.create_account(&longest, "ServiceAccountReader").await;
    assert_eq!(pages(&harness, &format!("prefix={}", "%C4%B0".repeat(64))).await, [[longest]]);
    let request = harness.request("GET", &format!("{PATH}?prefix={}", "x".repeat(129))).admin();
    harness.refuse(request, 400, "malformed_request").await;
}

#[tokio::test]
async fn unknown_parameter_400() {
    let harness = Harness::start().await;
    let request = harness.request("GET", &format!("{PATH}?sort=desc")).admin();
    assert_json_snapshot!(harness.refuse(request, 400, "malformed_request").await.snapshot());
}
