//! The history of all accounts and of one account: an early end of a search, and exports.

use serde_json::{Value, json};
use tests::Harness;

use crate::support::browser::{Browser, HOSTILE};
use crate::support::changes;

#[tokio::test]
async fn search_says_how_far_it_got_and_can_be_continued() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    harness.clock.advance_days(4 * 365);
    let mut browser = Browser::signed_in(&harness).await;
    let mut page = browser.get("/history?actor=admin").await.expect(200);
    // The first request searches 24 months, and ends in December 2029.
    page.expect_texts(&[
        "No matches back to",
        "2028-01-01 00:00:00 UTC",
        "Older events were not searched yet.",
    ]);
    page.expect_without("No matching events");
    let mut requests = 1;
    while let Some(next) = page.next_page() {
        assert!(next.starts_with("/history?actor=admin&cursor="), "{next}");
        page = browser.get(&next).await.expect(200);
        requests += 1;
    }
    assert_eq!(requests, 2);
    page.expect_texts(&["created the account batch"]);

    let page = browser.get("/history?actor=grace&from=2029-06-01").await.expect(200);
    page.expect_texts(&["No matching events", "All events were searched."]);

    // The history of an account reads only the account's events.
    let page = browser.get(&format!("/accounts/{}/history?actor=ADMIN", account.id)).await.expect(200);
    page.expect_texts(&["History of batch", "created the account"]);
    page.expect_without("were not searched");
}

#[tokio::test]
async fn history_of_an_account_has_filters() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    harness.account_with_key("other", "ServiceAccountReader").await;
    let _ = harness.revoke(&key).await.expect(204);
    let path = format!("/accounts/{}/history", account.id);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path).await.expect(200);
    assert!(page.text.contains(&format!("action=\"{path}\"")), "{}", page.text);
    for absent in ["Role created", "Account (name or ID)", "Custom role", "other"] {
        page.expect_without(absent);
    }
    let page = browser.get(&format!("{path}?type=key.revoked")).await.expect(200);
    page.expect_texts(&["revoked the key"]);
    page.expect_without("issued the key");
    // The account of the path cannot be replaced.
    let page = browser.get(&format!("{path}?account=other&type=key.issued")).await.expect(200);
    assert_eq!(page.text.matches("<li>").count(), 1);
    page.expect_texts(&[&key.id]);
    let page = browser.get(&format!("{path}?actor=nobody")).await.expect(200);
    page.expect_texts(&["No matching events"]);
    let page = browser.get(&format!("{path}?from=yesterday")).await.expect(422);
    assert!(page.field_error("from").contains("Must be a date"));
    browser.get(&format!("{path}?cursor=x")).await.expect(404);
    browser.get("/accounts/sa_0000000000000000/history").await.expect(404);
    changes::delete(&harness, &account).await;
    browser.get(&path).await.expect(200).expect_texts(&["History of batch", "deleted the account"]);
}

#[tokio::test]
async fn history_is_exported_with_its_filters() {
    let harness = Harness::start().await;
    let account = harness.create_account("=1+1", "ServiceAccountReader").await;
    let key = harness.issue_key_with(&account, &json!({ "name": HOSTILE })).await;
    for number in 0..130 {
        changes::update(&harness, &account, json!({ "description": format!("version {number}") })).await;
    }
    harness.clock.advance_seconds(1);
    harness.put_role("Reports", &["GET /reports"]).await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/history?actor=admin&type=key.issued").await.expect(200);
    let links = page.text.split("href=\"/history/export?").skip(1);
    let links: Vec<_> = links
        .map(|link| link.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&"))
        .collect();
    assert_eq!(links, ["format=csv&actor=admin&type=key.issued", "format=json&actor=admin&type=key.issued"]);
    let csv = browser.get(&format!("/history/export?{}", links[0])).await.expect(200);
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        csv.header("content-disposition"),
        "attachment; filename=\"keyward-local-history-2026-01-01.csv\""
    );
    let mut rows = csv.text.lines();
    assert_eq!(
        rows.next().unwrap(),
        "id,at,type,actorId,actorName,accountId,accountName,keyId,keyName,keyHint,role,changes,requestId"
    );
    let hint = &key.secret[key.secret.len() - 4..];
    let quoted = HOSTILE.replace('"', "\"\"");
    let expected = format!(",'=1+1,{},\"{quoted}\",{hint},,,", key.id);
    let row = rows.next().unwrap();
    assert!(row.contains(&expected), "{expected} in {row}");
    assert_eq!(rows.next(), None);

    let json = browser.get("/history/export?format=json").await.expect(200);
    let export: Value = serde_json::from_str(&json.text).unwrap();
    let items = export["items"].as_array().unwrap();
    assert_eq!((items.len(), &export["isComplete"]), (133, &json!(true)));
    assert_eq!(items[0]["type"], "role.created");
    assert_eq!(items[0]["role"], "Reports");
    let changes = |event: &Value| event["changes"] == json!(["description: version 128 → version 129"]);
    assert_eq!(items.iter().filter(|event| changes(event)).count(), 1);
    assert!(!json.text.contains(&key.secret[16..]), "the export contains no secret");
    let of_account = format!("/history/export?format=json&account={}&actor=nobody", account.id);
    let export: Value = serde_json::from_str(&browser.get(&of_account).await.expect(200).text).unwrap();
    assert_eq!(export["items"], json!([]));
    for query in ["", "format=xml", "format=csv&from=yesterday", "format=csv&cursor=x"] {
        browser.get(&format!("/history/export?{query}")).await.expect(404);
    }
}
