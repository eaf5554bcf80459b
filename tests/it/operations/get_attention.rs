//! `GET /iam/v1/attention`

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::{Account, Harness, Key, Logs, Shape, tokens};
use tracing::level_filters::LevelFilter;

use crate::support::lists;

const PATH: &str = "/iam/v1/attention";

async fn issue(harness: &Harness, account: &Account, name: &str, days: u32) -> Key {
    harness.issue_key_with(account, &json!({ "name": name, "expiresInDays": days })).await
}

/// Uses a key, and writes the activity.
async fn use_key(harness: &Harness, key: &Key) {
    let _ = harness.authorize(&Shape::HttpV2.bearer(&key.secret)).await;
    harness.authorizer().flush_activity().await;
}

async fn sweep(harness: &Harness) {
    harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
}

async fn set_owner(harness: &Harness, account: &Account, owner: &str) {
    let request = harness.request("PATCH", &account.path()).admin();
    let _ = request.json(&json!({ "owner": owner })).send().await.expect(200);
}

async fn disable(harness: &Harness, account: &Account) {
    let request = harness.request("PATCH", &account.path()).admin();
    let _ = request.json(&json!({ "enabled": false })).send().await.expect(200);
}

/// The reason and the key or account of each item.
fn shown(items: &[Value]) -> Vec<String> {
    let name = |item: &Value| {
        let named = if item["key"].is_null() { &item["account"] } else { &item["key"] };
        format!("{} {}", item["reason"].as_str().unwrap(), named["name"].as_str().unwrap())
    };
    items.iter().map(name).collect()
}

async fn listed(harness: &Harness, query: &str) -> Vec<String> {
    shown(harness.get(&format!("{PATH}{query}")).await.json()["items"].as_array().unwrap())
}

/// The counts, each followed by `+` if it is a minimum.
async fn counts(harness: &Harness) -> Vec<String> {
    let counts = harness.get(PATH).await.json()["counts"].clone();
    let names = ["usedAfterEnd", "expiringIn7Days", "expiringIn30Days", "unused", "disabledAccounts"];
    let text = |name: &str| {
        let more = if counts[name]["isMinimum"] == true { "+" } else { "" };
        format!("{}{more}", counts[name]["count"])
    };
    names.map(text).to_vec()
}

#[tokio::test]
async fn nothing_needs_attention_200() {
    let harness = Harness::start().await;
    harness.reader_key().await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
}

/// Accounts and keys with every reason.
async fn everything(harness: &Harness) {
    let batch = harness.create_account("batch", "ServiceAccountReader").await;
    set_owner(harness, &batch, "Data Team").await;
    let unused = issue(harness, &batch, "unused", 365).await;
    let revoked = issue(harness, &batch, "revoked", 365).await;
    let stopped = harness.create_account("stopped", "ServiceAccountReader").await;
    issue(harness, &stopped, "of a disabled account", 101).await;
    use_key(harness, &revoked).await;
    use_key(harness, &unused).await;
    harness.clock.advance_days(95);
    issue(harness, &batch, "expires in 3 days", 3).await;
    issue(harness, &batch, "expires in 20 days", 20).await;
    let rotated = issue(harness, &batch, "rotated", 2).await;
    let rotation = harness.request("POST", &format!("{}/rotation", rotated.path())).admin();
    let _ = rotation.json(&json!({ "graceSeconds": 3600 })).send().await.expect(201);
    disable(harness, &stopped).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    harness.clock.advance_seconds(60);
    use_key(harness, &revoked).await;
    sweep(harness).await;
}

#[tokio::test]
async fn lists_the_most_urgent_items_first_200() {
    let harness = Harness::start().await;
    everything(&harness).await;
    assert_json_snapshot!(harness.get(PATH).await.snapshot());
    assert_eq!(listed(&harness, "?limit=2").await, ["usedAfterEnd revoked", "expiring rotated"]);
}

#[tokio::test]
async fn lists_the_items_of_one_reason_200() {
    let harness = Harness::start().await;
    everything(&harness).await;
    assert_eq!(listed(&harness, "?reason=usedAfterEnd").await, ["usedAfterEnd revoked"]);
    let expiring = ["expiring rotated", "expiring expires in 3 days", "expiring expires in 20 days"];
    assert_eq!(listed(&harness, "?reason=expiring").await, expiring);
    assert_eq!(listed(&harness, "?reason=expiring&withinDays=7").await, expiring[..2]);
    assert_eq!(listed(&harness, "?reason=unused").await, ["unused unused"]);
    assert_eq!(listed(&harness, "?reason=disabled").await, ["disabled stopped"]);
}

#[tokio::test]
async fn lists_only_items_of_an_owner_200() {
    let harness = Harness::start().await;
    everything(&harness).await;
    let of_batch = listed(&harness, "").await.into_iter().filter(|item| item != "disabled stopped");
    assert_eq!(listed(&harness, "?owner=data%20t").await, of_batch.collect::<Vec<_>>());
    for reason in ["usedAfterEnd", "expiring", "unused", "disabled"] {
        let of_others = listed(&harness, &format!("?reason={reason}&owner=others")).await;
        assert_eq!(of_others, [""; 0], "{reason}");
    }
}

#[tokio::test]
async fn pages_have_each_item_once_200() {
    let harness = Harness::start().await;
    let mut revoked = Vec::new();
    for number in 0..4 {
        let account = harness.create_account(&format!("batch {number}"), "ServiceAccountReader").await;
        for key in 0..3 {
            issue(&harness, &account, &format!("long {number}{key}"), 300).await;
        }
        revoked.push(issue(&harness, &account, &format!("revoked {number}"), 300).await);
    }
    harness.clock.advance_days(100);
    for key in &revoked {
        let _ = harness.revoke(key).await.expect(204);
        harness.clock.advance_seconds(1);
        use_key(&harness, key).await;
        let account = Account { id: key.account.clone() };
        for number in 0..3 {
            let name = format!("short {}{number}", key.account);
            issue(&harness, &account, &name, 10 + number).await;
        }
    }
    sweep(&harness).await;
    for reason in ["usedAfterEnd", "expiring", "unused"] {
        for owner in ["", "&owner=x"] {
            if !owner.is_empty() {
                for key in &revoked {
                    set_owner(&harness, &Account { id: key.account.clone() }, "x").await;
                }
            }
            let whole = lists::pages(&harness, &format!("{PATH}?reason={reason}{owner}&limit=100")).await;
            let whole = shown(&whole.concat());
            assert_eq!(whole.len(), if reason == "usedAfterEnd" { 4 } else { 12 }, "{reason}");
            for limit in 1..=5 {
                let path = format!("{PATH}?reason={reason}{owner}&limit={limit}");
                let pages = lists::pages(&harness, &path).await;
                assert!(pages.iter().all(|page| page.len() <= limit));
                assert_eq!(shown(&pages.concat()), whole, "{path}");
            }
        }
    }
    for key in &revoked {
        disable(&harness, &Account { id: key.account.clone() }).await;
    }
    for limit in 1..=5 {
        let pages = lists::pages(&harness, &format!("{PATH}?reason=disabled&limit={limit}")).await;
        let mut disabled = shown(&pages.concat());
        disabled.sort();
        let expected = ["batch 0", "batch 1", "batch 2", "batch 3"].map(|name| format!("disabled {name}"));
        assert_eq!(disabled, expected);
    }
}

#[tokio::test]
async fn counts_a_key_that_was_used_after_each_kind_of_end_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let deleted = harness.create_account("deleted", "ServiceAccountReader").await;
    let of_deleted = issue(&harness, &deleted, "of a deleted account", 9).await;
    let expired = issue(&harness, &account, "expired", 1).await;
    let rotated = issue(&harness, &account, "rotated", 9).await;
    let rotation = harness.request("POST", &format!("{}/rotation", rotated.path())).admin();
    let _ = rotation.json(&json!({ "graceSeconds": 0 })).send().await.expect(201);
    let _ = harness.request("DELETE", &deleted.path()).admin().send().await.expect(204);
    harness.clock.advance_days(1);
    // Neither a wrong secret nor a use before the end counts.
    let live = issue(&harness, &account, "live", 90).await;
    use_key(&harness, &live).await;
    for key in [&of_deleted, &expired, &rotated] {
        use_key(&harness, key).await;
        harness.clock.advance_seconds(1);
    }
    let items = harness.get(&format!("{PATH}?reason=usedAfterEnd")).await.json()["items"].clone();
    assert_json_snapshot!(items, { "[].account.id" => "sa", "[].key.id" => "key", "[].key.hint" => "hint" });

    // The record of the expired key is written later, and changes nothing.
    sweep(&harness).await;
    assert_eq!(harness.get(&format!("{PATH}?reason=usedAfterEnd")).await.json()["items"], items);
    assert_eq!(counts(&harness).await[0], "3");
    harness.clock.advance_days(30);
    assert_eq!(counts(&harness).await[0], "0");
    use_key(&harness, &expired).await;
    assert_eq!(listed(&harness, "?reason=usedAfterEnd").await, ["usedAfterEnd expired"]);
}

#[tokio::test]
async fn unused_keys_are_those_of_the_last_sweep_that_are_still_unused_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut keys = Vec::new();
    for name in ["used", "revoked", "rotated", "unused"] {
        keys.push(issue(&harness, &account, name, 365).await);
    }
    let [used, revoked, rotated, _] = &keys[..] else { panic!() };
    assert_eq!(counts(&harness).await[3], "0+", "no sweep has counted them");
    sweep(&harness).await;
    assert_eq!(counts(&harness).await[3], "0");
    harness.clock.advance_days(90);
    sweep(&harness).await;
    assert_eq!(counts(&harness).await[3], "4");
    use_key(&harness, used).await;
    let _ = harness.revoke(revoked).await.expect(204);
    let rotation = harness.request("POST", &format!("{}/rotation", rotated.path())).admin();
    let _ = rotation.json(&json!({})).send().await.expect(201);
    assert_eq!(listed(&harness, "?reason=unused").await, ["unused unused"]);
    assert_eq!(counts(&harness).await[3], "4", "the count is that of the sweep");
    harness.clock.advance_days(1);
    sweep(&harness).await;
    assert_eq!(counts(&harness).await[3], "1");
    assert_eq!(
        harness.get(PATH).await.json()["unusedCountedAt"],
        json!("2026-04-02T00:00:00Z"),
        "the end of the sweep"
    );

    // A result that is too old does not count.
    harness.clock.advance_days(3);
    assert_eq!(counts(&harness).await[3], "0+");
    assert_eq!(harness.get(PATH).await.json()["unusedCountedAt"], Value::Null);
    assert_eq!(listed(&harness, "?reason=unused").await, [""; 0]);
}

#[tokio::test]
async fn an_incomplete_sweep_does_not_change_the_count_of_unused_keys_200() {
    let harness = Harness::start().await;
    for name in ["a", "b"] {
        let account = harness.create_account(name, "ServiceAccountReader").await;
        issue(&harness, &account, name, 365).await;
    }
    harness.clock.advance_days(90);
    sweep(&harness).await;
    harness.clock.advance_days(1);
    let stopped = harness.system.sweep_keys().sweep(Timestamp::MIN).await.unwrap();
    assert!(!stopped.is_finished);
    assert_eq!(counts(&harness).await[3], "2");
    assert_eq!(harness.get(PATH).await.json()["unusedCountedAt"], json!("2026-04-01T00:00:00Z"));

    // The next sweep continues, and then the keys that both parts found count.
    harness.clock.advance_days(1);
    sweep(&harness).await;
    assert_eq!(counts(&harness).await[3], "2");
    assert_eq!(harness.get(PATH).await.json()["unusedCountedAt"], json!("2026-04-03T00:00:00Z"));
}

#[tokio::test]
async fn an_expired_key_before_the_sweep_is_not_expiring_200() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    issue(&harness, &account, "expired", 1).await;
    issue(&harness, &account, "next", 5).await;
    harness.clock.advance_days(1);
    assert_eq!(listed(&harness, "?reason=expiring").await, ["expiring next"]);
    assert_eq!(counts(&harness).await[1..3], ["1", "1"]);
    sweep(&harness).await;
    assert_eq!(listed(&harness, "?reason=expiring").await, ["expiring next"]);
}

#[tokio::test]
async fn malformed_items_are_logged_and_hide_no_other_item_200() {
    let harness = Harness::start().await;
    let good = harness.create_account("good", "ServiceAccountReader").await;
    issue(&harness, &good, "good", 5).await;
    let revoked = issue(&harness, &good, "revoked", 5).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    use_key(&harness, &revoked).await;
    let bad = harness.create_account("bad", "ServiceAccountReader").await;
    issue(&harness, &bad, "bad", 5).await;
    let of_bad = issue(&harness, &bad, "revoked of bad", 5).await;
    let _ = harness.revoke(&of_bad).await.expect(204);
    use_key(&harness, &of_bad).await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    for label in ["", "x", "1 2", "soon x7Qz name", "99999999999999999999 x7Qz name"] {
        harness
            .table
            .tamper(&bad.id, |item| {
                let labels =
                    std::collections::HashMap::from([("key_AAAAAAAAAAAAAAAA".to_owned(), text(label))]);
                item.insert("labels".to_owned(), AttributeValue::M(labels));
                item.insert("role".to_owned(), AttributeValue::Bool(true));
            })
            .await;
        let logs = Logs::capture(LevelFilter::ERROR);
        assert_eq!(listed(&harness, "?reason=expiring").await, ["expiring good"], "{label}");
        assert_eq!(listed(&harness, "?reason=usedAfterEnd").await, ["usedAfterEnd revoked"]);
        assert_eq!(listed(&harness, "").await, ["usedAfterEnd revoked", "expiring good"]);
        let lines = logs.take();
        assert!(lines.contains("a malformed item is left out"), "{lines}");
        assert!(!lines.contains("99999999999999999999"), "the log quotes no value");
    }
}

#[tokio::test]
async fn malformed_use_of_a_key_hides_no_other_use_200() {
    let harness = Harness::start().await;
    for name in ["good", "bad"] {
        let account = harness.create_account(name, "ServiceAccountReader").await;
        let key = issue(&harness, &account, name, 5).await;
        use_key(&harness, &key).await;
        if name == "bad" {
            for mut item in harness.table.items(&format!("USAGE#{}", account.id)).await {
                item.insert("lastUsedAt".to_owned(), AttributeValue::Bool(true));
                harness.table.put(item).await;
            }
        }
    }
    let logs = Logs::capture(LevelFilter::ERROR);
    let reply = harness.get(&format!("{PATH}?reason=expiring")).await.json();
    let items = reply["items"].as_array().unwrap().iter();
    let uses: BTreeMap<_, _> =
        items.map(|item| (item["key"]["name"].as_str().unwrap(), item.get("lastUsedAt").is_some())).collect();
    assert_eq!(uses, BTreeMap::from([("good", true), ("bad", false)]));
    assert!(logs.take().contains("a malformed item is left out"));
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    everything(&harness).await;
    let expiring = harness.get(&format!("{PATH}?reason=expiring&limit=1")).await.json();
    let expiring = expiring["nextCursor"].as_str().unwrap();
    let (of_expiring, without_reason) =
        (format!("reason=unused&cursor={expiring}"), format!("cursor={expiring}"));
    let long = format!("owner={}", "x".repeat(129));
    let queries = [
        "reason=",
        "reason=Expiring",
        "withinDays=7",
        "reason=unused&withinDays=7",
        "reason=expiring&withinDays=0",
        "reason=expiring&withinDays=91",
        "reason=expiring&withinDays=07",
        "reason=expiring&withinDays=x",
        "owner=",
        "owner=%20",
        &long,
        "limit=0",
        "limit=101",
        "reason=expiring&cursor=",
        "reason=expiring&cursor=x",
        "reason=expiring&cursor=eA",
        "reason=expiring&reason=unused",
        "sort=name",
    ];
    assert_json_snapshot!(lists::refuse_queries(&harness, PATH, &queries).await);
    for query in [&of_expiring, &without_reason] {
        harness.refuse(harness.request("GET", PATH).query(query).admin(), 400, "malformed_request").await;
    }
}

#[tokio::test]
async fn forged_cursors_only_select_a_position_200() {
    use base64::Engine as _;
    let harness = Harness::start().await;
    everything(&harness).await;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    for (reason, letter) in [("usedAfterEnd", 'u'), ("expiring", 'x'), ("unused", 'n'), ("disabled", 'd')] {
        let whole = listed(&harness, &format!("?reason={reason}")).await;
        let key = "key_AAAAAAAAAAAAAAAA";
        for position in [
            "!",
            "~",
            "~~",
            "\u{10ffff}",
            "\0",
            "E#",
            "D#",
            "E#9999999999#x",
            "ACCOUNTS",
            &format!("E#/{key}"),
        ] {
            let cursor = encode(&format!("{letter}{position}"));
            let items = listed(&harness, &format!("?reason={reason}&cursor={cursor}")).await;
            assert!(items.iter().all(|item| whole.contains(item)), "{reason} {position:?}: {items:?}");
        }
        for position in ["", &"x".repeat(1001), "E#/key_x", "E#/", "E#/key_AAAAAAAAAAAAAAAA/"] {
            let query = format!("reason={reason}&cursor={}", encode(&format!("{letter}{position}")));
            harness
                .refuse(harness.request("GET", PATH).query(&query).admin(), 400, "malformed_request")
                .await;
        }
    }
}

#[tokio::test]
async fn federated_identities_that_expire_soon_are_listed_and_counted_200() {
    let harness = Harness::start().await;
    tokens::register_issuer(&harness, "corp").await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let add = async |name: &str, days: Option<u32>| {
        let mut body = json!({ "name": name, "issuer": "corp", "audience": "a", "claims": { "sub": "w" } });
        if let Some(days) = days {
            body["expiresInDays"] = days.into();
        }
        harness.add_identity(&account, &body).await
    };
    let soon = add("soon", Some(5)).await;
    add("later", Some(20)).await;
    add("much later", Some(200)).await;
    add("never", None).await;
    issue(&harness, &account, "key", 10).await;
    let attention = harness.get("/iam/v1/attention?reason=expiring").await.json();
    assert_json_snapshot!(attention["items"]);
    assert_eq!(attention["counts"]["expiringIn7Days"]["count"], 1);
    assert_eq!(attention["counts"]["expiringIn30Days"]["count"], 3);
    // Pages continue within an account, whatever the kind of grant.
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = harness.get(&format!("/iam/v1/attention?reason=expiring&limit=1{cursor}")).await.json();
        for item in page["items"].as_array().unwrap() {
            let grant = if item["key"].is_null() { &item["identity"] } else { &item["key"] };
            names.push(grant["name"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["soon", "key", "later"]);
    let review = harness.get("/iam/v1/access-review").await.json();
    assert_eq!(
        (&review["items"][0]["expiringIdentityCount"], &review["items"][0]["expiringKeyCount"]),
        (&json!(2), &json!(1))
    );
    let path = format!("{}/federated-identities/{}", account.path(), soon["id"].as_str().unwrap());
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
    assert_eq!(harness.get("/iam/v1/attention").await.json()["counts"]["expiringIn7Days"]["count"], 0);
}
