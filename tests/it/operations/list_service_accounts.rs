//! `GET /iam/v1/service-accounts`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Action, Harness, Key, Shape};

const PATH: &str = "/iam/v1/service-accounts";

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// The names on every page of the list `query`, page by page.
async fn pages(harness: &Harness, query: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = harness.get(&format!("{PATH}?{query}{cursor}")).await.json();
        pages.push(names(&list));
        match list.get("nextCursor") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
            None => return pages,
        }
    }
}

async fn create_all(harness: &Harness, names: &[&str]) -> Vec<Account> {
    let mut accounts = Vec::new();
    for name in names {
        accounts.push(harness.create_account(name, "ServiceAccountReader").await);
    }
    accounts
}

#[tokio::test]
async fn lists_nothing_at_first_200() {
    let harness = Harness::start().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn lists_accounts_with_their_live_keys_counted_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountWriter").await;
    harness.issue_key_with(&account, &json!({ "name": "short", "expiresInDays": 1 })).await;
    harness.issue_key_with(&account, &json!({ "name": "long", "expiresInDays": 30 })).await;
    harness.create_account("Another", "ServiceAccountReader").await;
    harness.clock.advance_days(2);
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

#[tokio::test]
async fn says_how_the_keys_of_each_account_are_used_200() {
    let harness = Harness::start().await;
    let batch = harness.create_account("batch", "ServiceAccountReader").await;
    let live = harness.issue_key_with(&batch, &json!({ "name": "live", "expiresInDays": 365 })).await;
    let gone = harness.issue_key_with(&batch, &json!({ "name": "gone", "expiresInDays": 365 })).await;
    let idle = harness.create_account("idle", "ServiceAccountReader").await;
    let rotated = harness.issue_key_with(&idle, &json!({ "name": "old", "expiresInDays": 365 })).await;
    harness.issue_key_with(&idle, &json!({ "name": "never used", "expiresInDays": 365 })).await;
    harness.issue_key_with(&idle, &json!({ "name": "expired", "expiresInDays": 1 })).await;
    let authorize = async |key: &Key| harness.authorize(&Shape::HttpV2.bearer(&key.secret)).await.unwrap();
    assert!(authorize(&live).await.is_allow());
    harness.clock.advance_seconds(3600);
    assert!(authorize(&gone).await.is_allow());
    let _ = harness.revoke(&gone).await.expect(204);
    harness.clock.advance_seconds(3600);
    assert!(!authorize(&gone).await.is_allow());
    let uses = async || {
        let items = harness.get(PATH).await.json()["items"].as_array().unwrap().clone();
        let use_of = |item: &Value| {
            ["name", "lastUsedAt", "usedAfterEndAt", "unusedKeyCount"].map(|name| item[name].clone())
        };
        items.iter().map(use_of).collect::<Vec<_>>()
    };
    let batch_used = |unused: u32| {
        [json!("batch"), json!("2026-01-01T01:00:00Z"), json!("2026-01-01T02:00:00Z"), json!(unused)]
    };
    let idle_used = |unused: u32| [json!("idle"), Value::Null, Value::Null, json!(unused)];
    assert_eq!(uses().await, [batch_used(0), idle_used(0)]);
    harness.clock.advance_days(90);
    let path = format!("{}/rotation", rotated.path());
    let rotate = harness.request("POST", &path).admin().json(&json!({ "graceSeconds": 3600 }));
    let _ = rotate.send().await.expect(201);
    // Two hours less, and the live key's last use was 90 days ago. The rotated key
    // and the expired one are nobody's concern.
    assert_eq!(uses().await, [batch_used(1), idle_used(1)]);
    assert!(authorize(&live).await.is_allow());
    assert_eq!(
        uses().await[0][1..],
        [json!("2026-04-01T02:00:00Z"), json!("2026-01-01T02:00:00Z"), json!(0)]
    );
}

#[tokio::test]
async fn reads_the_use_of_those_accounts_alone_that_it_shows() {
    let harness = Harness::start().await;
    create_all(&harness, &["a", "b", "c", "d"]).await;
    harness.wire.take_calls();
    assert_eq!(names(&harness.get(&format!("{PATH}?limit=3")).await.json()), ["a", "b", "c"]);
    assert_eq!(
        harness.wire.take_operations(),
        ["Query", "Query", "Query", "Query"],
        "of the list, and of each"
    );
    // What is not known is not said to be nothing.
    harness.wire.disturb(|call| {
        let is_usage = call.body.to_string().contains("USAGE#");
        if is_usage { Action::Refuse } else { Action::Pass }
    });
    let request = harness.request("GET", PATH).admin();
    harness.refuse(request, 503, "dependency_unavailable").await;
}

#[tokio::test]
async fn three_pages_show_every_account_once_in_the_order_of_folded_names() {
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
async fn a_page_has_25_accounts_if_nobody_says() {
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
    let disable = harness.request("PATCH", &accounts[1].path()).admin().json(&json!({ "enabled": false }));
    let _ = disable.send().await.expect(200);
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
        // One by one it comes to the same.
        assert_eq!(pages(&harness, &format!("{query}&limit=1")).await.concat(), expected, "{query}");
    }
}

#[tokio::test]
async fn a_filter_that_few_pass_finds_them_among_many() {
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
async fn a_deleted_account_is_gone_from_the_list() {
    let harness = Harness::start().await;
    let accounts = create_all(&harness, &["a", "b", "c"]).await;
    let first_page = harness.get(&format!("{PATH}?limit=2")).await.json();
    let cursor = first_page["nextCursor"].as_str().unwrap();
    let _ = harness.request("DELETE", &accounts[1].path()).admin().send().await.expect(204);
    assert_eq!(pages(&harness, "").await, [["a", "c"]]);
    // The page after goes on, though the account that it goes on from is gone.
    assert_eq!(names(&harness.get(&format!("{PATH}?cursor={cursor}")).await.json()), ["c"]);
}

#[tokio::test]
async fn refuses_bad_queries_400() {
    let harness = Harness::start().await;
    let account = create_all(&harness, &["alpha", "bravo"]).await.remove(0);
    let rename = harness.request("PATCH", &account.path()).admin().json(&json!({ "owner": "me" }));
    let _ = rename.send().await.expect(200);
    let events = harness.get(&format!("{}/events?limit=1", account.path())).await.json();
    let of_events = format!("cursor={}", events["nextCursor"].as_str().unwrap());
    let accounts = harness.get(&format!("{PATH}?limit=1")).await.json();
    let of_alpha = accounts["nextCursor"].as_str().unwrap();
    let cut = format!("cursor={}", &of_alpha[1..]);
    let beside_the_prefix = format!("prefix=b&cursor={of_alpha}");
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
        "order=desc",
        "Limit=1",
        "cursor=x",
        "cursor=%2B%2F%3D",
        &of_events,
        &cut,
        &beside_the_prefix,
    ];
    let mut answers = Vec::new();
    for query in queries {
        let request = harness.request("GET", &format!("{PATH}?{query}")).admin();
        let refused = harness.refuse(request, 400, "malformed_request").await;
        answers.push(json!({ query: refused.json()["detail"] }));
    }
    assert_json_snapshot!(answers);
}

#[tokio::test]
async fn takes_the_longest_name_as_prefix_200_and_no_longer_one_400() {
    let harness = Harness::start().await;
    let longest = "\u{130}".repeat(64);
    harness.create_account(&longest, "ServiceAccountReader").await;
    assert_eq!(pages(&harness, &format!("prefix={}", "%C4%B0".repeat(64))).await, [[longest]]);
    let request = harness.request("GET", &format!("{PATH}?prefix={}", "x".repeat(129))).admin();
    harness.refuse(request, 400, "malformed_request").await;
}

#[tokio::test]
async fn names_the_unknown_parameter_400() {
    let harness = Harness::start().await;
    let request = harness.request("GET", &format!("{PATH}?order=desc")).admin();
    assert_json_snapshot!(harness.refuse(request, 400, "malformed_request").await.snapshot());
}
