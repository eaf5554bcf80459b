//! The overview, and the page of what needs attention.

use insta::assert_snapshot;
use jiff::Timestamp;
use serde_json::json;
use tests::{Account, Action, Call, Harness, Key, Shape};

use super::{disable, rotate};
use crate::support::browser::{Browser, HOSTILE, Page};
use crate::support::changes;
use crate::support::keys::{store_usage, use_key};

async fn issue(harness: &Harness, account: &Account, name: &str, days: u32) -> Key {
    harness.issue_key_with(account, &json!({ "name": name, "expiresInDays": days })).await
}

async fn refuse(harness: &Harness, key: &Key) {
    assert!(!harness.authorize(&Shape::HttpV2.bearer(&key.secret)).await.unwrap().is_allow());
    harness.authorizer().flush_activity().await;
}

async fn sweep(harness: &Harness) {
    harness.system.sweep_keys().sweep(Timestamp::MAX).await.unwrap();
}

/// Accounts and keys with every reason for attention. Returns the key that was used after its
/// end.
async fn everything(harness: &Harness) -> Key {
    let batch = harness.create_account("batch", "ServiceAccountReader").await;
    changes::update(harness, &batch, json!({ "owner": "data-team" })).await;
    issue(harness, &batch, "idle", 365).await;
    let revoked = issue(harness, &batch, "old", 365).await;
    use_key(harness, &revoked).await;
    harness.clock.advance_days(95);
    let web = harness.create_account(HOSTILE, "ServiceAccountReader").await;
    issue(harness, &web, HOSTILE, 3).await;
    issue(harness, &web, "in three weeks", 21).await;
    let off = harness.create_account("off", "ServiceAccountReader").await;
    issue(harness, &off, "of a disabled account", 5).await;
    disable(harness, &off).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    refuse(harness, &revoked).await;
    sweep(harness).await;
    harness.clock.advance_seconds(7200);
    revoked
}

/// The text of the page's list of lines.
fn lines(page: &Page) -> usize {
    page.text.matches("<td data-label=\"Reason\">").count()
}

#[tokio::test]
async fn overview_counts_and_lists_what_needs_attention() {
    let harness = Harness::start().await;
    let revoked = everything(&harness).await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/").await.expect(200);
    let text = page.main_text();
    assert_snapshot!(text);
    page.expect_no_script();
    browser.expect_small(&page).await;
    assert!(page.text.contains(&format!("/accounts/{}/keys/{}\">View key", revoked.account, revoked.id)));
    assert!(
        page.text.contains("/rotate\">Rotate<") && page.text.contains("/revoke\">Revoke<"),
        "{}",
        page.text
    );
    // Each tile leads to what it counts.
    let tiles = page.text.split("<ul class=\"tiles\">").nth(1).unwrap().split("</ul>").next().unwrap();
    let links: Vec<_> =
        tiles.split("<a href=\"").skip(1).map(|tile| tile.split('"').next().unwrap()).collect();
    let mut found = Vec::new();
    for link in links.into_iter().filter(|link| link.starts_with('/')) {
        let page = browser.get(&link.replace("&#38;", "&")).await.expect(200);
        found.push((link.to_owned(), page.text.matches("<th scope=\"row\">").count()));
    }
    let expected = [
        ("/attention?reason=usedAfterEnd", 1),
        ("/attention?reason=expiring&#38;withinDays=7", 1),
        ("/attention?reason=expiring&#38;withinDays=30", 2),
        ("/attention?reason=unused", 1),
        ("/accounts?enabled=false", 1),
    ];
    assert_eq!(found, expected.map(|(link, count)| (link.to_owned(), count)));
}

#[tokio::test]
async fn overview_shows_requests_of_a_day_and_a_month() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    harness.clock.advance_days(3);
    for _ in 0..3 {
        use_key(&harness, &key).await;
    }
    let _ = harness.revoke(&key).await.expect(204);
    refuse(&harness, &key).await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/").await.expect(200);
    page.expect_texts(&[
        "1 Refused requests today (UTC)",
        "Requests from all keys",
        "24 hours 3 allowed, 1 refused 30 days 3 allowed, 1 refused",
        "Last 24 hours At most 4 requests in one hour.",
        "Last 30 days At most 4 requests in one day.",
    ]);
    assert_eq!(page.text.matches("<svg class=\"chart\"").count(), 2);
}

#[tokio::test]
async fn overview_of_a_new_deployment_explains_the_first_step() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/").await.expect(200);
    page.expect_texts(&[
        "Overview",
        "No service accounts yet",
        "Create your first service account",
        "View the roles",
    ]);
    page.expect_without("Needs attention");
    harness.create_account("batch", "ServiceAccountReader").await;
    let page = browser.get("/").await.expect(200);
    page.expect_texts(&[
        "0 Retired keys used",
        "Not counted yet: the daily sweep counts unused keys",
        "Nothing needs attention: no retired key was used in the last 30 days",
        "No requests in the last 24 hours.",
    ]);
}

#[tokio::test]
async fn overview_works_if_a_part_is_unavailable() {
    let harness = Harness::start().await;
    harness.create_account("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let is_directory = |call: &Call| call.body["IndexName"] == "gsi2";
    harness.wire.intercept(move |call| if is_directory(call) { Action::Refuse } else { Action::Pass });
    browser
        .get("/")
        .await
        .expect(200)
        .expect_texts(&["The list is currently unavailable. Try again", "No requests in the last 24 hours."]);
    browser.get("/attention").await.expect(503).expect_texts(&["Keyward is not responding", "Try again"]);
    let is_totals = |call: &Call| call.body.to_string().contains("TOTALS#");
    harness.wire.intercept(move |call| if is_totals(call) { Action::Refuse } else { Action::Pass });
    browser.get("/").await.expect(200).expect_texts(&[
        "Nothing needs attention",
        "The request counts are currently unavailable. Try again",
    ]);
}

#[tokio::test]
async fn attention_is_filtered_by_reason_days_and_owner() {
    let harness = Harness::start().await;
    everything(&harness).await;
    let mut browser = Browser::signed_in(&harness).await;
    for (query, expected) in [
        ("", 5),
        ("reason=usedAfterEnd", 1),
        ("reason=expiring", 2),
        ("reason=expiring&withinDays=7", 1),
        ("reason=unused&withinDays=7", 1),
        ("reason=disabled", 1),
        ("owner=+DATA-", 2),
        ("reason=unused&owner=data", 1),
        ("reason=disabled&owner=data", 0),
    ] {
        let page = browser.get(&format!("/attention?{query}")).await.expect(200);
        assert_eq!(lines(&page), expected, "{query}: {}", page.main_text());
    }
    let page = browser.get("/attention?reason=expiring&withinDays=7").await.expect(200);
    assert_snapshot!(page.main_text());
    page.expect_no_script();
    let none = browser.get("/attention?reason=disabled&owner=data").await.expect(200);
    none.expect_texts(&["No matches", "All keys and accounts were searched."]);
}

#[tokio::test]
async fn invalid_filters_of_attention_are_field_errors() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for days in ["0", "91", "x", "-1", "1.5"] {
        let page = browser.get(&format!("/attention?reason=expiring&withinDays={days}")).await.expect(422);
        assert_eq!(page.field_error("withinDays"), "Must be a whole number from 1 to 90.");
    }
    let page = browser.get("/attention?owner=a%0Ab").await.expect(422);
    page.field_error("owner");
    for query in ["reason=x", "reason=expiring&cursor=x", "cursor=x"] {
        browser.get(&format!("/attention?{query}")).await.expect(404);
    }
}

#[tokio::test]
async fn everything_that_needs_attention_is_listed_on_small_pages() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for number in 0..60 {
        let account =
            harness.create_account(&format!("{number:02} {}", "&".repeat(61)), "ServiceAccountReader").await;
        issue(&harness, &account, "k", 9).await;
    }
    let mut path = "/attention?reason=expiring".to_owned();
    let mut listed = Vec::new();
    loop {
        let page = browser.get(&path).await.expect(200);
        browser.expect_small(&page).await;
        listed.push(lines(&page));
        let Some(next) = page.next_page() else { break };
        path = next;
    }
    assert_eq!(listed.iter().sum::<usize>(), 60, "{listed:?}");
    let last = browser.get(&path).await.expect(200);
    last.expect_texts(&["First page"]);
}

/// The number of reads does not depend on the number of accounts.
#[tokio::test]
async fn overview_makes_the_same_reads_for_few_and_for_many_accounts() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let mut reads = Vec::new();
    for number in 0..40 {
        let (_, key) =
            harness.account_with_key(&format!("account {number:02}"), "ServiceAccountReader").await;
        store_usage(&harness, &key, &[(1, 1, 3)]).await;
        if [0, 39].contains(&number) {
            harness.wire.take_calls();
            browser.get("/").await.expect(200);
            reads.push(harness.wire.take_operations().len());
        }
    }
    assert_eq!(reads[0], reads[1], "{reads:?}");
}

#[tokio::test]
async fn rotated_key_that_is_still_used_is_named_with_its_end() {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("batch", "ServiceAccountReader").await;
    rotate(&harness, &key, 3600).await;
    harness.clock.advance_seconds(3600);
    refuse(&harness, &key).await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/attention?reason=usedAfterEnd").await.expect(200);
    page.expect_texts(&[
        "test key",
        "batch",
        "No owner",
        "Used after rotation",
        "Last refused just now",
        "View key",
    ]);
}
