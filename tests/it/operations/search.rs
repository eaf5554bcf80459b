//! `GET /iam/v1/search`

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness, Item, Key, tokens};

use crate::support::{changes, lists};

const PATH: &str = "/iam/v1/search";

async fn search(harness: &Harness, text: &str) -> Value {
    let url = reqwest::Url::parse_with_params("http://localhost", [("q", text)]).unwrap();
    harness.get(&format!("{PATH}?{}", url.query().unwrap())).await.json()
}

/// The names of the accounts and keys that a search finds, with the fields that match.
fn found(results: &Value) -> Vec<String> {
    let kinds = ["accounts", "keys"].into_iter();
    let items = kinds.flat_map(|kind| results[kind].as_array().unwrap().iter().map(move |item| (kind, item)));
    let text = |(kind, item): (&str, &Value)| {
        let matched: Vec<&str> =
            item["matched"].as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
        format!("{} {} by {}", &kind[..kind.len() - 1], item["name"].as_str().unwrap(), matched.join(", "))
    };
    items.map(text).collect()
}

async fn assert_found(harness: &Harness, text: &str, expected: &[&str]) {
    assert_eq!(found(&search(harness, text).await), expected, "{text}");
}

async fn create(harness: &Harness, name: &str, owner: &str, tags: Value) -> Account {
    let body = json!({ "name": name, "role": "ServiceAccountReader", "owner": owner, "tags": tags });
    let reply = harness.request("POST", "/iam/v1/service-accounts").admin().json(&body).send().await;
    Account { id: reply.expect(201).json()["id"].as_str().unwrap().to_owned() }
}

fn hint(key: &Key) -> &str {
    &key.secret[key.secret.len() - 4..]
}

#[tokio::test]
async fn finds_accounts_and_live_keys_by_each_field_200() {
    let harness = Harness::start().await;
    let agent =
        create(&harness, "billing-mcp-agent", "Data Team", json!({ "team": "data", "os": "Linux" })).await;
    let key = harness.issue_key_with(&agent, &json!({ "name": "Batch Server" })).await;
    let other = create(&harness, "Überweisung", "ops", json!({})).await;
    let _ = harness.request("PATCH", &other.path()).admin().json(&json!({ "enabled": false })).send().await;

    assert_found(&harness, "mcp", &["account billing-mcp-agent by name"]).await;
    assert_found(&harness, "  MCP ", &["account billing-mcp-agent by name"]).await;
    assert_found(&harness, "über", &["account Überweisung by name"]).await;
    assert_found(&harness, "ÜBER", &["account Überweisung by name"]).await;
    assert_found(&harness, "a te", &["account billing-mcp-agent by owner"]).await;
    assert_found(&harness, "team=dat", &["account billing-mcp-agent by tags"]).await;
    assert_found(&harness, "linux", &["account billing-mcp-agent by tags"]).await;
    assert_found(&harness, "data", &["account billing-mcp-agent by owner, tags"]).await;
    assert_found(&harness, "ch se", &["key Batch Server by name"]).await;
    assert_found(&harness, hint(&key), &["key Batch Server by hint"]).await;
    assert_found(&harness, &hint(&key).to_lowercase(), &["key Batch Server by hint"]).await;
    assert_found(&harness, &agent.id, &["account billing-mcp-agent by id"]).await;
    assert_found(&harness, &agent.id[..9], &["account billing-mcp-agent by id"]).await;
    assert_found(&harness, &agent.id[5..12].to_lowercase(), &["account billing-mcp-agent by id"]).await;
    assert_found(&harness, &key.id, &["key Batch Server by id"]).await;
    assert_found(&harness, &key.id[..10], &["key Batch Server by id"]).await;
    // Prefixes and short parts of ids would find nearly everything.
    for nothing in ["sa_", "key_", "nowhere", "é%", "sa_AAAAAAAAAAAAAAAA", "key_AAAAAAAAAAAAAAAA", "AAAA"] {
        assert_found(&harness, nothing, &[]).await;
    }
    let all = search(&harness, "nowhere").await;
    assert_eq!(all["searchedAccounts"], 2);
    assert_json_snapshot!(harness.get(&format!("{PATH}?q=ba")).await.snapshot());
}

#[tokio::test]
async fn finds_retired_keys_and_deleted_accounts_200() {
    let harness = Harness::start().await;
    let (account, revoked) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let (deleted, of_deleted) = harness.account_with_key("deleted", "ServiceAccountReader").await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let _ = harness.request("DELETE", &deleted.path()).admin().send().await.expect(204);
    let by_id = search(&harness, &revoked.id).await;
    assert_eq!(by_id["keys"][0]["state"], "retired");
    assert_eq!(by_id["keys"][0]["account"], json!({ "id": account.id, "name": "batch" }));
    assert_eq!(by_id["searchedAccounts"], 0, "no account was searched");
    let by_hint = search(&harness, hint(&revoked)).await;
    assert_eq!(by_hint["keys"][0]["id"], json!(revoked.id));
    assert_eq!(by_hint["keys"][0]["matched"], json!(["hint"]));
    let of_deleted_account = search(&harness, &of_deleted.id).await;
    assert_eq!(of_deleted_account["keys"][0]["account"], json!({ "id": deleted.id, "name": "deleted" }));
    let redactions = json!({ "accounts": search(&harness, &deleted.id).await["accounts"] });
    assert_json_snapshot!(redactions, { ".accounts[].id" => "sa" });
    // The name of a deleted account and the names of retired keys are not searched.
    assert_found(&harness, "deleted", &[]).await;
}

#[tokio::test]
async fn changes_are_found_at_once_200() {
    let harness = Harness::start().await;
    let account = create(&harness, "old-name", "first", json!({ "a": "before" })).await;
    let changes = json!({ "name": "new-name", "owner": "second", "tags": { "b": "after" } });
    let _ = harness.request("PATCH", &account.path()).admin().json(&changes).send().await.expect(200);
    for old in ["old-name", "first", "before"] {
        assert_found(&harness, old, &[]).await;
    }
    for new in ["new-name", "second", "b=after"] {
        assert_eq!(search(&harness, new).await["accounts"].as_array().unwrap().len(), 1, "{new}");
    }
    let key = harness.issue_key_with(&account, &json!({ "name": "first key" })).await;
    let rotation = harness.request("POST", &format!("{}/rotation", key.path())).admin();
    let _ = rotation.json(&json!({ "graceSeconds": 60 })).send().await.expect(201);
    let states = |results: &Value| {
        let keys = results["keys"].as_array().unwrap().iter();
        let mut states: Vec<_> = keys.map(|key| key["state"].as_str().unwrap().to_owned()).collect();
        states.sort();
        states
    };
    assert_eq!(states(&search(&harness, "first key").await), ["active", "retiring"]);
    harness.clock.advance_seconds(60);
    assert_eq!(states(&search(&harness, "first key").await), ["active", "retired"]);
    harness.clock.advance_days(90);
    assert_eq!(states(&search(&harness, "first key").await), ["expired", "retired"]);
}

/// An account as it is in the directory, with the number of keys that have this name.
fn compact(number: u32, keys: u32) -> Item {
    let text = |text: String| AttributeValue::S(text);
    let labels: HashMap<_, _> = (0..keys)
        .map(|key| (format!("key_{:016}", number * 100 + key), text("2000000000 x7Qz server".to_owned())))
        .collect();
    HashMap::from([
        ("pk".to_owned(), text(format!("ACCOUNT#sa_{number:016}"))),
        ("sk".to_owned(), text("ACCOUNT".to_owned())),
        ("gsi2pk".to_owned(), text("ACCOUNTS".to_owned())),
        ("gsi2sk".to_owned(), text(format!("E#2000000000#{number:016}"))),
        ("name".to_owned(), text(format!("batch {number}"))),
        ("owner".to_owned(), text("data-team@example.com".to_owned())),
        ("role".to_owned(), text("ServiceAccountReader".to_owned())),
        ("tags".to_owned(), AttributeValue::M(HashMap::new())),
        ("labels".to_owned(), AttributeValue::M(labels)),
    ])
}

#[tokio::test]
async fn a_cursor_continues_where_the_search_stopped_200() {
    let harness = Harness::start().await;
    let accounts: Vec<_> = (0..130).map(|number| compact(number, 3)).collect();
    harness.table.put_all(&accounts).await;
    for (text, kind, total) in [("batch", "accounts", 130), ("server", "keys", 390)] {
        let (mut names, mut searched, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = harness.get(&format!("{PATH}?q={text}{cursor}")).await.json();
            let items = page[kind].as_array().unwrap();
            assert!(items.len() <= 50);
            names.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            searched += page["searchedAccounts"].as_u64().unwrap();
            match page.get("nextCursor") {
                Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
                None => break,
            }
        }
        names.dedup();
        assert_eq!((names.len(), searched), (total, 130), "{text}");
    }
}

#[tokio::test]
async fn bad_queries_400() {
    let harness = Harness::start().await;
    let long = format!("q={}", "x.".repeat(65));
    let queries = [
        "",
        "q=",
        "q=x",
        "q=%20x%20",
        &long,
        "q=ab&q=cd",
        "q=ab&limit=1",
        "q=ab&cursor=",
        "q=ab&cursor=x",
        "q=ab&cursor=eA",
        "q=ab&cursor=YXNh",
    ];
    assert_json_snapshot!(lists::refuse_queries(&harness, PATH, &queries).await);
}

#[tokio::test]
async fn a_whole_key_or_token_is_refused_and_not_quoted_400() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let token = harness.system.facts().admin_token.clone();
    let foreign = key.secret.replacen("kwsa_local_", "kwsa_prod_", 1);
    let bearer = format!("Bearer {}", key.secret);
    let without_prefix = &key.secret["kwsa_".len()..];
    for text in [&key.secret, &bearer, &foreign, &key.secret.to_uppercase(), &token, without_prefix] {
        let request = harness.request("GET", &format!("{PATH}?q={}", text.replace(' ', "%20"))).admin();
        let refused = harness.refuse(request, 400, "malformed_request").await;
        let secret = &key.secret[key.secret.len() - 49..];
        assert!(!refused.text.contains(secret) && !refused.text.contains(&token), "{}", refused.text);
        assert!(refused.text.contains("/iam/v1/keys/lookup"), "{}", refused.text);
    }
}

#[tokio::test]
async fn finds_federated_identities_by_name_and_id_200() {
    let harness = Harness::start().await;
    tokens::register_issuer(&harness, "corp").await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let body =
        json!({ "name": "Nightly deploy", "issuer": "corp", "audience": "a", "claims": { "sub": "w" } });
    let added = harness.add_identity(&account, &body).await;
    let id = added["id"].as_str().unwrap().to_owned();
    for (text, matched) in [("nightly DEPLOY", "name"), (&id, "id"), (&id[..12], "id"), (&id[4..10], "id")] {
        let found = search(&harness, text).await;
        let expected = json!([{
            "id": id, "name": "Nightly deploy", "state": "active",
            "account": { "id": account.id, "name": "Batch" }, "matched": [matched],
        }]);
        assert_eq!((&found["federatedIdentities"], &found["keys"]), (&expected, &json!([])), "{text}");
    }
    let path = format!("{}/federated-identities/{id}", account.path());
    let _ = harness.request("DELETE", &path).admin().send().await.expect(204);
    assert_eq!(search(&harness, "nightly deploy").await["federatedIdentities"], json!([]));
    assert_eq!(search(&harness, &id).await["federatedIdentities"][0]["state"], "deleted");
    // An identity that expired has been moved by the sweep.
    let mut short = body.clone();
    short["expiresInDays"] = 1.into();
    let short = harness.add_identity(&account, &short).await;
    let id = short["id"].as_str().unwrap().to_owned();
    harness.clock.advance_days(1);
    for _ in 0..2 {
        assert_eq!(search(&harness, &id).await["federatedIdentities"][0]["state"], "expired");
        harness.system.sweep_keys().sweep(jiff::Timestamp::MAX).await.unwrap();
    }
    changes::delete(&harness, &account).await;
    let found = search(&harness, &id).await["federatedIdentities"][0].clone();
    assert_eq!((&found["state"], &found["account"]["name"]), (&json!("expired"), &json!("Batch")));
}
