//! The owner and the tags of an account, and the pages that ask before an account or its keys are
//! stopped.

use serde_json::json;
use tests::{Account, Action, Harness, Key, Shape, Verdict};

use super::disable;
use crate::support::browser::{Browser, HOSTILE, Page};
use crate::support::keys::{store_usage, use_key};

fn path_of(account: &Account) -> String {
    format!("/accounts/{}", account.id)
}

/// The pages that ask before they stop all keys of `account`, and the start of their sentence about
/// keys without use.
fn stopping_pages(account: &Account) -> [(String, &'static str); 3] {
    let path = path_of(account);
    [
        (format!("{path}/disable"), "Disabling the account"),
        (format!("{path}/keys/revoke"), "Revoking them"),
        (format!("{path}/delete"), "Deleting the account"),
    ]
}

/// Sends an allowed request from this address.
async fn use_from(harness: &Harness, key: &Key, address: &str) {
    let mut event = Shape::HttpV2.bearer(&key.secret);
    Shape::HttpV2.set_source(&mut event, address);
    assert_eq!(harness.verdict(&event).await, Verdict::Allow);
}

#[tokio::test]
async fn pages_that_stop_all_keys_show_their_use_and_change_nothing() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let idle = harness.issue_key_with(&account, &json!({ "name": "idle" })).await;
    let busy = harness.issue_key_with(&account, &json!({ "name": "busy" })).await;
    let before = harness.table.dump().await;
    let mut browser = Browser::signed_in(&harness).await;
    for (path, action) in stopping_pages(&account) {
        let page = browser.get(&path).await.expect(200);
        page.expect_texts(&[
            &format!("No use of this account's keys is recorded. {action} should affect no program."),
            &format!(
                "busy (ending in {} , {} ) Active No use is recorded",
                &busy.secret[busy.secret.len() - 4..],
                busy.id
            ),
            "idle",
        ]);
    }
    assert_eq!(before, harness.table.dump().await);

    store_usage(&harness, &busy, &[(1, 2, 1203)]).await;
    harness.clock.advance_seconds(86_400 + 13 * 3600);
    use_from(&harness, &idle, "198.51.100.1").await;
    harness.clock.advance_seconds(60);
    use_from(&harness, &busy, "203.0.113.7").await;
    harness.authorizer().flush_activity().await;
    harness.clock.advance_seconds(120);
    let mut browser = Browser::signed_in(&harness).await;
    for (path, _) in stopping_pages(&account) {
        let page = browser.get(&path).await.expect(200);
        page.expect_texts(&[
            "The keys of this account were used 1,205 times today (UTC), last used 2 minutes ago 2026-01-02 13:01:00 UTC from \
             203.0.113.7 . Programs that use these keys will be refused.",
            "Busiest key: busy (ending in",
            ", 1,204 requests today.",
            "1,205 allowed requests in 30 days.",
            "Last used 2 minutes ago",
            "idle (ending in",
            "Last used 3 minutes ago",
        ]);
        assert!(
            page.text.contains(&format!("href=\"{}/keys/{}\"", path_of(&account), idle.id)),
            "{}",
            page.text
        );
    }
    let rotation = browser.get(&format!("{}/keys/{}/rotate", path_of(&account), busy.id)).await.expect(200);
    rotation.expect_texts(&[
        "The old key was used 1,204 times today (UTC), last used 2 minutes ago 2026-01-02 13:01:00 UTC from 203.0.113.7 . Programs that still \
         use it when the grace period ends will be refused.",
    ]);

    disable(&harness, &account).await;
    for (path, action) in &stopping_pages(&account)[1..] {
        let page = browser.get(path).await.expect(200);
        page.expect_texts(&[&format!("No key of this account works now. {action} affects no program.")]);
    }
}

#[tokio::test]
async fn address_of_the_last_request_is_said_to_be_unknown() {
    let harness = Harness::start().await;
    let (account, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    let page = format!("{}/disable", path_of(&account));
    use_from(&harness, &key, "203.0.113.7").await;
    harness.authorizer().flush_activity().await;
    let mut browser = Browser::signed_in(&harness).await;
    // The records of requests cannot be read.
    harness.wire.intercept(|call| {
        let partition = call.body["ExpressionAttributeValues"][":pk"]["S"].as_str();
        let is_requests = partition.is_some_and(|partition| partition.starts_with("REQUESTS#"));
        if is_requests { Action::Refuse } else { Action::Pass }
    });
    let shown = browser.get(&page).await.expect(200);
    shown.expect_texts(&["used 1 time today (UTC), last used just now 2026-01-01 00:00:00 UTC . The address of that request is currently unavailable."]);
    harness.wire.pass_all();
    browser
        .get(&page)
        .await
        .expect(200)
        .expect_texts(&["last used just now 2026-01-01 00:00:00 UTC from 203.0.113.7"]);

    // A later request is only counted, because each instance records one request a minute.
    harness.clock.advance_seconds(30);
    use_key(&harness, &key).await;
    store_usage(&harness, &key, &[(1, 1, 5)]).await;
    harness.clock.advance_seconds(86_000);
    let mut browser = Browser::signed_in(&harness).await;
    let shown = browser.get(&page).await.expect(200);
    shown.expect_texts(&[
        "last used 12 hours ago 2026-01-01 12:00:00 UTC . The last recorded request came from 203.0.113.7 24 hours ago",
    ]);
}

#[tokio::test]
async fn owner_and_tags_are_edited_from_the_account_page() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let path = path_of(&account);
    let edit = format!("{path}/edit");
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get(&path).await.expect(200);
    page.expect_texts(&["No owner Edit owner", "No tags Edit tags"]);
    for field in ["owner", "tags"] {
        assert!(page.text.contains(&format!("href=\"{edit}#{field}\"")), "{}", page.text);
    }
    let form = browser.get(&edit).await.expect(200);
    let typed = [("owner", "data-team"), ("tags", "team = data\r\n\r\ncost/center=a=b\r\nempty=\r\n")];
    browser.submit(&form, &edit, &typed).await.expect(303);
    let saved = harness.get(&account.path()).await.json();
    assert_eq!(saved["tags"], json!({ "team": "data", "cost/center": "a=b", "empty": "" }));
    assert_eq!(saved["owner"], "data-team");
    browser.get(&path).await.expect(200).expect_texts(&["data-team Edit owner", "cost/center =", "a=b"]);

    let form = browser.get(&edit).await.expect(200);
    assert!(form.text.contains(">cost/center=a=b\nempty=\nteam=data</textarea>"), "{}", form.text);
    let before = harness.table.dump().await;
    let long = format!("a/b={}", "x".repeat(65));
    let eleven: Vec<_> = (0..11).map(|number| format!("t{number}=x")).collect();
    for (tags, problem) in [
        ("team=data\nteam", "Line 2 must be a tag and its value, such as team=data."),
        ("team=data\n\nteam=x", "Line 3 repeats a tag."),
        (&long, "Tag “a/b” must be at most 64 characters."),
        ("a~b=c", "Tag “a~b” must contain only letters, digits and . _ : / -."),
        (&eleven.join("\n"), "Must have at most 10 entries."),
    ] {
        let refused = browser.submit(&form, &edit, &[("tags", tags)]).await.expect(422);
        assert_eq!(refused.field_error("tags"), problem);
        assert!(refused.text.contains(&format!(">{tags}</textarea>")), "{}", refused.text);
    }
    assert_eq!(before, harness.table.dump().await);

    // A new role is confirmed first, and keeps the tags.
    let typed = [("role", "ServiceAccountWriter"), ("tags", "a=1\nb=2")];
    let confirm = browser.submit(&form, &edit, &typed).await.expect(200);
    browser.submit(&confirm, &edit, &[("button", "confirm")]).await.expect(303);
    assert_eq!(harness.get(&account.path()).await.json()["tags"], json!({ "a": "1", "b": "2" }));
    // A form with an older version overwrites nothing.
    let stale = browser.submit(&form, &edit, &[("tags", "stale=1")]).await.expect(412);
    stale.expect_texts(&["This page is out of date", "stale=1"]);
}

#[tokio::test]
async fn account_is_created_with_tags() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    let typed = [("name", "batch"), ("role", "ServiceAccountReader"), ("tags", "team")];
    let refused = browser.submit(&form, "/accounts", &typed).await.expect(422);
    assert_eq!(refused.field_error("tags"), "Line 1 must be a tag and its value, such as team=data.");
    let hostile = format!("team={HOSTILE}");
    let typed = [("tags", hostile.as_str()), ("name", "batch"), ("role", "ServiceAccountReader")];
    let created: Page = browser.submit(&refused, "/accounts", &typed).await.expect(303);
    let page = browser.get(created.location()).await.expect(200);
    page.expect_no_script();
    page.expect_texts(&["team =", HOSTILE]);
}
