//! The list of accounts, changes of several accounts, and exports.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tests::{Account, Action, Call, Harness, Shape};

use super::disable;
use crate::support::browser::{Browser, HOSTILE, Page};
use crate::support::changes;
use crate::support::keys::use_key;

async fn create(harness: &Harness, name: &str, changed: Value) -> Account {
    let account = harness.create_account(name, "ServiceAccountReader").await;
    changes::update(harness, &account, changed).await;
    account
}

/// The names of the listed accounts.
fn names(page: &Page) -> Vec<String> {
    let rows = page.text.split("<th scope=\"row\">").skip(1);
    rows.map(|row| row.split("<bdi>").nth(1).unwrap().split("</bdi>").next().unwrap().to_owned()).collect()
}

/// The address of the link with this `rel`.
fn link(page: &Page, rel: &str) -> Option<String> {
    let (before, _) = page.text.split_once(&format!("\" rel=\"{rel}\">"))?;
    Some(before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&"))
}

#[tokio::test]
async fn list_shows_state_role_owner_tags_keys_and_use() {
    let harness = Harness::start().await;
    let (batch, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let owner =
        json!({ "owner": "data-team", "description": "at night", "tags": { "team": "data", "old": "" } });
    changes::update(&harness, &batch, owner).await;
    use_key(&harness, &key).await;
    let revoked = harness.issue_key(&batch).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    assert!(!harness.authorize(&Shape::HttpV2.bearer(&revoked.secret)).await.unwrap().is_allow());
    create(&harness, "web", json!({ "enabled": false })).await;
    harness.clock.advance_seconds(3600);
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/accounts").await.expect(200);
    assert_snapshot!(page.main_text());
    browser.expect_small(&page).await;
}

#[tokio::test]
async fn deployment_without_accounts_explains_the_first_step() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    browser.get("/accounts").await.expect(200).expect_texts(&[
        "No service accounts yet",
        "A service account is the identity of a program",
        "Create your first service account",
    ]);
    browser
        .get("/accounts?owner=x")
        .await
        .expect(200)
        .expect_texts(&["No matching accounts", "All accounts were searched."]);
}

#[tokio::test]
async fn each_filter_selects_accounts() {
    let harness = Harness::start().await;
    create(&harness, "batch", json!({ "owner": "Data-Team", "tags": { "team": "data" } })).await;
    create(&harness, "web", json!({ "role": "ServiceAccountWriter", "enabled": false })).await;
    let mut browser = Browser::signed_in(&harness).await;
    for (query, expected) in [
        ("", vec!["batch", "web"]),
        ("prefix=+BA", vec!["batch"]),
        ("owner=data-t", vec!["batch"]),
        ("tag=team", vec!["batch"]),
        ("tag=team%3Ddata&owner=team&role=&enabled=true", vec!["batch"]),
        ("role=ServiceAccountWriter", vec!["web"]),
        ("enabled=false", vec!["web"]),
        ("order=desc&limit=100", vec!["web", "batch"]),
    ] {
        let page = browser.get(&format!("/accounts?{query}")).await.expect(200);
        assert_eq!(names(&page), expected, "{query}");
    }
}

#[tokio::test]
async fn invalid_filters_are_field_errors() {
    let harness = Harness::start().await;
    create(&harness, "batch", json!({})).await;
    let mut browser = Browser::signed_in(&harness).await;
    let query = "owner=a%0Ab&tag=no+tag&prefix=kept";
    let page = browser.get(&format!("/accounts?{query}")).await.expect(422);
    assert_eq!(
        [page.field_error("owner"), page.field_error("tag")],
        [
            "Must not contain control characters, such as line breaks and tabs.",
            "Must contain only letters, digits and . _ : / -."
        ]
    );
    assert_eq!(page.fields("/accounts")["prefix"], "kept");
    let page = browser.get("/accounts?role=no+role").await.expect(422);
    page.field_error("role");
    for query in ["limit=x", "limit=101", "order=x", "enabled=x", "cursor=x"] {
        browser.get(&format!("/accounts?{query}")).await.expect(404);
    }
}

#[tokio::test]
async fn pages_lead_to_the_next_and_the_previous_page() {
    let harness = Harness::start().await;
    for number in 0..130 {
        harness.create_account(&format!("account {number:03}"), "ServiceAccountReader").await;
    }
    let mut browser = Browser::signed_in(&harness).await;
    let query = "enabled=true&order=desc";
    let mut addresses = vec![format!("/accounts?{query}")];
    let mut seen = Vec::new();
    loop {
        let page = browser.get(addresses.last().unwrap()).await.expect(200);
        seen.push(names(&page));
        let previous = addresses.len().checked_sub(2).map(|index| addresses[index].clone());
        let expected =
            previous.map(|previous| previous.replace(&format!("?{query}"), "?enabled=true&order=desc"));
        assert_eq!(link(&page, "prev"), expected, "each page leads back to the same address");
        match link(&page, "next") {
            Some(next) => addresses.push(next),
            None => break,
        }
    }
    let all: Vec<_> = (0..130).rev().map(|number| format!("account {number:03}")).collect();
    assert_eq!(seen.concat(), all);
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [25, 25, 25, 25, 25, 5]);
    assert!(addresses.iter().all(|address| address.len() < 1024), "{addresses:?}");
    let last = browser.get(addresses.last().unwrap()).await.expect(200);
    last.expect_texts(&["First page", "Previous page", "Page 6"]);
}

/// The trail is cut off at the front. The oldest pages are then only reached from the first.
#[tokio::test]
async fn addresses_of_many_pages_stay_short() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let cursor = "x".repeat(200);
    let trail = vec![cursor.as_str(); 50].join(".");
    harness.create_account("a", "ServiceAccountReader").await;
    for path in [
        format!("/accounts?page=99&trail={trail}"),
        "/accounts?page=18446744073709551615&trail=....".to_owned(),
        "/accounts?page=0".to_owned(),
    ] {
        let page = browser.get(&path).await.expect(200);
        assert_eq!([link(&page, "prev"), link(&page, "next")], [None, None], "{path}");
    }
    browser.get("/accounts?page=-1").await.expect(404);
}

fn change(action: &str, accounts: &[&Account]) -> String {
    let ids: Vec<_> = accounts.iter().map(|account| format!("&account={}", account.id)).collect();
    format!("/accounts/change?action={action}{}", ids.concat())
}

async fn is_enabled(harness: &Harness, account: &Account) -> bool {
    harness.get(&account.path()).await.json()["enabled"] == true
}

#[tokio::test]
async fn selected_accounts_are_disabled_after_a_confirmation() {
    let harness = Harness::start().await;
    let (busy, key) = harness.account_with_key("busy", "ServiceAccountReader").await;
    let hostile = harness.create_account(HOSTILE, "ServiceAccountReader").await;
    let other = harness.create_account("other", "ServiceAccountReader").await;
    for _ in 0..3 {
        use_key(&harness, &key).await;
    }
    harness.authorizer().flush_activity().await;
    harness.clock.advance_seconds(120);
    let mut browser = Browser::signed_in(&harness).await;
    let before = harness.table.dump().await;
    let confirm = browser.get(&change("disable", &[&busy, &hostile, &busy])).await.expect(200);
    assert_eq!(before, harness.table.dump().await);
    assert_snapshot!(confirm.main_text());
    confirm.expect_no_script();
    let done = browser.submit_all(&confirm, "/accounts/change").await.expect(200);
    assert_snapshot!(done.main_text());
    done.expect_no_script();
    let enabled = [&busy, &hostile, &other].map(|account| is_enabled(&harness, account));
    assert_eq!(futures::future::join_all(enabled).await, [false, false, true]);
    // A repeated form changes nothing.
    let before = harness.table.dump().await;
    browser.submit_all(&confirm, "/accounts/change").await.expect(200).expect_texts(&["2 accounts disabled"]);
    assert_eq!(before, harness.table.dump().await);
}

#[tokio::test]
async fn keys_of_selected_accounts_are_revoked_after_a_confirmation() {
    let harness = Harness::start().await;
    let (batch, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let second = harness.issue_key(&batch).await;
    let idle = harness.create_account("idle", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let confirm = browser.get(&change("revoke", &[&batch, &idle])).await.expect(200);
    confirm.expect_texts(&[
        "Revoke all keys of 2 accounts?",
        "stop working immediately and permanently",
        "2 active keys, with 0 allowed requests in the last 24 hours. No request has been allowed yet.",
        "batch Enabled 2 0 0 Never",
        "idle Enabled 0 0 0 Never",
        "Revoke all keys of 2 accounts",
    ]);
    let done = browser.submit_all(&confirm, "/accounts/change").await.expect(200);
    done.expect_texts(&[
        "All keys of 2 accounts revoked",
        "batch Done 2 keys revoked.",
        "idle Done 0 keys revoked.",
    ]);
    for key in [key, second] {
        let refused = harness.request("GET", "/teams").bearer(&key.secret).send().await;
        assert_eq!(refused.status, 403);
    }
}

#[tokio::test]
async fn failed_changes_are_listed_and_can_be_retried() {
    let harness = Harness::start().await;
    let accounts = [
        harness.create_account("first", "ServiceAccountReader").await,
        harness.create_account("second", "ServiceAccountReader").await,
        harness.create_account("third", "ServiceAccountReader").await,
    ];
    let mut browser = Browser::signed_in(&harness).await;
    let selected: Vec<_> = accounts.iter().collect();
    let confirm = browser.get(&change("disable", &selected)).await.expect(200);
    changes::delete(&harness, &accounts[0]).await;
    let id = accounts[1].id.clone();
    let is_second =
        move |call: &Call| call.body.to_string().contains(&id) && call.operation == "TransactWriteItems";
    harness.wire.intercept(move |call| if is_second(call) { Action::Refuse } else { Action::Pass });
    let result = browser.submit_all(&confirm, "/accounts/change").await.expect(200);
    result.expect_texts(&[
        "1 account disabled",
        "2 accounts failed.",
        "Try again with 2 accounts",
        "first Failed Not changed, because the account no longer exists.",
        "second Failed Keyward did not respond. The change may or may not have been made (request",
        "third Done Disabled.",
    ]);
    harness.wire.intercept(|_| Action::Pass);
    let retried = browser.submit_all(&result, "/accounts/change").await.expect(200);
    retried.expect_texts(&[
        "1 account disabled",
        "1 account failed.",
        "first Failed",
        "second Done Disabled.",
    ]);
    retried.expect_without("third");
    assert!(!is_enabled(&harness, &accounts[1]).await && !is_enabled(&harness, &accounts[2]).await);
}

#[tokio::test]
async fn accounts_that_cannot_be_read_are_said_to_be_unknown() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let gone = harness.create_account("gone", "ServiceAccountReader").await;
    changes::delete(&harness, &gone).await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&change("disable", &[&gone])).await.expect(200);
    page.expect_texts(&["Nothing to change", "The selected accounts no longer exist."]);
    let id = account.id.clone();
    harness.wire.intercept(
        move |call| {
            if call.body.to_string().contains(&id) { Action::Refuse } else { Action::Pass }
        },
    );
    let page = browser.get(&change("disable", &[&account, &gone])).await.expect(200);
    page.expect_texts(&["Disable 1 account?", "could not be read", &account.id, "Unknown"]);
}

#[tokio::test]
async fn selection_must_have_1_to_100_accounts() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let none = browser.get("/accounts/change?action=disable").await.expect(422);
    none.expect_texts(&["Nothing was changed", "Select at least one account.", "Back to the list"]);
    let many = browser.get(&change("disable", &vec![&account; 101])).await.expect(422);
    many.expect_texts(&["Select at most 100 accounts."]);
    for query in ["", "action=delete", "action=disable&account=x"] {
        browser.get(&format!("/accounts/change?{query}")).await.expect(404);
    }
    assert!(is_enabled(&harness, &account).await);
}

#[tokio::test]
async fn change_without_this_origin_and_session_changes_nothing() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let confirm = browser.get(&change("disable", &[&account])).await.expect(200);
    let good = confirm.fields("/accounts/change");
    let own = browser.origin.clone();
    for (origin, csrf) in
        [("https://evil.example", good["csrf"].as_str()), (&own, ""), (&own, &good["csrf"][1..])]
    {
        let mut fields = good.clone();
        fields.insert("csrf".to_owned(), csrf.to_owned());
        browser.send("POST", "/accounts/change", Some(&fields), &[("origin", origin)]).await.expect(403);
    }
    assert!(is_enabled(&harness, &account).await);
}

/// The lines of a CSV file.
fn lines(export: &Page) -> Vec<&str> {
    export.text.split_terminator("\r\n").collect()
}

#[tokio::test]
async fn accounts_are_exported_as_csv_and_json() {
    let harness = Harness::start().await;
    let (batch, key) = harness.account_with_key("batch, \"nightly\"", "ServiceAccountReader").await;
    let owner = json!({ "owner": "=cmd|'/c calc'!A1", "description": "-1+1", "tags": { "stage": "test", "team": "data" } });
    changes::update(&harness, &batch, owner).await;
    use_key(&harness, &key).await;
    let web = harness.create_account("web", "ServiceAccountReader").await;
    disable(&harness, &web).await;
    let mut browser = Browser::signed_in(&harness).await;
    let csv = browser.get("/accounts/export?what=accounts&format=csv").await.expect(200);
    assert_eq!(
        ["content-type", "content-disposition", "cache-control", "keyward-export-truncated"]
            .map(|name| csv.header(name)),
        [
            "text/csv; charset=utf-8",
            "attachment; filename=\"keyward-local-accounts-2026-01-01.csv\"",
            "no-store",
            ""
        ]
    );
    let without_ids = |text: &str| text.replace(&batch.id, "[batch]").replace(&web.id, "[web]");
    assert_snapshot!("accounts_csv", without_ids(&csv.text));
    let exported = browser.get("/accounts/export?what=accounts&format=json").await.expect(200);
    assert_eq!(exported.header("content-type"), "application/json");
    assert_snapshot!("accounts_json", without_ids(&exported.text));
    serde_json::from_str::<Value>(&exported.text).unwrap();
    // The filters of the list apply.
    let filtered = browser.get("/accounts/export?what=accounts&format=csv&enabled=false").await.expect(200);
    assert_eq!(lines(&filtered).len(), 2);
    assert!(filtered.text.contains(&web.id) && !filtered.text.contains(&batch.id));
    let none = browser.get("/accounts/export?what=accounts&format=json&prefix=x").await.expect(200);
    let none: Value = serde_json::from_str(&none.text).unwrap();
    assert_eq!(
        [&none["items"], &none["isComplete"], &none["truncated"]],
        [&json!([]), &json!(true), &Value::Null]
    );
}

#[tokio::test]
async fn live_and_retired_keys_are_exported_without_secrets() {
    let harness = Harness::start().await;
    let (batch, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let spec = json!({ "name": "+narrow", "allowedCidrs": ["192.0.2.0/24", "10.0.0.0/8"] });
    let narrow = harness.issue_key_with(&batch, &spec).await;
    use_key(&harness, &key).await;
    harness.authorizer().flush_activity().await;
    let _ = harness.revoke(&narrow).await.expect(204);
    let mut browser = Browser::signed_in(&harness).await;
    let csv = browser.get("/accounts/export?what=keys&format=csv").await.expect(200);
    let ids = [(&batch.id, "[batch]"), (&key.id, "[key]"), (&narrow.id, "[narrow]")];
    let hints = [&key, &narrow].map(|key| key.secret[key.secret.len() - 4..].to_owned());
    let text = ids.iter().fold(csv.text.clone(), |text, (id, name)| text.replace(*id, name));
    let text = hints.iter().fold(text, |text, hint| text.replace(hint, "[hint]"));
    assert_snapshot!("keys_csv", text);
    let exported = browser.get("/accounts/export?what=keys&format=json").await.expect(200);
    for text in [&csv.text, &exported.text] {
        for key in [&key, &narrow] {
            assert!(!text.contains(&key.secret[key.secret.len() - 49..key.secret.len() - 4]), "{text}");
        }
        assert!(!text.to_lowercase().contains("verifier"), "{text}");
    }
}

#[tokio::test]
async fn incomplete_export_says_so() {
    let harness = Harness::start().await;
    for number in 0..101 {
        harness.create_account(&format!("account {number:03}"), "ServiceAccountReader").await;
    }
    let mut browser = Browser::signed_in(&harness).await;
    let is_second = |call: &Call| call.operation == "Query" && !call.body["ExclusiveStartKey"].is_null();
    harness.wire.intercept(move |call| if is_second(call) { Action::Refuse } else { Action::Pass });
    let reason = "The export stopped after 100 rows, because the API did not respond.";
    let csv = browser.get("/accounts/export?what=accounts&format=csv").await.expect(200);
    assert_eq!(csv.header("keyward-export-truncated"), reason);
    let lines = lines(&csv);
    assert_eq!(lines.len(), 102);
    assert_eq!(lines[101], format!("\"INCOMPLETE: {reason}\",,,,,,,,,,,,,,,,"));
    let exported = browser.get("/accounts/export?what=accounts&format=json").await.expect(200);
    let value: Value = serde_json::from_str(&exported.text).unwrap();
    assert_eq!(value["items"].as_array().unwrap().len(), 100);
    assert_eq!([&value["isComplete"], &value["truncated"]], [&json!(false), &json!(reason)]);
    assert!(
        exported.text.trim_end().ends_with(&format!("\"truncated\":\"{reason}\"}}")),
        "{}",
        exported.text
    );
    // Without the first page, there is no file.
    harness.wire.intercept(|call| if call.operation == "Query" { Action::Refuse } else { Action::Pass });
    browser.get("/accounts/export?what=accounts&format=csv").await.expect(503);
}

#[tokio::test]
async fn malformed_export_address_is_not_found() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for query in [
        "",
        "what=accounts",
        "what=accounts&format=xml",
        "what=secrets&format=csv",
        "what=keys&format=csv&role=a+b",
    ] {
        browser.get(&format!("/accounts/export?{query}")).await.expect(404);
    }
    let location = browser.get("/accounts/export?what=keys&format=csv&owner=kwsa_local_x").await.expect(303);
    assert_eq!(location.location(), "/leaked");
    Browser::new(&harness).get("/accounts/export?what=keys&format=csv").await.expect(303);
}
